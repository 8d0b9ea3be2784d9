"""The few formulas all methods share: boxes, pasting, pseudo-labels and the losses on them.

Everything is functional: new tensors, no host synchronisation, no randomness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Threshold:
    """τ: which pseudo-labels count, and over which pixels their loss is a mean.

    value: one number (a 0-d tensor if the method moves it), or a (K,) tensor with a number per class; pooled: the mean
    is over the pixels of all ranks, not of this one.
    """

    value: float | Tensor
    pooled: bool = False

    def admits(self, confidence: Tensor, label: Tensor) -> Tensor:
        """[c ≥ τ_ŷ], (B, H, W) bool."""
        return confidence >= (self.value[label] if isinstance(self.value, Tensor) and self.value.ndim else self.value)


def denominator(count: Tensor, pooled: bool, *, least: float = 1.0) -> Tensor:
    """Divisor of a sum over this rank's pixels: their `count` (0-d, at least `least`), or its mean over the ranks.

    DDP averages gradients over W ranks, so with D / W (D the pixels of all ranks) the average is that of one process
    with all images.
    """
    if pooled and dist.is_available() and dist.is_initialized():
        count = count.detach().float().clone()
        dist.all_reduce(count)
        return count.clamp(min=least) / dist.get_world_size()
    return count.clamp(min=least)


def to_float32(logits: Tensor) -> Tensor:
    """Logits in float32 where autocast left them in 16 bit; probabilities and losses are computed on these."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def box_mask(boxes: Tensor, height: int, width: int) -> Tensor:
    """(B, 4) int boxes x0, y0, x1, y1 half-open -> (B, H, W) bool, True inside."""
    x0, y0, x1, y1 = boxes[:, :, None, None].unbind(1)
    x = torch.arange(width, device=boxes.device).view(1, 1, width)
    y = torch.arange(height, device=boxes.device).view(1, height, 1)
    return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)


def paste(a: Tensor, b: Tensor, boxes: Tensor) -> Tensor:
    """CutMix: `b` inside the boxes, `a` elsewhere. a, b: (B, C, H, W) or (B, H, W) (Yun et al. 2019, eq. 1)."""
    mask = box_mask(boxes, a.shape[-2], a.shape[-1])
    return torch.where(mask if a.ndim == 3 else mask[:, None], b, a)


@dataclass(frozen=True, eq=False)
class Target:
    """Labels to learn, with their confidence: of the student, of a teacher, or of an open-vocabulary model.

    label: (B, H, W) int64, always a class; confidence: (B, H, W) float in [0, 1]; valid: (B, H, W) bool; weight: (B, H,
    W) float in [0, 1], how much a pixel counts where it is kept, None = fully; probability: (B, H, W) float q in
    [0, 1], the share of the target distribution that the label has, the other classes share 1 - q equally, None = all
    of it.
    """

    label: Tensor
    confidence: Tensor
    valid: Tensor
    weight: Tensor | None = None
    probability: Tensor | None = None

    @classmethod
    def from_logits(cls, logits: Tensor, valid: Tensor) -> Target:
        """Pseudo-labels of logits (B, K, H, W): ŷ = argmax p, c = max p. No gradient flows through them."""
        confidence, label = to_float32(logits.detach()).softmax(dim=1).max(dim=1)
        return cls(label, confidence, valid)

    @classmethod
    def from_labels(
        cls,
        label: Tensor,
        confidence: Tensor,
        valid: Tensor,
        weight: Tensor | None = None,
        probability: Tensor | None = None,
    ) -> Target:
        """Labels from elsewhere; where they are not valid they may hold any value."""
        return cls(label.where(valid, 0), confidence, valid, weight, probability)

    def map(self, function: Callable[[Tensor], Tensor]) -> Target:
        """The target with `function` applied to each tensor, weight and probability included."""
        weight = None if self.weight is None else function(self.weight)
        probability = None if self.probability is None else function(self.probability)
        return Target(function(self.label), function(self.confidence), function(self.valid), weight, probability)

    def mix(self, other: Target, boxes: Tensor) -> Target:
        """The target of images that were pasted with the same boxes."""
        weighted = self.weight is not None or other.weight is not None
        soft = self.probability is not None or other.probability is not None
        return Target(
            paste(self.label, other.label, boxes),
            paste(self.confidence, other.confidence, boxes),
            paste(self.valid, other.valid, boxes),
            paste(self.weights(), other.weights(), boxes) if weighted else None,
            paste(self.probabilities(), other.probabilities(), boxes) if soft else None,
        )

    def weights(self) -> Tensor:
        """(B, H, W) float, `weight` or ones."""
        return torch.ones_like(self.confidence) if self.weight is None else self.weight

    def probabilities(self) -> Tensor:
        """(B, H, W) float, `probability` or ones."""
        return torch.ones_like(self.confidence) if self.probability is None else self.probability

    def mask(self, threshold: Threshold) -> Tensor:
        """(B, H, W) bool: valid pixels whose confidence reaches the threshold (of their class)."""
        return threshold.admits(self.confidence, self.label) & self.valid

    def ratio(self, threshold: Threshold) -> Tensor:
        """Share of the valid pixels that are kept, by weight, 0-d."""
        return self.pixel_weights(threshold).sum() / self.valid.sum().clamp(min=1)

    def pixel_weights(self, threshold: Threshold) -> Tensor:
        """(B, H, W) w · [c ≥ τ], how much each pixel counts."""
        kept = self.mask(threshold)
        return kept if self.weight is None else kept * self.weight

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """CE(logits, ŷ) of each pixel, (B, H, W).

        Given a probability q it is q CE(logits, ŷ) + (1 - q) / (K - 1) Σ_{k≠ŷ} CE(logits, k).
        """
        if self.probability is None:
            return F.cross_entropy(to_float32(logits), self.label, reduction="none")
        surprise = -to_float32(logits).log_softmax(1)
        own = surprise.gather(1, self.label[:, None])[:, 0]
        others = (surprise.sum(1) - own) / max(logits.shape[1] - 1, 1)
        return self.probability * own + (1 - self.probability) * others

    def loss(self, logits: Tensor, threshold: Threshold) -> Tensor:
        """Confidence-masked cross-entropy, one mean over the valid pixels of the whole batch, 0-d.

        Σ w [c ≥ τ] CE(logits, ŷ) / Σ [valid]  (deeplab_methods spec, section 3, `pixelwise`: w = 1). Without a valid
        pixel it is 0.
        """
        return self._sum(logits, threshold) / denominator(self.valid.sum(), threshold.pooled)

    def loss_of_kept(self, logits: Tensor, threshold: Threshold) -> Tensor:
        """The same sum as a mean over the kept pixels alone, 0-d; 0 where none is kept (DDFP spec, section 5)."""
        return self._sum(logits, threshold) / denominator(self.mask(threshold).sum(), threshold.pooled)

    def _sum(self, logits: Tensor, threshold: Threshold) -> Tensor:
        return (self.cross_entropy(logits) * self.pixel_weights(threshold)).sum()
