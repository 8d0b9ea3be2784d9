"""CLIP's image transformer read densely: one vector a patch, without training (MaskCLIP; SemiVL spec, section 2).

The tower is open_clip's own, unmodified. A *value path* of a block lets each token attend to nothing but itself; the
last block's, projected into the space of CLIP's texts, says at each patch what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import MissingExtraError, UsageError


def clip_library() -> Any:
    """open_clip, the library of CLIP models, tokenizers and weights by tag; imported when one of them is asked for.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import open_clip
    except ModuleNotFoundError as error:
        if error.name != "open_clip":
            raise
        raise MissingExtraError("CLIP models need open_clip; pip install 'semiovs[clip]'") from None
    return open_clip


class DenseClipViT(nn.Module):
    """Image (B, 3, H, W) -> value paths of the blocks `taps`, (B, D, h, w) each, then `dense` (B, C, h, w) of length 1
    over C.

    h, w = H, W over the patch size, rounded up: the image is padded with zeros at the right and the bottom. The
    position table is resized (bicubic) to h x w whenever that is not its own grid; gradients flow through it.

    tower: `visual` of an open_clip CLIP model; its own grid of positions is `tower.grid_size`.

    Raises:
        UsageError: a tower of another kind, or a tap that it does not have.
    """

    def __init__(self, tower: Any, taps: Sequence[int] = ()) -> None:
        super().__init__()
        _require_plain(tower)
        self.tower = tower
        self.patch = int(self.tower.conv1.kernel_size[0])
        self.dim = int(self.tower.proj.shape[1])
        depth = len(self.tower.transformer.resblocks)
        if wrong := [tap for tap in taps if not 0 <= tap < depth]:
            raise UsageError(f"tap {wrong[0]}: the tower's blocks are 0 to {depth - 1}")
        self.taps = tuple(taps)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps of the taps in their order, then `dense`."""
        x, grid = self._tokens(image)
        blocks = self.tower.transformer.resblocks
        tapped: dict[int, Tensor] = {}
        for index, block in enumerate(blocks[:-1]):
            if index in self.taps:
                tapped[index] = value_path(block, x)
            x = block(x)
        last = value_path(blocks[-1], x)
        tapped[len(blocks) - 1] = last
        dense = self.tower.ln_post(last) @ self.tower.proj
        return *(_as_map(tapped[tap], grid) for tap in self.taps), F.normalize(_as_map(dense, grid), dim=1)

    def _tokens(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, 1 + h·w, D) before the first block, and (h, w)."""
        height, width = image.shape[-2:]
        padded = F.pad(image, (0, -width % self.patch, 0, -height % self.patch))
        patches = self.tower.conv1(padded)
        grid = (patches.shape[-2], patches.shape[-1])
        token = self.tower.class_embedding.expand(image.shape[0], 1, -1)
        x = torch.cat([token, patches.flatten(2).transpose(1, 2)], dim=1)
        positions = resize_positions(self.tower.positional_embedding[None], self.tower.grid_size, grid)
        return self.tower.ln_pre(x + positions), grid


def value_path(block: Any, x: Tensor) -> Tensor:
    """Output of a block, were each token to attend to itself alone: x (B, N, D) -> (B, N, D).

    u = x + Out(V(LN1 x)), then u + FFN(LN2 u); queries and keys are not computed.
    """
    attention, width = block.attn, x.shape[-1]
    values = F.linear(block.ln_1(x), attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    u = x + block.ls_1(attention.out_proj(values))
    found: Tensor = u + block.ls_2(block.mlp(block.ln_2(u)))
    return found


def resize_positions(table: Tensor, grid: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Position table (1, 1 + h·w, D) of `grid` (h, w) -> the same of `wanted`, bicubic; the class token's row is kept.

    It is the shape that decides, not the number of tokens: 16 x 64 on a table of 32 x 32 is resized too.
    """
    if tuple(grid) == tuple(wanted):
        return table
    first, patches = table[:, :1], table[:, 1:].transpose(1, 2).reshape(1, table.shape[2], *grid)
    resized = F.interpolate(patches, size=wanted, mode="bicubic", align_corners=False)
    return torch.cat([first, resized.flatten(2).transpose(1, 2)], dim=1)


def as_semivl(tower: Any, *, act: str = "gelu", ln_eps: float = 1e-6) -> Any:
    """Make a tower compute as SemiVL's: exact GELU and another ε in its LayerNorms (SemiVL spec, section 13.2). In
    place.

    act: gelu, or quickgelu, with which OpenAI trained CLIP (and with ln_eps 1e-5).
    """
    quick = clip_library().transformer.QuickGELU
    for module in tower.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = ln_eps
    for block in tower.transformer.resblocks:
        block.mlp.gelu = nn.GELU() if act == "gelu" else quick()
    return tower


def fit_positions(tower: Any, grid: tuple[int, int]) -> None:
    """Give a tower a position table of its own for `grid` (h, w) patches. In place."""
    table = resize_positions(tower.positional_embedding.detach()[None], tower.grid_size, grid)
    tower.positional_embedding = nn.Parameter(table[0].clone())
    tower.grid_size = grid


def _as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, 1 + h·w, C) -> (B, C, h, w), without the class token."""
    return tokens[:, 1:].transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def _require_plain(tower: Any) -> None:
    """Raise UsageError unless the parts that are read here are there, and nothing besides them."""
    parts = clip_library().transformer
    fits = isinstance(tower, parts.VisionTransformer) and tower.attn_pool is None and tower.proj is not None
    if not fits or not all(type(block) is parts.ResidualAttentionBlock for block in tower.transformer.resblocks):
        raise UsageError(
            f"image tower {type(tower).__name__}: dense features are read from CLIP's plain ViTs only, like ViT-B-16"
        )
