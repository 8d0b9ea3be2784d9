"""``semiovs data split``: split one labelled set into lists to train and evaluate with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.progress import progress
from semiovs.config.yaml_reader import format_inline
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.audit.label_counts import LabelCounts
    from semiovs.audit.split import DataSplit
    from semiovs.data.collection import Collection

#: Configuration keys that the lists of a split replace.
_REPLACED = ("data.labeled", "data.unlabeled", "data.val", "data.held_out")


_Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...",
        help="Preset, YAML file, or folder with a semiovs.yaml; then values on top.",
    ),
]
_Sizes = Annotated[
    list[str],
    typer.Option(
        "--sizes",
        metavar="LIST",
        help="Labelled parts: fractions and numbers of images, like 1/8,1/4,92; may be repeated.",
    ),
]
_Val = Annotated[
    str, typer.Option("--val", metavar="SHARE", help="Evaluation part: 1/5, 0.2 or a number of images; 0: none.")
]
_HeldOut = Annotated[
    str, typer.Option("--held-out", metavar="SHARE", help="Held-out part, to choose models while training.")
]
_Group = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Images whose ids give the same first group stay together, such as frames of one video.",
    ),
]
_Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder to write the lists to; default: splits/own in data.root.")
]


def split(
    arguments: _Arguments = None,
    sizes: _Sizes = ["1/16,1/8,1/4,1/2"],  # noqa: B006 - typer only reads it
    val: _Val = "0",
    held_out: _HeldOut = "0",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random choice.")] = 0,
    group: _Group = None,
    out: _Out = None,
    force: Annotated[bool, typer.Option("--force", help="Replace lists that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Split the labelled images: evaluation part, held-out part, and nested labelled fractions with balanced classes.

    Copies (exact or near) stay on one side of the evaluation and held-out parts.
    """
    from semiovs.audit.split_files import FACTS, describe_split, write_lists
    from semiovs.config import load_config, split_source
    from semiovs.files import write_json
    from semiovs.registry import DATASETS, lookup

    asked = _parse_sizes(sizes)
    parts = {"val": _parse_share("--val", val), "held_out": _parse_share("--held-out", held_out)}
    source, overrides = split_source(arguments or [])
    config = load_config(source, overrides).config
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(config.data)
    sources = dataset.labeled()
    place = out or dataset.root / "splits" / "own"
    if (place / FACTS).exists() and not force:
        raise UsageError(f"{place / FACTS}: there is a split already; --force replaces it, --out DIR writes another")
    found, made = _make_split(sources, asked, parts, seed, group)
    lists = write_lists(made, sources.labeled, dataset.unlabeled(), place, dataset.root)
    facts = {"seed": seed, "group": group, "copies": len(found.copies), **describe_split(made, found.pixels, sources)}
    facts["lists"] = {name: path.relative_to(place).as_posix() for name, path in lists.items()}
    write_json(place / FACTS, facts)
    _print_notes(facts, lists, config.method.name)
    text = _format_text(facts, lists, place, [*filter(None, [source]), *overrides])
    report({"out": str(place), **facts}, as_json=as_json, text=text)


def _print_notes(facts: Mapping[str, Any], lists: Mapping[str, Path], method: str) -> None:
    for part, about in facts["parts"].items():
        if about["missing"]:
            log(f"note: {part} has no pixel of {', '.join(about['missing'])}")
    if method == "supervised" and any(name.endswith("/unlabeled") for name in lists):
        log("note: method is supervised, which leaves unlabelled images aside; method=unimatch learns from them")


def _make_split(
    sources: Collection,
    sizes: Mapping[str, float | int],
    parts: Mapping[str, float | int],
    seed: int,
    group: str | None,
) -> tuple[LabelCounts, DataSplit]:
    from semiovs.audit.label_counts import count_labels
    from semiovs.audit.split import make_split, pairs_by_group
    from semiovs.similarity.groups import connected

    ids = [record.id for record in sources.labeled]
    with progress("reading masks") as show:
        found = count_labels(sources.labeled, sources.masks, progress=show, read=sources.images.read_preview)
    together = connected(pairs_by_group(found.copies, ids, group))
    return found, make_split(found.pixels, ids, sizes, **parts, seed=seed, together=together)


def _parse_sizes(sizes: Sequence[str]) -> dict[str, float | int]:
    """Parse ``--sizes``: name of each labelled part -> share or number of images."""
    asked: dict[str, float | int] = {}
    for text in filter(None, (part.strip() for size in sizes for part in size.split(","))):
        share = _parse_share("--sizes", text)
        if share == 0:
            raise UsageError(f"--sizes {text}: a labelled part holds at least one image")
        asked[text.replace("/", "_")] = share
    return asked


def _parse_share(option: str, text: str) -> float | int:
    """Parse a number of images or a share below 1: ``92``, ``1/8``, ``0.2``."""
    numerator, slash, denominator = text.strip().partition("/")
    try:
        share = int(numerator) / int(denominator) if slash else (float(text) if "." in text else int(text))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{option} '{text}': expected a number of images, or a share like 1/8 or 0.2") from None
    if share < 0 or (isinstance(share, float) and not share <= 1):
        raise UsageError(f"{option} '{text}': a share is between 0 and 1")
    return share


def _format_text(facts: Mapping[str, Any], lists: Mapping[str, Path], place: Path, given: Sequence[str]) -> str:
    rows = [[part, about["images"], f"{100 * about['off']:.1f}%"] for part, about in facts["parts"].items()]
    smallest = min(
        (name for name in lists if name.endswith("/labeled")),
        key=lambda name: facts["parts"][name.rpartition("/")[0]]["images"],
        default=None,
    )
    lines = [format_table(["part", "images", "class shares off by"], rows), f"lists: {place}"]
    if facts["copies"]:
        lines.append(f"{facts['copies']} pairs of images are copies; each pair is on one side of val and held_out")
    if smallest is not None:
        keys = {"data.labeled": smallest, "data.unlabeled": smallest.replace("/labeled", "/unlabeled")}
        keys |= {f"data.{name}": name for name in ("val", "held_out")}
        keys = {key: name for key, name in keys.items() if name in lists}
        words = [word for word in given if word.partition("=")[0] not in _REPLACED]
        words += (f"{key}={format_inline(str(lists[name].resolve()))}" for key, name in keys.items())
        lines.append(" ".join(["next: semiovs train", *map(shlex.quote, words)]))
    return "\n".join(lines)
