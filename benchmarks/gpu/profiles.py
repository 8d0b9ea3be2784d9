"""Where the time goes: the ten operators that take most of the device, and a trace to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu import labelling, steps
from benchmarks.gpu.meter import Measured, Place

_TOP = 10


def of_method(name: str, place: Place) -> list[Measured]:
    """Of a step with OOD images."""
    return profiled(f"{name} + OOD, a step", f"trace-{name}", steps.step_of(name, place), place)


def of_teacher(place: Place) -> list[Measured]:
    """Of four images for SED-L with 171 concepts."""
    source, vocabulary = labelling.network("large", place), labelling.names(171, place)
    run = labelling.label(source, vocabulary, "bf16", place.of(4, 1), place)
    return profiled("SED large, 171 concepts, bf16, four images", "trace-label", run, place)


def profiled(what: str, name: str, run: Callable[[], object], place: Place) -> list[Measured]:
    """Milliseconds of one run in each of the operators that take longest, without those they call; and of them all."""
    for _ in range(place.of(3, 1)):
        run()
    count = place.of(3, 1)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if place.on_gpu else [])]
    with profile(activities=activities) as found:
        for _ in range(count):
            run()
        if place.on_gpu:
            torch.cuda.synchronize()
    found.export_chrome_trace(str(place.out / f"{name}.json.gz"))
    each = sorted(found.key_averages(), key=lambda one: -_taken(one, place))
    whole = sum(_taken(one, place) for one in each)
    rows = [Measured(f"{what}, all operators", whole / count / 1e3, "ms", runs=count)]
    for one in each[:_TOP]:
        share = 100 * _taken(one, place) / max(whole, 1e-9)
        note = f"{share:.1f} %, {one.count / count:g} calls"
        rows.append(Measured(f"{what}: {one.key[:100]}", _taken(one, place) / count / 1e3, "ms", runs=count, note=note))
    return rows


def _taken(event: Any, place: Place) -> float:
    """Microseconds on the device (kernels have these themselves, and no operator's time counts twice)."""
    return float(event.self_device_time_total if place.on_gpu else event.self_cpu_time_total)
