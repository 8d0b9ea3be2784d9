"""``semiovs data prepare``: report which parts of a benchmark are there, and make the masks that can be made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.datasets.archives import ArchiveOnDisk
    from semiovs.datasets.benchmark import Benchmark
    from semiovs.datasets.parts import MaskBuild

_SHOWN = 10


def prepare(
    name: Annotated[str, typer.Argument(help="voc, context, coco, cityscapes or ade20k.")],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Folder with the data, in any usual layout.")],
    write: Annotated[
        bool,
        typer.Option("--write", help="Make the masks that can be made, and write lists and a semiovs.yaml into DIR."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Report the parts of a benchmark that are there or missing; downloads nothing. Exit code 3 if a needed one is
    missing.
    """
    from semiovs.config.schema import DataConfig
    from semiovs.datasets.preparation import (
        check_masks,
        count_lists,
        find_absent,
        list_makings,
        list_next_steps,
        write_starter,
    )

    dataset = _find_benchmark(name)(DataConfig(name=name, root=str(root.expanduser())))
    makings, problems = list_makings(dataset)
    made = [_make_masks(making) for making in makings] if write else []
    waiting = [(making.what, left) for making in makings if (left := len(making.missing()))]
    dataset = type(dataset)(dataset.data)  # read the folder again, with the new masks
    parts = dataset.parts()
    lacking = [part for part in parts if part.needed and part.lacking]
    problems += check_masks(dataset) if lacking else [*find_absent(dataset), *check_masks(dataset)]
    archives = _read_packed(dataset) if any(part.lacking for part in parts) else []
    problems += [one.text for one in archives if not one.ok]
    written = write_starter(dataset) if write else []
    facts = {
        "name": name,
        "root": str(dataset.root),
        "content": str(dataset.home),
        "complete": not lacking and not problems,
        "parts": [part.as_json() for part in parts],
        "to make": [{"what": w, "masks": n} for w, n in waiting],
        "packed": [one.as_json() for one in archives],
        "made": made,
        "problems": problems,
        "written": [str(path) for path in written],
        "splits": count_lists(dataset),
        "next": list_next_steps(dataset, waiting, bool(lacking), written),
    }
    report(facts, as_json=as_json, text=_format_text(facts, [one.text for one in archives if one.ok]))
    if lacking or problems:
        raise DataError(_format_verdict(dataset, [part.what for part in lacking], problems))


def _find_benchmark(name: str) -> type[Benchmark]:
    from semiovs.datasets.preparation import FIRST_PRESET
    from semiovs.registry import DATASETS

    if name not in FIRST_PRESET:
        raise UsageError(
            f"no benchmark is called '{name}'{did_you_mean(name, FIRST_PRESET)}; for your own images: semiovs init DIR"
        )
    found: type[Benchmark] = DATASETS[name].load()
    return found


def _read_packed(dataset: Benchmark) -> list[ArchiveOnDisk]:
    """Compare official archives in the folder that are still packed with their checksums."""
    from semiovs.datasets.archives import ArchiveOnDisk, find_archives

    found = []
    for path, archive in find_archives(dataset.data.name, dataset.root):
        log(f"reading {path} to compare its checksum")
        found.append(ArchiveOnDisk.read(path, archive))
    return found


def _make_masks(making: MaskBuild) -> dict[str, Any]:
    with progress(making.what) as show:
        count, problems = making.run(show)
    return {"what": making.what, "folder": str(making.folder), "masks": count, "problems": problems}


def _format_text(facts: dict[str, Any], unpack: list[str]) -> str:
    rows = [
        (part["status"], part["what"], f"{part['found']:,} of {part['expected']:,}", part["place"])
        for part in facts["parts"]
    ]
    lines = [f"{facts['name']} in {facts['content']}", format_table(["", "part", "files", "place"], rows)]
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
    return "\n".join([*lines, *filter(None, [format_next(facts["next"])])])


def _format_verdict(dataset: Benchmark, lacking: list[str], problems: list[str]) -> str:
    what = [f"incomplete: {', '.join(lacking)}"] if lacking else []
    what += [f"{len(problems)} problems"] if problems else []
    return f"{dataset.home}: {'; '.join(what)}"
