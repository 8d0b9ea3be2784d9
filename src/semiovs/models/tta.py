"""Test-time augmentation: the mean prediction over an image at several sizes and mirrored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def mean_over_views(
    scores: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Mean (B, K, *size) of `scores` over the image at each of `scales`; with `flip` also mirrored.

    scores: (B, 3, H, W) of any size -> (B, K, h, w) of any size, over the whole image; numbers that may be averaged,
    such as probabilities. size: null takes that of the answer at the scale nearest to 1. One view is held at a time.
    """
    total: Tensor | None = None
    for scale in sorted(scales, key=lambda scale: abs(scale - 1)):
        view = _scale(image, scale)
        for mirrored in (False, True) if flip else (False,):
            found = scores(view.flip(-1)).flip(-1) if mirrored else scores(view)
            size = size or (found.shape[-2], found.shape[-1])
            found = found if found.shape[-2:] == size else _bilinear(found, size)
            total = found if total is None else total + found
    assert total is not None  # there is at least one scale
    return total / (len(scales) * (2 if flip else 1))


def is_single(scales: Sequence[float], *, flip: bool) -> bool:
    """Whether there is a single view, the image itself."""
    return not flip and tuple(scales) == (1.0,)


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Image (B, 3, H, W) at another size, smoothed where it gets smaller; uint8 stays uint8."""
    if image.shape[-2:] == size:
        return image
    if image.dtype == torch.uint8:
        return _bilinear(image.float(), size, antialias=True).round().clamp(0, 255).to(torch.uint8)
    return _bilinear(image, size, antialias=True)


def _scale(image: Tensor, scale: float) -> Tensor:
    height, width = image.shape[-2:]
    return resize_image(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def _bilinear(x: Tensor, size: tuple[int, int], *, antialias: bool = False) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=antialias)
