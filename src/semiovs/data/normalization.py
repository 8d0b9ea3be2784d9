"""Normalisation of batches: uint8 (bands: uint16) from the loader processes to the floats that methods take."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from semiovs.data.batch import Batch, Labeled, OpenVocab, Unlabeled

#: What counts as 1, by the type that images travel in.
_LARGEST = {torch.uint8: 255, torch.uint16: 65535}


def normalize(batch: Batch, mean: tuple[float, ...], std: tuple[float, ...]) -> Batch:
    """Return the batch with images (x / 255 - mean) / std in float32, confidences x / 255, masks and labels int64.

    Images of bands (uint16) are divided by 65535; tensors that are float already stay. It runs on the device of the
    batch; the arithmetic is that of torchvision's ToTensor and Normalize, bit for bit.
    """

    def image(pixels: Tensor) -> Tensor:
        largest = _LARGEST.get(pixels.dtype)
        return pixels if largest is None else _normalize_image(pixels, largest, mean, std)

    def views(pixels: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(image(view) for view in pixels)

    def bare(part: Unlabeled | None) -> Unlabeled | None:
        return part and replace(part, weak=image(part.weak), strong=views(part.strong))

    def ood(part: OpenVocab | None) -> OpenVocab | None:
        if part is None:
            return None
        confidence = part.confidence
        if confidence.dtype == torch.uint8:
            confidence = confidence.float().div_(255)
        weak, strong = image(part.weak), views(part.strong)
        return OpenVocab(weak, strong, part.label.long(), confidence, part.valid)

    given = batch.labeled
    labeled = Labeled(image(given.image), given.mask.long(), views(given.strong))
    return Batch(labeled, bare(batch.unlabeled), bare(batch.mixing), ood(batch.ood))


def _normalize_image(pixels: Tensor, largest: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    center, spread = _make_constants(mean, std, pixels.device)
    return pixels.to(torch.float32).div_(largest).sub_(center).div_(spread)


@lru_cache(maxsize=32)
def _make_constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and std as tensors on the device; cached, because making them at each step would wait for the device."""
    center = torch.tensor(mean, dtype=torch.float32, device=device).view(-1, 1, 1)
    return center, torch.tensor(std, dtype=torch.float32, device=device).view(-1, 1, 1)
