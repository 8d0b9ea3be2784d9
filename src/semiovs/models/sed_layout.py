"""Names in SED's published checkpoints, and ours (SED spec, section 5)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from semiovs.models.statedict import Renaming, StateDict, rename

#: Where the published files keep the CLIP model and the aggregator.
CLIP = "sem_seg_head.predictor.clip_model."
AGGREGATOR = "sem_seg_head.predictor.transformer."
#: Parts of the CLIP model that only texts go through.
_TEXT = ("positional_embedding", "text_projection", "logit_scale", "token_embedding.", "transformer.", "ln_final.")

#: Published sizes: the CLIP model each was made from, and the channels of its embeddings.
VARIANTS = {"large": ("convnext_large_d_320", 768), "base": ("convnext_base_w_320", 640)}


def to_segmenter(state: StateDict) -> Renaming:
    """Names of the segmenter `sed`; the text tower, which is no part of it, is left out."""
    texts = tuple(CLIP + part for part in _TEXT)
    return rename({name: value for name, value in state.items() if not name.startswith(texts)}, _our_name)


def _our_name(name: str) -> str:
    if name.startswith(AGGREGATOR):
        return f"network.aggregator.{name.removeprefix(AGGREGATOR)}"
    if name.startswith(f"{CLIP}visual."):
        return f"network.backbone.{name.removeprefix(CLIP)}"
    return name


def variant_of(state: Mapping[str, Tensor]) -> str | None:
    """`large` or `base`, by the width of the text embeddings; None: neither."""
    projection = state.get(f"{CLIP}text_projection")
    if projection is None or projection.ndim != 2:
        return None
    return next((name for name, (_, width) in VARIANTS.items() if width == projection.shape[1]), None)


def describe(state: StateDict) -> str | None:
    """A published SED checkpoint, or the weights of our segmenter `sed`, in words."""
    if f"{AGGREGATOR}conv1.weight" in state:
        variant = variant_of(state)
        return f"SED checkpoint, {variant}" if variant else "SED checkpoint"
    return "SED segmenter" if "network.aggregator.conv1.weight" in state else None
