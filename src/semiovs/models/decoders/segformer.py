"""SegFormer's head (Xie et al. 2021): four levels, each projected, resized and fused by 1x1 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import UsageError
from semiovs.models.pyramid import build_pyramid
from semiovs.models.segmenter import Features, Segmenter, check_num_classes, refuse_context


class Segformer(Segmenter):
    """An encoder with four maps, and the all-MLP head.

    num_classes: K of the logits; pretrained: encoder weights (see `build_pyramid`); encoder: `mit_b0` … `mit_b5`, or a
    timm name with maps at strides 4, 8, 16 and 32; channels: width of the head (768 in MiT-B5's published models).
    Images may have any size.

    Raises:
        UsageError: an option that cannot be taken, or an encoder that does not fit.
        WeightsError: encoder weights that are missing or of another network.
    """

    def __init__(
        self, num_classes: int, *, pretrained: bool | str = False, encoder: str = "mit_b5", channels: int = 768
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if channels < 8:
            raise UsageError(f"model.channels {channels}: must be at least 8")
        built = build_pyramid(encoder, pretrained=pretrained)
        self.backbone = built.module
        self.channels = built.channels
        self.normalization = built.normalization
        self.num_classes = num_classes
        self.head = Head(built.channels, channels, num_classes)

    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> four maps, finest first: sides ⌈H/4⌉, ⌈H/8⌉, ⌈H/16⌉, ⌈H/32⌉."""
        return tuple(self.backbone(image))

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:
        """Four maps -> logits (B, K, *size)."""
        refuse_context("segformer", context)
        return resize(self.head(features), size)


class Head(nn.Module):
    """Maps of `levels` channels, finest first -> logits (B, K, h, w) at the size of the finest map."""

    def __init__(self, levels: Sequence[int], channels: int, num_classes: int) -> None:
        super().__init__()
        self.projects = nn.ModuleList(_Projection(level, channels) for level in levels)
        self.fuse = nn.Sequential(
            nn.Conv2d(len(levels) * channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        nn.init.kaiming_normal_(self.fuse[0].weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]

    def forward(self, features: Features) -> Tensor:
        """See the class."""
        size = features[0].shape[-2:]
        levels = [resize(project(f), size) for project, f in zip(self.projects, features, strict=True)]
        fused = self.fuse(torch.cat(levels[::-1], dim=1))  # the coarsest first, as in the published weights
        return self.classifier(self.dropout(fused))  # type: ignore[no-any-return]


class _Projection(nn.Linear):
    """A linear layer at each pixel: (B, C, h, w) -> (B, D, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[:, :, None, None], self.bias)


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear, corners not aligned."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
