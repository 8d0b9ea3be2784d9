"""Parts of SED's decoder (SED spec, section 4). Every block sees B·T independent maps; only the attention mixes the T
concepts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Floats that go into an MLP at once on a CPU.
_BLOCK = 2**17


class ConvNext(nn.Module):
    """Depthwise convolution and pointwise MLP with a learnt scale: (N, C, h, w) -> the same shape."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """X + γ · MLP(LN(dw(x)))."""
        return torch.addcmul(x, self.gamma[:, None, None], self._mlp(x))

    def update_(self, x: Tensor) -> None:
        """As `forward`, but in the memory of `x`."""
        x.addcmul_(self.gamma[:, None, None], self._mlp(x))

    def _mlp(self, x: Tensor) -> Tensor:
        def mlp(y: Tensor) -> Tensor:
            out: Tensor = self.pwconv2(F.gelu(self.pwconv1(self.norm(y))))
            return out

        return in_blocks(mlp, self.dwconv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Sums(NamedTuple):
    """What linear attention must know of all concepts at a pixel, per head of d channels; sums of parts may be added.

    keys: Σ_t φ(k_t), (B, N, heads, d); products: Σ_t φ(k_t) v_tᵀ / T, (B, N, heads, d, d).
    """

    keys: Tensor
    products: Tensor

    def add_(self, other: Sums) -> Sums:
        """Add the sums over other concepts, in place."""
        self.keys.add_(other.keys)
        self.products.add_(other.products)
        return self


class LinearAttention(nn.Module):
    """Attention over T whose cost is linear in T, with φ(z) = elu(z) + 1 (Katharopoulos et al. 2020); no output
    projection.
    """

    eps = 1e-6

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(channels, channels)
        self.k = nn.Linear(channels, channels)
        self.v = nn.Linear(channels, channels)

    def sums(self, x: Tensor, total: int) -> Sums:
        """Concepts (B, t, N, C), some or all of the `total` there are -> their share of the sums, in fp32 at least."""
        keys = _phi(self._split(self.k(x)))
        values = self._split(self.v(x)) / total
        wide = torch.promote_types(x.dtype, torch.float32)
        return Sums(keys.sum(dim=1, dtype=wide), torch.einsum("btnhd,btnhe->bnhde", keys.to(wide), values.to(wide)))

    def read(self, x: Tensor, sums: Sums, total: int) -> Tensor:
        """Concepts (B, t, N, C) and the sums over all of them -> (B, t, N, C)."""
        queries = _phi(self._split(self.q(x))).to(sums.keys.dtype)
        weights = total / ((queries * sums.keys[:, None]).sum(dim=-1) + self.eps)
        out = torch.einsum("btnhd,bnhde->btnhe", queries, sums.products) * weights[..., None]
        return out.flatten(-2).to(x.dtype)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:-1], self.heads, -1)


class ConceptAttention(nn.Module):
    """Transformer block over the concepts of each pixel: p + A(LN(p)), then p + MLP(LN(p)); channels come last."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = LinearAttention(channels, heads)
        self.MLP = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.ReLU(inplace=True), nn.Linear(4 * channels, channels)
        )
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, p: Tensor) -> Tensor:
        """(B, T, N, C) -> (B, T, N, C), N pixels."""
        return self.read(p, self.sums(p, p.shape[1]), p.shape[1])

    def sums(self, p: Tensor, total: int) -> Sums:
        """First pass: what these concepts (B, t, N, C) add to the sums of all `total`."""
        return self.attention.sums(self.norm1(p), total)

    def read(self, p: Tensor, sums: Sums, total: int) -> Tensor:
        """Second pass: the block's output for these concepts."""
        p = p + self.attention.read(self.norm1(p), sums, total)
        return in_blocks(lambda rows: self.MLP(self.norm2(rows)), p).add_(p)


class DoubleConv(nn.Module):
    """Two 3×3 convolutions, each with group normalisation and ReLU; a group has 16 channels.

    The first reads [up, image, correlation]. The image's part is the same for all concepts of an image, so it is
    convolved once per image (`image_part`) and added: a convolution is linear in its channels.
    """

    def __init__(self, up: int, image: int, correlation: int, outputs: int) -> None:
        super().__init__()
        self.image = slice(up, up + image)
        groups = max(outputs // 16, 1)
        self.double_conv = nn.Sequential(
            nn.Conv2d(up + image + correlation, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(groups, outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(groups, outputs),
            nn.ReLU(inplace=True),
        )

    def image_part(self, guide: Tensor) -> Tensor:
        """Projected image guidance (B, image, h, w) -> its share of the first convolution (B, outputs, h, w)."""
        return F.conv2d(guide, self._weight[:, self.image], padding=1)

    def forward(self, up: Tensor, correlation: Tensor, image: Tensor) -> Tensor:
        """Maps of the concepts (B·T, ·, h, w), and `image_part` (B, outputs, h, w) -> (B·T, outputs, h, w)."""
        weight = torch.cat((self._weight[:, : self.image.start], self._weight[:, self.image.stop :]), dim=1)
        y = F.conv2d(torch.cat((up, correlation), dim=1), weight, padding=1)
        y = y.view(len(image), -1, *y.shape[1:]) + image[:, None]
        out: Tensor = self.double_conv[1:](y.flatten(0, 1))
        return out

    @property
    def _weight(self) -> Tensor:
        weight = self.double_conv[0].weight
        assert isinstance(weight, Tensor)
        return weight


class Decoder(nn.Module):
    """One stage: twice the resolution, fewer channels, with guidance of the image and of the correlation."""

    def __init__(self, inputs: int, outputs: int, image: int, correlation: int, *, kernel: int, heads: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs - image, 2, 2)
        self.conv = DoubleConv(inputs - image, image, correlation, outputs)
        self.cnext = ConvNext(inputs, kernel)
        self.attention = ConceptAttention(inputs, heads)

    def forward(self, x: Tensor, guide: Tensor, correlation: Tensor, pool: int) -> Tensor:
        """Maps (B·T, inputs, h, w), guidance (B, image, 2h, 2w) and (B·T, correlation, 2h, 2w) -> (B·T, outputs, 2h,
        2w).
        """
        x = self.attend(self.cnext(x), len(guide), pool)
        out: Tensor = self.conv(self.up(x), correlation, self.conv.image_part(guide))
        return out

    def attend(self, x: Tensor, batch: int, pool: int) -> Tensor:
        """Attention over the concepts, on means of `pool` × `pool` pixels.

        The block's output holds its input already, and is added to x all the same: that is how the weights were
        trained.
        """
        size, pool = x.shape[-2:], min(pool, *x.shape[-2:])
        p = F.avg_pool2d(x, pool) if pool > 1 else x
        pixels = p.permute(0, 2, 3, 1)
        p = self.attention(pixels.reshape(batch, -1, pixels.shape[1] * pixels.shape[2], pixels.shape[3]))
        p = p.reshape(pixels.shape).permute(0, 3, 1, 2)
        if pool > 1:
            p = F.interpolate(p, size=size, mode="bilinear", align_corners=True)
        return x + p


def in_blocks(mlp: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """An MLP on rows (…, C). On a CPU, where nothing is to be differentiated, on a few at a time: what lies between its
    layers is four times as wide, and so never leaves the cache (a third of the time for 32 channels).
    """
    if torch.is_grad_enabled() or x.device.type != "cpu":
        return mlp(x)
    rows = x.reshape(-1, x.shape[-1])
    out = torch.empty_like(rows)
    count = max(_BLOCK // x.shape[-1], 1)
    for part, place in zip(torch.split(rows, count), torch.split(out, count), strict=True):
        place.copy_(mlp(part))
    return out.view(x.shape)


def _phi(z: Tensor) -> Tensor:
    """elu(z) + 1, in operations that a CPU does eight at a time."""
    return z.clamp(max=0).exp_() + z.clamp(min=0)
