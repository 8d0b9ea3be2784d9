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

    def ensemble(self, available: int, most: int, *, vary: bool, seed: int | None = None) -> list[tuple[int, float]]:
        """PrevMatch's choice among `available` models: k of them in random order, each with its share of the vote.

        k is `most` (with `vary`: uniform in 1 … `most`), at most `available`; the shares are Dirichlet(1, …, 1). seed: draws from
        a generator of its own, so that all ranks that are given one number choose alike; None: from the global one.
        """
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        most = int(torch.randint(1, most + 1, (), generator=generator)) if vary else most
        chosen = torch.randperm(available, generator=generator)[: min(most, available)]
        share = torch.empty(len(chosen), dtype=torch.float64).exponential_(generator=generator)
        return [(int(i), float(d)) for i, d in zip(chosen, share / share.sum(), strict=True)]
