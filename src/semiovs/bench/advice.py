"""Which settings suit a machine, by what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semiovs.bench.speeds import LoaderSpeed, Speeds, StepSpeed
from semiovs.duration import format_duration

#: Gains below these are left alone: numbers scatter, and another batch is another training.
_WORTH, _WORTH_ANOTHER_BATCH = 1.05, 1.15
#: Share of the memory that a step may take.
_FITS = 0.85
#: A batch must be there before this share of the step is over.
_IN_TIME = 0.9
#: Share of a training that compiling may cost.
_COMPILING = 0.1


@dataclass(frozen=True)
class Advice:
    """settings: `key=value` words for `semiovs train`; notes: why, a line each; seconds: of a step with them, loading
    included.
    """

    settings: tuple[str, ...]
    notes: tuple[str, ...]
    seconds: float | None


def advise(found: Speeds) -> Advice:
    """The settings that were fastest; those of the configuration where the gain is small or nothing was measured."""
    step, notes = _choose_step(found), list[str]()
    if step is None:
        return Advice((), ("no step could be measured; nothing is proposed",), None)
    settings = [f"train.batch_size={step.batch_size}", f"train.precision={step.precision}"]
    notes += _explain_step(found, step)
    compiled = _choose_compiled(found, step)
    if compiled is not None:
        step = compiled
        settings.append("train.compile=true")
        notes.append(f"compiling takes {format_duration(compiled.first_seconds or 0)} once, and pays")
    elif any(one.compiled and one.seconds for one in found.step):
        settings.append("train.compile=false")
        notes.append("compiling does not pay in this training")
    assert step.seconds is not None
    reading = _choose_loader(found, step)
    if reading is None:
        return Advice(tuple(settings), tuple(notes), step.seconds)
    load = reading.seconds * step.batch_size / found.batch_size
    settings += [f"data.workers={reading.workers}", f"data.pipeline={reading.pipeline}"]
    seconds = max(step.seconds, load) if reading.workers else step.seconds + load
    notes += _explain_loader(found, reading, step, load)
    return Advice(tuple(settings), tuple(notes), seconds)


def _choose_step(found: Speeds) -> StepSpeed | None:
    """Precision first, at the batch of the configuration; then a larger batch, if it pays and fits."""
    here = [one for one in found.step if one.seconds and not one.compiled]
    limit = None if found.memory_gib is None else _FITS * found.memory_gib
    fitting = [one for one in here if limit is None or one.memory_gib is None or one.memory_gib <= limit] or here
    same = [one for one in fitting if one.batch_size == found.batch_size]
    if not same:
        return max(fitting, key=lambda one: one.images_per_second, default=None)
    usual = next((one for one in same if one.precision == found.precision), same[0])
    best = max(same, key=lambda one: one.images_per_second)
    chosen = best if best.images_per_second > _WORTH * usual.images_per_second else usual
    larger = [one for one in fitting if one.batch_size > found.batch_size and one.precision == chosen.precision]
    most = max(larger, key=lambda one: one.images_per_second, default=chosen)
    return most if most.images_per_second > _WORTH_ANOTHER_BATCH * chosen.images_per_second else chosen


def _choose_compiled(found: Speeds, step: StepSpeed) -> StepSpeed | None:
    alike = (step.batch_size, step.precision)
    compiled = next((s for s in found.step if s.compiled and (s.batch_size, s.precision) == alike), None)
    if compiled is None or not compiled.seconds or not step.seconds or step.seconds < _WORTH * compiled.seconds:
        return None
    return compiled if (compiled.first_seconds or 0) < _COMPILING * found.steps * step.seconds else None


def _choose_loader(found: Speeds, step: StepSpeed) -> LoaderSpeed | None:
    """The fewest workers that have a batch ready in time, else the fastest; in the pipeline of the configuration, but
    for `fast` where the published one is too slow.
    """
    assert step.seconds is not None
    allowed = step.seconds * _IN_TIME * found.batch_size / step.batch_size
    for pipeline in dict.fromkeys((found.pipeline, "fast")):
        ready = [one for one in found.loader if one.pipeline == pipeline and one.workers and one.seconds <= allowed]
        if ready:
            return min(ready, key=lambda one: one.workers)
    return min(found.loader, key=lambda one: one.seconds, default=None)


def _explain_step(found: Speeds, step: StepSpeed) -> Sequence[str]:
    notes = []
    if step.precision != found.precision:
        notes.append(f"{step.precision} is faster here than {found.precision}")
    if step.batch_size != found.batch_size:
        notes.append(
            f"a batch of {step.batch_size} is another training than one of {found.batch_size}: fewer steps an epoch, "
            "and other learning rates where optim.lr_batch_size is set"
        )
    return notes


def _explain_loader(found: Speeds, reading: LoaderSpeed, step: StepSpeed, load: float) -> Sequence[str]:
    notes = []
    assert step.seconds is not None
    if reading.workers and load > step.seconds:
        notes.append("the model waits for images: smaller files, data.cache, or more cores would help")
    if reading.pipeline != found.pipeline:
        notes.append(f"data.pipeline={reading.pipeline} makes other pixels than {found.pipeline}, by a few levels")
    if found.device == "cpu" and reading.workers:
        notes.append("loader processes and model share the cores of this machine: together both are slower than alone")
    return notes
