"""DeepLabV3+ (Chen et al. 2018) with the layer names of the published UniMatch / PrevMatch / SemiOVS checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import UsageError
from semiovs.models.encoders import build_encoder
from semiovs.models.norms import norm_layer
from semiovs.models.segmenter import Features, Segmenter, check_num_classes, refuse_context

#: Width of the low-level map beside the ASPP output.
LOW_CHANNELS = 48


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear with aligned corners."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


class DeepLabV3Plus(Segmenter):
    """Atrous spatial pyramid on the last encoder map, fused with the stride-4 map.

    num_classes: K of the logits; pretrained: encoder weights (see `build_encoder`); encoder: a timm name, `xception65`
    or `tiny`; output_stride: of the last encoder map (8, 16 or 32); dilations: of the pyramid, used as given (the
    original paper doubles them at output stride 8); channels: width of pyramid and fusion; norm: `batch`, or `group`
    (encoder `tiny` only); locked: the encoder is not trained, and its BatchNorm keeps its
    statistics; null: it is trained.

    Raises:
        UsageError: an option that cannot be taken, or an encoder that does not fit.
        WeightsError: encoder weights that are missing or of another network.
    """

    #: Channels of pyramid and fusion.
    width: int
    head: nn.Module
    reduce: nn.Module
    fuse: nn.Module

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
        locked: bool | None = None,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if channels < 16 or not dilations or min(dilations) < 1:
            raise UsageError(f"model: channels {channels} must be at least 16 and dilations {list(dilations)} positive")
        built = build_encoder(encoder, output_stride=output_stride, pretrained=pretrained, norm=norm)
        self.num_classes = num_classes
        self.channels, self.width, self.norm = built.channels, channels, norm
        self.normalization = built.normalization
        self._levels = built.levels
        self.backbone = built.module
        self._add_head(dilations)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.locked = bool(locked)
        if locked:
            self.backbone.requires_grad_(False).eval()

    def _add_head(self, dilations: Sequence[int]) -> None:
        """Make what lies between encoder and classifier."""
        (low, high), width, norm = self.channels, self.width, self.norm
        self.head = _Pyramid(high, width, dilations, norm)
        self.reduce = nn.Sequential(*conv_block(low, LOW_CHANNELS, norm))
        self.fuse = nn.Sequential(
            *conv_block(LOW_CHANNELS + width, width, norm, kernel=3), *conv_block(width, width, norm, kernel=3)
        )

    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> (stride-4 map, map at the output stride)."""
        with torch.no_grad() if self.locked else nullcontext():
            maps = self.backbone(image)
        low, high = self._levels
        return maps[low], maps[high]

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:
        """(low, high) -> logits (B, K, *size)."""
        refuse_context("deeplabv3plus", context)
        low, high = features
        pyramid = resize(self.head(high), low.shape[-2:])
        fused = self.fuse(torch.cat([self.reduce(low), pyramid], dim=1))
        return resize(self.classifier(fused), size)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a locked encoder stays in evaluation mode."""
        super().train(mode)
        if self.locked:
            self.backbone.eval()
        return self


class _Pyramid(nn.Module):
    """ASPP: 1x1, dilated 3x3s and global pooling (`b0`, `b1`, …), concatenated and projected."""

    def __init__(self, inputs: int, channels: int, dilations: Sequence[int], norm: str) -> None:
        super().__init__()
        self.names = tuple(f"b{index}" for index in range(len(dilations) + 2))
        self.add_module("b0", nn.Sequential(*conv_block(inputs, channels, norm)))
        for name, dilation in zip(self.names[1:], dilations, strict=False):
            self.add_module(name, nn.Sequential(*conv_block(inputs, channels, norm, kernel=3, dilation=dilation)))
        self.add_module(self.names[-1], Pooling(inputs, channels, norm))
        self.project = nn.Sequential(*conv_block(len(self.names) * channels, channels, norm))

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([self.get_submodule(name)(x) for name in self.names], dim=1))  # type: ignore[no-any-return]


class Pooling(nn.Module):
    """Global average, projected and spread over the map again."""

    def __init__(self, inputs: int, channels: int, norm: str) -> None:
        super().__init__()
        self.gap = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_block(inputs, channels, norm))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, channels, h, w)."""
        if self.training and x.shape[0] == 1 and isinstance(self.gap[2], nn.BatchNorm2d):
            raise UsageError(
                "one image a step is too few for the BatchNorm behind the global pooling; "
                "use train.batch_size >= 2, or model.norm=group with model.encoder=tiny"
            )
        return resize(self.gap(x), x.shape[-2:])


def conv_block(inputs: int, outputs: int, norm: str, *, kernel: int = 1, dilation: int = 1) -> list[nn.Module]:
    """Convolution without bias, normalisation, ReLU."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return [conv, norm_layer(norm, outputs), nn.ReLU(inplace=True)]
