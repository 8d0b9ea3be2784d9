"""Preparing a benchmark: what is wrong with what is there, what can be made of it, and what to do next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from semiovs.datasets.benchmark import Benchmark
from semiovs.datasets.parts import MaskBuild
from semiovs.datasets.split_cache import SplitCache
from semiovs.errors import DataError
from semiovs.files import write_text
from semiovs.images.manifest import Manifest
from semiovs.images.record_lines import record_of

#: A preset to begin with, by data set.
FIRST_PRESET = {
    "voc": "pascal/92",
    "context": "context/1_16",
    "coco": "coco/1_512",
    "cityscapes": "cityscapes/1_16",
    "ade20k": "ade20k/1_16",
}
#: Masks of each official part that are read.
_LOOKED_AT = 16


def list_makings(dataset: Benchmark) -> tuple[list[MaskBuild], list[str]]:
    """Masks that can be made, or why it cannot be told."""
    try:
        return dataset.mask_builds(), []
    except DataError as error:
        return [], [str(error)]


def check_masks(dataset: Benchmark) -> list[str]:
    """What is wrong with a few masks, evenly chosen from the official parts; all are read before training."""
    found = []
    for part in ("train", "val"):
        lines = dataset.official_lines(part)
        records = [record_of(line, dataset.root) for line in lines[:: max(1, len(lines) // _LOOKED_AT)]]
        found += dataset.check_masks(Manifest(records, dataset.root))
    return found


def find_absent(dataset: Benchmark) -> list[str]:
    """Images that official and published lists name, and that are not there though their number is right."""
    cache = SplitCache()
    lists = {f"the official {part} list": dataset.official_lines(part) for part in ("train", "val")}
    for one in cache.known.family(dataset.key):
        if cache.check(one).ok:
            lists[one.name] = cache.lines(one)
    known = tuple(f"{part.place}/" for part in dataset.parts() if part.lacking)  # said already
    absent = {
        what: [n for n in dataset.missing_images(lines) if not n.startswith(known)] for what, lines in lists.items()
    }
    return [
        f"{what} names {len(names):,} images that are not there, like {names[0]}"
        for what, names in absent.items()
        if names
    ]


def count_lists(dataset: Benchmark) -> dict[str, Any]:
    """How many published lists the data set has, and how many are here."""
    cache = SplitCache()
    lists = cache.known.family(dataset.key)
    return {"lists": len(lists), "here": len(lists) - len(cache.missing(lists))}


def write_starter(dataset: Benchmark) -> list[Path]:
    """Lists of what is there of the official parts, and a configuration; files that are there stay."""
    written = []
    for part in ("train", "val"):
        path = dataset.root / "splits" / "official" / f"{part}.txt"
        lines = dataset.complete_lines(part)
        if lines and not path.exists():
            write_text(path, "".join(f"{line}\n" for line in lines))
            written.append(path)
    path = dataset.root / "semiovs.yaml"
    if written and not path.exists():
        text = (
            f"# {dataset.data.name}, written by `semiovs data prepare`. Other presets: semiovs list presets\n"
            f"extends: {FIRST_PRESET[dataset.data.name]}   # its lists: semiovs splits fetch {dataset.key}\n"
            "data:\n  root: .\n"
        )
        write_text(path, text)
        written.append(path)
    return written


def next_steps(dataset: Benchmark, waiting: list[tuple[str, int]], lacking: bool, written: list[Path]) -> list[str]:
    """The commands to type next."""
    root, name = shlex.quote(str(dataset.root)), dataset.data.name
    steps = []
    if waiting:
        steps.append(f"semiovs data prepare {name} --root {root} --write")
    splits = count_lists(dataset)
    if splits["here"] < splits["lists"]:
        steps.append(f"semiovs splits fetch {dataset.key}")
    if not lacking:
        config = next((shlex.quote(str(path)) for path in written if path.suffix == ".yaml"), None)
        steps.append(f"semiovs train {config or f'{FIRST_PRESET[name]} data.root={root}'}")
    return steps
