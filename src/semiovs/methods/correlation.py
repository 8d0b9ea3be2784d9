"""CorrMatch's correlation of pixels: how alike every two of them are, and what that tells about a prediction.

Sun et al. 2024; corrmatch spec, section 2. N = h · w are the positions of the encoder's last map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from semiovs.methods.propagation import pack_masks
from semiovs.models.decoders.deeplabv3plus import resize


@dataclass(frozen=True, eq=False)
class Affinity:
    """matrix: (B, N, N), each row a softmax over all positions; side: (h, w)."""

    matrix: Tensor
    side: tuple[int, int]

    def spread(self, logits: Tensor) -> Tensor:
        """Spread every position's logits to similar positions: (B, K, H, W), detached, -> (B, K, h, w).

        At j the sum over i of O_i C_ij. The rows of C sum to 1, its columns do not: a position that many are like gets
        more.
        """
        out = resize(logits.detach(), self.side).flatten(2) @ self.matrix
        return out.view(*out.shape[:2], *self.side)

    def shapes(self, positions: Tensor, size: tuple[int, int]) -> Tensor:
        """Regions similar to M positions, by more than half of the range: (B, *size, M / 8) uint8, eight shapes a byte.

        positions: (M,), the same for every image. Where all is alike the shape is empty. One image after the other,
        because the maps of all at full size would be M B H W floats.
        """
        rows = self.matrix.detach()[:, positions]
        maps = rows.view(*rows.shape[:2], *self.side).contiguous(memory_format=torch.channels_last)
        return torch.stack([pack_masks(_upper_half(resize(m, size)[0].permute(1, 2, 0))) for m in torch.split(maps, 1)])

    def of(self, images: slice) -> Affinity:
        """That of some images."""
        return Affinity(self.matrix[images], self.side)


class Correlation(nn.Module):
    """C = softmax(f₁ᵀ f₂ / √K), f₁ and f₂ two projections of a map (B, C, h, w) to K channels."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, num_classes, 1)
        self.conv2 = nn.Conv2d(channels, num_classes, 1)

    def forward(self, feature: Tensor) -> Affinity:
        """Compare every two positions."""
        f1, f2 = self.conv1(feature).flatten(2), self.conv2(feature).flatten(2)
        matrix = (f1.transpose(1, 2) @ f2 / math.sqrt(f1.shape[1])).softmax(dim=-1)
        return Affinity(matrix, (feature.shape[-2], feature.shape[-1]))


def _upper_half(maps: Tensor) -> Tensor:
    """(H, W, M) -> bool: (m - min) / (max - min) > ½, without the division."""
    middle = (maps.amin(dim=(0, 1)) + maps.amax(dim=(0, 1))) / 2
    return (maps > middle).contiguous()
