"""Prediction for images of any size: whole, in sliding windows, of the centre, or resized."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.errors import UsageError, did_you_mean
from semiovs.models.tta import is_single, mean_over_views

Mode = Literal["whole", "sliding", "center_crop", "resize"]
Edge = Literal["shift", "truncate"]
Average = Literal["probabilities", "logits"]
#: Rows of an image, and what was found for them (B, K, h, W).
Strip = tuple[slice, Tensor]
MODES = ("whole", "sliding", "center_crop", "resize")
AVERAGES = ("probabilities", "logits")
#: Options of `predict_logits` that a configuration sets (``eval.*``).
VIEWING = ("mode", "window", "stride", "average", "short_side", "multiple", "scales", "flip")


def predict_logits(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    mode: Mode | str = "whole",
    window: int | None = None,
    stride: int | None = None,
    average: Average | str = "probabilities",
    short_side: int | None = None,
    multiple: int = 32,
    size: tuple[int, int] | None = None,
    edge: Edge = "shift",
    scales: Sequence[float] = (1.0,),
    flip: bool = False,
) -> Tensor:
    """(B, 3, H, W), normalised -> logits (B, K, H, W), or (B, K, h, w) of the `covered` region for `center_crop`.

    whole: the image as it is. sliding: square windows every `stride` pixels (two thirds of the window by default),
    softmax averaged; the result is its logarithm. `edge`: windows at the border are shifted inwards and stay full size
    (smaller images are padded), or truncated as UniMatch does. center_crop: the middle `window`. resize: sides become
    the nearest `multiple` (half up), or `size` (height, width); the logits are resized back. average: `logits`, the
    mean of the windows' logits, and images smaller than a window are not padded (SemiVL). short_side: the image is
    resized to this short side first (bilinear, not antialiased), and its logits back (aligned corners). scales, flip:
    the image goes through in this way at each scale, and mirrored too; softmax averaged over these views, and the
    result is its logarithm.

    Raises:
        UsageError: unknown mode, a window that is needed and not given, numbers that cannot be.
    """
    for option, value, known in (("mode", mode, MODES), ("average", average, AVERAGES)):
        if value not in known:
            raise UsageError(f"eval.{option} '{value}' is not known{did_you_mean(str(value), known)}")
    once: dict[str, Any] = {"mode": mode, "window": window, "stride": stride, "average": average}
    once |= {"multiple": multiple, "size": size, "edge": edge}
    if short_side is not None:
        seen = predict_logits(model, _with_short_side(image, short_side), scales=scales, flip=flip, **once)
        return _bilinear(seen, _size(image))
    if not is_single(scales, flip=flip):
        if mode == "center_crop":
            raise UsageError("eval.mode 'center_crop' looks once: leave eval.scales and eval.flip away")
        view = partial(predict_probabilities, model, **once)
        return _log(mean_over_views(view, image, scales=scales, flip=flip, size=_size(image)))
    if mode == "sliding":
        return _join_strips(_sliding(model, image, window, stride, edge, average), image.shape[-2])
    if mode == "center_crop":
        rows, columns = covered(_size(image), mode=mode, window=window)
        return model(image[..., rows, columns])
    if mode == "resize":
        return _predict_resized(model, image, size or tuple(nearest_multiple(side, multiple) for side in _size(image)))
    return model(image)


def predict_strips(model: Callable[[Tensor], Tensor], image: Tensor, **through: Any) -> Iterator[Strip]:
    """As `predict_logits`, with its options, in strips of rows from top to bottom: (rows, (B, K, h, W)).

    With windows (and nothing around them: `scales`, `flip`, `short_side`), no more than a row of windows is held.
    """
    alone = through.get("short_side") is None and is_single(
        through.get("scales", (1,)), flip=through.get("flip", False)
    )
    if through.get("mode") == "sliding" and alone:
        stride, edge = through.get("stride"), through.get("edge", "shift")
        yield from _sliding(model, image, through.get("window"), stride, edge, through.get("average", "probabilities"))
        return
    found = predict_logits(model, image, **through)
    yield slice(0, found.shape[-2]), found


def predict_probabilities(model: Callable[[Tensor], Tensor], image: Tensor, **through: Any) -> Tensor:
    """As `predict_logits`, with its options, but class probabilities in float32."""
    return predict_logits(model, image, **through).float().softmax(dim=1)


def covered(size: tuple[int, int], *, mode: Mode | str = "whole", window: int | None = None) -> tuple[slice, slice]:
    """Rows and columns of an image of `size` (height, width) that a prediction covers: all, but the middle for
    `center_crop`.
    """
    if mode != "center_crop":
        return slice(0, size[0]), slice(0, size[1])
    side = _require_window(window, mode)
    starts = [max(0, (length - side) // 2) for length in size]
    return slice(starts[0], min(starts[0] + side, size[0])), slice(starts[1], min(starts[1] + side, size[1]))


def nearest_multiple(length: int, multiple: int) -> int:
    """The multiple nearest to `length`, halves upwards, and at least one."""
    if multiple < 1:
        raise UsageError(f"eval.multiple {multiple}: must be at least 1")
    return max(1, int(length / multiple + 0.5)) * multiple


def average_windows(
    scores: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    window: int,
    stride: int,
    edge: Edge = "shift",
    grain: int = 1,
) -> Tensor:
    """Mean (B, K, H / grain, W / grain) over square windows, of an image (B, 3, H, W).

    scores: a window (B, 3, h, w) -> (B, K, h / grain, w / grain). A side of the image that is shorter than the window
    is covered by windows of its own length. grain: pixels a cell of the answer; it divides the image's sides, `window`
    and `stride`.
    """
    strips = _average_strips(scores, image, window=window, stride=stride, edge=edge, grain=grain)
    return _join_strips(strips, image.shape[-2] // grain)


def _average_strips(
    scores: Callable[[Tensor], Tensor], image: Tensor, *, window: int, stride: int, edge: Edge, grain: int = 1
) -> Iterator[Strip]:
    """As `average_windows`, row by row of windows: what no later window covers is yielded, and only the rest kept."""
    spans = [*_spans(image.shape[-2], window, stride, edge)]
    width = image.shape[-1] // grain
    total: Tensor | None = None  # of the rows from the present windows' first one on
    count: Tensor | None = None
    for rows, following in zip(spans, [*spans[1:], slice(spans[-1].stop, None)], strict=True):
        kept, known = total, count
        total = None
        for columns in _spans(image.shape[-1], window, stride, edge):
            found = scores(image[..., rows, columns])
            if total is None or count is None:
                size = (_cells(rows, grain).stop - _cells(rows, grain).start, width)
                total, count = found.new_zeros(*found.shape[:2], *size), found.new_zeros(size)
                if kept is not None and known is not None:
                    total[..., : kept.shape[-2], :], count[: len(known)] = kept, known
            cells = _cells(columns, grain)
            total[..., cells] += found
            count[:, cells] += 1
        assert total is not None  # an image has at least one window
        assert count is not None
        done = _cells(slice(rows.start, following.start), grain)
        length = done.stop - done.start
        yield done, total[..., :length, :] / count[:length]
        total, count = total[..., length:, :], count[length:]


def _join_strips(strips: Iterator[Strip], height: int) -> Tensor:
    """Strips as one tensor of `height` rows."""
    whole: Tensor | None = None
    for rows, part in strips:
        if part.shape[-2] == height:
            return part
        if whole is None:
            whole = part.new_empty(*part.shape[:2], height, part.shape[-1])
        whole[..., rows, :] = part
    assert whole is not None  # an image has at least one strip
    return whole


def _sliding(
    model: Callable[[Tensor], Tensor],
    image: Tensor,
    side: int | None,
    stride: int | None,
    edge: Edge,
    average: Average | str,
) -> Iterator[Strip]:
    """Mean over the windows (B, K, H, W): of the logits, or the logarithm of that of the softmax in float32."""
    window = _require_window(side, "sliding")
    step = max(1, int(window * 2 / 3)) if stride is None else stride
    if not 1 <= step <= window:
        raise UsageError(f"eval.stride {step}: must be between 1 and the window, {window}")
    through: dict[str, Any] = {"window": window, "stride": step, "edge": edge}
    if average == "logits":
        yield from _average_strips(model, image, **through)
        return
    height, width = _size(image)
    if edge == "shift":
        image = F.pad(image, (0, max(0, window - width), 0, max(0, window - height)))
    for rows, part in _average_strips(lambda part: model(part).float().softmax(dim=1), image, **through):
        rows = slice(rows.start, min(rows.stop, height))
        yield rows, _log(part[..., : rows.stop - rows.start, :width])


def _predict_resized(model: Callable[[Tensor], Tensor], image: Tensor, size: tuple[int, ...]) -> Tensor:
    return _bilinear(model(_bilinear(image, size)), _size(image))


def _with_short_side(image: Tensor, side: int) -> Tensor:
    """The image with its short side at `side` pixels, bilinear without antialiasing, as OpenCV resizes."""
    factor = side / min(_size(image))
    size = tuple(int(length * factor + 0.5) for length in _size(image))
    return F.interpolate(image, size=size, mode="bilinear", align_corners=False)


def _spans(length: int, window: int, stride: int, edge: Edge) -> Iterator[slice]:
    if edge == "truncate":
        for start in range(0, length, stride):
            yield slice(start, min(start + window, length))
        return
    last = max(0, length - window)
    for start in range(0, last, stride):
        yield slice(start, start + window)
    yield slice(last, length)


def _cells(pixels: slice, grain: int) -> slice:
    return slice(pixels.start // grain, pixels.stop // grain)


def _log(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _require_window(window: int | None, mode: str) -> int:
    if window is None or window < 1:
        raise UsageError(f"eval.mode '{mode}' needs eval.window, the side of its squares in pixels")
    return window


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def _bilinear(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)
