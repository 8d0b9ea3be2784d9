"""Strong views made of weak ones on the device, for a whole batch (`data.augment=device`): the draws and operations of
the loader processes, which then send the weak view and a short row of numbers a view.

Values are whole levels of 0..255 in float32. Brightness, contrast, saturation, gray and hue are Pillow's formulas;
the blur is the kernel of `fast`. Nothing waits for the device: every operation is carried out on all images, and kept
where it was drawn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from semiovs.data.batch import Batch, Labeled, OpenVocab, Unlabeled
from semiovs.data.fast import gaussian_kernel
from semiovs.data.transforms import Jitter, StrongLook

P = TypeVar("P", Unlabeled, OpenVocab)

_JITTER: tuple[Jitter, ...] = ("brightness", "contrast", "saturation", "hue")
_SLOTS = len(_JITTER)
#: Taps of the widest blur, of radius 2.
_TAPS = 13
#: Numbers of a row: operation of each slot (-1: none), its amount, whether gray, kernel of the blur.
LOOK_NUMBERS = 2 * _SLOTS + 1 + _TAPS
#: Pillow's weights of gray, in 1/65536; sums stay below 2**24, so that float32 holds them exactly.
_GRAY, _GRAY_WHOLE = (19595.0, 38470.0, 7471.0), 65536.0


def encode_look(look: StrongLook) -> Tensor:
    """Look of a view of an RGB image -> row (LOOK_NUMBERS,) float32."""
    row = np.zeros(LOOK_NUMBERS, np.float32)
    row[:_SLOTS] = -1
    for slot, (name, amount) in enumerate(look.jitter):
        row[slot] = _JITTER.index(name)
        row[_SLOTS + slot] = int(amount * 255) if name == "hue" else amount
    row[2 * _SLOTS] = look.gray
    taps = np.ones(1, np.float32) if look.radius is None else gaussian_kernel(look.radius)
    first = LOOK_NUMBERS - (_TAPS + len(taps)) // 2
    row[first : first + len(taps)] = taps
    return torch.from_numpy(row)


def make_missing_views(batch: Batch) -> Batch:
    """Return the batch with strong views (B, 3, S, S) uint8 where it brought rows of `encode_look` (B, LOOK_NUMBERS).

    It runs on the device of the batch, whose weak views must not be normalised yet. A batch with views stays.
    """
    given = batch.labeled
    labeled = Labeled(given.image, given.mask, _make_views(given.image, given.strong))
    return Batch(labeled, _fill(batch.unlabeled), _fill(batch.mixing), _fill(batch.ood))


def _fill(part: P | None) -> P | None:
    return part and replace(part, strong=_make_views(part.weak, part.strong))


def _make_views(weak: Tensor, strong: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """All views at once, as so many more images of the batch."""
    if not strong or strong[0].ndim != 2:
        return strong
    views = weak.to(torch.float32).repeat(len(strong), 1, 1, 1)
    return make_strong(views, torch.cat(strong)).to(torch.uint8).chunk(len(strong))


def make_strong(views: Tensor, looks: Tensor) -> Tensor:
    """Apply rows of looks (B, LOOK_NUMBERS) to images (B, 3, H, W) of whole levels in float32."""
    columns = looks[:, :, None, None, None].unbind(1)
    for slot in range(_SLOTS):
        operation, amount = columns[slot], columns[_SLOTS + slot]
        out = views
        for code, name in enumerate(_JITTER):
            out = torch.where(operation == code, _OPERATIONS[name](views, amount), out)
        views = out
    views = torch.where(columns[2 * _SLOTS] > 0, _to_gray(views), views)
    return _blur(views, looks[:, -_TAPS:])


def _blend(base: Tensor | float, views: Tensor, factor: Tensor) -> Tensor:
    return (base + factor * (views - base)).clamp_(0, 255).floor_()


def _adjust_brightness(views: Tensor, factor: Tensor) -> Tensor:
    return _blend(0.0, views, factor)


def _adjust_contrast(views: Tensor, factor: Tensor) -> Tensor:
    precise = torch.float32 if views.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
    mean = _to_gray(views).mean((1, 2, 3), keepdim=True, dtype=precise)
    return _blend((mean + 0.5).floor().to(torch.float32), views, factor)


def _adjust_saturation(views: Tensor, factor: Tensor) -> Tensor:
    return _blend(_to_gray(views), views, factor)


def _to_gray(views: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    red, green, blue = views.unbind(1)
    total = red * _GRAY[0] + green * _GRAY[1] + blue * _GRAY[2]
    return ((total + _GRAY_WHOLE / 2) / _GRAY_WHOLE).floor_()[:, None]


def _turn_hue(views: Tensor, shift: Tensor) -> Tensor:
    """Through hue, saturation and value of whole numbers in 0..255; hues wrap at 256. shift: a whole number."""
    red, green, blue = views.unbind(1)
    value, least = views.amax(1), views.amin(1)
    spread = value - least
    over = torch.where(spread > 0, spread, 1)
    far_red, far_green, far_blue = ((value - color) / over for color in (red, green, blue))
    hue = torch.where(green == value, 2 + far_red - far_blue, 4 + far_green - far_red)
    hue = torch.where(red == value, far_blue - far_green, hue)
    hue = ((hue / 6 + 1).remainder(1) * 255).floor_()
    saturation = (spread * 255 / value.clamp(min=1)).floor_() / 255
    turned = torch.where(spread > 0, hue, 0).add(shift[:, 0]).remainder(256) * (6 / 255)
    sector = turned.floor()
    part = turned - sector
    low, falling, rising = (
        (value * (1 - saturation * share) + 0.5).floor_().clamp_(0, 255) for share in (1.0, part, 1 - part)
    )
    sector = sector.remainder(6)
    rows = (
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    )
    return torch.stack([_choose(sector, row) for row in rows], 1)


def _choose(index: Tensor, values: tuple[Tensor, ...]) -> Tensor:
    out = values[0]
    for number, value in enumerate(values[1:], 1):
        out = torch.where(index == number, value, out)
    return out


def _blur(views: Tensor, taps: Tensor) -> Tensor:
    """Each image with its own kernel (B, taps), along columns and rows; a single tap of 1 changes nothing."""
    count, channels, height, width = views.shape
    kernels = taps.repeat_interleave(channels, 0)[:, None, :, None]
    planes = views.reshape(1, count * channels, height, width)
    reach = taps.shape[1] // 2
    planes = conv2d(pad(planes, (0, 0, reach, reach), "replicate"), kernels, groups=count * channels)
    planes = conv2d(pad(planes, (reach, reach, 0, 0), "replicate"), kernels.mT, groups=count * channels)
    return (planes.reshape(views.shape) + 0.5).floor_().clamp_(0, 255)


_OPERATIONS = {
    "brightness": _adjust_brightness,
    "contrast": _adjust_contrast,
    "saturation": _adjust_saturation,
    "hue": _turn_hue,
}
