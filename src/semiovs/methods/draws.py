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

    def complementary_dropout(self, features: tuple[Tensor, ...], p: float = 0.5) -> tuple[Tensor, ...]:
        """UniMatch V2's perturbation of features (2B, C, h, w) of two views, one after the other.

        m₁ ~ 2 · Bernoulli(½) a sample and channel, m₂ = 2 - m₁: each view sees the channels that the other does not. A
        share `p` of the samples is kept whole. Maps of as many channels share their masks, as the levels of a ViT do; a
        CNN's maps have masks of their own (deeplab_methods spec, section 7).
        """
        samples, device = len(features[0]) // 2, features[0].device
        whole = torch.randperm(samples, device=device)[:, None] < int(samples * p)
        masks: dict[int, Tensor] = {}
        for channels in dict.fromkeys(feature.shape[1] for feature in features):
            m1 = (2.0 * (torch.rand(samples, channels, device=device) < 0.5)).masked_fill(whole, 1.0)
            masks[channels] = torch.cat([m1, 2 - m1])[:, :, None, None]
        return tuple(feature * masks[feature.shape[1]].to(feature.dtype) for feature in features)

    def pixels(self, wanted: Tensor, most: int) -> Tensor:
        """Positions of `most` of N things, at random among those `wanted` (N,) bool; of all N where they are no more.

        With fewer wanted than `most` the others fill up: how many there are is known to the device alone.
        """
        if len(wanted) <= most:
            return torch.arange(len(wanted), device=wanted.device)
        return (torch.rand(len(wanted), device=wanted.device) + wanted.float()).topk(most).indices

    def noise(self, like: Tensor, std: float) -> Tensor:
        """Gaussian noise in the shape of `like`."""
        return std * torch.randn_like(like)

    def positions(self, count: int, total: int, device: torch.device) -> Tensor:
        """`count` of `total` positions of a map, each drawn from all of them, (count,) int64."""
        return torch.randint(total, (count,), device=device)

    def classes(self, present: Tensor, count: int) -> Tensor:
        """Ids of `count` of K classes, ascending: those that are `present` (K,) bool first, the others at random."""
        return (torch.rand(len(present), device=present.device) + present.float()).topk(count).indices.sort().values

    def ensemble(self, available: int, most: int, *, vary: bool, seed: int | None = None) -> list[tuple[int, float]]:
        """PrevMatch's choice among `available` models: k of them in random order, each with its share of the vote.

        k is `most` (with `vary`: uniform in 1 … `most`), at most `available`; the shares are Dirichlet(1, …, 1). seed:
        draws from a generator of its own, so that all ranks that are given one number choose alike; None: from the
        global one.
        """
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        most = int(torch.randint(1, most + 1, (), generator=generator)) if vary else most
        chosen = torch.randperm(available, generator=generator)[: min(most, available)]
        share = torch.empty(len(chosen), dtype=torch.float64).exponential_(generator=generator)
        return [(int(i), float(d)) for i, d in zip(chosen, share / share.sum(), strict=True)]
