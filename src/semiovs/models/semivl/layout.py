"""Names in SemiVL's published checkpoints and in its converted CLIP file, and ours (SemiVL spec, sections 1, 2 and 4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from semiovs.models.statedict import StateDict

#: Parts of a published checkpoint: the tower that is trained, the frozen guide, the decoder, and Cityscapes' stem.
BACKBONE, GUIDE, DECODER, STEM = "backbone.", "clip_encoder.", "decode_head.", "conv_encoder."
#: Where the segmenter keeps the tower, the decoder and the stem.
OUR_TOWER, OUR_DECODER, OUR_STEM = "backbone.clip.tower.", "decoder.", "backbone.stem."

_Rules = tuple[tuple[str, str], ...]
_TOWER: _Rules = (
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^proj\.weight$", "proj"),
    (r"^patch_embed\.projection\.", "conv1."),
    (r"^ln0\.", "ln_pre."),
    (r"^ln1\.", "ln_post."),
    (r"^layers\.(\d+)\.ln([12])\.", r"transformer.resblocks.\1.ln_\2."),
    (r"^layers\.(\d+)\.attn\.attn\.", r"transformer.resblocks.\1.attn."),
    (r"^layers\.(\d+)\.ffn\.layers\.0\.0\.", r"transformer.resblocks.\1.mlp.c_fc."),
    (r"^layers\.(\d+)\.ffn\.layers\.1\.", r"transformer.resblocks.\1.mlp.c_proj."),
)
_HEAD: _Rules = (
    (r"^aspp\.aspp_convs\.\d+\.gap\.", "pyramid.pooled."),
    (r"^aspp\.aspp_convs\.", "pyramid.branches."),
    (r"^aspp\.project\.", "pyramid.project."),
    (r"^layers\.(\d+)\.transformer\.ln([12])\.", r"layers.\1.norm\2."),
    (r"^layers\.(\d+)\.transformer\.attn\.attn\.", r"layers.\1.attention."),
    (r"^layers\.(\d+)\.transformer\.ffn\.layers\.0\.0\.", r"layers.\1.mlp.0."),
    (r"^layers\.(\d+)\.transformer\.ffn\.layers\.1\.", r"layers.\1.mlp.2."),
    (r"^skip_proj\.", "skips."),
    (r"^up1\.", "ups.0."),
    (r"^up2\.", "ups.1."),
    (r"^head\.", "classifier."),
)
#: mmseg's ResNetV1c -> timm's `resnet101c`; no recorded layout confirms it.
_STEM: _Rules = ((r"^stem\.(?:7)\.", "bn1."), (r"^stem\.", "conv1."))


def to_segmenter(state: StateDict) -> StateDict:
    """Names of the segmenter `semivl`; the frozen guide is no part of it and is left out (`guide_of`)."""
    renamed = {}
    for name, value in state.items():
        if name.startswith(BACKBONE):
            own, reshaped = _of_tower(name.removeprefix(BACKBONE), value)
            renamed[OUR_TOWER + own] = reshaped
        elif name.startswith(DECODER):
            renamed[OUR_DECODER + _renamed(name.removeprefix(DECODER), _HEAD)] = value
        elif name.startswith(STEM):
            renamed[OUR_STEM + _renamed(name.removeprefix(STEM), _STEM)] = value
        elif not name.startswith(GUIDE):
            renamed[name] = value
    return renamed


def guide_of(state: Mapping[str, Tensor]) -> StateDict:
    """The guide's tensors of a published checkpoint, named as those of an open_clip tower; empty if it holds none."""
    named = ((name.removeprefix(GUIDE), value) for name, value in state.items() if name.startswith(GUIDE))
    return dict(_of_tower(name, value) for name, value in named)


def to_tower(state: Mapping[str, Tensor]) -> StateDict:
    """Tensors of an image tower, named as open_clip's: of the converted CLIP file, of a whole CLIP model, or a bare tower."""
    if is_converted(state):
        return dict(_of_tower(name.removeprefix(BACKBONE), value) for name, value in state.items())
    visual = {name.removeprefix("visual."): value for name, value in state.items() if name.startswith("visual.")}
    return visual or dict(state)


def is_converted(names: Iterable[str]) -> bool:
    """Whether these are the names of the image tower as SemiVL's conversion of CLIP writes them."""
    present = set(names)
    return f"{BACKBONE}cls_token" in present and f"{DECODER}conv1.weight" not in present


def describe(state: StateDict) -> str | None:
    """A published SemiVL checkpoint, its CLIP file, or the weights of our segmenter `semivl`, in words."""
    for tower, position, head in ((BACKBONE, "pos_embed", DECODER), (OUR_TOWER, "positional_embedding", OUR_DECODER)):
        table, first = state.get(tower + position), state.get(f"{head}conv1.weight")
        if table is not None and first is not None:
            width, channels = table.shape[-1], first.shape[0]
            return (
                f"SemiVL checkpoint (tower {width} wide with {table.shape[-2] - 1} positions, decoder {channels} wide)"
            )
    return "CLIP image tower as SemiVL reads it (for model.pretrained)" if is_converted(state) else None


def _of_tower(name: str, value: Tensor) -> tuple[str, Tensor]:
    """open_clip's name, and its shape: tables without the batch dimension, the projection as a matrix to the right."""
    own = _renamed(name, _TOWER)
    if own == "class_embedding":
        return own, value.flatten()
    if own == "positional_embedding":
        return own, value.reshape(value.shape[-2:])
    return own, value.flatten(1).T.contiguous() if own == "proj" else value


def _renamed(name: str, rules: _Rules) -> str:
    for pattern, replacement in rules:
        found, count = re.subn(pattern, replacement, name)
        if count:
            return found
    return name
