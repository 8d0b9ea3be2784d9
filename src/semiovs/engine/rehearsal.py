"""Time a training before its first step: a few passes whose results are thrown away, and that leave no trace in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from torch import nn

from semiovs.duration import format_duration
from semiovs.engine.distributed import LossModule
from semiovs.engine.experiment import Experiment
from semiovs.engine.finite_guard import KeptBuffers
from semiovs.engine.loop import learn_batch, make_progress
from semiovs.engine.randomness import reseed
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest

#: Steps that are worth a rehearsal, which takes about as long as two of them and two evaluated images.
FEWEST = 50

#: Models that are scored on some images, and what scores one of them.
Scored = Sequence[tuple[Manifest, nn.Module]]
Score = Callable[[Manifest, nn.Module], object]


@dataclass(frozen=True)
class Estimate:
    """Steps and evaluations that are left, and the seconds that one of each takes."""

    steps: int
    step: float
    evaluations: int
    evaluation: float

    @property
    def seconds(self) -> float:
        """Of the whole training."""
        return self.steps * self.step + self.evaluations * self.evaluation

    def __str__(self) -> str:
        scores = f" and {self.evaluations} evaluations of {_format_seconds(self.evaluation)}" if self.evaluation else ""
        return f"about {format_duration(self.seconds)}: {self.steps} steps of {_format_seconds(self.step)}{scores}"


def rehearse(experiment: Experiment, scored: Scored, score: Score) -> Estimate:
    """Estimate the time from the learner's step to the end; all ranks must call it.

    The batch is loaded, learnt from and forgotten: no optimiser moves, the buffers are put back, and the random numbers
    of a step are its own anyway. Everything is done twice and the second time counts, because the first is slower.
    Not seen: optimisers, the exchange of gradients, and parts of a method that begin later.
    """
    learner = experiment.learner
    kept = KeptBuffers(learner.method)
    learner.method.train()
    try:
        step = _time_step(experiment)
        evaluation = time_evaluation(experiment, scored, score)
    finally:
        kept.restore()
        learner.method.zero_grad(set_to_none=True)
    evaluations = count_evaluations(experiment) if scored else 0
    return Estimate(experiment.recipe.total_steps - learner.step, step, evaluations, evaluation)


def count_evaluations(experiment: Experiment) -> int:
    """Evaluations that are left, with one at the end."""
    total, every = experiment.recipe.total_steps, experiment.eval_every
    return len({*range(every, total + 1, every), total} - {*range(experiment.learner.step + 1)})


def time_evaluation(experiment: Experiment, scored: Scored, score: Score) -> float:
    """Seconds of an evaluation of all images and models, from the first batch of each rank."""
    image = [_time_image(experiment, images, model, score) for images, model in scored]
    return sum(each * len(images) for each, (images, _) in zip(image, scored, strict=True)) / experiment.world.size


def _time_step(experiment: Experiment) -> float:
    """Seconds of a step: those of its passes, or of its images where these take longer."""
    learner, recipe, world = experiment.learner, experiment.recipe, experiment.world
    model, progress = LossModule(learner.method), make_progress(recipe, learner.step)
    place = learner.step * recipe.accumulate
    batch = experiment.stream[place]

    def learn() -> None:
        reseed(recipe.seed, learner.step, 0, world.rank)
        learn_batch(model, recipe.prepare(batch), progress, recipe, learner.scaler)

    loading = time_loading(experiment)
    learn()
    passes, workers = _time(experiment, learn), experiment.workers
    return recipe.accumulate * (max(passes, loading / workers) if workers else passes + loading)


def time_loading(experiment: Experiment) -> float:
    """Seconds in which one process makes the batch of a micro-step, whose files were read before."""
    place = experiment.learner.step * experiment.recipe.accumulate
    return _time(experiment, lambda: experiment.stream[place])


def _time_image(experiment: Experiment, images: Manifest, model: nn.Module, score: Score) -> float:
    """Seconds of one image, in a batch as large as those of an evaluation, while each rank scores its own."""
    world, together = experiment.world, experiment.config.eval.batch_size or 1
    some = images[: world.size * together]

    def once() -> None:
        with suppress(DataError):  # masks without a labelled pixel have no score
            score(some, model)

    once()
    return _time(experiment, once) * world.size / max(len(some), world.size)


def _time(experiment: Experiment, action: Callable[[], Any]) -> float:
    experiment.world.synchronize()
    begin = time.perf_counter()
    action()
    experiment.world.synchronize()
    return time.perf_counter() - begin


def _format_seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else format_duration(seconds)
