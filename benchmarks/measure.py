"""Interleaved measurements in CPU time, which other processes on the machine disturb least."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Size:
    """How long to measure, and where. tiny: the smallest inputs that still run everything; the numbers then mean
    nothing; images: folder with photographs in `images` and their masks, gray or palette, in `labels`, for the subjects
    that read images.
    """

    runs: int = 5
    tiny: bool = False
    device: str = "cpu"
    images: Path | None = None

    def of(self, full: int, tiny: int) -> int:
        return tiny if self.tiny else full


@dataclass(frozen=True)
class Row:
    """Medians of `runs` interleaved runs. ratio: how many times better ours is; low, high: smallest and largest ratio
    of a run.
    """

    name: str
    ours: float
    baseline: float
    ratio: float
    unit: str
    runs: int
    low: float
    high: float

    def as_json(self) -> dict[str, Any]:
        return {key: _rounded(value) for key, value in asdict(self).items()}


Times = Mapping[str, list[float]]


def alternately(
    size: Size, clock: Callable[[], float] = time.process_time, /, **variants: Callable[[], object]
) -> Times:
    """Seconds of each variant by `clock` (CPU time), after one run of each that does not count (but where none does).

    They run in turn, A B C, B C A, …, so that none is always the last.
    """
    for variant in () if size.tiny else variants.values():
        variant()
    times: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(size.runs):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            start = clock()
            variants[name]()
            times[name].append(max(clock() - start, 1e-9))
    return times


def repeated(function: Callable[[], object], count: int) -> Callable[[], None]:
    """A function too short for the clock, several times."""

    def run() -> None:
        for _ in range(count):
            function()

    return run


def row(name: str, times: Times, ours: str, baseline: str, unit: Literal["ms", "s"], *, work: int = 1) -> Row:
    """Time of one piece of `work`; the ratio is baseline / ours."""
    scale = (1e3 if unit == "ms" else 1.0) / work
    a, b = times[ours], times[baseline]
    ratios = [y / x for x, y in zip(a, b, strict=True)]
    first, second = statistics.median(a), statistics.median(b)
    return Row(name, first * scale, second * scale, second / first, unit, len(a), min(ratios), max(ratios))


def rate(name: str, times: Times, ours: str, baseline: str, unit: str, *, work: int) -> Row:
    """Pieces of work a CPU second; the ratio is ours / baseline."""
    timed = row(name, times, ours, baseline, "s", work=work)
    return Row(name, 1 / timed.ours, 1 / timed.baseline, timed.ratio, unit, timed.runs, timed.low, timed.high)


def counted(name: str, ours: float, baseline: float, unit: str) -> Row:
    """Something that is counted, not timed; less is better."""
    ratio = baseline / ours
    return Row(name, ours, baseline, ratio, unit, 1, ratio, ratio)


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value
