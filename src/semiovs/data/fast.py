"""The `fast` pipeline: the same draws as `reference`, applied with OpenCV and lookup tables on uint8.

Labels are equal to those of `reference`. Images differ by rounding: per operation, in levels of 0..255, brightness 0,
gray 0, contrast 0 to 1, saturation below 0.01 in the mean, resize 0.15, hue 0.2, blur 0.2 to 0.8 (bounds in
tests/unit/data/test_fast.py). Releases of OpenCV may round differently: batches are equal bit for bit only with the
same one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from semiovs.data.transforms import Geometry, Jitter, Pixels, StrongLook
from semiovs.images.lazy_image import LazyImage

#: Number of box filters by which PIL approximates a Gaussian.
_BOXES = 3
#: Outer taps of a kernel below this are dropped: they change no pixel by one level.
_SMALLEST_TAP = 1e-3
#: Added before `addWeighted` rounds, so that it truncates as PIL does; a little above -1/2 to keep whole numbers.
_CUT_OFF = -0.499
_LEVELS = np.arange(256, dtype=np.float32)
#: A JPEG file is decoded on a scale that is at least this much finer than what the crop needs, so that the filter that
#: resizes the rest decides over the pixels.
_KEPT_FINER = 2
#: Share of the resized image from which it is resized whole by torch, whose result is PIL's, in a third of its time.
_LEAST_SHOWN = 0.3


def crop(image: Image.Image | LazyImage, geometry: Geometry) -> Pixels:
    """RGB image -> RGB crop (crop, crop, 3); padding is black. Of what the crop does not show as little as possible is
    decoded and resized.
    """
    enlarged = geometry.plain or (geometry.size[0] >= image.width and geometry.size[1] >= image.height)
    window = _enlarge(image, geometry) if enlarged else _shrink(image, geometry)
    width, height = geometry.visible
    side = geometry.crop
    if (width, height) == (side, side):
        return window
    out = np.zeros((side, side, 3), np.uint8)
    out[:height, side - width if geometry.flip else 0 :][:, :width] = window
    return out


def crop_labels(labels: Pixels, geometry: Geometry, fill: int) -> Pixels:
    """(H, W) uint8 -> (crop, crop), nearest neighbour; padding is `fill`."""
    width, height = geometry.visible
    nearest = _floored_indices if geometry.plain else _nearest_indices
    rows = nearest(labels.shape[0], geometry.size[1], geometry.y, height)
    columns = nearest(labels.shape[1], geometry.size[0], geometry.x, width)
    columns = columns[::-1] if geometry.flip else columns
    first = int(rows[0])
    window = labels[first : int(rows[-1]) + 1].take(columns, axis=1)
    window = window.take(rows - first, axis=0)
    side = geometry.crop
    if (width, height) == (side, side):
        return window
    out = np.full((side, side), fill, np.uint8)
    out[:height, side - width if geometry.flip else 0 :][:, :width] = window
    return out


def make_strong(crop: Pixels, look: StrongLook) -> Pixels:
    """Strong view of an RGB crop."""
    out = crop
    for name, amount in look.jitter:
        out = _JITTER[name](out, amount, None if out is crop else out)
    if look.gray:
        out = _to_gray(out, None if out is crop else out)
    return out if look.radius is None else blur(out, look.radius)


def to_tensor(crop: Pixels) -> Tensor:
    """RGB crop -> (3, H, W) uint8."""
    planes = np.empty((3, *crop.shape[:2]), np.uint8)
    cv2.split(crop, list(planes))
    return torch.from_numpy(planes)


def blur(pixels: Pixels, radius: float) -> Pixels:
    """Gaussian blur like PIL's, whose box filters are folded into one kernel (a sampled Gaussian differs below radius
    0.5).
    """
    taps = gaussian_kernel(radius)
    return _as_uint8(cv2.sepFilter2D(pixels, -1, taps, taps, borderType=cv2.BORDER_REPLICATE))


def _enlarge(image: Image.Image | LazyImage, geometry: Geometry) -> Pixels:
    """Resize the window bilinearly without antialiasing, as OpenCV does, and PIL where nothing shrinks."""
    (left, right), (from_x, step_x) = _find_samples(image.width, geometry.size[0], geometry.x, geometry.visible[0])
    (top, bottom), (from_y, step_y) = _find_samples(image.height, geometry.size[1], geometry.y, geometry.visible[1])
    if isinstance(image, LazyImage):
        pixels = image.decode(1)[0][top:bottom, left:right]
    else:
        pixels = np.asarray(image.crop((left, top, right, bottom)))
    if geometry.flip:
        from_x, step_x = from_x + (geometry.visible[0] - 1) * step_x, -step_x
    matrix = np.array([[step_x, 0, from_x], [0, step_y, from_y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    four = cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA)  # OpenCV warps four channels in less than half the time of three
    out = cv2.warpAffine(four, matrix, geometry.visible, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return _as_uint8(cv2.cvtColor(out, cv2.COLOR_RGBA2RGB))


def _find_samples(length: int, resized: int, start: int, count: int) -> tuple[tuple[int, int], tuple[float, float]]:
    """Where a window samples one axis: pixels [first, end) that it reads; position of its first sample in them, and the
    step.
    """
    step = length / resized
    position = (start + 0.5) * step - 0.5
    first = max(math.floor(position), 0)
    end = min(math.floor(position + (count - 1) * step) + 2, length)
    return (first, end), (position - first, step)


def _shrink(image: Image.Image | LazyImage, geometry: Geometry) -> Pixels:
    """Resize the image, or the window where that is much less, with PIL's antialiasing filter."""
    if isinstance(image, LazyImage):
        smaller = min(image.width / geometry.size[0], image.height / geometry.size[1])
        pixels, divisor = image.decode(smaller / _KEPT_FINER)
    else:
        pixels, divisor = np.asarray(image), 1
    (width, height), size = geometry.visible, geometry.size
    if divisor == 1 and _LEAST_SHOWN * size[0] * size[1] <= width * height:
        writable = pixels if pixels.flags.writeable else pixels.copy()  # torch warns of others
        planes = torch.from_numpy(writable).permute(2, 0, 1)[None]
        resized = interpolate(planes, (size[1], size[0]), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
        window = resized[geometry.y : geometry.y + height, geometry.x : geometry.x + width]
    else:
        window = _shrink_window(pixels, (image.width / divisor, image.height / divisor), geometry)
    return _as_uint8(cv2.flip(window, 1)) if geometry.flip else window


def _shrink_window(pixels: Pixels, sides: tuple[float, float], geometry: Geometry) -> Pixels:
    """Resize the window by PIL. sides: (width, height) of the image in `pixels`, which may end within the last one."""
    columns, (left, right) = _find_covered(sides[0], geometry.size[0], geometry.x, geometry.visible[0])
    rows, (top, bottom) = _find_covered(sides[1], geometry.size[1], geometry.y, geometry.visible[1])
    part = Image.fromarray(pixels[rows, columns])
    return np.asarray(part.resize(geometry.visible, Image.Resampling.BILINEAR, box=(left, top, right, bottom)))


def _find_covered(length: float, resized: int, start: int, count: int) -> tuple[slice, tuple[float, float]]:
    """Where a window lies on one axis of the image: pixels that the filter reads, and the window's ends in them."""
    step = length / resized
    low, high = start * step, min((start + count) * step, length)
    first = max(math.floor(low - step) - 1, 0)  # the filter reaches one step beyond the window
    return slice(first, math.ceil(high + step) + 1), (low - first, high - first)


def _nearest_indices(length: int, resized: int, start: int, count: int) -> NDArray[np.intp]:
    """Indices that PIL's nearest neighbour reads; PIL adds up the step, and the closed formula would differ in some
    pixels.
    """
    steps = np.full(start + count, length / resized)
    steps[0] *= 0.5
    return np.add.accumulate(steps)[start:].astype(np.intp)


def _floored_indices(length: int, resized: int, start: int, count: int) -> NDArray[np.intp]:
    """Indices that OpenCV's nearest neighbour reads."""
    found: NDArray[np.intp] = np.floor(np.arange(start, start + count) * (length / resized)).astype(np.intp)
    return found.clip(max=length - 1)


def _adjust_brightness(pixels: Pixels, factor: float, out: Pixels | None) -> Pixels:
    return _blend(pixels, 0, factor, out)


def _adjust_contrast(pixels: Pixels, factor: float, out: Pixels | None) -> Pixels:
    mean = cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0]
    return _blend(pixels, int(mean + 0.5), factor, out)


def _adjust_saturation(pixels: Pixels, factor: float, out: Pixels | None) -> Pixels:
    return _as_uint8(cv2.addWeighted(pixels, factor, _to_gray(pixels, None), 1 - factor, _CUT_OFF, out))


def _adjust_hue(pixels: Pixels, shift: float, out: Pixels | None) -> Pixels:
    colors = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(colors, 0), _make_hue_table(int(shift * 255))), colors, 0)
    return _as_uint8(cv2.cvtColor(colors, cv2.COLOR_HSV2RGB_FULL, out))


@lru_cache(maxsize=256)
def _make_hue_table(steps: int) -> Pixels:
    """PIL counts hue in 255 steps that wrap at 256, OpenCV in 256 steps: a table goes from one to the other and
    back.
    """
    hue = (np.arange(256) * 255 // 256 + steps) % 256
    return (np.rint(hue * 256 / 255) % 256).astype(np.uint8)


def _to_gray(pixels: Pixels, out: Pixels | None) -> Pixels:
    return _as_uint8(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB, out))


def _blend(pixels: Pixels, base: int, factor: float, out: Pixels | None) -> Pixels:
    """PIL's blend of `base` and the image, in its float32 arithmetic."""
    values = np.float32(base) + np.float32(factor) * (_LEVELS - np.float32(base))
    return _as_uint8(cv2.LUT(pixels, np.clip(values, 0, 255).astype(np.uint8), out))


@lru_cache(maxsize=256)
def gaussian_kernel(radius: float) -> NDArray[np.float32]:
    """Kernel of PIL's Gaussian blur: three boxes with soft edges (Gwosdek et al. 2011), folded into one.

    Exactly symmetric with a sum of exactly one, or OpenCV leaves its integer arithmetic and takes three times as long.
    """
    variance = radius**2 / _BOXES
    whole = math.floor((math.sqrt(12 * variance + 1) - 1) / 2)
    edge = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance) / (6 * (variance - (whole + 1) ** 2))
    box = np.array([edge, *[1.0] * (2 * whole + 1), edge]) / (2 * whole + 1 + 2 * edge)
    taps = box
    for _ in range(_BOXES - 1):
        taps = np.convolve(taps, box)
    while taps[0] < _SMALLEST_TAP and len(taps) > 1:
        taps = taps[1:-1]
    kernel: NDArray[np.float32] = ((taps + taps[::-1]) / (2 * taps.sum())).astype(np.float32)
    kernel[len(kernel) // 2] += 1 - kernel.sum(dtype=np.float64)
    return kernel


def _as_uint8(pixels: object) -> Pixels:
    """Tell the type checker that OpenCV returned uint8, as it was given uint8."""
    assert isinstance(pixels, np.ndarray)
    return pixels


#: Operation (crop, amount, array for the result, which may be the crop: None makes one) -> result.
_JITTER: dict[Jitter, Callable[[Pixels, float, Pixels | None], Pixels]] = {
    "brightness": _adjust_brightness,
    "contrast": _adjust_contrast,
    "saturation": _adjust_saturation,
    "hue": _adjust_hue,
}
