"""The few formulas all methods share: boxes, pasting, pseudo-labels and the losses on them.

Everything is functional: new tensors, no host synchronisation, no randomness.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

#: One number, or a (K,) tensor with a number per class.
Threshold = float | Tensor


def widened(logits: Tensor) -> Tensor:
    """Logits in float32 where autocast left them in 16 bit; probabilities and losses are computed on these."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """(B, 4) int boxes x0, y0, x1, y1 half-open -> (B, H, W) bool, True inside."""
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(1)
    x = torch.arange(width, device=boxes.device).view(1, 1, width)
    y = torch.arange(height, device=boxes.device).view(1, height, 1)
    return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def paste(a: Tensor, b: Tensor, boxes: Tensor) -> Tensor:
    """CutMix: `b` inside the boxes, `a` elsewhere. a, b: (B, C, H, W) or (B, H, W) (Yun et al. 2019, eq. 1)."""
    mask = inside(boxes, a.shape[-2], a.shape[-1])
    return torch.where(mask if a.ndim == 3 else mask[:, None], b, a)


@dataclass(frozen=True, eq=False)
class Target:
    """Labels that somebody believes in: the student, a teacher, or an open-vocabulary model.

    label: (B, H, W) int64, always a class; confidence: (B, H, W) float in [0, 1]; valid: (B, H, W) bool.
    """

    label: Tensor
    confidence: Tensor
    valid: Tensor

    @classmethod
    def of(cls, logits: Tensor, valid: Tensor) -> Target:
        """Pseudo-labels of logits (B, K, H, W): ŷ = argmax p, c = max p. No gradient flows through them."""
        confidence, label = widened(logits.detach()).softmax(dim=1).max(dim=1)
        return cls(label, confidence, valid)

    @classmethod
    def given(cls, label: Tensor, confidence: Tensor, valid: Tensor) -> Target:
        """Labels from elsewhere; where they are not valid they may hold any value."""
        return cls(label.where(valid, 0), confidence, valid)

    def mix(self, other: Target, boxes: Tensor) -> Target:
        """The target of images that were pasted with the same boxes."""
        return Target(
            paste(self.label, other.label, boxes),
            paste(self.confidence, other.confidence, boxes),
            paste(self.valid, other.valid, boxes),
        )

    def kept(self, threshold: Threshold) -> Tensor:
        """(B, H, W) bool: valid pixels whose confidence reaches the threshold (of their class)."""
        limit = threshold[self.label] if isinstance(threshold, Tensor) else threshold
        return (self.confidence >= limit) & self.valid

    def ratio(self, threshold: Threshold) -> Tensor:
        """Share of the valid pixels that are kept, 0-d."""
        return self.kept(threshold).sum() / self.valid.sum().clamp(min=1)

    def loss(self, logits: Tensor, threshold: Threshold) -> Tensor:
        """Confidence-masked cross-entropy, one mean over the valid pixels of the whole batch, 0-d.

        Σ [c ≥ τ] CE(logits, ŷ) / Σ [valid]  (deeplab_methods spec, section 3, `pixelwise`). Without a valid pixel it is 0.
        """
        loss = F.cross_entropy(widened(logits), self.label, reduction="none")
        return (loss * self.kept(threshold)).sum() / self.valid.sum().clamp(min=1)
