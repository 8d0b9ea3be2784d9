"""`python -m benchmarks profile`: the ten operators that take most of a UniMatch + OOD step and of an image that SED
labels, on one thread of a CPU.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks import machine, step
from benchmarks.gpu import labelling
from benchmarks.gpu.meter import Measured, Place
from benchmarks.gpu.profiles import profiled
from semiovs.models import build_segmenter

OUT = Path("docs/results/bench-profile.json")
#: The same by the code before its steps and labelling were made faster, on the same machine (docs/performance.md).
BEFORE = Path("docs/results/bench-profile-before.json")
_CONCEPTS = 48
#: What is profiled, by the beginning of its rows' names.
SUBJECTS = ("UniMatch + OOD, a step", "SED base, an image")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=__doc__)
    parser.add_argument("--out", type=Path, help=f"JSON file to write; {OUT} without --tiny")
    parser.add_argument(
        "--traces", type=Path, help="folder for traces, to be looked at in a browser (chrome://tracing)"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="seconds, to see that everything runs; numbers mean nothing"
    )
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        traces = given.traces or Path(folder)
        traces.mkdir(parents=True, exist_ok=True)
        result = run(Place("cpu", given.tiny, traces))
    print("\n".join(table(result)))
    out: Path | None = given.out or (None if given.tiny else OUT)
    machine.write(result, out)
    return 0


def run(place: Place) -> dict[str, Any]:
    before = machine.load()
    rows = [*_of_step(place), *_of_teacher(place)]
    return {**machine.described(before, tiny=place.tiny), "rows": [row.as_json() for row in rows]}


def _of_step(place: Place) -> list[Measured]:
    torch.manual_seed(0)
    model = build_segmenter("deeplabv3plus", num_classes=21, encoder="small")
    learn = step.ours(model, step.batch(place.of(64, 33), place.of(8, 2)), ood=True)
    return profiled(SUBJECTS[0], "trace-step", learn, place)


def _of_teacher(place: Place) -> list[Measured]:
    source, vocabulary = labelling.network("base", place), labelling.names(_CONCEPTS, place)
    return profiled(SUBJECTS[1], "trace-label", labelling.label(source, vocabulary, "fp32", 1, place), place)


def table(result: Mapping[str, Any] | None, before: Mapping[str, Any] | None = None) -> list[str]:
    """For docs/performance.md. before: profiles of the earlier code, whose operators stand beside."""
    if result is None:
        return ["| what | top ten |", "|---|---|", *(f"| {name} | *not yet run* |" for name in SUBJECTS)]
    lines = [
        f"Measured on {result['date']}: {result['hardware']['cpu']}, one thread (load average {_say_load(result)})."
    ]
    if before is not None:
        lines.append(f"The code before: the same day and machine (load average {_say_load(before)}).")
    earlier = {row["name"]: f"{row['value']:.3g}" for row in (before or {"rows": []})["rows"]}
    for name in SUBJECTS:
        lines += ["", f"| {name} | ms | share, calls |{' before, ms |' * bool(earlier)}"]
        lines.append(f"|---|---:|---|{'---:|' * bool(earlier)}")
        for row in (row for row in result["rows"] if row["name"].startswith(name)):
            then = f" {earlier.get(row['name'], 'not among its ten')} |" * bool(earlier)
            lines.append(f"| {row['name'][len(name) + 2 :]} | {row['value']:.3g} | {row['note']} |{then}")
    return lines


def _say_load(result: Mapping[str, Any]) -> str:
    return " to ".join(f"{value:g}" for value in (*result["load"]["before"][:1], *result["load"]["after"][:1]))
