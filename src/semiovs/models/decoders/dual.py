"""DDFP's DeepLabV3+: features can be perturbed before they are fused, and perturbed ones have a BatchNorm of their
own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semiovs.models.decoders.deeplabv3plus import LOW_CHANNELS, DeepLabV3Plus, Pooling, conv_block, resize
from semiovs.models.norms import norm_layer
from semiovs.models.segmenter import Features, refuse_context

_DROPOUT = 0.1


class DualDeepLab(DeepLabV3Plus):
    """Encoder -> `fused` maps of pyramid and stride 4 -> `perceive`d features -> `score`d classes (DDFP spec, section
    2).

    Options: those of `deeplabv3plus`; channels must be even, because the density flow halves them.

    Raises:
        UsageError: an option that cannot be taken, or an encoder that does not fit.
        WeightsError: encoder weights that are missing or of another network.
    """

    def _add_head(self, dilations: Sequence[int]) -> None:
        (low, high), width, norm = self.channels, self.width, self.norm
        for module in self.backbone.modules():
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True  # as published; the same for odd sizes, as all crops have
        self.head = _Pyramid(high, width, dilations, norm)
        self.reduce = nn.Sequential(nn.Conv2d(low, LOW_CHANNELS, 1), norm_layer(norm, LOW_CHANNELS), nn.ReLU())
        self.fuse = _Fusion(LOW_CHANNELS + width, width, norm)

    def fused(self, features: Features) -> Tensor:
        """(low, high) -> g (B, 48 + channels, h, w) at stride 4: what DDFP perturbs."""
        low, high = features
        return torch.cat([self.reduce(low), resize(self.head(high), low.shape[-2:])], dim=1)

    def perceive(self, g: Tensor, adverse: int = 0) -> Tensor:
        """Fused map g -> features f (B, channels, h, w); the last `adverse` images of the batch take the second
        BatchNorm.
        """
        return self.fuse(g, adverse)  # type: ignore[no-any-return]

    def score(self, f: Tensor, size: tuple[int, int]) -> Tensor:
        """Features f -> logits (B, K, *size)."""
        return resize(self.classifier(f), size)

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:
        """(low, high) -> logits (B, K, *size), all by the first BatchNorm."""
        refuse_context("deeplabv3plus-dual", context)
        return self.score(self.perceive(self.fused(features)), size)


class DualNorm(nn.Module):
    """Two normalisation layers: `main` for all images of a batch but the last `adverse`, `aux` for those."""

    def __init__(self, norm: str, channels: int) -> None:
        super().__init__()
        self.main = norm_layer(norm, channels)
        self.aux = norm_layer(norm, channels)

    def forward(self, x: Tensor, adverse: int = 0) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        if not adverse:
            found: Tensor = self.main(x)
            return found
        clean = x.shape[0] - adverse
        parts = [self.main(x[:clean])] if clean else []
        return torch.cat([*parts, self.aux(x[clean:])])


class _Fusion(nn.Module):
    """Two 3x3 convolutions, each with its pair of normalisation layers."""

    def __init__(self, inputs: int, channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1)
        self.norm1 = DualNorm(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = DualNorm(norm, channels)
        self.dropout = nn.Dropout2d(_DROPOUT)

    def forward(self, g: Tensor, adverse: int) -> Tensor:
        x = self.dropout(self.norm1(self.conv1(g), adverse).relu())
        return self.dropout(self.norm2(self.conv2(x), adverse).relu())  # type: ignore[no-any-return]


class _Pyramid(nn.Module):
    """ASPP: global pooling, 1x1 and dilated 3x3s (`b0`, `b1`, …), concatenated and projected by a 3x3."""

    def __init__(self, inputs: int, channels: int, dilations: Sequence[int], norm: str) -> None:
        super().__init__()
        branches: list[nn.Module] = [Pooling(inputs, channels, norm)]
        branches.append(nn.Sequential(*conv_block(inputs, channels, norm)))
        branches += [nn.Sequential(*conv_block(inputs, channels, norm, kernel=3, dilation=d)) for d in dilations]
        self.names = tuple(f"b{index}" for index in range(len(branches)))
        for name, branch in zip(self.names, branches, strict=True):
            self.add_module(name, branch)
        projection = conv_block(len(branches) * channels, channels, norm, kernel=3)
        self.project = nn.Sequential(*projection, nn.Dropout2d(_DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([self.get_submodule(name)(x) for name in self.names], dim=1))  # type: ignore[no-any-return]
