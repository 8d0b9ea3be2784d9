"""The `reference` augmentation: PIL operations and order of draws as published (UniMatch; deeplab_methods spec 2.2, 2.3).

Geometry is drawn once per item and applied alike to image, mask and confidence; photometric changes make the strong views.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torchvision.transforms.functional as tv
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from semiovs.data.draws import Draws

Pixels = NDArray[np.uint8]
#: x0, y0, x1, y1, half-open; an empty box is all zeros.
Box = tuple[int, int, int, int]

_JITTER: tuple[tuple[Callable[[Image.Image, float], Image.Image], float, float], ...] = (
    (tv.adjust_brightness, 0.5, 1.5),
    (tv.adjust_contrast, 0.5, 1.5),
    (tv.adjust_saturation, 0.5, 1.5),
    (tv.adjust_hue, -0.25, 0.25),
)


@dataclass(frozen=True)
class Geometry:
    """Resize to `size` (width, height), take the crop of side `crop` at (x, y), flip; right and bottom are padded."""

    size: tuple[int, int]
    crop: int
    x: int
    y: int
    flip: bool

    @classmethod
    def draw(cls, size: tuple[int, int], crop: int, scale: tuple[float, float], draws: Draws) -> Self:
        """Draw the geometry of an image of `size` (width, height): long side times `scale`, position, flip."""
        resized = random_size(size, scale, draws)
        x = draws.integer(0, max(resized[0], crop) - crop)
        y = draws.integer(0, max(resized[1], crop) - crop)
        return cls(resized, crop, x, y, flip=draws.chance() < 0.5)

    def image(self, image: Image.Image) -> Image.Image:
        """RGB image -> RGB crop; padding is black."""
        resized = image.resize(self.size, Image.Resampling.BILINEAR)
        return self._flipped(resized.crop((self.x, self.y, self.x + self.crop, self.y + self.crop)))

    def labels(self, labels: Pixels, fill: int) -> Pixels:
        """(H, W) uint8 -> (crop, crop), nearest neighbour; padding is `fill`."""
        resized = np.asarray(Image.fromarray(labels).resize(self.size, Image.Resampling.NEAREST))
        window = resized[self.y : self.y + self.crop, self.x : self.x + self.crop]
        out = np.full((self.crop, self.crop), fill, np.uint8)
        out[: window.shape[0], : window.shape[1]] = window
        return np.ascontiguousarray(out[:, ::-1]) if self.flip else out

    def valid(self) -> NDArray[np.bool_]:
        """(crop, crop), False on padding. Needs no mask: the extent follows from the sizes."""
        out = np.zeros((self.crop, self.crop), np.bool_)
        out[: max(self.size[1] - self.y, 0), : max(self.size[0] - self.x, 0)] = True
        return np.ascontiguousarray(out[:, ::-1]) if self.flip else out

    def _flipped(self, image: Image.Image) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else image


def random_size(size: tuple[int, int], scale: tuple[float, float], draws: Draws) -> tuple[int, int]:
    """New (width, height) of an image of `size`: the long side drawn from its range, the short side in proportion."""
    width, height = size
    longest = max(size)
    long_side = max(1, draws.integer(int(longest * scale[0]), int(longest * scale[1])))
    short_side = max(1, int(min(size) * long_side / longest + 0.5))
    return (short_side, long_side) if height > width else (long_side, short_side)


def strong(image: Image.Image, draws: Draws) -> Image.Image:
    """Strong view of an RGB crop: colour jitter, gray, blur, with their published probabilities."""
    if draws.chance() < 0.8:
        image = color_jitter(image, draws)
    if draws.torch_uniform() < 0.2:
        image = tv.rgb_to_grayscale(image, num_output_channels=3)
    return random_blur(image, draws)


def color_jitter(image: Image.Image, draws: Draws) -> Image.Image:
    """Brightness, contrast, saturation (each ±50 %) and hue (±0.25) in random order; the order is drawn first."""
    order = draws.permutation(len(_JITTER))
    amounts = [draws.torch_uniform(low, high) for _, low, high in _JITTER]
    for index in order:
        image = _JITTER[index][0](image, amounts[index])
    return image


def random_blur(image: Image.Image, draws: Draws) -> Image.Image:
    """Gaussian blur of radius 0.1 to 2 in half of the cases."""
    if draws.chance() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(radius=draws.uniform(0.1, 2.0)))
    return image


def cutmix_box(side: int, draws: Draws) -> Box:
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


def to_tensor(image: Image.Image) -> Tensor:
    """RGB image -> (3, H, W) uint8."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
