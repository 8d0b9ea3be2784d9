"""Category early rejection: concepts that are among the best at no pixel are dropped (SED spec, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def survivors(logits: Tensor, topk: int) -> Tensor:
    """Logits of an auxiliary head (T, h, w) -> indices, ascending, of concepts among the `topk` best of at least one
    pixel.
    """
    best = logits.topk(min(topk, len(logits)), dim=0).indices
    kept = torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
    kept[best.flatten()] = True
    return kept.nonzero()[:, 0]
