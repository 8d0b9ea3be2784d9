"""Parts of SED's decoder (SED spec, section 4). Every block sees B·T independent maps; only the attention mixes the T
concepts.
"""

from __future__ import annotations

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
        """As `forward`, but in the memory of `x`, which lies channels last; not to be differentiated."""
        rows = x.permute(0, 2, 3, 1).view(-1, x.shape[1])
        y = self.dwconv(x).permute(0, 2, 3, 1).reshape(rows.shape)
        for some, own in zip(*(torch.split(each, rows_for(rows)) for each in (rows, y)), strict=True):
            some.addcmul_(self.gamma, self.pwconv2(F.gelu(self.pwconv1(self.norm(own)))))

    def _mlp(self, x: Tensor) -> Tensor:
        y: Tensor = self.pwconv2(F.gelu(self.pwconv1(self.norm(self.dwconv(x).permute(0, 2, 3, 1)))))
        return y.permute(0, 3, 1, 2)


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

    def forward(self, x: Tensor) -> Tensor:
        """(…, T, N, C) -> (…, T, N, C); sums over T are of fp32 at least."""
        wide = torch.promote_types(x.dtype, torch.float32)
        keys, values = _phi(self._split(self.k(x))).to(wide), self._split(self.v(x)).to(wide) / x.shape[-3]
        queries = _phi(self._split(self.q(x))).to(wide)
        products = torch.einsum("...tnhd,...tnhe->...nhde", keys, values)
        weights = x.shape[-3] / ((queries * keys.sum(dim=-4, keepdim=True)).sum(dim=-1) + self.eps)
        out = torch.einsum("...tnhd,...nhde->...tnhe", queries, products) * weights[..., None]
        return out.flatten(-2).to(x.dtype)

    def read(self, x: Tensor) -> Tensor:
        """As `forward` for (T, N, C), contiguous and not to be differentiated: matrix products of each pixel and head,
        on the memory as it lies.

        The sum of the keys stands beside the products, once for each channel, so that numerator and denominator are one
        product.
        """
        wide, (total, pixels, channels) = torch.promote_types(x.dtype, torch.float32), x.shape

        def by_head(y: Tensor) -> Tensor:
            return y.to(wide).view(total, pixels * self.heads, -1).transpose(0, 1)

        queries, keys, values = by_head(_phi(self.q(x))), by_head(_phi(self.k(x))), by_head(self.v(x))
        width = channels // self.heads
        sums = torch.empty(pixels * self.heads, width, 2 * width, dtype=wide, device=x.device)
        sums[..., :width] = keys.transpose(1, 2) @ values
        sums[..., width:] = keys.sum(dim=1)[..., None]
        both = queries @ sums
        out = both[..., :width].div_(both[..., width:].add_(self.eps))
        return out.transpose(0, 1).reshape(x.shape).to(x.dtype)

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
        """(…, T, N, C) -> (…, T, N, C), N pixels."""
        p = p + self.attention(self.norm1(p))
        out: Tensor = p + self.MLP(self.norm2(p))
        return out

    def update_(self, x: Tensor, rows: int | None = None) -> None:
        """Add `forward(x)` to `x` (T, N, C) in its memory, a few pixels at a time with all their concepts, which is
        what attention reads; not to be differentiated.

        rows: pixels times concepts at a time (None: `rows_for`).
        """
        for part in torch.split(x, max((rows or rows_for(x)) // len(x), 1), dim=1):
            p = self.attention.read(self.norm1(part)).add_(part)
            part.add_(p).add_(self.MLP(self.norm2(p)))


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
        return F.conv2d(guide, self.weight[:, self.image], padding=1)

    def forward(self, up: Tensor, correlation: Tensor, image: Tensor) -> Tensor:
        """Maps of the concepts (B·T, ·, h, w), and `image_part` (B, outputs, h, w) -> (B·T, outputs, h, w)."""
        weight = torch.cat((self.weight[:, : self.image.start], self.weight[:, self.image.stop :]), dim=1)
        y = F.conv2d(torch.cat((up, correlation), dim=1), weight, padding=1)
        y = y.view(len(image), -1, *y.shape[1:]) + image[:, None]
        out: Tensor = self.double_conv[1:](y.flatten(0, 1))
        return out

    @property
    def weight(self) -> Tensor:
        """Of the first convolution."""
        weight = self.double_conv[0].weight
        assert isinstance(weight, Tensor)
        return weight


class Enlargement(NamedTuple):
    """A stage's transposed convolution and the first convolution after it as one, since nothing bends between them.

    kernels: (4 · outputs, inputs, 2, 2), for the pixels to the upper left, upper right, lower left, lower right of the
    middle of a window; image: the share of the image and of the biases (1, outputs, 2h, 2w); guided: kernels for the
    correlation's guidance (outputs, correlation, 3, 3).
    """

    kernels: Tensor
    image: Tensor
    guided: Tensor


class Decoder(nn.Module):
    """One stage: twice the resolution, fewer channels, with guidance of the image and of the correlation."""

    def __init__(self, inputs: int, outputs: int, image: int, correlation: int, *, kernel: int, heads: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs - image, 2, 2)
        self.conv = DoubleConv(inputs - image, image, correlation, outputs)
        self.cnext = ConvNext(inputs, kernel)
        self.attention = ConceptAttention(inputs, heads)

    def enlargement(self, guide: Tensor) -> Enlargement:
        """What twice the resolution takes for the concepts of one image with projected guidance (1, image, 2h, 2w)."""
        weight, bias, (_, up, *_) = self.conv.weight, self.up.bias, self.up.weight.shape
        assert bias is not None
        shifted = F.pad(weight[:, :up].float(), (1, 1, 1, 1)).unfold(2, 4, 1).unfold(3, 4, 1).flip(2, 3)
        shifted = shifted.reshape(*shifted.shape[:4], 2, 2, 2, 2)
        kernels = torch.einsum("okabypxq,ikpq->aboiyx", shifted, self.up.weight.float()).flatten(0, 2)
        edges = F.conv2d(bias[:, None, None].expand(1, -1, 3, 3), weight[:, :up], padding=1)
        rows, columns = (torch.tensor([0, *[1] * (side - 2), 2], device=bias.device) for side in guide.shape[2:])
        image = self.conv.image_part(guide) + edges[:, :, rows][..., columns]
        return Enlargement(kernels.to(weight), image, weight[:, self.conv.image.stop :])

    def enlarge(self, x: Tensor, correlation: Tensor, by: Enlargement) -> Tensor:
        """As `conv(up(x), correlation, image)`, for maps (T, inputs, h, w) that are not to be differentiated.

        Each window of 2×2 pixels of `x` gives the four pixels around its middle; those at the edges are cut off.
        """
        height, width = x.shape[2:]
        parts = F.conv2d(x, by.kernels, padding=1).chunk(4, dim=1)
        y = F.conv2d(correlation, by.guided, padding=1).add_(by.image)
        for index, part in enumerate(parts):
            row, column = index // 2, index % 2
            own = part[:, :, 1 - row : 1 - row + height, 1 - column : 1 - column + width]
            y[:, :, 1 - row :: 2, 1 - column :: 2].add_(own)
        out: Tensor = self.conv.double_conv[1:](y)
        return out

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


def rows_for(x: Tensor) -> int:
    """Rows (…, C) that a CPU's cache holds together with what lies between the layers of an MLP, four times as wide."""
    return max(_BLOCK // x.shape[-1], 1) if x.device.type == "cpu" else x.numel() // x.shape[-1]


def _phi(z: Tensor) -> Tensor:
    """elu(z) + 1, in operations that a CPU does eight at a time."""
    return z.clamp(max=0).exp_() + z.clamp(min=0)
