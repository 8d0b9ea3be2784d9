"""Names in UniMatch V2's published checkpoints, and ours (layout: specs, unimatch_v2)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from semiovs.models.statedict import Renaming, StateDict, rename

#: In the files, but no part of any output: DINOv2's token of hidden patches, and what the coarsest level would add to
#: nothing.
_UNUSED = ("backbone.mask_token", "head.scratch.refinenet4.resConfUnit1.")
#: Channels of a token -> size of the encoder.
_SIZES = {384: "S", 768: "B", 1024: "L", 1536: "G"}


def to_segmenter(state: StateDict) -> Renaming:
    """Names of the segmenter `dpt`: the published ones, without what is never used."""
    return rename({name: value for name, value in state.items() if not name.startswith(_UNUSED)}, str)


def describe(state: StateDict) -> str | None:
    """A published checkpoint, or the weights of our segmenter `dpt`, in words."""
    classifier = state.get("head.scratch.output_conv.2.weight")
    if classifier is None:
        return None
    return f"{encoder(state, 'backbone.') or 'ViT'} DPT checkpoint with {classifier.shape[0]} classes"


def encoder(state: Mapping[str, Tensor], prefix: str) -> str | None:
    """DINOv2 or DINOv3 and its size, by names and widths; None: neither."""
    token, scale = state.get(f"{prefix}cls_token"), f"{prefix}blocks.0"
    if token is None or not (f"{scale}.ls1.gamma" in state or f"{scale}.gamma_1" in state):
        return None
    family = "DINOv2" if f"{prefix}pos_embed" in state else "DINOv3"
    return f"{family}-{_SIZES.get(token.shape[-1], token.shape[-1])}"
