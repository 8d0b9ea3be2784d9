"""Every random choice of a method goes through one object, so that a test can replace it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


class Draws:
    """Draws from torch's global generator, which the loop reseeds before each micro-step."""

    def channel_dropout(self, features: tuple[Tensor, ...], p: float = 0.5) -> tuple[Tensor, ...]:
        """UniMatch's feature perturbation: whole channels of each map are dropped, the rest scaled by 1 / (1 - p).

        Drawn independently for each map, in order, and active whatever the module's mode is.
        """
        return tuple(F.dropout2d(feature, p, training=True) for feature in features)

    def classes(self, present: Tensor, count: int) -> Tensor:
        """Ids of `count` of K classes, ascending: those that are `present` (K,) bool first, the others at random."""
        return (torch.rand(len(present), device=present.device) + present.float()).topk(count).indices.sort().values
