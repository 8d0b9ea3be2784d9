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

from semiovs.data.transforms import Geometry, Jitter, Pixels, StrongLook

#: Number of box filters by which PIL approximates a Gaussian.
_BOXES = 3
#: Outer taps of a kernel below this are dropped: they change no pixel by one level.
_SMALLEST_TAP = 1e-3
#: Added before `addWeighted` rounds, so that it truncates as PIL does; a little above -1/2 to keep whole numbers.
_CUT_OFF = -0.499


def crop(image: Image.Image, geometry: Geometry) -> Pixels:
    """RGB image -> RGB crop (crop, crop, 3); padding is black. Only the part of the image that the crop shows is
    resized.
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
    window = labels[rows][:, columns[::-1] if geometry.flip else columns]
    side = geometry.crop
    if (width, height) == (side, side):
        return np.ascontiguousarray(window)
    out = np.full((side, side), fill, np.uint8)
    out[:height, side - width if geometry.flip else 0 :][:, :width] = window
    return out


def make_strong(crop: Pixels, look: StrongLook) -> Pixels:
    """Strong view of an RGB crop."""
    for name, amount in look.jitter:
        crop = _JITTER[name](crop, amount)
    if look.gray:
        crop = _to_gray(crop)
    return crop if look.radius is None else blur(crop, look.radius)


def to_tensor(crop: Pixels) -> Tensor:
    """RGB crop -> (3, H, W) uint8."""
    return torch.from_numpy(np.stack(cv2.split(crop)))


def blur(pixels: Pixels, radius: float) -> Pixels:
    """Gaussian blur like PIL's, whose box filters are folded into one kernel (a sampled Gaussian differs below radius
    0.5).
    """
    taps = gaussian_kernel(radius)
    return _as_uint8(cv2.sepFilter2D(pixels, -1, taps, taps, borderType=cv2.BORDER_REPLICATE))


def _enlarge(image: Image.Image, geometry: Geometry) -> Pixels:
    """Resize the window bilinearly without antialiasing, as OpenCV does, and PIL where nothing shrinks."""
    (left, right), (from_x, step_x) = _find_samples(image.width, geometry.size[0], geometry.x, geometry.visible[0])
    (top, bottom), (from_y, step_y) = _find_samples(image.height, geometry.size[1], geometry.y, geometry.visible[1])
    pixels = np.asarray(image.crop((left, top, right, bottom)))
    if geometry.flip:
        from_x, step_x = from_x + (geometry.visible[0] - 1) * step_x, -step_x
    matrix = np.array([[step_x, 0, from_x], [0, step_y, from_y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return _as_uint8(cv2.warpAffine(pixels, matrix, geometry.visible, flags=flags, borderMode=cv2.BORDER_REPLICATE))


def _find_samples(length: int, resized: int, start: int, count: int) -> tuple[tuple[int, int], tuple[float, float]]:
    """Where a window samples one axis: pixels [first, end) that it reads; position of its first sample in them, and the
    step.
    """
    step = length / resized
    position = (start + 0.5) * step - 0.5
    first = max(math.floor(position), 0)
    end = min(math.floor(position + (count - 1) * step) + 2, length)
    return (first, end), (position - first, step)


def _shrink(image: Image.Image, geometry: Geometry) -> Pixels:
    """Resize the window with PIL's antialiasing filter."""
    width, height = geometry.visible
    x, y = image.width / geometry.size[0], image.height / geometry.size[1]
    right = min((geometry.x + width) * x, image.width)
    bottom = min((geometry.y + height) * y, image.height)
    out = image.resize((width, height), Image.Resampling.BILINEAR, box=(geometry.x * x, geometry.y * y, right, bottom))
    return np.asarray(out.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if geometry.flip else out)


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


def _adjust_brightness(pixels: Pixels, factor: float) -> Pixels:
    return _blend(pixels, 0, factor)


def _adjust_contrast(pixels: Pixels, factor: float) -> Pixels:
    mean = cv2.mean(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))[0]
    return _blend(pixels, int(mean + 0.5), factor)


def _adjust_saturation(pixels: Pixels, factor: float) -> Pixels:
    return _as_uint8(cv2.addWeighted(pixels, factor, _to_gray(pixels), 1 - factor, _CUT_OFF))


def _adjust_hue(pixels: Pixels, shift: float) -> Pixels:
    """PIL counts hue in 255 steps that wrap at 256, OpenCV in 256 steps: a table goes from one to the other and
    back.
    """
    hue = (np.arange(256) * 255 // 256 + int(shift * 255)) % 256
    table = (np.rint(hue * 256 / 255) % 256).astype(np.uint8)
    colors = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV_FULL)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(colors, 0), table), colors, 0)
    return _as_uint8(cv2.cvtColor(colors, cv2.COLOR_HSV2RGB_FULL))


def _to_gray(pixels: Pixels) -> Pixels:
    return _as_uint8(cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def _blend(pixels: Pixels, base: int, factor: float) -> Pixels:
    """PIL's blend of `base` and the image, in its float32 arithmetic."""
    values = np.float32(base) + np.float32(factor) * (np.arange(256, dtype=np.float32) - np.float32(base))
    return _as_uint8(cv2.LUT(pixels, np.clip(values, 0, 255).astype(np.uint8)))


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


_JITTER: dict[Jitter, Callable[[Pixels, float], Pixels]] = {
    "brightness": _adjust_brightness,
    "contrast": _adjust_contrast,
    "saturation": _adjust_saturation,
    "hue": _adjust_hue,
}
