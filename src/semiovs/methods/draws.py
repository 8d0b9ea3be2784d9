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

        m₁ ~ 2 · Bernoulli(½) a sample and channel, m₂ = 2 - m₁: each view sees the channels that the other does not. A share `p` of
        the samples is kept whole. Maps of as many channels share their masks, as the levels of a ViT do; a CNN's maps
        have masks of their own (deeplab_methods spec, section 7).
        """
        samples, device = len(features[0]) // 2, features[0].device
        whole = torch.randperm(samples, device=device)[:, None] < int(samples * p)
        masks: dict[int, Tensor] = {}
        for channels in dict.fromkeys(feature.shape[1] for feature in features):
            m1 = (2.0 * (torch.rand(samples, channels, device=device) < 0.5)).masked_fill(whole, 1.0)
            masks[channels] = torch.cat([m1, 2 - m1])[:, :, None, None]
        return tuple(feature * masks[feature.shape[1]].to(feature.dtype) for feature in features)

    def positions(self, count: int, total: int, device: torch.device) -> Tensor:
        """`count` of `total` positions of a map, each drawn from all of them, (count,) int64."""
        return torch.randint(total, (count,), device=device)

    def classes(self, present: Tensor, count: int) -> Tensor:
        """Ids of `count` of K classes, ascending: those that are `present` (K,) bool first, the others at random."""
        return (torch.rand(len(present), device=present.device) + present.float()).topk(count).indices.sort().values
