"""Vision transformers by timm name, read as maps of patch tokens: DINOv2, DINOv3, and any other plain ViT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from semiovs.errors import UsageError, did_you_mean
from semiovs.models.encoders import published_weights
from semiovs.models.pretrained import load_encoder
from semiovs.models.segmenter import Features, Normalization

#: The four blocks that are read, where they are not the ends of the four quarters.
_PUBLISHED_LEVELS = {24: (4, 11, 17, 23)}


@dataclass(frozen=True)
class Patches:
    """How the tokens of an encoder are read.

    levels: blocks whose output is taken, counted from 0; side: of a patch, in pixels; width: channels of a token;
    dinov2: whether the position table is resized by DINOv2's rule.
    """

    levels: tuple[int, ...]
    side: int
    width: int
    dinov2: bool

    def maps(self, vit: Any, image: Tensor) -> Features:
        """(B, 3, H, W), sides multiples of the patch -> for each level, normalised by the last norm, (B, C, H/side,
        W/side).
        """
        if not self.dinov2:
            return tuple(
                vit.forward_intermediates(image, indices=list(self.levels), norm=True, intermediates_only=True)
            )
        tokens = vit.patch_embed(image)
        grid = (tokens.shape[1], tokens.shape[2])
        tokens = torch.cat([vit.cls_token.expand(image.shape[0], -1, -1), tokens.flatten(1, 2)], dim=1)
        tokens = tokens + resize_positions(vit.pos_embed, vit.patch_embed.grid_size, grid)
        found = []
        for index, block in enumerate(vit.blocks):
            tokens = block(tokens)
            if index in self.levels:
                found.append(vit.norm(tokens)[:, 1:].transpose(1, 2).unflatten(2, grid).contiguous())
        return tuple(found)


def build_vit(name: str, *, pretrained: bool | str = False) -> tuple[nn.Module, Patches, Normalization]:
    """The encoder called `name`, how it is read, and what its images must be normalised with.

    pretrained: False, True (timm's weights: `SEMIOVS_WEIGHTS_DIR`, the hub's cache or the hub), a file (timm's, or
    Meta's of DINOv2 without registers), or a name in `SEMIOVS_WEIGHTS_DIR`.

    Raises:
        UsageError: timm does not know it, or it is no plain ViT; WeightsError: weights that are missing or of another
        network.
    """
    if not timm.is_model(name):
        near = did_you_mean(name, vit_names())
        hint = near if near.startswith(" (did") else "; see `semiovs list encoders`"
        raise UsageError(f"encoder '{name}' is not known{hint}")
    make = partial(timm.create_model, name, num_classes=0, global_pool="", dynamic_img_size=True)
    try:
        module = make()
    except (TypeError, AssertionError, ValueError, RuntimeError):  # it has no patches, or not of any image size
        module = None
    if not isinstance(module, VisionTransformer | Eva):
        raise UsageError(
            f"encoder '{name}' is no plain vision transformer; use one such as vit_small_patch14_dinov2, "
            "or model.name=deeplabv3plus for a convolutional encoder"
        )
    if pretrained is True:
        module = published_weights(make, module, name)
    elif pretrained:
        load_encoder(module, pretrained, encoder=name)
    picture: dict[str, Any] = module.pretrained_cfg  # type: ignore[assignment]
    dinov2 = "dinov2" in name and getattr(module, "reg_token", None) is None
    patches = Patches(levels_of(len(module.blocks)), module.patch_embed.patch_size[0], module.embed_dim, dinov2)
    return module, patches, Normalization(tuple(picture["mean"]), tuple(picture["std"]))


def vit_names() -> list[str]:
    """Names that may be tried."""
    return [str(name) for name in timm.list_models(["*vit*patch*", "eva*", "*beit*", "test_vit*"])]


def levels_of(depth: int) -> tuple[int, ...]:
    """The four blocks that are read: 2, 5, 8, 11 of 12; 4, 11, 17, 23 of 24; 9, 19, 29, 39 of 40 (deeplab_methods spec,
    7).
    """
    return _PUBLISHED_LEVELS.get(depth) or tuple(max(depth * quarter // 4 - 1, 0) for quarter in (1, 2, 3, 4))


def layers_of(vit: nn.Module) -> tuple[list[nn.Parameter], ...]:
    """Its parameters by depth: the embeddings, each block, the last block with the last norm."""
    blocks: Sequence[nn.Module] = list(vit.blocks)  # type: ignore[arg-type]
    inside = {id(p) for block in blocks for p in block.parameters()}
    last = [p for name, p in vit.named_parameters() if name.startswith("norm.")]
    first = [p for p in vit.parameters() if id(p) not in inside | {id(p) for p in last}]
    return (first, *(list(block.parameters()) for block in blocks[:-1]), [*blocks[-1].parameters(), *last])


def resize_positions(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """The position table (1, 1 + h·w, C), class token first, for a grid of `new` rows and columns.

    DINOv2's rule, which its weights were trained with: bicubic without antialiasing, and scaled by (new + 0.1) / old,
    not by new / old (deeplab_methods spec, section 7). On the table's own grid nothing is changed.
    """
    if old == new:
        return table
    grid = table[:, 1:].float().transpose(1, 2).reshape(1, -1, *old)
    scale = ((new[0] + 0.1) / old[0], (new[1] + 0.1) / old[1])
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
    return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)
