"""Measure reading and learning with the training's own loader, model and loop, within a time."""

from __future__ import annotations

import copy
import itertools
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from semiovs.bench.speeds import LoaderSpeed, Speeds, StepSpeed
from semiovs.config.schema import Config
from semiovs.data import Batch, StepStream, loader
from semiovs.engine.distributed import World, join_processes
from semiovs.engine.experiment import Experiment
from semiovs.engine.loop import Learner, Recipe, fit
from semiovs.engine.precision import Precision
from semiovs.errors import UsageError, is_out_of_memory
from semiovs.peak_memory import find_peak_memory
from semiovs.progress import Progress

#: Numbers of loader processes that are tried, and of images a step as multiples of the configuration's.
WORKERS = (0, 1, 2, 4, 8, 16)
BATCHES = (1, 2, 4)
#: Share of the time that is for reading; seconds that a setting is measured at least, and timed steps at most.
_READING, _LEAST, _STEPS = 0.35, 0.4, 8
#: Micro-steps that a stream is asked for: as many as are wanted.
_ENDLESS = 2**40


@dataclass
class Budget:
    """Seconds that are left; progress counts those that are spent."""

    seconds: float
    progress: Progress
    begin: float = field(default_factory=time.perf_counter)

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self.begin

    def allows(self, seconds: float, until: float = 1.0) -> bool:
        """Whether something that takes so long ends before a share of the time is over."""
        self.progress(min(round(self.spent), round(self.seconds)), round(self.seconds))
        return self.spent + seconds <= until * self.seconds


def measure(config: Config, seconds: float, progress: Progress) -> Speeds:
    """Time reading and steps for about so long; nothing is written, and the data are not checked as a whole.

    Raises:
        UsageError: several processes; as `Experiment.build`; DataError: images that cannot be read.
    """
    budget = Budget(seconds, progress)
    with join_processes(config.train.device) as world:
        if world.size > 1:
            raise UsageError("bench measures one process; run it without torchrun")
        experiment = Experiment.build(config, world, check=False)
        found = Speeds(
            device=world.device.type,
            cores=_count_cores(),
            memory_gib=_memory_of(world),
            batch_size=config.train.batch_size,
            precision=experiment.recipe.precision.name,
            pipeline=config.data.pipeline,
            workers=experiment.workers,
            steps=experiment.recipe.total_steps,
        )
        reading = list(_read_all(experiment, budget, found.cores))
        steps, skipped = _take_all(experiment, budget)
    return replace(found, loader=reading, step=steps, skipped=skipped)


def _read_all(experiment: Experiment, budget: Budget, cores: int) -> Iterator[LoaderSpeed]:
    pipelines = ("fast", "reference") if experiment.sources.images.bands is None else (experiment.config.data.pipeline,)
    settings = [(count, pipeline) for pipeline in pipelines for count in WORKERS if count <= cores]
    share = _READING * budget.seconds / len(settings)
    for workers, pipeline in settings:
        if budget.allows(_LEAST, _READING):
            stream = _another_stream(experiment.stream, pipeline)
            yield LoaderSpeed(workers, pipeline, _time_reading(stream, workers, max(share, _LEAST)))


def _another_stream(stream: StepStream, pipeline: str) -> StepStream:
    """The same images and draws, without an end."""
    other = copy.copy(stream)
    other.micro_steps_total = _ENDLESS
    if other.augment.bands is None:
        other.augment = replace(other.augment, pipeline=pipeline)
    return other


def _time_reading(stream: StepStream, workers: int, seconds: float) -> float:
    """Seconds of a batch, once the processes are started and each has brought one."""
    first, counted = max(workers, 1), max(2 * workers, 2)
    with closing(loader(stream, 0, _ENDLESS, workers=workers)) as batches:
        for _ in itertools.islice(batches, first):
            pass
        begin, done = time.perf_counter(), 0
        for _ in batches:
            done += 1
            taken = time.perf_counter() - begin
            if (taken >= seconds and done >= counted) or taken >= 3 * seconds:
                break
    return taken / done


def _take_all(experiment: Experiment, budget: Budget) -> tuple[list[StepSpeed], list[str]]:
    """Steps of growing batches in each precision; what a step is thought to take decides whether there is time."""
    found: list[StepSpeed] = []
    skipped: list[str] = []
    config, world = experiment.config, experiment.world
    for size in (config.train.batch_size * factor for factor in BATCHES):
        built = experiment if size == config.train.batch_size else None
        for name in _list_precisions(world, experiment.recipe.precision):
            known = [one.seconds / one.batch_size for one in found if one.seconds and one.precision == name]
            if found and not budget.allows(4 * size * max(known, default=found[0].seconds or 0)):
                skipped.append(f"train.batch_size={size} train.precision={name}")
                continue
            built = built or Experiment.build(_change(config, batch_size=size), world, check=False)
            found.append(_take(built, name))
            if found[-1].problem:
                return found, skipped
    if world.device.type == "cuda":
        best = max(found, key=lambda one: one.images_per_second)
        compiled = _change(config, batch_size=best.batch_size, compile=True)
        found.append(_take(Experiment.build(compiled, world, check=False), best.precision))
    return found, skipped


def _list_precisions(world: World, usual: Precision) -> list[str]:
    """That of the configuration first, then what else this device computes in."""
    others = ["fp32", *(["bf16"] if Precision.choose("auto", world.device).name == "bf16" else [])]
    if world.device.type == "cuda":
        others.append("fp16")
    return list(dict.fromkeys([usual.name, *others]))


def _change(config: Config, **train: Any) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update=train)})


def _take(experiment: Experiment, precision: str) -> StepSpeed:
    """Steps on one batch, the first of the training; memory that is not there is a result."""
    world, train = experiment.world, experiment.config.train
    alike: dict[str, Any] = {"batch_size": train.batch_size, "precision": precision, "compiled": train.compile}
    images = experiment.images_per_step // train.accumulate
    try:
        times = _time_steps(experiment, Precision(precision, world.device.type))  # type: ignore[arg-type]
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return StepSpeed(**alike, images=images, seconds=None, problem="out of memory")
    seconds = statistics.median(times[1:])
    return StepSpeed(**alike, images=images, seconds=seconds, memory_gib=_peak_of(world), first_seconds=times[0])


def _time_steps(experiment: Experiment, precision: Precision) -> list[float]:
    """Seconds of the first step and of some more, of the training's own loop, without loading."""
    world, learner = experiment.world, experiment.learner
    learner = replace(learner, scaler=precision.scaler(), step=0)
    ends: list[float] = []
    batch = experiment.stream[0]
    if world.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(world.device)
    begin = time.perf_counter()

    def clock(_: Learner) -> None:
        world.synchronize()
        ends.append(time.perf_counter())

    for total in range(1, _STEPS + 1):
        fit(learner, _forever(batch), _short(experiment.recipe, precision, total), world, [clock])
        if total > 1 and ends[-1] - ends[0] > 1.5:
            break
    return [later - earlier for earlier, later in itertools.pairwise([begin, *ends])]


def _short(recipe: Recipe, precision: Precision, total: int) -> Recipe:
    """The recipe up to a step, without accumulation, whose micro-steps are alike."""
    return replace(recipe, precision=precision, schedule=replace(recipe.schedule, total_steps=total), accumulate=1)


def _forever(batch: Batch) -> Iterator[Batch]:
    return itertools.repeat(batch)


def _peak_of(world: World) -> float | None:
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device) / 2**30
    return _gib(find_peak_memory())


def _memory_of(world: World) -> float | None:
    if world.device.type == "cuda":
        return torch.cuda.get_device_properties(world.device).total_memory / 2**30
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gib(size: int | None) -> float | None:
    return None if size is None else size / 2**30
