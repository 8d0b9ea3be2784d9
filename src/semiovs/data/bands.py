"""The `bands` pipeline: the geometry of `reference` for any number of bands of any depth; strong views change no
colours.

Bands are float32 in [0, 1] while they are augmented, and uint16 between processes, so that 16-bit files lose nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from semiovs.data.fast import crop_labels, gaussian_kernel
from semiovs.data.transforms import Geometry, StrongLook
from semiovs.images.readers import BandImage

__all__ = ["crop", "crop_labels", "make_strong", "to_tensor"]

Planes = NDArray[np.float32]


def crop(image: BandImage, geometry: Geometry) -> Planes:
    """Bands -> (C, crop, crop); padding is 0. Only the part of the image that the crop shows is resized."""
    side, (width, height) = geometry.crop, geometry.visible
    out = np.zeros((len(image.values), side, side), np.float32)
    window = out[:, :height, side - width if geometry.flip else 0 :][..., :width]
    resized = _resize_plain if geometry.plain else _resize_antialiased
    for plane, band in zip(window, image.values, strict=True):
        shown = resized(band, geometry)
        plane[:] = shown[:, ::-1] if geometry.flip else shown
    return out


def make_strong(crop: Planes, look: StrongLook) -> Planes:
    """Strong view: gains, brightness and contrast (about each band's own mean), blur."""
    if look.gains:
        crop = crop * np.array(look.gains, np.float32)[:, None, None]
    for name, amount in look.jitter:
        base = crop.mean(axis=(1, 2), keepdims=True) if name == "contrast" else np.float32(0)
        crop = base + np.float32(amount) * (crop - base)
        np.clip(crop, 0, 1, out=crop)
    if look.radius is None:
        return crop
    taps = gaussian_kernel(look.radius)
    blurred = [cv2.sepFilter2D(band, -1, taps, taps, borderType=cv2.BORDER_REPLICATE) for band in crop]
    return np.stack(blurred)


def to_tensor(crop: Planes) -> Tensor:
    """(C, H, W) float32 in [0, 1] -> uint16."""
    return torch.from_numpy(np.rint(crop.clip(0, 1) * np.float32(65535)).astype(np.uint16))


def _resize_antialiased(band: Planes, geometry: Geometry) -> Planes:
    """Resize the window of one band with PIL's antialiased bilinear filter."""
    (height, width), (shown, rows) = band.shape, geometry.visible
    x, y = width / geometry.size[0], height / geometry.size[1]
    right, bottom = min((geometry.x + shown) * x, width), min((geometry.y + rows) * y, height)
    box = (geometry.x * x, geometry.y * y, right, bottom)
    return np.asarray(Image.fromarray(band).resize((shown, rows), Image.Resampling.BILINEAR, box=box))


def _resize_plain(band: Planes, geometry: Geometry) -> Planes:
    """Resize the window of one band with OpenCV, without antialiasing."""
    resized = np.asarray(cv2.resize(band, geometry.size, interpolation=cv2.INTER_LINEAR), np.float32)
    shown, rows = geometry.visible
    return resized[geometry.y :, geometry.x :][:rows, :shown]
