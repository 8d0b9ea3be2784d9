"""``semiovs data prepare``: what of a benchmark is there, what is missing and where it is to be had, and masks that can be made."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, log, report, table
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.datasets.archives import ArchiveOnDisk
    from semiovs.datasets.benchmark import Benchmark
    from semiovs.datasets.parts import MaskBuild

#: A preset to begin with, by data set.
_FIRST = {
    "voc": "pascal/92",
    "context": "context/1_16",
    "coco": "coco/1_512",
    "cityscapes": "cityscapes/1_16",
    "ade20k": "ade20k/1_16",
}
_SHOWN = 10
_LOOKED_AT = 16


def prepare(
    name: Annotated[str, typer.Argument(help="voc, context, coco, cityscapes or ade20k.")],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="The folder with the data, in any usual layout.")],
    write: Annotated[
        bool,
        typer.Option("--write", help="Make the masks that can be made, and write lists and a semiovs.yaml into DIR."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what of a benchmark is there and what is missing. Nothing is downloaded. Exit code 3 if something needed is missing."""
    from semiovs.config.schema import DataConfig

    dataset = _known(name)(DataConfig(name=name, root=str(root.expanduser())))
    makings, problems = _makings(dataset)
    made = [_make(making) for making in makings] if write else []
    waiting = [(making.what, left) for making in makings if (left := len(making.missing()))]
    dataset = type(dataset)(dataset.data)  # what is on disk is looked at anew
    parts = dataset.parts()
    lacking = [part for part in parts if part.needed and part.lacking]
    problems += _sample(dataset) if lacking else [*_absent(dataset), *_sample(dataset)]
    archives = _packed(dataset) if any(part.lacking for part in parts) else []
    problems += [one.text for one in archives if not one.ok]
    written = _write(dataset) if write else []
    facts = {
        "name": name, "root": str(dataset.root), "content": str(dataset.home), "complete": not lacking and not problems,
        "parts": [part.as_json() for part in parts], "to make": [{"what": w, "masks": n} for w, n in waiting],
        "packed": [one.as_json() for one in archives],
        "made": made, "problems": problems, "written": [str(path) for path in written],
        "splits": _splits(dataset), "next": _next(dataset, waiting, bool(lacking), written),
    }  # fmt: skip
    report(facts, as_json=as_json, text=_text(facts, [one.text for one in archives if one.ok]))
    if lacking or problems:
        raise DataError(_verdict(dataset, [part.what for part in lacking], problems))


def _known(name: str) -> type[Benchmark]:
    from semiovs.registry import DATASETS

    if name not in _FIRST:
        raise UsageError(
            f"no benchmark is called '{name}'{did_you_mean(name, _FIRST)}; for your own images: semiovs init DIR"
        )
    found: type[Benchmark] = DATASETS[name].load()
    return found


def _packed(dataset: Benchmark) -> list[ArchiveOnDisk]:
    """Official archives that lie there packed, compared with their checksums."""
    from semiovs.datasets.archives import ArchiveOnDisk, find_archives

    found = []
    for path, archive in find_archives(dataset.data.name, dataset.root):
        log(f"reading {path} to compare its checksum")
        found.append(ArchiveOnDisk.read(path, archive))
    return found


def _makings(dataset: Benchmark) -> tuple[list[MaskBuild], list[str]]:
    """Masks that can be made, or why it cannot be told."""
    try:
        return dataset.mask_builds(), []
    except DataError as error:
        return [], [str(error)]


def _make(making: MaskBuild) -> dict[str, Any]:
    with progress(making.what) as show:
        count, problems = making.run(show)
    return {"what": making.what, "folder": str(making.folder), "masks": count, "problems": problems}


def _sample(dataset: Benchmark) -> list[str]:
    """What is wrong with a few masks, evenly chosen from the official parts; all are read before training."""
    from semiovs.images.manifest import Manifest
    from semiovs.images.record_lines import record_of

    found = []
    for part in ("train", "val"):
        lines = dataset.official_lines(part)
        records = [record_of(line, dataset.root) for line in lines[:: max(1, len(lines) // _LOOKED_AT)]]
        found += dataset.check_masks(Manifest(records, dataset.root))
    return found


def _absent(dataset: Benchmark) -> list[str]:
    """Images that official and published lists name, and that are not there though their number is right."""
    from semiovs.datasets.split_cache import SplitCache

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


def _splits(dataset: Benchmark) -> dict[str, Any]:
    from semiovs.datasets.split_cache import SplitCache

    cache = SplitCache()
    lists = cache.known.family(dataset.key)
    return {"lists": len(lists), "here": len(lists) - len(cache.missing(lists))}


def _write(dataset: Benchmark) -> list[Path]:
    """Lists of what is there of the official parts, and a configuration; files that are there stay."""
    from semiovs.files import write_text

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
            f"extends: {_FIRST[dataset.data.name]}   # its lists: semiovs splits fetch {dataset.key}\n"
            "data:\n  root: .\n"
        )
        write_text(path, text)
        written.append(path)
    return written


def _next(dataset: Benchmark, waiting: list[tuple[str, int]], lacking: bool, written: list[Path]) -> list[str]:
    root, name = shlex.quote(str(dataset.root)), dataset.data.name
    steps = []
    if waiting:
        steps.append(f"semiovs data prepare {name} --root {root} --write")
    splits = _splits(dataset)
    if splits["here"] < splits["lists"]:
        steps.append(f"semiovs splits fetch {dataset.key}")
    if not lacking:
        config = next((shlex.quote(str(path)) for path in written if path.suffix == ".yaml"), None)
        steps.append(f"semiovs train {config or f'{_FIRST[name]} data.root={root}'}")
    return steps


def _text(facts: dict[str, Any], unpack: list[str]) -> str:
    rows = [
        (part["status"], part["what"], f"{part['found']:,} of {part['expected']:,}", part["place"])
        for part in facts["parts"]
    ]
    lines = [f"{facts['name']} in {facts['content']}", table(["", "part", "files", "place"], rows)]
    for part in facts["parts"]:
        if part["status"] in {"missing", "short"}:
            mark = "missing" if part["needed"] else "not there (optional)"
            lines.append(f"{mark}: {part['what']}: {part['origin']}; belongs to {facts['content']}/{part['place']}")
    lines += unpack
    lines += [f"can be made: {row['masks']:,} {row['what']}" for row in facts["to make"]]
    for row in facts["made"]:
        lines.append(f"made {row['masks']:,} {row['what']} in {row['folder']}")
        lines += [f"  not made: {problem}" for problem in row["problems"][:_SHOWN]]
        lines += [f"  … and {len(row['problems']) - _SHOWN} more"] if len(row["problems"]) > _SHOWN else []
    lines += [f"problem: {problem}" for problem in facts["problems"][:_SHOWN]]
    lines.append(f"published lists: {facts['splits']['here']} of {facts['splits']['lists']} are here")
    lines += [f"wrote {path}" for path in facts["written"]]
    return "\n".join([*lines, *(f"next: {step}" for step in facts["next"])])


def _verdict(dataset: Benchmark, lacking: list[str], problems: list[str]) -> str:
    what = [f"incomplete: {', '.join(lacking)}"] if lacking else []
    what += [f"{len(problems)} problems"] if problems else []
    return f"{dataset.home}: {'; '.join(what)}"
