"""Time by CUDA events, memory, and host synchronisations of what runs on a device; on a CPU its CPU time."""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from semiovs.peak_memory import find_peak_memory

Run = Callable[[], object]
#: Milliseconds of each run, by variant.
Times = Mapping[str, list[float]]


@dataclass(frozen=True)
class Measured:
    """A number with its unit: the median of `runs`, the smallest and the largest; plain: of the plain version beside
    it.
    """

    name: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    runs: int = 1
    plain: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times less ours takes."""
        return self.plain / self.value if self.plain and self.plain > 0 and self.value > 0 else None

    def as_json(self) -> dict[str, Any]:
        found = {**asdict(self), "ratio": self.ratio}
        return {key: float(f"{v:.5g}") if isinstance(v, float) else v for key, v in found.items()}


@dataclass(frozen=True)
class Place:
    """Where and how long a piece measures. out: folder for files beside its numbers."""

    device: str
    tiny: bool
    out: Path
    runs: int = 10

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def of(self, full: Any, tiny: Any) -> Any:
        """The second one for a rehearsal, whose numbers mean nothing."""
        return tiny if self.tiny else full

    def alternately(self, **variants: Run) -> Times:
        """The variants in turn, A B C, B C A, …, after a few runs of each that do not count."""
        names, times = list(variants), {name: list[float]() for name in variants}
        for _ in range(self.of(3, 1)):
            for variant in variants.values():
                variant()
        for turn in range(self.runs):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                gc.collect()
                times[name].append(self.milliseconds(variants[name]))
        return times

    def milliseconds(self, run: Run) -> float:
        """Of one run."""
        if not self.on_gpu:
            begin = time.process_time()
            run()
            return max(1e3 * (time.process_time() - begin), 1e-6)
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end)

    def megabytes(self, run: Run) -> float:
        """By which a run raises the memory that is taken, at most; on a CPU 0 where less than before was needed."""
        if not self.on_gpu:
            before = find_peak_memory() or 0
            run()
            return ((find_peak_memory() or 0) - before) / 2**20
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - held) / 2**20

    def synchronisations(self, run: Run) -> int | None:
        """How often a run waits for the device; None on a CPU."""
        if not self.on_gpu:
            run()
            return None
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing CUDA operation" in str(one.message) for one in told)

    def forget(self) -> None:
        """Give memory back between two measurements."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()


def timed(
    name: str, times: Times, ours: str, plain: str | None = None, *, work: float = 1, unit: str = "ms"
) -> Measured:
    """Milliseconds of a piece of `work`; plain: the variant it is compared with."""
    own = [value / work for value in times[ours]]
    other = None if plain is None else statistics.median(times[plain]) / work
    return Measured(name, statistics.median(own), unit, min(own), max(own), len(own), other)
