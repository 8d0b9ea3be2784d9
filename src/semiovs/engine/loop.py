"""The only training loop.

Per optimiser step: set the learning rates; per micro-step reseed, take a batch, run the method, differentiate; then
clip, step, call the method's `after_step` and the hooks. Losses stay on the device until a hook reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from semiovs.engine.average_meter import AverageMeter, ReadingNames
from semiovs.engine.distributed import World
from semiovs.engine.finite_guard import FiniteGuard
from semiovs.engine.lr_schedule import Schedule
from semiovs.engine.precision import Precision
from semiovs.engine.randomness import SHARED, make_step_seed, reseed
from semiovs.methods import Progress

if TYPE_CHECKING:
    from semiovs.data import Batch
    from semiovs.methods import Method


#: Kinds of evaluations, as the rows of the metrics call them.
SCORES = ("eval", "held_out")


@dataclass(frozen=True)
class BestScore:
    """The best evaluation so far."""

    miou: float
    step: int


@dataclass
class Learner:
    """Everything that changes while training; `step` counts the optimiser steps taken.

    scored: kind of evaluation (`SCORES`) -> the step after which it was last made.
    """

    method: Method
    optimizers: list[Optimizer]
    scaler: torch.amp.GradScaler
    guard: FiniteGuard
    meter: AverageMeter = field(default_factory=AverageMeter)
    step: int = 0
    best: BestScore | None = None
    scored: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Everything that is fixed while training. prepare: moves a loaded batch to the device and normalises it."""

    schedule: Schedule
    precision: Precision
    prepare: Callable[[Batch], Batch]
    steps_per_epoch: int
    accumulate: int = 1
    clip_norm: float | None = None
    seed: int = 0

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the run."""
        return self.schedule.total_steps

    @property
    def total_epochs(self) -> int:
        """Epochs that the steps cover, the last one perhaps in part."""
        return -(-self.total_steps // self.steps_per_epoch)


#: Called after every optimiser step, on all ranks.
Hook = Callable[[Learner], None]


def fit(learner: Learner, batches: Iterator[Batch], recipe: Recipe, world: World, hooks: Sequence[Hook]) -> None:
    """Train from `learner.step` to the end. batches: yields one batch per micro-step, from `learner.step` on.

    Raises:
        DivergedError: loss or gradients are not finite (see `FiniteGuard`).
    """
    learner.method.train()
    model = world.wrap(learner.method)
    for step in range(learner.step, recipe.total_steps):
        recipe.schedule.apply(learner.optimizers, step)
        learner.guard.save_buffers(learner.method)
        names, values = differentiate(learner, model, batches, recipe, world, step)
        if learner.guard.admit_step(step, names, values):
            learner.meter.add(names, values)
            for optimizer in filter(list_gradients, learner.optimizers):
                learner.scaler.step(optimizer)  # with fp16, this reads whether a gradient overflowed
            learner.method.after_step(make_progress(recipe, step))
        learner.scaler.update()
        for optimizer in learner.optimizers:
            optimizer.zero_grad(set_to_none=True)
        learner.step = step + 1
        for hook in hooks:
            hook(learner)


def differentiate(
    learner: Learner, model: nn.Module, batches: Iterator[Batch], recipe: Recipe, world: World, step: int
) -> tuple[ReadingNames, Tensor]:
    """Accumulate and clip the gradients of one optimiser step; return the names and values (N,) of its readings."""
    readings: dict[str, Tensor] = {}
    for micro in range(recipe.accumulate):
        reseed(recipe.seed, step, micro, world.rank)
        progress = make_progress(recipe, step, micro)
        batch = recipe.prepare(next(batches))
        with nullcontext() if micro == recipe.accumulate - 1 else model.no_sync():  # type: ignore[operator]
            values = learn_batch(model, batch, progress, recipe, learner.scaler)
        for name, value in values.items():
            readings[name] = readings.get(name, 0) + value.float() / recipe.accumulate
    norms = clip_gradients(learner, recipe.clip_norm)
    if not learner.scaler.is_enabled():  # the scaler meets infinite gradients by design, and skips their step itself
        readings |= norms
    names = [name for part in readings for name in name_parts(part, readings[part].numel(), readings[part].ndim)]
    return tuple(names), torch.cat([value.flatten() for value in readings.values()])


@cache
def name_parts(name: str, count: int, dimensions: int) -> tuple[str, ...]:
    """Names of the elements of a reading: that of the reading itself, or with a number each if it is a vector."""
    return tuple(f"{name}/{i}" for i in range(count)) if dimensions else (name,)


def learn_batch(
    model: nn.Module, batch: Batch, progress: Progress, recipe: Recipe, scaler: torch.amp.GradScaler
) -> dict[str, Tensor]:
    """Add the gradients of a batch, one pass of the method after the other; return its readings (0-d, or
    vectors of counts) by name.
    """

    def learn(loss: Tensor) -> None:
        with recipe.precision.without_autocast():
            scaler.scale(loss / recipe.accumulate).backward()  # type: ignore[no-untyped-call]

    with recipe.precision.autocast():
        loss, values = model(batch, progress, learn)
    learn(loss)
    return values  # type: ignore[no-any-return]


def list_gradients(optimizer: Optimizer) -> list[Tensor]:
    """Gradients of an optimiser's parameters; empty if none of them took part in the step."""
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]


def clip_gradients(learner: Learner, limit: float | None) -> dict[str, Tensor]:
    """Unscale and clip the gradients of each optimiser by itself; return their global norms (0-d) by name.

    limit: of the norm; an optimiser whose first group brings `clip_norm` has a limit of its own.
    """
    norms: dict[str, Tensor] = {}
    for optimizer in learner.optimizers:
        found, first = list_gradients(optimizer), optimizer.param_groups[0]
        if not found:
            continue
        learner.scaler.unscale_(optimizer)
        norm = nn.utils.get_total_norm(found)
        norms["grad_norm" if not norms else f"grad_norm/{first['name']}"] = norm
        own = first.get("clip_norm", limit)
        if own is not None:
            trained = [p for group in optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grads_with_norm_(trained, own, norm)
    return norms


def make_progress(recipe: Recipe, step: int, micro: int = 0) -> Progress:
    """Progress of micro-step `micro` of step `step` (counted from 0)."""
    shared = make_step_seed(recipe.seed, step, micro, SHARED)
    return Progress(step, recipe.total_steps, step // recipe.steps_per_epoch, recipe.total_epochs, shared)
