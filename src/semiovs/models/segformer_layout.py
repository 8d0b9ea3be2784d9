"""Names in AllSpark's published checkpoints, and ours (layout: specs, allspark)."""

from __future__ import annotations

import re

from semiovs.models.pyramid import mit_name
from semiovs.models.statedict import Renaming, StateDict, rename

#: Of the method, not of the segmenter.
_MEMORY = {"attn.kv_queue": "memory.channels", "attn.queue_ptr": "memory.pointer"}
#: Blocks of the four stages of MiT.
_MIT: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "mit_b0/b1",
    (3, 4, 6, 3): "mit_b2",
    (3, 4, 18, 3): "mit_b3",
    (3, 8, 27, 3): "mit_b4",
    (3, 6, 40, 3): "mit_b5",
}


def to_method(state: StateDict) -> Renaming:
    """Names of the segmenter with its neck, and those of the memory (``memory.…``), which belongs to the method."""
    return rename(state, _our_name)


def _our_name(name: str) -> str:
    if name.startswith("backbone."):
        return f"backbone.{mit_name(name.removeprefix('backbone.'))}"
    if name.startswith("decoder.allspark."):
        inner = name.removeprefix("decoder.allspark.")
        return _MEMORY.get(inner, f"neck.{inner}")
    level = re.fullmatch(r"decoder\.decoder\.linear_c([1-4])\.proj\.(\w+)", name)
    if level:
        return f"head.projects.{int(level[1]) - 1}.{level[2]}"
    name = name.replace("decoder.decoder.linear_fuse.conv.", "head.fuse.0.").replace(
        "decoder.decoder.linear_fuse.bn.", "head.fuse.1."
    )
    return name.replace("decoder.decoder.linear_pred.", "head.classifier.")


def describe(state: StateDict) -> str | None:
    """A published checkpoint, or the weights of our segmenter `segformer`, in words."""
    ours = to_method(state)
    classifier = ours.get("head.classifier.weight")
    if classifier is None or "head.projects.0.weight" not in ours:
        return None
    kind = "AllSpark" if "neck.attn_norm.weight" in ours else "SegFormer"
    return f"{encoder(ours, 'backbone.') or 'other'} {kind} checkpoint with {classifier.shape[0]} classes"


def encoder(state: StateDict, prefix: str) -> str | None:
    """MiT and its size, by the number of blocks."""
    names = {mit_name(name.removeprefix(prefix)) for name in state if name.startswith(prefix)}
    if not {"stages.0.blocks.0.attn.kv.weight", "stages.0.norm.weight"} <= names:
        return None
    found = (re.match(r"stages\.(\d)\.blocks\.(\d+)\.", name) for name in names)
    blocks = {(int(m[1]), int(m[2])) for m in found if m}
    return _MIT.get(tuple(sum(stage == s for s, _ in blocks) for stage in range(4)))
