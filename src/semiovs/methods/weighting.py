"""How the confidence of pseudo-labels enters a loss: pixel by pixel, or as one number an image (PrevMatch).

Notation of the deeplab_methods spec, section 3: l cross-entropy of each pixel, v its validity, c its confidence. As
published, the two modes with a number an image also count invalid pixels, and `pixelavg` multiplies two sums over the
batch instead of summing products, which makes it about B times too large; `published` repeats that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from semiovs.errors import UsageError, did_you_mean
from semiovs.methods.maths import Target, Threshold, denominator

#: Target, logits (B, K, H, W), threshold -> loss, 0-d.
Loss = Callable[[Target, Tensor, Threshold], Tensor]

_PIXELS = (1, 2)


def pixelratio(target: Target, logits: Tensor, threshold: Threshold, *, published: bool = False) -> Tensor:
    """Σ_b r_b Σ v l / Σ v, with r_b the share of the valid pixels of image b that are kept, 0-d."""
    share = _mean(target.pixel_weights(threshold), target.valid)
    return (share * _sums(target, logits, published)).sum() / denominator(target.valid.sum(), threshold.pooled)


def pixelavg(target: Target, logits: Tensor, threshold: Threshold, *, published: bool = False) -> Tensor:
    """Σ_b a_b Σ v l / Σ v, 0-d, with a_b the mean confidence of image b's valid pixels; without the threshold."""
    share, sums = _mean(target.confidence * target.valid, target.valid), _sums(target, logits, published)
    total = sums.sum() * share.sum() if published else (share * sums).sum()
    return total / denominator(target.valid.sum(), threshold.pooled)


def build_weighting(name: str, *, published: bool) -> Loss:
    """`pixelwise` (`Target.loss`, the same in both forms), `pixelratio` or `pixelavg`.

    Raises:
        UsageError: unknown name.
    """
    modes: dict[str, Loss] = {
        "pixelwise": Target.loss,
        "pixelratio": partial(pixelratio, published=published),
        "pixelavg": partial(pixelavg, published=published),
    }
    if name not in modes:
        raise UsageError(f"method.prev_weighting: '{name}' is not known{did_you_mean(name, modes)}")
    return modes[name]


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    """(B, H, W), zero where not valid -> mean over the valid pixels of each image (B,)."""
    return values.sum(_PIXELS) / valid.sum(_PIXELS).clamp(min=1)


def _sums(target: Target, logits: Tensor, published: bool) -> Tensor:
    """Σ v l of each image (B,); as published, v is left out."""
    loss = target.cross_entropy(logits)
    return (loss if published else loss * target.valid).sum(_PIXELS)
