"""Prepare a benchmark: check its files, make masks and lists, and propose the next commands."""

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
from semiovs.images.record_lines import parse_record

#: First preset to train with, by data set.
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
    """List the masks that can be made; or the problem that prevents it."""
    try:
        return dataset.mask_builds(), []
    except DataError as error:
        return [], [str(error)]


def check_masks(dataset: Benchmark) -> list[str]:
    """Check a few masks, evenly chosen from the official parts (all are read before training)."""
    found = []
    for part in ("train", "val"):
        lines = dataset.official_lines(part)
        records = [parse_record(line, dataset.root) for line in lines[:: max(1, len(lines) // _LOOKED_AT)]]
        found += dataset.check_masks(Manifest(records, dataset.root))
    return found


def find_absent(dataset: Benchmark) -> list[str]:
    """Find images named by official and published lists that are not there."""
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
    """Count the published lists of the data set, and those in the cache."""
    cache = SplitCache()
    lists = cache.known.family(dataset.key)
    return {"lists": len(lists), "here": len(lists) - len(cache.missing(lists))}


def write_starter(dataset: Benchmark) -> list[Path]:
    """Write lists of the official parts, as far as they are there, and a configuration; existing files stay."""
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


def list_next_steps(
    dataset: Benchmark, waiting: list[tuple[str, int]], lacking: bool, written: list[Path]
) -> list[str]:
    """List the next commands."""
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
