"""The graph that leaves: pixels to labels and confidences, with normalisation and resizing inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.export.size_rule import SizeRule
from semiovs.models.exported.segmenter import BANDS, BYTES, RAW
from semiovs.models.segmenter import Normalization, Segmenter


def build_graph(segmenter: Segmenter, normalization: Normalization, rule: SizeRule, kind: str) -> nn.Module:
    """The graph for files that take `kind`, in evaluation mode."""
    if kind == RAW:
        return RawGraph(segmenter).eval()
    return PixelGraph(segmenter, normalization, rule.multiple, kind).eval()


class RawGraph(nn.Module):
    """Normalised images (B, C, H, W) float32 -> logits (B, K, H, W) float32."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, image: Tensor) -> Tensor:
        """The logits."""
        found: Tensor = self.segmenter(image.to(_type_of(self.segmenter)))
        return found.float()


class PixelGraph(nn.Module):
    """Images (B, H, W, C), uint8 or bands in [0, 1] -> labels (B, H, W) uint8, confidence (B, H, W) float32.

    multiple: see `SizeRule`; the sizes are those of `models.tiling.nearest_multiple`, in whole numbers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, segmenter: Segmenter, normalization: Normalization, multiple: int | None, kind: str) -> None:
        super().__init__()
        self.segmenter, self.multiple, self.kind = segmenter, multiple, kind
        self.register_buffer("mean", torch.tensor(normalization.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(normalization.std).view(1, -1, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The answer for a batch."""
        pixels = image.permute(0, 3, 1, 2).float()
        if self.kind == BYTES:
            pixels = pixels / 255
        logits = self._find_logits((pixels - self.mean) / self.std)
        labels = logits.argmax(dim=1)
        top = logits.amax(dim=1, keepdim=True)
        return labels.to(torch.uint8), (logits - top).exp().sum(dim=1).reciprocal()

    def _find_logits(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        if self.multiple is not None:
            sides = tuple(_to_multiple(side, self.multiple) for side in (height, width))
            pixels = F.interpolate(pixels, size=sides, mode="bilinear", align_corners=True)
        logits: Tensor = self.segmenter(pixels.to(_type_of(self.segmenter))).float()
        if self.multiple is not None:
            logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=True)
        return logits


def kind_of(bands: int | None, *, raw: bool) -> str:
    """What a file of a model of so many bands (None: RGB) takes."""
    return RAW if raw else BYTES if bands is None else BANDS


def _to_multiple(side: int, multiple: int) -> Any:
    """An int, or while traced what stands for one."""
    return torch.sym_max(1, (2 * side + multiple) // (2 * multiple)) * multiple


def _type_of(module: nn.Module) -> torch.dtype:
    return next(value.dtype for value in module.parameters() if value.is_floating_point())
