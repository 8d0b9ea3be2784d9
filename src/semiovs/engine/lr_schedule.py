"""Learning rates as pure functions of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch.optim import Optimizer

from semiovs.config.schema import OptimConfig


@dataclass(frozen=True)
class Schedule:
    """Factor on every group's `initial_lr`.

    poly: (1 - max(step - lag, 0) / total_steps) ** power. With the published lag of 1 the rate of index i is set after
    step i, so that steps 0 and 1 both use the base rate (UniMatch, PrevMatch, SemiOVS). cosine: (1 + cos(π t / T)) / 2
    of the same t (SED has lag 0).

    A parameter group with `final_factor` decays exponentially to that factor instead, once per epoch.
    """

    total_steps: int
    name: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    lag: int = 1
    steps_per_epoch: int = 1

    @classmethod
    def of(cls, config: OptimConfig, total_steps: int, steps_per_epoch: int = 1) -> Schedule:
        """Schedule of a configuration."""
        return cls(total_steps, config.schedule, config.poly_power, config.lag, steps_per_epoch)

    def factor(self, step: int) -> float:
        """Factor of step `step` (counted from 0)."""
        if self.name == "constant":
            return 1.0
        done = max(step - self.lag, 0) / self.total_steps
        if self.name == "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        return float((1 - done) ** self.power)

    def apply(self, optimizers: Sequence[Optimizer], step: int) -> None:
        """Set the learning rates for step `step`."""
        factor, done = self.factor(step), step // self.steps_per_epoch * self.steps_per_epoch / self.total_steps
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                own = group["final_factor"] ** done if "final_factor" in group else factor
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * own


def compute_lr_scale(config: OptimConfig, labeled_images: int) -> float:
    """Linear scaling: labelled images of one optimiser step (all ranks and micro-steps) over `lr_batch_size`."""
    return 1.0 if config.lr_batch_size is None else labeled_images / config.lr_batch_size
