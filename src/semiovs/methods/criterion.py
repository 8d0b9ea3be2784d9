"""Losses on labelled pixels: cross-entropy, with class weights, and online hard example mining."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import UsageError, did_you_mean
from semiovs.images.conventions import IGNORE
from semiovs.methods.maths import denominator, to_float32


class CrossEntropy(nn.Module):
    """Mean cross-entropy over labelled pixels (ignore 255), weighted by class if asked; 0 where no pixel is labelled.

    weights: (K,) or None; pooled: the mean is over the pixels of all ranks, not of this one; label_smoothing: torch's,
    the share of the target that is spread over all K classes (Szegedy et al. 2016).
    forward: logits (B, K, H, W), mask (B, H, W) int64 -> 0-d.
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, *, pooled: bool = False, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.pooled, self.label_smoothing = pooled, label_smoothing
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Σ w_y CE / Σ w_y."""
        return self.mean(logits, mask, mask != IGNORE)

    def mean(self, logits: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
        """The mean over the pixels `keep` (B, H, W) bool."""
        target = mask.where(keep, IGNORE)
        # a GPU's kernel that sums does so in any order, which torch refuses where bits are to repeat
        strict = logits.is_cuda and torch.are_deterministic_algorithms_enabled()
        total = F.cross_entropy(
            to_float32(logits),
            target,
            self.weights,
            ignore_index=IGNORE,
            reduction="none" if strict else "sum",
            label_smoothing=self.label_smoothing,
        ).sum()
        if self.weights is None:
            return total / denominator(keep.sum(), self.pooled)
        share = (self.weights[mask.where(keep, 0)] * keep).sum()
        return total / denominator(share, self.pooled, least=torch.finfo(torch.float32).tiny)


class OhemCrossEntropy(CrossEntropy):
    """Cross-entropy over the hard pixels alone (Shrivastava et al. 2016), counted over the whole batch of the rank.

    A labelled pixel is hard where the probability of its class is at most τ = max(thresh, the min_kept-th smallest
    such probability). With fewer than `min_kept` labelled pixels, or with min_kept 0, every labelled pixel counts.
    """

    def __init__(
        self,
        thresh: float = 0.7,
        min_kept: int = 200_000,
        weights: Tensor | None = None,
        *,
        pooled: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weights, pooled=pooled, label_smoothing=label_smoothing)
        self.thresh = thresh
        self.min_kept = min_kept

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Mean over the hard pixels, 0-d."""
        valid = mask != IGNORE
        if self.min_kept == 0:
            return self.mean(logits, mask, valid)
        return self.mean(logits, mask, valid & self._hard(to_float32(logits.detach()), mask.where(valid, 0), valid))

    def _hard(self, logits: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        probability = logits.softmax(dim=1).gather(1, label[:, None])[:, 0].where(valid, 1.0)
        kth = probability.flatten().kthvalue(min(probability.numel(), self.min_kept)).values
        few = valid.sum() < self.min_kept
        return (probability <= kth.clamp(min=self.thresh)) | few


def build_criterion(
    name: str,
    num_classes: int,
    class_weights: Literal["auto"] | Sequence[float] | None,
    *,
    ohem_thresh: float,
    ohem_min_kept: int,
    pooled: bool,
    label_smoothing: float = 0.0,
) -> CrossEntropy:
    """`ce` or `ohem`.

    pooled: means over the pixels of all ranks (which pixels are hard, each rank decides for itself).

    Raises:
        UsageError: unknown name, weights that do not fit the classes, or a smoothing that is no share below 1.
    """
    weights = None
    if not 0 <= label_smoothing < 1:
        raise UsageError(f"method.label_smoothing: {label_smoothing} must be at least 0 and below 1, like 0.1")
    if class_weights == "auto":
        raise UsageError(
            "method.class_weights: auto is measured on the labelled masks by `semiovs train`; here, give one number a "
            "class (semiovs.methods.criterion.balance_classes makes them of pixel counts)"
        )
    if class_weights is not None:
        weights = per_class("class_weights", class_weights, num_classes)
        if bool((weights < 0).any()) or not bool(weights.any()):
            raise UsageError("method.class_weights: weights must not be negative, nor all be 0")
    if name == "ce":
        return CrossEntropy(weights, pooled=pooled, label_smoothing=label_smoothing)
    if name == "ohem":
        return OhemCrossEntropy(ohem_thresh, ohem_min_kept, weights, pooled=pooled, label_smoothing=label_smoothing)
    raise UsageError(f"method.loss: '{name}' is not known{did_you_mean(name, ('ce', 'ohem'))}")


def per_class(option: str, values: Sequence[float], num_classes: int) -> Tensor:
    """(K,) float tensor from one number a class.

    Raises:
        UsageError: their number is not the number of classes.
    """
    if len(values) != num_classes:
        raise UsageError(f"method.{option}: {len(values)} numbers for {num_classes} classes; give one a class")
    return torch.tensor([float(v) for v in values])


def balance_classes(pixels: Sequence[int]) -> list[float]:
    """Weights of K classes by the effective number of their samples, (1 - β) / (1 - β^n) (Cui et al. 2019), mean 1.

    pixels: n, labelled pixels of each class. Pixels, because the loss is a mean over pixels: a class that is in every
    image and small in each is rare. β = (N - 1) / N with N the pixels of the median class, so that weights depend on
    shares alone, not on resolution or number of images: further pixels of a commoner class repeat those that it has,
    and it is hardly weighted down, while a rarer one weighs by the inverse of its share. (By the mean, which a large
    background moves, most classes would be rare.) A class without pixels, to which no weight ever applies, gets 1 and
    does not count in the mean.
    """
    there = [n for n in pixels if n > 0]
    volume = max(statistics.median(there or [1]), 1 + 1e-9)
    raw = [1 / -math.expm1(n * math.log1p(-1 / volume)) if n > 0 else 0.0 for n in pixels]
    mean = sum(raw) / max(len(there), 1)
    return [float(f"{weight / mean:.4g}") if weight else 1.0 for weight in raw]
