"""SemiVL's language-guided decoder (Hoyer et al. 2024; SemiVL spec, section 4): one map a class, then a mask for each.

A pixel's similarity to a class's text is an image with one channel. Convolutions over that image are shared by all
classes, and transformers let the classes of a place compare themselves; no weight depends on the number of classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.models.decoders.deeplabv3plus import resize

#: Channels a group of every GroupNorm.
_GROUP = 16


@dataclass(frozen=True)
class VlgSizes:
    """Widths of the decoder; the published ones without arguments.

    channels, up_channels, skip_channels: of the similarity maps, of the upsampling stages, and of the projected skips;
    layers, heads, pool: number of transformers between classes, their heads, and the side of the squares of cells they
    see as one; dilations: of the pyramid.
    """

    channels: int = 128
    up_channels: Sequence[int] = (64, 32)
    skip_channels: Sequence[int] = (32, 16)
    layers: int = 2
    heads: int = 4
    pool: int = 4
    dilations: Sequence[int] = (6, 12, 18)


#: Those of the published models.
PUBLISHED_SIZES = VlgSizes()


class VlgDecoder(nn.Module):
    """Dense features, skip features and class texts -> logits (B, K, 4h, 4w).

    dim: C of dense features and texts; skip_dims: channels of the skip maps, in the order in which they are read, the
    deepest first.
    """

    def __init__(self, dim: int, skip_dims: Sequence[int], sizes: VlgSizes = PUBLISHED_SIZES) -> None:
        super().__init__()
        width, ups, skips = sizes.channels, sizes.up_channels, sizes.skip_channels
        self.conv1 = nn.Conv2d(1, width, 7, padding=3)
        self.pyramid = Pyramid(width, sizes.dilations)
        self.text_proj = nn.Sequential(nn.Linear(dim, width), nn.ReLU())
        self.layers = nn.ModuleList(
            ClassTransformer(width, heads=sizes.heads, pool=sizes.pool) for _ in range(sizes.layers)
        )
        self.skips = nn.ModuleList(
            nn.Sequential(nn.Conv2d(own, projected, 3, padding=1), nn.ReLU())
            for own, projected in zip(skip_dims, skips, strict=True)
        )
        self.ups = nn.ModuleList(
            Up(wide, narrow, skip) for wide, narrow, skip in zip((width, *ups), ups, skips, strict=False)
        )
        self.classifier = nn.Conv2d(ups[-1], 1, 3, padding=1)

    def forward(self, dense: Tensor, skips: Sequence[Tensor], text: Tensor) -> Tensor:
        """Dense (B, C, h, w), skips (B, D_i, ·, ·), text (K, C) -> logits (B, K, 4h, 4w)."""
        batch, classes = dense.shape[0], len(text)
        text = F.normalize(text, dim=-1)
        similarity = torch.einsum("bchw,kc->bkhw", F.normalize(dense, dim=1), text)
        x = self.pyramid(self.conv1(similarity.flatten(0, 1)[:, None]))
        words = self.text_proj(text)
        for layer in self.layers:
            x = layer(x, words, batch)
        for up, project, skip in zip(self.ups, self.skips, skips, strict=True):
            x = up(x, project(skip))
        logits: Tensor = self.classifier(x).reshape(batch, classes, *x.shape[-2:])
        return logits


class Pyramid(nn.Module):
    """x plus its ASPP: 1x1, dilated 3x3s and the global mean, concatenated and projected; (N, C, h, w) both ways."""

    def __init__(self, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*_conv(channels, channels, kernel=1 if rate is None else 3, dilation=rate or 1))
            for rate in (None, *dilations)
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), *_conv(channels, channels))
        self.project = nn.Sequential(*_conv((len(dilations) + 2) * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        maps = [branch(x) for branch in self.branches]
        everywhere = self.pooled(x).expand_as(x)
        summed: Tensor = x + self.project(torch.cat([*maps, everywhere], dim=1))
        return summed


class ClassTransformer(nn.Module):
    """At every square of `pool` x `pool` cells the classes attend to each other; maps smaller than a square are one
    square.

    A token is a class's visual features beside its text's; the visual half is kept and added to the maps.
    """

    def __init__(self, channels: int, *, heads: int, pool: int) -> None:
        super().__init__()
        self.pool = pool
        width = 2 * channels
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * channels), nn.GELU(), nn.Linear(4 * channels, width))

    def forward(self, x: Tensor, words: Tensor, batch: int) -> Tensor:
        """Maps x (B·K, C, h, w), words (K, C) -> (B·K, C, h, w)."""
        height, width = x.shape[-2:]
        pooled = F.avg_pool2d(x, (min(self.pool, height), min(self.pool, width)))
        cells = torch.unflatten(pooled.flatten(2), 0, (batch, len(words))).permute(0, 3, 1, 2)
        tokens = torch.cat([cells, words.to(cells).expand_as(cells)], dim=-1).flatten(0, 1)
        seen = torch.unflatten(self._between(tokens)[..., : x.shape[1]], 0, (batch, -1))
        maps = seen.permute(0, 2, 3, 1).reshape(pooled.shape)
        return x + resize(maps, (height, width))

    def _between(self, tokens: Tensor) -> Tensor:
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed


class Up(nn.Module):
    """Twice the sides, joined by a skip map that all classes share: (B·K, wide, h, w) -> (B·K, narrow, 2h, 2w)."""

    def __init__(self, wide: int, narrow: int, skip: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(wide, wide - skip, 2, stride=2)
        self.conv = nn.Sequential(*_conv(wide, narrow, kernel=3), *_conv(narrow, narrow, kernel=3))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Maps x (B·K, wide, h, w), skip (B, ·, ·, ·).

        A convolution of concatenated maps is the sum of two, of which the skip's is computed once an image, not once a
        class.
        """
        x = self.up(x)
        own, shared = torch.split(self.conv[0].weight, [x.shape[1], skip.shape[1]], dim=1)  # type: ignore[arg-type]
        once = F.conv2d(resize(skip, x.shape[-2:]), shared, padding=1)
        each = torch.unflatten(F.conv2d(x, own, padding=1), 0, (skip.shape[0], -1))
        joined: Tensor = self.conv[1:]((each + once[:, None]).flatten(0, 1))
        return joined


def _conv(inputs: int, outputs: int, *, kernel: int = 1, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return [conv, nn.GroupNorm(max(1, outputs // _GROUP), outputs), nn.ReLU(inplace=True)]
