"""Which settings are proposed for which machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from semiovs.bench.advice import advise
from semiovs.bench.speeds import LoaderSpeed, Speeds, StepSpeed

FOUND = Speeds("cpu", 8, 16.0, batch_size=4, precision="fp32", pipeline="fast", workers=2, steps=1000)


def step(batch: int, precision: str, seconds: float | None, **more: object) -> StepSpeed:
    more = {"memory_gib": 1.0, "first_seconds": 1.0, **more}
    return StepSpeed(batch, precision, bool(more.pop("compiled", False)), 2 * batch, seconds, **more)  # type: ignore[arg-type]


def readings(*seconds: float, pipeline: str = "fast") -> tuple[LoaderSpeed, ...]:
    return tuple(LoaderSpeed(workers, pipeline, taken) for workers, taken in zip((0, 1, 2, 4), seconds, strict=False))


@pytest.mark.parametrize(("steps", "chosen"), [
    ([step(4, "fp32", 1.0), step(4, "bf16", 0.6)], (4, "bf16")),
    ([step(4, "fp32", 1.0), step(4, "bf16", 0.98)], (4, "fp32")),  # not worth another arithmetic
    ([step(4, "fp32", 1.0), step(8, "fp32", 1.9)], (4, "fp32")),  # nor another batch
    ([step(4, "fp32", 1.0), step(8, "fp32", 1.5)], (8, "fp32")),
    ([step(4, "fp32", 1.0), step(8, "fp32", 1.5, memory_gib=15.0)], (4, "fp32")),  # too close to what there is
    ([step(4, "fp32", 1.0), step(8, "fp32", None, problem="out of memory")], (4, "fp32")),
    ([step(4, "fp32", 1.0), step(4, "bf16", 0.6), step(8, "fp32", 1.2)], (4, "bf16")),
])  # fmt: skip
def test_precision_and_batch(steps, chosen):
    settings = advise(replace(FOUND, step=steps)).settings
    assert settings[:2] == (f"train.batch_size={chosen[0]}", f"train.precision={chosen[1]}")


@pytest.mark.parametrize(("loader", "proposed", "seconds"), [
    (readings(2.0, 1.6, 0.8, 0.5), ("data.workers=2", "data.pipeline=fast"), 1.0),  # the fewest that are in time
    (readings(9.0, 8.0, 4.0, 3.0), ("data.workers=4", "data.pipeline=fast"), 3.0),  # none is
    (readings(0.1, 0.2), ("data.workers=1", "data.pipeline=fast"), 1.0),
    (readings(0.1), ("data.workers=0", "data.pipeline=fast"), 1.1),
])  # fmt: skip
def test_workers(loader, proposed, seconds):
    found = advise(replace(FOUND, step=[step(4, "fp32", 1.0)], loader=loader))
    assert found.settings[2:] == proposed
    assert found.seconds == pytest.approx(seconds)


def test_a_larger_batch_needs_more_images_and_has_more_time():
    found = advise(replace(FOUND, step=[step(4, "fp32", 1.0), step(8, "fp32", 1.5)], loader=readings(1, 0.8, 0.7, 0.6)))
    assert found.settings == ("train.batch_size=8", "train.precision=fp32", "data.workers=4", "data.pipeline=fast")
    assert any("another training" in note for note in found.notes)


def test_the_published_pipeline_is_left_only_where_it_is_too_slow():
    slow, fast = readings(4, 4, 2.0, 1.5, pipeline="reference"), readings(1, 0.8)
    base = replace(FOUND, pipeline="reference", step=[step(4, "fp32", 1.0)])
    found = advise(replace(base, loader=slow + fast))
    assert found.settings[2:] == ("data.workers=1", "data.pipeline=fast")
    assert any("a few levels" in note for note in found.notes)
    found = advise(replace(base, loader=readings(2, 0.8, pipeline="reference") + fast))
    assert found.settings[2:] == ("data.workers=1", "data.pipeline=reference")


@pytest.mark.parametrize(("seconds", "first", "proposed"), [
    (0.5, 60.0, "train.compile=true"),
    (0.99, 60.0, "train.compile=false"),
    (0.5, 200.0, "train.compile=false"),  # of a training of 1000 s
])  # fmt: skip
def test_compiling_must_pay(seconds, first, proposed):
    compiled = step(4, "fp32", seconds, compiled=True, first_seconds=first)
    assert proposed in advise(replace(FOUND, step=[step(4, "fp32", 1.0), compiled])).settings


def test_nothing_measured_proposes_nothing():
    found = advise(replace(FOUND, step=[step(4, "fp32", None, problem="out of memory")]))
    assert (found.settings, found.seconds) == ((), None)
    assert found.notes
