"""`python -m benchmarks [--out docs/results/bench-cpu.json] [subject …]`: measure, print a table, write JSON.

Commands of their own: `python -m benchmarks gpu --out DIR` (`benchmarks/gpu.md`), `growth`, `profile`
and `exports`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import machine
from benchmarks.measure import Row, Size

OUT = Path("docs/results/bench-cpu.json")

#: Each is a module with a function `rows`.
SUBJECTS = ("loader", "step", "counts", "cutmix", "precision", "label")
#: Long, so measured only when named.
LONG = ("methods", "paper", "corrmatch", "flow", "reading", "data")
#: Those that a GPU can be asked for too; give each device a file of its own.
ANYWHERE = ("methods", "paper")


def main(arguments: Sequence[str] | None = None) -> int:
    given_words = sys.argv[1:] if arguments is None else list(arguments)
    if given_words[:1] == ["gpu"]:
        from benchmarks.gpu.command import main as measure_gpu

        return measure_gpu(given_words[1:])
    if given_words[:1] == ["growth"]:
        from benchmarks.growth import main as measure_growth

        return measure_growth(given_words[1:])
    if given_words[:1] == ["profile"]:
        from benchmarks.profile import main as take_profiles

        return take_profiles(given_words[1:])
    if given_words[:1] == ["exports"]:
        from benchmarks.exports import main as compare_exports

        return compare_exports(given_words[1:])
    return measure_cpu(given_words)


def measure_cpu(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "subjects",
        nargs="*",
        metavar="subject",
        help=f"any of {', '.join(SUBJECTS + LONG)}; none: all but {' and '.join(LONG)}",
    )
    parser.add_argument("--out", type=Path, help=f"JSON file to write; {OUT} when all subjects are measured")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs of each variant")
    parser.add_argument(
        "--tiny", action="store_true", help="seconds, to see that everything runs; numbers mean nothing"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where `methods` runs")
    parser.add_argument(
        "--images", type=Path, help="folder with photographs (images/) and masks (labels/), for more rows of `loader`"
    )
    given = parser.parse_args(arguments)
    unknown = [name for name in given.subjects if name not in SUBJECTS + LONG]
    if unknown:
        parser.error(f"unknown subject '{unknown[0]}'; known are {', '.join(SUBJECTS + LONG)}")
    if given.device != "cpu" and (not given.subjects or not {*given.subjects} <= {*ANYWHERE}):
        parser.error(f"--device {given.device} is for {', '.join(ANYWHERE)} alone")
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    out: Path | None = given.out or (None if given.subjects or given.tiny else OUT)
    old = {} if out is None or not given.subjects else _measured_alike(out, parser)
    chosen = [s for s in SUBJECTS + LONG if s in given.subjects] or list(SUBJECTS)
    result = run(chosen, Size(given.runs, given.tiny, given.device, given.images))
    subjects = old | result["subjects"]
    result["subjects"] = {name: subjects[name] for name in SUBJECTS + LONG if name in subjects}
    machine.write(result, out)
    return 0


def run(subjects: Sequence[str], size: Size) -> dict[str, Any]:
    result: dict[str, dict[str, Any]] = {}
    for subject in subjects:
        measure: Callable[[Size], list[Row]] = import_module(f"benchmarks.{subject}").rows
        before = machine.load()
        rows = measure(size)
        load = {"before": before, "after": machine.load()}
        date = time.strftime("%Y-%m-%d", time.gmtime())
        result[subject] = {"date": date, "load": load, "rows": [row.as_json() for row in rows]}
        show(subject, rows)
    return {
        "time": "CPU time of one thread" if size.device == "cpu" else f"wall time, {machine.accelerator()}",
        "tiny": size.tiny,
        "hardware": machine.hardware(),
        "versions": machine.versions(),
        "subjects": result,
    }


def _measured_alike(out: Path, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Subjects of an earlier file, which those measured now replace one by one; all must come from one machine."""
    if not out.exists():
        return {}
    old = json.loads(out.read_text("utf-8"))
    if (old["hardware"], old["versions"]) != (machine.hardware(), machine.versions()):
        parser.error(
            f"{out} was measured on another machine or with other versions; measure all subjects, or give --out"
        )
    subjects: dict[str, Any] = old["subjects"]
    return subjects


def show(subject: str, rows: Sequence[Row]) -> None:
    table = Table(title=subject, title_justify="left")
    for name in ("what", "ours", "baseline", "unit", "ratio", "runs"):
        table.add_column(name, justify="left" if name in {"what", "unit"} else "right")
    for row in rows:
        ratio = f"{row.ratio:.2f} ({row.low:.2f}–{row.high:.2f})"
        table.add_row(row.name, f"{row.ours:.4g}", f"{row.baseline:.4g}", row.unit, ratio, str(row.runs))
    Console(width=150 if not sys.stdout.isatty() else None).print(table)


if __name__ == "__main__":
    raise SystemExit(main())
