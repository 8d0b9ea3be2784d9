"""`python -m benchmarks.fuzz`: read files that were spoilt at random; each must be read, or refused by an error of
ours, in less than a second of the CPU and 200 MB of memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks import machine
from benchmarks.fuzz.campaign import Tally, run_cases
from benchmarks.fuzz.case import GROWTH, SECONDS, Bench
from benchmarks.fuzz.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign, or one case again (`--case`)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=300, help="of each target")
    parser.add_argument("--only", action="append", metavar="TARGET", help=f"may be repeated; of {', '.join(TARGETS)}")
    parser.add_argument("--seed", default="0", help="another word makes other cases")
    parser.add_argument("--minutes", type=float, help="of all targets together")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--case", type=int, metavar="NUMBER", help="read this case of --only here; shows the traceback")
    given = parser.parse_args(arguments)
    for name in given.only or ():
        if name not in TARGETS:
            parser.error(f"unknown target '{name}'; known are {', '.join(TARGETS)}")
    if given.case is not None:
        if len(given.only or ()) != 1:
            parser.error("--case needs one --only")
        return _repeat(given.only[0], given.seed, given.case)
    if given.cases < 1:
        parser.error("--cases must be at least 1")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    return _run(given.only or list(TARGETS), given)


def _run(names: Sequence[str], given: argparse.Namespace) -> int:
    before, begin = machine.load(), time.monotonic()
    tallies = []
    print(f"{'target':<24}{'cases':>7}{'read':>7}{'refused':>9}{'wrong':>7}{'slowest s':>11}{'most MB':>9}")
    for done, name in enumerate(names):
        share = float("inf") if given.minutes is None else given.minutes * 60 * (done + 1) / len(names)
        tally = Tally(name)
        for one in run_cases(name, given.seed, given.cases, begin + share):
            tally.add(one)
            if one.kind == "wrong":
                print(f"  {name} --seed {one.seed} --case {one.number}: {one.what}", file=sys.stderr, flush=True)
        tallies.append(tally)
        _print_row(tally)
    wrong = sum(len(tally.wrong) for tally in tallies)
    print(f"{sum(tally.cases for tally in tallies):,} cases of {len(tallies)} targets, {wrong} wrong")
    machine.write(_describe(tallies, given, before, time.monotonic() - begin), given.out)
    return 1 if wrong else 0


def _print_row(tally: Tally) -> None:
    numbers = f"{tally.cases:>7}{tally.read:>7}{tally.refused:>9}{len(tally.wrong):>7}"
    print(f"{tally.target:<24}{numbers}{tally.slowest:>11.3f}{tally.largest / 2**20:>9.1f}", flush=True)


def _describe(
    tallies: Sequence[Tally], given: argparse.Namespace, before: list[float], seconds: float
) -> dict[str, Any]:
    return {
        **machine.described(before, tiny=False),
        "seed": given.seed,
        "limits": {"cpu_seconds": SECONDS, "growth_mb": GROWTH // 2**20},
        "minutes": round(seconds / 60, 1),
        "cases": sum(tally.cases for tally in tallies),
        "read": sum(tally.read for tally in tallies),
        "refused": sum(tally.refused for tally in tallies),
        "wrong": sum(len(tally.wrong) for tally in tallies),
        "targets": [tally.as_json() for tally in tallies],
    }


def _repeat(name: str, seed: str, number: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(TARGETS[name], Path(folder) / "case")
        data = bench.make(seed, number)
        found = bench.run(data, seed, number)
        print(f"{len(data):,} bytes: {data[:300]!r}\n{found}")
        if found.kind == "wrong":
            bench.target.read(bench.folder / bench.target.file)
        return int(found.kind == "wrong")


if __name__ == "__main__":
    raise SystemExit(main())
