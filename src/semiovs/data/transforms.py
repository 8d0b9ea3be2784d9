"""Random draws of the augmentation of one item (UniMatch), which every pipeline then applies to pixels.

`Geometry` (resize, crop, flip) is drawn once per item and applied to image, mask and confidence alike; a `StrongLook`
(colours, blur) is drawn for each strong view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semiovs.data.draws import ItemDraws

Pixels = NDArray[np.uint8]
#: x0, y0, x1, y1, half-open; an empty box is all zeros.
Box = tuple[int, int, int, int]

#: A crop in the form that a pipeline works on.
Crop = TypeVar("Crop")

#: A picture in the form that a pipeline reads (`Picture`).
Given = TypeVar("Given", contravariant=True)

Jitter = Literal["brightness", "contrast", "saturation", "hue"]
#: What strong views change (`data.look`).
LookKind = Literal["color", "tone", "blur", "none"]

_RANGES: dict[Jitter, tuple[float, float]] = {
    "brightness": (0.5, 1.5),
    "contrast": (0.5, 1.5),
    "saturation": (0.5, 1.5),
    "hue": (-0.25, 0.25),
}
_TONE: tuple[Jitter, ...] = ("brightness", "contrast")
#: Of each band, where there is no hue to turn.
_GAIN = (0.75, 1.25)


@dataclass(frozen=True)
class Geometry:
    """Resize to `size` (width, height), take the crop of side `crop` at (x, y), flip; right and bottom are padded.

    plain: shrink as OpenCV does, without antialiasing, as published with `fit`.
    """

    size: tuple[int, int]
    crop: int
    x: int
    y: int
    flip: bool
    plain: bool = False

    @classmethod
    def draw(
        cls,
        size: tuple[int, int],
        crop: int,
        scale: tuple[float, float],
        draws: ItemDraws,
        *,
        fit: tuple[int, int] | None = None,
    ) -> Self:
        """Draw the geometry of an image of `size` (width, height): long side times `scale`, position, flip.

        fit: the image is made to fit these sides (long, short) times `scale` instead.
        """
        resized = draw_size(size, scale, draws) if fit is None else fit_size(size, fit, draws.uniform(*scale))
        x = draws.integer(0, max(resized[0], crop) - crop)
        y = draws.integer(0, max(resized[1], crop) - crop)
        return cls(resized, crop, x, y, flip=draws.chance() < 0.5, plain=fit is not None)

    @property
    def visible(self) -> tuple[int, int]:
        """(width, height) of the part of the crop that shows the image; the rest is padding."""
        return min(self.size[0] - self.x, self.crop), min(self.size[1] - self.y, self.crop)

    def valid(self) -> NDArray[np.bool_]:
        """(crop, crop) bool, False on padding; it follows from the sizes alone."""
        width, height = self.visible
        out = np.zeros((self.crop, self.crop), np.bool_)
        out[:height, self.crop - width if self.flip else 0 :][:, :width] = True
        return out


@dataclass(frozen=True)
class StrongLook:
    """Colours and sharpness of a strong view: jitter (in this order), then gray, then a blur of this radius, in pixels.

    gains: factors of the bands, one each, of pictures that are not RGB.
    """

    jitter: tuple[tuple[Jitter, float], ...] = ()
    gray: bool = False
    radius: float | None = None
    gains: tuple[float, ...] = ()

    @classmethod
    def draw(cls, draws: ItemDraws, kind: LookKind = "color", bands: int | None = None) -> Self:
        """Draw a look of `kind`; ``color`` has jitter in 80 %, gray in 20 % and blur in half of the cases.

        kind: ``color``; ``tone``, brightness, contrast and blur; ``blur``; ``none``. bands: number of bands of images
        that are not RGB: ``color`` is then ``tone`` and a gain of each band (±25 %).
        """
        if kind == "none":
            return cls()
        if kind == "blur":
            return cls(radius=draw_radius(draws))
        if kind == "color" and bands is None:
            jitter = draw_jitter(draws) if draws.chance() < 0.8 else ()
            gray = draws.torch_uniform() < 0.2
            return cls(jitter, gray, draw_radius(draws))
        tone = draw_jitter(draws, _TONE) if draws.chance() < 0.8 else ()
        gains = tuple(draws.torch_uniform(*_GAIN) for _ in range(bands or 0)) if kind == "color" else ()
        return cls(tone, False, draw_radius(draws), gains)


class Pipeline(Protocol[Given, Crop]):
    """Applies draws to pixels; implemented by the modules `reference` and `fast` (RGB) and `bands`."""

    def crop(self, image: Given, geometry: Geometry) -> Crop:
        """Image -> crop; padding is black."""

    def crop_labels(self, labels: Pixels, geometry: Geometry, fill: int) -> Pixels:
        """(H, W) uint8 -> (crop, crop), nearest neighbour; padding is `fill`."""

    def make_strong(self, crop: Crop, look: StrongLook) -> Crop:
        """Strong view of a crop."""

    def to_tensor(self, crop: Crop) -> Tensor:
        """RGB crop -> (3, H, W) uint8; of bands (C, H, W) uint16."""


def draw_size(size: tuple[int, int], scale: tuple[float, float], draws: ItemDraws) -> tuple[int, int]:
    """New (width, height) of an image of `size`: the long side drawn from its range, the short side in proportion."""
    width, height = size
    longest = max(size)
    long_side = max(1, draws.integer(int(longest * scale[0]), int(longest * scale[1])))
    short_side = max(1, int(min(size) * long_side / longest + 0.5))
    return (short_side, long_side) if height > width else (long_side, short_side)


def fit_size(size: tuple[int, int], fit: tuple[int, int], factor: float) -> tuple[int, int]:
    """(width, height) of an image of `size` whose long and short side just fit `fit` times `factor` (SemiVL spec,
    section 9).
    """
    longest, shortest = (int(side * factor) for side in fit)
    ratio = min(longest / max(size), shortest / min(size))
    width, height = (max(1, int(side * ratio + 0.5)) for side in size)
    return width, height


def draw_jitter(draws: ItemDraws, names: Sequence[Jitter] = tuple(_RANGES)) -> tuple[tuple[Jitter, float], ...]:
    """Brightness, contrast, saturation (each ±50 %) and hue (±0.25) in random order; the order is drawn first."""
    order = draws.permutation(len(names))
    amounts = [draws.torch_uniform(*_RANGES[name]) for name in names]
    return tuple((names[index], amounts[index]) for index in order)


def draw_radius(draws: ItemDraws) -> float | None:
    """Radius of the Gaussian blur, 0.1 to 2, in half of the cases."""
    return draws.uniform(0.1, 2.0) if draws.chance() < 0.5 else None


def draw_cutmix_box(side: int, draws: ItemDraws) -> Box:
    """Box of 2 to 40 % of a square of `side`, aspect 0.3 to 1 / 0.3; empty in half of the cases."""
    if draws.chance() > 0.5:
        return (0, 0, 0, 0)
    area = draws.uniform(0.02, 0.4) * side * side
    while True:
        ratio = draws.uniform(0.3, 1 / 0.3)
        width, height = int(math.sqrt(area / ratio)), int(math.sqrt(area * ratio))
        x, y = draws.below(side), draws.below(side)
        if x + width <= side and y + height <= side:
            return (x, y, x + width, y + height)


def draw_half_box(side: int, draws: ItemDraws) -> Box:
    """Box of half the area of a square of `side`, at least half as wide (DDFP spec, section 5)."""
    width = draws.integer(side // 2 + 1, side - 1)
    height = round(side * side / 2 / width)
    x, y = draws.integer(0, side - width), draws.integer(0, side - height)
    return (x, y, x + width, y + height)
