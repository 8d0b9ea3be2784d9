"""The only training loop.

Per optimiser step: set the rates; per micro-step reseed, take a batch, run the method, differentiate; clip, step, tell the
method, tell the hooks. Nothing is read from the device here: losses stay tensors until a hook writes a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from semiovs.engine.distributed import World
from semiovs.engine.guard import Guard
from semiovs.engine.meter import Meter, Names
from semiovs.engine.optim import Schedule
from semiovs.engine.precision import Precision
from semiovs.engine.randomness import SHARED, reseed, step_seed
from semiovs.methods import Progress

if TYPE_CHECKING:
    from semiovs.data import Batch
    from semiovs.methods import Method


@dataclass(frozen=True)
class Best:
    """The best evaluation so far."""

    miou: float
    step: int


@dataclass
class Learner:
    """Everything that changes while training; `step` counts the optimiser steps taken."""

    method: Method
    optimizers: list[Optimizer]
    scaler: torch.amp.GradScaler
    guard: Guard
    meter: Meter = field(default_factory=Meter)
    step: int = 0
    best: Best | None = None


@dataclass(frozen=True)
class Recipe:
    """Everything that does not change. `prepare` moves a loaded batch to the device and normalises it."""

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
    """Train from `learner.step` to the end. `batches` yields one batch a micro-step, starting where `learner` stands.

    Raises:
        DivergedError: loss or gradients are not finite (see `Guard`).
    """
    learner.method.train()
    model = world.wrap(learner.method)
    for step in range(learner.step, recipe.total_steps):
        recipe.schedule.apply(learner.optimizers, step)
        learner.guard.remember(learner.method)
        names, values = differentiate(learner, model, batches, recipe, world, step)
        if learner.guard.admits(learner.method, step, names, values):
            learner.meter.add(names, values)
            for optimizer in learner.optimizers:
                learner.scaler.step(optimizer)  # with fp16, this reads whether a gradient overflowed
            learner.method.after_step(progress_of(recipe, step))
        learner.scaler.update()
        for optimizer in learner.optimizers:
            optimizer.zero_grad(set_to_none=True)
        learner.step = step + 1
        for hook in hooks:
            hook(learner)


def differentiate(
    learner: Learner, model: nn.Module, batches: Iterator[Batch], recipe: Recipe, world: World, step: int
) -> tuple[Names, Tensor]:
    """Accumulate and clip the gradients of one optimiser step; return the names and values (N,) of its readings."""
    readings: dict[str, Tensor] = {}
    for micro in range(recipe.accumulate):
        reseed(recipe.seed, step, micro, world.rank)
        progress = progress_of(recipe, step, micro)
        batch = recipe.prepare(next(batches))
        with nullcontext() if micro == recipe.accumulate - 1 else model.no_sync():  # type: ignore[operator]
            with recipe.precision.autocast():
                loss, values = model(batch, progress)
            learner.scaler.scale(loss / recipe.accumulate).backward()
        for name, value in values.items():
            readings[name] = readings.get(name, 0) + value.float() / recipe.accumulate
    norm = clip(learner, recipe.clip_norm)
    if not learner.scaler.is_enabled():  # the scaler meets infinite gradients by design, and skips their step itself
        readings["grad_norm"] = norm
    return tuple(readings), torch.stack(list(readings.values()))


def clip(learner: Learner, limit: float | None) -> Tensor:
    """Unscale and clip the gradients; return their global norm (0-d)."""
    for optimizer in learner.optimizers:
        learner.scaler.unscale_(optimizer)
    trained = [p for o in learner.optimizers for group in o.param_groups for p in group["params"]]
    norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(trained, limit, norm)
    return norm


def progress_of(recipe: Recipe, step: int, micro: int = 0) -> Progress:
    """Where micro-step `micro` of step number `step` (0 for the first) stands."""
    shared = step_seed(recipe.seed, step, micro, SHARED)
    return Progress(step, recipe.total_steps, step // recipe.steps_per_epoch, recipe.total_epochs, shared)
