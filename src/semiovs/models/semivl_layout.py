"""Names in SemiVL's published checkpoints and in its converted CLIP file, and ours (SemiVL spec, sections 1, 2 and
4).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from semiovs.models.statedict import Renaming, StateDict

#: Parts of a published checkpoint: the tower that is trained, the frozen guide, the decoder, and Cityscapes' stem.
BACKBONE, GUIDE, DECODER, STEM = "backbone.", "clip_encoder.", "decode_head.", "conv_encoder."
#: Where the segmenter keeps the tower, the decoder and the stem.
OUR_TOWER, OUR_DECODER, OUR_STEM = "backbone.clip.tower.", "decoder.", "backbone.stem."

_Rules = tuple[tuple[str, str], ...]


def _layer_rules(theirs: str, ours: str, *, norm: str, attention: str, widening: str, narrowing: str) -> _Rules:
    """Rules of a transformer layer in mmcv's notation. theirs: start of its names (a pattern with the number); ours: of
    ours.
    """
    parts = (
        (r"ln([12])", rf"{norm}\2"),
        (r"attn\.attn", attention),
        (r"ffn\.layers\.0\.0", widening),
        (r"ffn\.layers\.1", narrowing),
    )
    return tuple((rf"^{theirs}\.{part}\.", rf"{ours}.{own}.") for part, own in parts)


_TOWER: _Rules = (
    (r"^cls_token$", "class_embedding"),
    (r"^pos_embed$", "positional_embedding"),
    (r"^proj\.weight$", "proj"),
    (r"^patch_embed\.projection\.", "conv1."),
    (r"^ln0\.", "ln_pre."),
    (r"^ln1\.", "ln_post."),
    *_layer_rules(
        r"layers\.(\d+)",
        r"transformer.resblocks.\1",
        norm="ln_",
        attention="attn",
        widening="mlp.c_fc",
        narrowing="mlp.c_proj",
    ),
)
_HEAD: _Rules = (
    (r"^aspp\.aspp_convs\.\d+\.gap\.", "pyramid.pooled."),
    (r"^aspp\.aspp_convs\.", "pyramid.branches."),
    (r"^aspp\.project\.", "pyramid.project."),
    *_layer_rules(
        r"layers\.(\d+)\.transformer",
        r"layers.\1",
        norm="norm",
        attention="attention",
        widening="mlp.0",
        narrowing="mlp.2",
    ),
    (r"^skip_proj\.", "skips."),
    (r"^up1\.", "ups.0."),
    (r"^up2\.", "ups.1."),
    (r"^head\.", "classifier."),
)
#: mmseg's ResNetV1c -> timm's `resnet101c`; no recorded layout confirms it.
_STEM: _Rules = ((r"^stem\.(?:7)\.", "bn1."), (r"^stem\.", "conv1."))


def to_segmenter(state: StateDict) -> Renaming:
    """Names of the segmenter `semivl`; the frozen guide is no part of it and is left out (`guide_of`)."""
    renamed = Renaming()
    for name, value in state.items():
        if name.startswith(BACKBONE):
            own, reshaped = _to_tower_tensor(name.removeprefix(BACKBONE), value)
            renamed.add(OUR_TOWER + own, reshaped, source=name)
        elif name.startswith(DECODER):
            renamed.add(OUR_DECODER + _apply(_HEAD, name.removeprefix(DECODER)), value, source=name)
        elif name.startswith(STEM):
            renamed.add(OUR_STEM + _apply(_STEM, name.removeprefix(STEM)), value, source=name)
        elif not name.startswith(GUIDE):
            renamed.add(name, value, source=name)
    return renamed


def guide_of(state: Mapping[str, Tensor]) -> StateDict:
    """The guide's tensors of a published checkpoint, named as those of an open_clip tower; empty if it holds none."""
    named = ((name.removeprefix(GUIDE), value) for name, value in state.items() if name.startswith(GUIDE))
    return dict(_to_tower_tensor(name, value) for name, value in named)


def to_tower(state: Mapping[str, Tensor]) -> StateDict:
    """Tensors of an image tower, named as open_clip's: of the converted CLIP file, of a whole CLIP model, or a bare
    tower.
    """
    if is_converted(state):
        return dict(_to_tower_tensor(name.removeprefix(BACKBONE), value) for name, value in state.items())
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


def _to_tower_tensor(name: str, value: Tensor) -> tuple[str, Tensor]:
    """open_clip's name, and its shape: tables without the batch dimension, the projection as a matrix to the right."""
    own = _apply(_TOWER, name)
    if own == "class_embedding":
        return own, value.flatten()
    if own == "positional_embedding":
        return own, value.reshape(value.shape[-2:])
    return own, value.flatten(1).T.contiguous() if own == "proj" else value


def _apply(rules: _Rules, name: str) -> str:
    """The name by the first rule that fits; itself if none does."""
    for pattern, replacement in rules:
        found, count = re.subn(pattern, replacement, name)
        if count:
            return found
    return name
