"""The `reference` pipeline: the published PIL operations, bit for bit (UniMatch; deeplab_methods spec 2.2)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor

from semiovs.data.transforms import Geometry, Jitter, Pixels, StrongLook


def crop(image: Image.Image, geometry: Geometry) -> Image.Image:
    """RGB image -> RGB crop; padding is black."""
    x, y, side = geometry.x, geometry.y, geometry.crop
    if geometry.plain:
        resized = Image.fromarray(cv2.resize(np.asarray(image), geometry.size, interpolation=cv2.INTER_LINEAR))
    else:
        resized = image.resize(geometry.size, Image.Resampling.BILINEAR)
    out = resized.crop((x, y, x + side, y + side))
    return out.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if geometry.flip else out


def crop_labels(labels: Pixels, geometry: Geometry, fill: int) -> Pixels:
    """(H, W) uint8 -> (crop, crop), nearest neighbour; padding is `fill`."""
    if geometry.plain:
        resized = cv2.resize(labels, geometry.size, interpolation=cv2.INTER_NEAREST)
    else:
        resized = np.asarray(Image.fromarray(labels).resize(geometry.size, Image.Resampling.NEAREST))
    window = resized[geometry.y : geometry.y + geometry.crop, geometry.x : geometry.x + geometry.crop]
    out = np.full((geometry.crop, geometry.crop), fill, np.uint8)
    out[: window.shape[0], : window.shape[1]] = window
    return np.ascontiguousarray(out[:, ::-1]) if geometry.flip else out


def make_strong(crop: Image.Image, look: StrongLook) -> Image.Image:
    """Strong view of an RGB crop."""
    for name, amount in look.jitter:
        crop = _JITTER[name](crop, amount)
    if look.gray:
        crop = crop.convert("L").convert("RGB")
    return crop if look.radius is None else crop.filter(ImageFilter.GaussianBlur(look.radius))


def to_tensor(crop: Image.Image) -> Tensor:
    """RGB crop -> (3, H, W) uint8."""
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous()


def _turn_hue(crop: Image.Image, amount: float) -> Image.Image:
    """Turn the hue by `amount` of 255 of PIL's steps, rounded towards zero; hues wrap at 256."""
    hue, saturation, value = crop.convert("HSV").split()
    turned = hue.point([(step + int(amount * 255)) % 256 for step in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


_JITTER: dict[Jitter, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": lambda crop, amount: ImageEnhance.Brightness(crop).enhance(amount),
    "contrast": lambda crop, amount: ImageEnhance.Contrast(crop).enhance(amount),
    "saturation": lambda crop, amount: ImageEnhance.Color(crop).enhance(amount),
    "hue": _turn_hue,
}
