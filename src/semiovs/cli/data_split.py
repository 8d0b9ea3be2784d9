"""``semiovs data split``: split one labelled set into lists to train and evaluate with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.data_input import require_yaml
from semiovs.cli.next_steps import ENOUGH_TO_SPLIT, choose_method, format_next
from semiovs.cli.progress import progress
from semiovs.config.yaml_reader import format_inline
from semiovs.errors import UsageError

if TYPE_CHECKING:
    from semiovs.audit.label_counts import LabelCounts
    from semiovs.audit.split import DataSplit
    from semiovs.data.collection import Collection
    from semiovs.datasets.dataset import Dataset
    from semiovs.images.manifest import Manifest

#: Share of the labelled images that are set aside where there is nothing to evaluate on.
_OWN_VAL = 1 / 5


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
        help="Labelled parts of the training images: fractions and numbers of images, like 1/8,1/4,92; default: none; "
        "may be repeated.",
    ),
]
_Val = Annotated[
    str | None,
    typer.Option(
        "--val",
        metavar="SHARE",
        help="Evaluation part: 1/5, 0.2 or a number of images; 0: none; default: 1/5 where there is none yet.",
    ),
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
_Write = Annotated[
    bool, typer.Option("--write", help="Put the lists that `next` proposes into the YAML file; keeps a copy.")
]


def split(
    arguments: _Arguments = None,
    sizes: _Sizes = [],  # noqa: B006 - typer only reads it
    val: _Val = None,
    held_out: _HeldOut = "0",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random choice.")] = 0,
    group: _Group = None,
    out: _Out = None,
    write: _Write = False,
    force: Annotated[bool, typer.Option("--force", help="Replace lists that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Split the labelled images: evaluation part, held-out part, and the rest to train with, whose labelled parts
    (--sizes) are nested and balanced.

    Copies (exact or near) stay on one side of the evaluation and held-out parts.
    """
    from semiovs.audit.split_files import FACTS, describe_split, write_lists
    from semiovs.config import load_config, split_source
    from semiovs.files import write_json
    from semiovs.registry import DATASETS, lookup

    asked, held = _parse_sizes(sizes), _parse_share("--held-out", held_out)
    share = None if val is None else _parse_share("--val", val)
    source, overrides = split_source(arguments or [])
    yaml = require_yaml(source, "--write") if write else None
    config = load_config(source, overrides).config
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(config.data)
    sources, place = dataset.labeled(), out or dataset.root / "splits" / "own"
    if (place / FACTS).exists() and not force:
        raise UsageError(f"{place / FACTS}: there is a split already; --force replaces it, --out DIR writes another")
    parts = {"val": _choose_val(dataset, sources) if share is None else share, "held_out": held}
    found, made = _make_split(sources, asked, parts, seed, group)
    bare = dataset.unlabeled()
    lists = write_lists(made, sources.labeled, bare, place, dataset.root)
    facts = {"seed": seed, "group": group, "copies": len(found.copies), **describe_split(made, found.pixels, sources)}
    facts["lists"] = {name: path.relative_to(place).as_posix() for name, path in lists.items()}
    write_json(place / FACTS, facts)
    _print_notes(facts, parts, config.method.name)
    proposed = _propose_lists(facts, lists)
    given = [*filter(None, [source]), *overrides, *_choose_method(config.method.name, proposed, bare)]
    steps = _propose_training(given, proposed, yaml)
    data = {"out": str(place), **facts, "next": steps}
    report(data, as_json=as_json, text=_format_text(facts, place, steps))


def _choose_val(dataset: Dataset, sources: Collection) -> float:
    """Share of the evaluation part where none is asked for: none where there are such images already."""
    from semiovs.data.collection import VAL

    found = dataset.examine(vocabulary=sources.vocabulary, streams=(VAL,))
    if found.val or found.findings:
        return 0
    if len(sources.labeled) < ENOUGH_TO_SPLIT:
        log(f"note: {len(sources.labeled)} labelled images: none is set aside for evaluation; --val 1 does so")
        return 0
    return _OWN_VAL


def _print_notes(facts: Mapping[str, Any], asked: Mapping[str, float | int], method: str) -> None:
    for part, share in asked.items():
        if share and part not in facts["parts"]:
            log(f"note: there is no part {part}: the images are copies of each other, which stay together")
    for part, about in facts["parts"].items():
        if about["missing"]:
            log(f"note: {part} has no pixel of {', '.join(about['missing'])}")
    if method == "supervised" and any(name.endswith("/unlabeled") for name in facts["lists"]):
        log("note: method is supervised, which leaves unlabelled images aside; method=unimatch learns from them")


def _propose_lists(facts: Mapping[str, Any], lists: Mapping[str, Path]) -> dict[str, Path]:
    """Configuration key -> list: the smallest labelled part with more than one image, or else all training images."""
    sizes = {name: facts["parts"][name]["images"] for name in facts["parts"] if f"{name}/labeled" in lists}
    several = [name for name in sizes if sizes[name] > 1]
    folder = f"{min(several, key=sizes.__getitem__)}/" if several else ""
    names = {"labeled": f"{folder}labeled" if folder else "train", "unlabeled": f"{folder}unlabeled"}
    names |= {name: name for name in ("val", "held_out")}
    return {f"data.{key}": lists[name].resolve() for key, name in names.items() if name in lists}


def _choose_method(method: str, proposed: Mapping[str, Path], bare: Manifest | None) -> list[str]:
    path = proposed.get("data.unlabeled")
    return choose_method(method, len(bare or ()) if path is None else path.read_text("utf-8").count("\n"))


def _propose_training(given: Sequence[str], proposed: Mapping[str, Path], yaml: Path | None) -> list[str]:
    """The command that trains with the lists, which are written into the YAML file if there is one."""
    words = [word for word in given if word.partition("=")[0] not in proposed]
    if yaml is None:
        return [
            shlex.join(["semiovs", "train", *words, *(f"{k}={format_inline(str(p))}" for k, p in proposed.items())])
        ]
    from semiovs.config import load_config
    from semiovs.config.change import change_settings

    root = Path(load_config(str(yaml)).config.data.root).expanduser().resolve()
    inside = {key: path.relative_to(root) if path.is_relative_to(root) else path for key, path in proposed.items()}
    log(change_settings(yaml, {key: path.as_posix() for key, path in inside.items()}))
    return [shlex.join(["semiovs", "train", *words])]


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


def _format_text(facts: Mapping[str, Any], place: Path, steps: Sequence[str]) -> str:
    rows = [[part, about["images"], f"{100 * about['off']:.1f}%"] for part, about in facts["parts"].items()]
    lines = [format_table(["part", "images", "class shares differ by"], rows), f"lists: {place}"]
    if facts["copies"]:
        parts = [part for part in ("train", "val", "held_out") if part in facts["parts"]]
        pairs = "1 pair of images looks" if facts["copies"] == 1 else f"{facts['copies']} pairs of images look"
        lines.append(f"{pairs} the same: each pair lies within one of {', '.join(parts)}")
    return "\n".join([*lines, format_next(steps)])
