"""The published data pipeline, written down plainly: PIL and torchvision transforms, float32 results, boxes as maps."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torchvision import transforms

_JITTER = transforms.ColorJitter(0.5, 0.5, 0.5, 0.25)
_GRAY = transforms.RandomGrayscale(p=0.2)
_NORMALIZE = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
)


def item(image_path: Path, mask_path: Path, side: int, seed: int, *, ood: bool) -> dict[str, Any]:
    """Weak view, two strong views, what to ignore, two boxes; for OOD images also the label."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)
    image = Image.open(image_path).convert("RGB")
    mask = Image.fromarray(np.array(Image.open(mask_path)))
    image, mask = _resize(image, mask)
    image, mask = _crop(image, mask, side, 255 if ood else 254)
    if random.random() < 0.5:
        image, mask = (i.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for i in (image, mask))
    strong, boxes = [], []
    for _ in range(2):
        strong.append(_strong(image))
        boxes.append(_box(side))
    ids = torch.from_numpy(np.array(mask)).long()
    ignore = torch.zeros(side, side, dtype=torch.int64)
    ignore[ids == (255 if ood else 254)] = 255
    out = {"weak": _NORMALIZE(image), "strong": [_NORMALIZE(s) for s in strong], "ignore": ignore, "boxes": boxes}
    if ood:
        ids[ids == 255] = 0
        out["label"] = ids
    return out


def _resize(image: Image.Image, mask: Image.Image) -> tuple[Image.Image, Image.Image]:
    width, height = image.size
    longest = max(width, height)
    long_side = random.randint(int(longest * 0.5), int(longest * 2.0))
    if height > width:
        size = int(width * long_side / height + 0.5), long_side
    else:
        size = long_side, int(height * long_side / width + 0.5)
    return image.resize(size, Image.Resampling.BILINEAR), mask.resize(size, Image.Resampling.NEAREST)


def _crop(image: Image.Image, mask: Image.Image, side: int, fill: int) -> tuple[Image.Image, Image.Image]:
    width, height = image.size
    border = (0, 0, max(side - width, 0), max(side - height, 0))
    image, mask = ImageOps.expand(image, border, fill=0), ImageOps.expand(mask, border, fill=fill)
    x, y = (random.randint(0, length - side) for length in image.size)
    window = (x, y, x + side, y + side)
    return image.crop(window), mask.crop(window)


def _strong(image: Image.Image) -> Image.Image:
    if random.random() < 0.8:
        image = _JITTER(image)
    image = _GRAY(image)
    if random.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(radius=np.random.uniform(0.1, 2.0)))  # noqa: NPY002
    return image


def _box(side: int) -> Tensor:
    box = torch.zeros(side, side)
    if random.random() > 0.5:
        return box
    area = np.random.uniform(0.02, 0.4) * side * side  # noqa: NPY002
    while True:
        ratio = np.random.uniform(0.3, 1 / 0.3)  # noqa: NPY002
        width, height = int(np.sqrt(area / ratio)), int(np.sqrt(area * ratio))
        x, y = np.random.randint(0, side), np.random.randint(0, side)  # noqa: NPY002
        if x + width <= side and y + height <= side:
            box[y : y + height, x : x + width] = 1
            return box
