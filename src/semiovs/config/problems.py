"""What is wrong with a configuration, one line a problem: ``config: KEY: WHAT in FILE:LINE``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from semiovs.config.layers import COMMAND_LINE, DEFAULT, SHORT, Layer, Leaf, join, sections, split
from semiovs.errors import ConfigError, did_you_mean
from semiovs.registry import DATASETS, METHODS, SEGMENTERS, Option, Table

#: Lines that one error message may have.
MOST = 10

#: Key -> what it names and the table of its possible values.
NAMES: Mapping[str, tuple[str, Table]] = {
    "data.name": ("data set", DATASETS),
    "model.name": ("segmenter", SEGMENTERS),
    "method.name": ("method", METHODS),
}

#: Options of methods that are probabilities.
_PROBABILITIES = frozenset({"conf_thresh"})

_EXPECTED = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys with values",
    "model": "keys with values",
    "finite": "a finite number",
}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "greater_than": ("more than", "gt"),
           "less_than_equal": ("at most", "le"), "less_than": ("less than", "lt")}  # fmt: skip


def fail(problems: Iterable[str]) -> None:
    """Raise one ConfigError with all `problems`; do nothing if there are none."""
    if lines := list(problems):
        raise gather(lines, "config")


def gather(problems: Iterable[str], subject: str) -> ConfigError:
    """One error with all `problems`, at most `MOST` lines. subject: the word that each begins with."""
    lines = list(dict.fromkeys(problems))
    if len(lines) > MOST:
        lines[MOST - 1 :] = [f"{subject}: … and {len(lines) - MOST + 1} more problems"]
    return ConfigError("\n".join(lines))


def line(path: str, what: str, leaf: Leaf | None) -> str:
    """One problem as text."""
    origin = DEFAULT if leaf is None else leaf.origin
    where = {DEFAULT: "", COMMAND_LINE: " on the command line"}.get(origin, f" in {origin}")
    return f"config: {path}: {what}{where}"


def shown(value: Any) -> str:
    """A value in a message, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def unknown(layer: Layer) -> Iterator[tuple[str, str]]:
    """Keys, names and options that do not exist: (the key in `layer`, the problem)."""
    for path, leaf in layer.items():
        section, key = split(path)
        if path in sections():
            if leaf.value is not None:
                example = f"; write {SHORT[path]}: …" if path in SHORT else ""
                yield path, line(path, f"expected keys with values, got {shown(leaf.value)}{example}", leaf)
        elif key in sections()[section].model_fields:
            kind, table = NAMES.get(path, ("", None))
            if table is not None and not (isinstance(leaf.value, str) and leaf.value in table):
                yield path, line(path, f"unknown {kind} {shown(leaf.value)}{_hint(leaf.value, table)}", leaf)
        elif join(section, "name") in NAMES and section in ("model", "method"):
            what = _option(section, key, layer)
            if what:
                yield path, line(path, what, leaf)
        else:
            wrong = key.split(".", 1)[0]
            whole = wrong in sections()[section].model_fields
            what = "it is one value, give it whole" if whole else f"unknown key{_suggest(section, wrong, key)}"
            yield path, line(join(section, wrong), what, leaf)


def _hint(value: Any, table: Iterable[str]) -> str:
    return did_you_mean(str(value), table)


def _option(section: str, key: str, layer: Layer) -> str | None:
    """What is wrong with an option of the model or the method; None if nothing is, or its owner is unknown."""
    name_key = join(section, "name")
    kind, table = NAMES[name_key]
    name = layer[name_key].value if name_key in layer else sections()[section].model_fields["name"].default
    entry = table.get(name) if isinstance(name, str) else None
    if entry is None:
        return None
    if key not in entry.options:
        declared = [k for k in sections()[section].model_fields if k != "name"]
        return f"{kind} '{name}' has no such option{did_you_mean(key, [*entry.options, *declared])}"
    value, option = layer[join(section, key)].value, entry.options[key]
    if section == "method" and key in _PROBABILITIES:
        return _probability(value, option)
    expected = option.expected(value)
    return f"expected {expected}, got {shown(value)}" if expected else None


def _probability(value: Any, option: Option) -> str | None:
    """What is wrong with an option that is a probability, or with `takes_list` a list of them, one a class."""
    numbers = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if option.expected(value) or not all(type(number) in (int, float) for number in numbers):
        return f"expected a number{', or a list with one a class' if option.takes_list else ''}, got {shown(value)}"
    wrong = [number for number in numbers if not 0 <= number <= 1]
    return f"must be from 0 to 1, got {shown(wrong[0])}" if wrong else None


def _suggest(section: str, wrong: str, key: str) -> str:
    """The nearest key of the section, else the same word elsewhere, else what the section has."""
    fields = sections()[section].model_fields
    near = did_you_mean(wrong, fields)
    if near.startswith(" (did"):
        return near
    every = {name: join(path, name) for path, model in sections().items() for name in model.model_fields}
    for word in (wrong, key.rpartition(".")[2]):
        match = difflib.get_close_matches(word, every, n=1, cutoff=0.75)
        if match:
            return f" (did you mean '{every[match[0]]}'?)"
    return near


def invalid(error: ValidationError, layer: Layer) -> Iterator[str]:
    """Problems found by the schema, one line a key."""
    grouped: dict[str, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        grouped.setdefault(_path(details["loc"]), []).append(details)
    for path, every in grouped.items():
        group = [details for details in every if details["type"] != "too_short"] or every  # it does not count bad items
        messages = [_message(details) for details in group]
        expected = [m.removeprefix("expected ") for m in messages if m.startswith("expected ")]
        if len(expected) == len(messages):
            what = f"expected {' or '.join(dict.fromkeys(expected))}, got {shown(group[0]['input'])}"
        else:
            what = next(m for m in messages if not m.startswith("expected "))
        yield _at(path, what, layer)


def _at(path: str, what: str, layer: Layer) -> str:
    """A problem of a section as a whole is put where its first key was said; ``key: …`` names the key itself."""
    named, colon, rest = what.partition(": ")
    if path in sections():
        if colon and named == path:
            what = rest
        elif colon and split(join(path, named))[1] in sections()[split(join(path, named))[0]].model_fields:
            path, what = join(path, named), rest
    given = [p for p in layer if p == path or p.startswith(f"{path}.")]
    mentioned = [p for p in given if p.rpartition(".")[2] in what] or given
    last = next((p for p in mentioned if layer[p].origin == COMMAND_LINE), mentioned[-1] if mentioned else "")
    return line(path, what, layer.get(last))


def _path(loc: tuple[int | str, ...]) -> str:
    """Location of pydantic -> dotted key; what follows the key (index, union member) is dropped."""
    path = ""
    for part in loc:
        if path and path not in sections():
            break
        path = join(path, str(part))
    return path


def explain(details: ErrorDetails) -> str:
    """What pydantic found wrong with one value, in our words."""
    message = _message(details)
    bare = message.startswith("expected ") and details["type"] != "value_error"
    return f"{message}, got {shown(details['input'])}" if bare else message


def _message(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        near = did_you_mean(str(details["input"]), re.findall(r"'([^']*)'", context["expected"]))
        hint = near if near.startswith(" (did") else ""
        return f"must be {context['expected']}, got {shown(details['input'])}{hint}"
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"must be {word} {context[key]:g}, got {shown(details['input'])}"
    for start, expected in _EXPECTED.items():
        if kind.startswith(f"{start}_"):
            return f"expected {expected}"
    return f"{details['msg'][0].lower()}{details['msg'][1:]}, got {shown(details['input'])}"
