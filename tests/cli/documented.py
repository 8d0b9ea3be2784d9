"""Commands that README and the pages of docs/ print, and what is wrong with them, told by the program's own parser.

Read are fenced blocks and `code` in the text. Nothing is run: the function of each verb is replaced by one that keeps
its arguments, so options, their values and the number of arguments are checked as when the command is typed.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from semiovs.cli.app import _CLICK_ERROR, VERBS, load_verb
from semiovs.config import list_presets, load_config
from semiovs.config.layers import join_key, sections
from semiovs.config.load import split_source
from semiovs.datasets.splits import load_catalogue
from semiovs.engine.teacher_choice import AUTO
from semiovs.errors import SemiovsError, UsageError
from semiovs.models import weight_catalog
from semiovs.registry import DATASETS, METHODS, SEGMENTERS, TEACHERS, check_options, lookup
from semiovs.vocab import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Names that the pages of docs/extend add.
_PLUG_INS = {"mean-teacher", "colours", "tiles", "my-method", "my-teacher"}
_FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`(semiovs [^`]+)`")
_KEY = re.compile(r"`((?:data|ood|model|method|optim|train|eval|run)\.[a-z_.]+)(?:=[^`]*)?`")
_OTHER = {
    "make": re.compile(r"^ *make ([a-z-]+)|`make ([a-z-]+)", re.MULTILINE),
    "script": re.compile(r"python (examples/[\w/]+\.py)"),
    "module": re.compile(r"python -m ((?:semiovs|benchmarks)\b[\w.]*)"),
    "extra": re.compile(r"\bsemiovs\[([\w,-]+)\]"),
}
_SUFFIXES = (".json", ".safetensors", ".txt", ".yaml")
_SETTING = re.compile(r"[a-z_.]+=.*", re.DOTALL)
_PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*")
_SHELL = {">", "|", "&&", "<"}
_MORE = "…"


@dataclass(frozen=True)
class Command:
    """partly: it leaves something out, by `…` or because it stands in a sentence."""

    words: tuple[str, ...]
    place: str
    partly: bool = False


def blocks(page: Path) -> Iterator[tuple[str, str, int]]:
    """Language, text and line of each fenced block."""
    text = page.read_text("utf-8")
    for found in _FENCE.finditer(text):
        yield found[2].strip(), found[3], text.count("\n", 0, found.start()) + 1


def commands(page: Path) -> list[Command]:
    """The commands of a page, in order of blocks and then of the text."""
    name = page.relative_to(ROOT)
    text = page.read_text("utf-8")
    found = [command for _, block, line in blocks(page) for command in _of_block(block, f"{name}:{line}")]
    for code in _CODE.finditer(_FENCE.sub("", text)):
        found += _of_line(" ".join(code[1].split()), f"{name} (in the text)", partly=True)
    return found


def settings(page: Path) -> list[str]:
    """The settings (`section.key`) that the text of a page names; names of files are none."""
    found = _KEY.findall(_FENCE.sub("", page.read_text("utf-8")))
    return [key for key in found if not key.endswith(_SUFFIXES)]


def other_commands(page: Path) -> Iterator[tuple[str, str]]:
    """What a page calls besides the program: targets of make, our scripts and modules, extras to install."""
    text = page.read_text("utf-8")
    for kind, pattern in _OTHER.items():
        for found in pattern.finditer(text):
            yield from ((kind, name) for name in "".join(filter(None, found.groups())).split(","))


def known_others() -> dict[str, set[str]]:
    """The targets, scripts, modules and extras that there are."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        "make": set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)),
        "script": {str(path.relative_to(ROOT)) for path in (ROOT / "examples").rglob("*.py")},
        "module": {
            str(path.relative_to(root).with_suffix("")).replace("/", ".").removesuffix(".__main__")
            for root, folder in ((ROOT / "src", "semiovs"), (ROOT, "benchmarks"))
            for path in (root / folder).rglob("*.py")
        },
        "extra": set(package["optional-dependencies"]),
    }


def known_settings() -> set[str]:
    """Every key of a configuration, with the options of all methods and segmenters."""
    keys = {join_key(path, key) for path, model in sections().items() for key in model.model_fields}
    keys |= {f"method.{option}" for method in METHODS.values() for option in method.options}
    return keys | {f"model.{option}" for segmenter in SEGMENTERS.values() for option in segmenter.options}


def _of_block(block: str, place: str) -> Iterator[Command]:
    lines = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
    prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in prompted or lines:
        if line.startswith(("semiovs ", "torchrun ")):
            yield from _of_line(line, place)


def _of_line(line: str, place: str, *, partly: bool = False) -> Iterator[Command]:
    words = shlex.split(line, comments=True)
    while words and words[0] != "semiovs":
        words.pop(0)
    end = next((i for i, word in enumerate(words) if word in _SHELL), len(words))
    given = [word for word in words[1:end] if word != _MORE]
    several = next((word for word in given if re.fullmatch(r"\{[\w,]+\}", word)), "")
    for choice in several.strip("{}").split(","):
        chosen = tuple(choice if word == several else word for word in given)
        if chosen:
            yield Command(chosen, place, partly or _MORE in words)


def problem(command: Command) -> str:
    """What is wrong with a command, or nothing."""
    kept: dict[str, Any] = {}
    try:
        path = _parse([re.sub(r"^N$", "1", word) for word in command.words], kept)
        _check_names(path, kept)
    except SemiovsError as error:
        return str(error)
    except typer.Exit:  # --help
        return ""
    except _CLICK_ERROR as error:
        told = str(error.format_message())
        lacks = told.startswith("Missing") or told.endswith("requires an argument.")
        return "" if command.partly and lacks else told
    return ""


def _parse(words: list[str], kept: dict[str, Any]) -> str:
    """Put the arguments of the verb's function in `kept`; return the verb with its sub-verb."""
    if words[0].startswith("-") or words == ["VERB", "--help"]:
        return ""
    if words[0] not in VERBS:
        raise UsageError(f"no verb '{words[0]}'")
    verb = load_verb(words[0])
    several = dict(getattr(verb, "commands", {}))
    for command in several.values() or [verb]:
        command.callback = lambda **given: kept.update(given)
    if len(words) > 1 or not several:
        with verb.make_context(words[0], words[1:]) as context:
            verb.invoke(context)
    return " ".join(words[:2] if several else words[:1])


def _named(path: str, kept: dict[str, Any]) -> Iterator[tuple[Callable[[str], object], str]]:
    """What must be known -> the check of it; placeholders, files and names that a page adds are left out."""
    for names, check in _CHECKS.items():
        verb, _, parameter = names.rpartition(" ")
        given = kept.get(parameter) if path.startswith(verb) else None
        for name in given if isinstance(given, list | tuple) else [given]:
            if isinstance(name, str) and name not in _PLUG_INS and not _PLACEHOLDER.fullmatch(name):
                yield check, name


def _check_names(path: str, kept: dict[str, Any]) -> None:
    for check, name in _named(path, kept):
        check(name)
    if (teacher := kept.get("teacher")) in TEACHERS:
        check_options(TEACHERS[teacher], [word.partition("=")[0] for word in kept["set_"] or ()], kind="teacher")
    words = [str(word) for word in kept.get("arguments") or kept.get("overrides") or ()]
    source = split_source(words)[0] if path not in ("resume", "predict") else None
    _check_settings(source, [word for word in words if _SETTING.fullmatch(word)])


def _check_settings(source: str | None, settings: list[str]) -> None:
    """Keys and types of ``key=value`` arguments: over the preset that is named, or over a user's file, whose method may
    be any.
    """
    if source and source.partition("/")[0] in {name.partition("/")[0] for name in list_presets() if "/" in name}:
        load_config(source, settings)
    elif settings and not any(word.partition("=")[2] in _PLUG_INS for word in settings):
        problems = [_problem_with(method, settings) for method in METHODS]
        if all(problems):
            raise UsageError(problems[0])


def _problem_with(method: str, settings: list[str]) -> str:
    try:
        load_config(None, [f"method={method}", f"model={METHODS[method].segmenter}", *settings])
    except SemiovsError as error:
        return str(error)
    return ""


def _vocabulary(name: str) -> None:
    if not (Path(name).suffix or "," in name):
        Vocabulary.load(name)


#: Verb and parameter -> raises if there is nothing of that name.
_CHECKS: dict[str, Callable[[str], object]] = {
    " teacher": lambda name: name == AUTO or lookup(TEACHERS, name, kind="teacher"),
    "data prepare name": lambda name: lookup(DATASETS, name, kind="data set"),
    "splits name": lambda name: load_catalogue().select([name]),
    "splits names": lambda name: load_catalogue().select([name]),
    "weights names": weight_catalog.lookup,
    "convert preset": load_config,
    "vocab name": _vocabulary,
    "vocab names": _vocabulary,
    "vocab left": _vocabulary,
    "vocab right": _vocabulary,
    "label classes": _vocabulary,
}
