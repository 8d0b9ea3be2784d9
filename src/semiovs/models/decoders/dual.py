"""DeepLabV3+ as DDFP has it: features can be changed before they are fused, and changed ones have a BatchNorm of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semiovs.errors import UsageError
from semiovs.models.decoders.deeplabv3plus import Pooling, conv_block, resize
from semiovs.models.encoders import build_encoder
from semiovs.models.norms import norm_layer
from semiovs.models.segmenter import Features, Segmenter

_LOW_CHANNELS = 48
_DROPOUT = 0.1


class DualDeepLab(Segmenter):
    """Encoder -> `fused` maps of pyramid and stride 4 -> `perceive`d features -> `score`d classes (DDFP spec, section 2).

    num_classes: K of the logits; pretrained: encoder weights (see `build_encoder`); encoder: a timm name, `small` or `tiny`;
    output_stride, dilations, channels, norm: as `deeplabv3plus` (channels: even, they are halved by the density flow).

    Raises:
        UsageError: an option that cannot be taken, or an encoder that does not fit.
        WeightsError: encoder weights that are missing or of another network.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        pretrained: bool | str = False,
        encoder: str = "resnet101s",
        output_stride: int = 16,
        dilations: Sequence[int] = (6, 12, 18),
        channels: int = 256,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise UsageError(f"a segmenter needs at least one class, not {num_classes}")
        if channels < 16 or not dilations or min(dilations) < 1:
            raise UsageError(f"model: channels {channels} must be at least 16 and dilations {list(dilations)} positive")
        built = build_encoder(encoder, output_stride=output_stride, pretrained=pretrained, norm=norm)
        low, high = built.channels
        self.num_classes = num_classes
        self.channels, self.width = built.channels, channels
        self.normalization = built.normalization
        self._levels = built.levels
        self.backbone = built.module
        for module in self.backbone.modules():
            if isinstance(module, nn.MaxPool2d):
                module.ceil_mode = True  # as published; the same for odd sizes, as all crops have
        self.head = _Pyramid(high, channels, dilations, norm)
        self.reduce = nn.Sequential(nn.Conv2d(low, _LOW_CHANNELS, 1), norm_layer(norm, _LOW_CHANNELS), nn.ReLU())
        self.fuse = _Fusion(_LOW_CHANNELS + channels, channels, norm)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> (stride-4 map, map at the output stride)."""
        maps = self.backbone(image)
        low, high = self._levels
        return maps[low], maps[high]

    def fused(self, features: Features) -> Tensor:
        """(low, high) -> g (B, 48 + channels, h, w) at stride 4: what DDFP perturbs."""
        low, high = features
        return torch.cat([self.reduce(low), resize(self.head(high), low.shape[-2:])], dim=1)

    def perceive(self, g: Tensor, adverse: int = 0) -> Tensor:
        """Fused map g -> features f (B, channels, h, w); the last `adverse` images of the batch take the second BatchNorm."""
        return self.fuse(g, adverse)  # type: ignore[no-any-return]

    def score(self, f: Tensor, size: tuple[int, int]) -> Tensor:
        """Features f -> logits (B, K, *size)."""
        return resize(self.classifier(f), size)

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:
        """(low, high) -> logits (B, K, *size), all by the first BatchNorm."""
        if context:
            raise UsageError(f"deeplabv3plus-dual does not read {', '.join(sorted(context))}")
        return self.score(self.perceive(self.fused(features)), size)


class DualNorm(nn.Module):
    """Two normalisation layers: `main` for all images of a batch but the last `adverse`, `aux` for those."""

    def __init__(self, norm: str, channels: int) -> None:
        super().__init__()
        self.main = norm_layer(norm, channels)
        self.aux = norm_layer(norm, channels)

    def forward(self, x: Tensor, adverse: int = 0) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        clean = len(x) - adverse
        parts = [self.main(x[:clean])] if clean else []
        return torch.cat([*parts, self.aux(x[clean:])]) if adverse else parts[0]


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
