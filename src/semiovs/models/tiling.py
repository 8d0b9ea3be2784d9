"""How an image of any size goes through a network: whole, in sliding windows, as its centre, or resized."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.errors import UsageError, did_you_mean

Mode = Literal["whole", "sliding", "center_crop", "resize"]
Edge = Literal["shift", "truncate"]
MODES = ("whole", "sliding", "center_crop", "resize")


def predict_logits(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    mode: Mode | str = "whole",
    window: int | None = None,
    stride: int | None = None,
    multiple: int = 32,
    size: tuple[int, int] | None = None,
    edge: Edge = "shift",
) -> Tensor:
    """(B, 3, H, W), normalised -> logits (B, K, H, W), or (B, K, h, w) of the `covered` region for `center_crop`.

    whole: the image as it is. sliding: square windows every `stride` pixels (two thirds of the window by default), softmax
    averaged; the result is its logarithm. `edge`: windows at the border are shifted inwards and stay full size (smaller
    images are padded), or truncated as UniMatch does. center_crop: the middle `window`. resize: sides become the nearest
    `multiple` (half up), or `size` (height, width); the logits are resized back.

    Raises:
        UsageError: unknown mode, a window that is needed and not given, numbers that cannot be.
    """
    if mode not in MODES:
        raise UsageError(f"eval.mode '{mode}' is not known{did_you_mean(str(mode), MODES)}")
    if mode == "sliding":
        averaged = _sliding(model, image, _need(window, mode), stride, edge)
        return averaged.clamp_min(torch.finfo(averaged.dtype).tiny).log()
    if mode == "center_crop":
        rows, columns = covered(_size(image), mode=mode, window=window)
        return model(image[..., rows, columns])
    if mode == "resize":
        inner = size or tuple(nearest_multiple(side, multiple) for side in _size(image))
        return _bilinear(model(_bilinear(image, inner)), _size(image))
    return model(image)


def predict_probabilities(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    mode: Mode | str = "whole",
    window: int | None = None,
    stride: int | None = None,
    multiple: int = 32,
    size: tuple[int, int] | None = None,
    edge: Edge = "shift",
) -> Tensor:
    """As `predict_logits`, but class probabilities in float32."""
    logits = predict_logits(
        model, image, mode=mode, window=window, stride=stride, multiple=multiple, size=size, edge=edge
    )
    return logits.float().softmax(dim=1)


def covered(size: tuple[int, int], *, mode: Mode | str = "whole", window: int | None = None) -> tuple[slice, slice]:
    """Rows and columns of an image of `size` (height, width) that a prediction covers: all, but the middle for `center_crop`."""
    if mode != "center_crop":
        return slice(0, size[0]), slice(0, size[1])
    side = _need(window, mode)
    starts = [max(0, (length - side) // 2) for length in size]
    return slice(starts[0], min(starts[0] + side, size[0])), slice(starts[1], min(starts[1] + side, size[1]))


def nearest_multiple(length: int, multiple: int) -> int:
    """The multiple nearest to `length`, halves upwards, and at least one."""
    if multiple < 1:
        raise UsageError(f"eval.multiple {multiple}: must be at least 1")
    return max(1, int(length / multiple + 0.5)) * multiple


def _sliding(model: Callable[[Tensor], Tensor], image: Tensor, window: int, stride: int | None, edge: Edge) -> Tensor:
    """Mean over the windows of the softmax (B, K, H, W), float32."""
    step = max(1, int(window * 2 / 3)) if stride is None else stride
    if not 1 <= step <= window:
        raise UsageError(f"eval.stride {step}: must be between 1 and the window, {window}")
    height, width = _size(image)
    if edge == "shift":
        image = F.pad(image, (0, max(0, window - width), 0, max(0, window - height)))
    total: Tensor | None = None
    count = image.new_zeros(_size(image), dtype=torch.float32)
    for rows in _spans(image.shape[-2], window, step, edge):
        for columns in _spans(image.shape[-1], window, step, edge):
            scores = model(image[..., rows, columns]).float().softmax(dim=1)
            if total is None:
                total = scores.new_zeros(*scores.shape[:2], *_size(image))
            total[..., rows, columns] += scores
            count[rows, columns] += 1
    assert total is not None  # an image has at least one window
    return (total / count)[..., :height, :width]


def _spans(length: int, window: int, stride: int, edge: Edge) -> Iterator[slice]:
    if edge == "truncate":
        for start in range(0, length, stride):
            yield slice(start, min(start + window, length))
        return
    last = length - window
    for start in range(0, last, stride):
        yield slice(start, start + window)
    yield slice(last, length)


def _need(window: int | None, mode: str) -> int:
    if window is None or window < 1:
        raise UsageError(f"eval.mode '{mode}' needs eval.window, the side of its squares in pixels")
    return window


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _bilinear(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
