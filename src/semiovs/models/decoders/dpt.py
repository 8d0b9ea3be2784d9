"""DPT (Ranftl et al. 2021) on a vision transformer, with the layer names of the published UniMatch V2 checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import DataError, UsageError
from semiovs.models.decoders.deeplabv3plus import resize
from semiovs.models.segmenter import Features, Segmenter, check_num_classes, refuse_context
from semiovs.models.vit import build_vit, layers_of

#: Width of a token -> width of the fusion, and channels of the four levels (deeplab_methods spec, section 7).
_WIDTHS: dict[int, tuple[int, tuple[int, ...]]] = {
    384: (64, (48, 96, 192, 384)),
    768: (128, (96, 192, 384, 768)),
    1024: (256, (256, 512, 1024, 1024)),
    1536: (384, (1536, 1536, 1536, 1536)),
}


class Dpt(Segmenter):
    """Four levels of patch tokens, brought to four scales and fused from coarse to fine.

    num_classes: K of the logits; pretrained: encoder weights (see `build_vit`); encoder: a timm name of a plain ViT,
    such as `vit_{small,base,large}_patch14_dinov2` (also `_reg4_`) or `vit_{small,base,large}_patch16_dinov3`;
    channels: width of the fusion, null: by the encoder (64 for S, 128 for B, 256 for L); locked: the encoder is not
    trained.

    Images may have any size from one patch: they are padded at the right and below to whole patches (with 0, the mean
    colour), and the logits are cut back. On multiples of the patch this is the published computation.

    Raises:
        UsageError: an option that cannot be taken, or an encoder that does not fit.
        WeightsError: encoder weights that are missing or of another network.
    """

    fixed_grid = True

    def __init__(
        self,
        num_classes: int,
        *,
        pretrained: bool | str = False,
        encoder: str = "vit_base_patch14_dinov2",
        channels: int | None = None,
        locked: bool = False,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if channels is not None and channels < 8:
            raise UsageError(f"model.channels {channels}: must be at least 8, or null")
        self.backbone, self.patches, self.normalization = build_vit(encoder, pretrained=pretrained)
        width = self.patches.width
        fusion, levels = _WIDTHS.get(width) or (64, tuple(max(width // part, 8) for part in (8, 4, 2, 1)))
        self.num_classes = num_classes
        self.channels = (width,) * len(levels)
        self.locked = locked
        self.head = _Head(width, levels, channels or fusion, num_classes)
        if locked:
            self.backbone.requires_grad_(False).eval()

    def encode(self, image: Tensor) -> Features:
        """(B, 3, H, W) -> four maps of patch tokens (B, C, ⌈H/patch⌉, ⌈W/patch⌉).

        Raises:
            DataError: an image smaller than a patch.
        """
        (height, width), side = image.shape[-2:], self.patches.side
        if min(height, width) < side:
            raise DataError(
                f"an image of {width} x {height} pixels is smaller than a patch of the encoder, {side} x {side}; "
                "leave it out or enlarge it"
            )
        image = F.pad(image, (0, -width % side, 0, -height % side))
        with torch.no_grad() if self.locked else nullcontext():
            return self.patches.maps(self.backbone, image)

    def decode(self, features: Features, size: tuple[int, int], **context: Tensor) -> Tensor:
        """Four maps -> logits (B, K, *size): padding is cut off where `size` is that of the image; else they are
        resized.
        """
        refuse_context("dpt", context)
        side = self.patches.side
        whole = tuple(length * side for length in features[0].shape[-2:])
        padded = all(0 <= length - wanted < side for length, wanted in zip(whole, size, strict=True))
        return resize(self.head(features), whole if padded else size)[..., : size[0], : size[1]]

    def layers(self) -> tuple[list[nn.Parameter], ...]:
        """Embeddings and blocks."""
        return layers_of(self.backbone)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; a locked encoder stays in evaluation mode."""
        super().train(mode)
        if self.locked:
            self.backbone.eval()
        return self


class _Head(nn.Module):
    """Maps of tokens (B, width, h, w) -> logits (B, K, 8h, 8w)."""

    def __init__(self, width: int, levels: Sequence[int], channels: int, num_classes: int) -> None:
        super().__init__()
        self.projects = nn.ModuleList(nn.Conv2d(width, level, 1) for level in levels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(levels[0], levels[0], 4, stride=4),
                nn.ConvTranspose2d(levels[1], levels[1], 2, stride=2),
                nn.Identity(),
                nn.Conv2d(levels[3], levels[3], 3, stride=2, padding=1),
            ]
        )
        self.scratch = nn.Module()
        for number, level in enumerate(levels, start=1):
            self.scratch.add_module(f"layer{number}_rn", nn.Conv2d(level, channels, 3, padding=1, bias=False))
            self.scratch.add_module(f"refinenet{number}", _Fusion(channels, lateral=number < len(levels)))
        self.scratch.output_conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, num_classes, 1)
        )

    def forward(self, features: Features) -> Tensor:
        maps = [
            self.scratch.get_submodule(f"layer{number}_rn")(rescale(project(feature)))
            for number, (feature, project, rescale) in enumerate(
                zip(features, self.projects, self.resize_layers, strict=True), start=1
            )
        ]
        path = None
        for number in range(len(maps), 0, -1):
            finer = maps[number - 2].shape[-2:] if number > 1 else [2 * side for side in maps[0].shape[-2:]]
            path = self.scratch.get_submodule(f"refinenet{number}")(maps[number - 1], path, finer)
        return self.scratch.output_conv(path)  # type: ignore[no-any-return, operator]


class _Fusion(nn.Module):
    """What came from the coarser level plus this level, refined and resized; the coarsest level has nothing to add
    to.
    """

    def __init__(self, channels: int, *, lateral: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        if lateral:
            self.resConfUnit1 = _Residual(channels)
        self.resConfUnit2 = _Residual(channels)

    def forward(self, level: Tensor, coarser: Tensor | None, size: Sequence[int]) -> Tensor:
        x = level if coarser is None else coarser + self.resConfUnit1(level)
        return self.out_conv(resize(self.resConfUnit2(x), size))  # type: ignore[no-any-return]


class _Residual(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))  # type: ignore[no-any-return]
