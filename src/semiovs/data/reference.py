"""The `reference` pipeline: the published PIL operations, bit for bit (UniMatch; deeplab_methods spec 2.2)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torchvision.transforms.functional as tv
from PIL import Image, ImageFilter
from torch import Tensor

from semiovs.data.transforms import Geometry, Jitter, Pixels, StrongLook

_JITTER: dict[Jitter, Callable[[Image.Image, float], Image.Image]] = {
    "brightness": tv.adjust_brightness,
    "contrast": tv.adjust_contrast,
    "saturation": tv.adjust_saturation,
    "hue": tv.adjust_hue,
}


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
        crop = tv.rgb_to_grayscale(crop, num_output_channels=3)
    return crop if look.radius is None else crop.filter(ImageFilter.GaussianBlur(look.radius))


def to_tensor(crop: Image.Image) -> Tensor:
    """RGB crop -> (3, H, W) uint8."""
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous()
