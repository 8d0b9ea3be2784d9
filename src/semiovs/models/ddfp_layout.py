"""Names in DDFP's published checkpoints, and those of the segmenter `deeplabv3plus-dual` (DDFP spec, section 2)."""

from __future__ import annotations

from semiovs.models.statedict import Renaming, StateDict, rename

#: Start of a published name -> start of ours; the first that fits counts.
_RENAMED = (
    ("encoder.", "backbone."),
    ("decoder.low_conv.", "reduce."),
    ("decoder.aspp.conv1.", "head.b0.gap."),
    ("decoder.aspp.conv2.", "head.b1."),
    ("decoder.aspp.conv3.", "head.b2."),
    ("decoder.aspp.conv4.", "head.b3."),
    ("decoder.aspp.conv5.", "head.b4."),
    ("decoder.head.", "head.project."),
    ("decoder.classifier.0.", "fuse.conv1."),
    ("decoder.classifier.1.aux_bn.", "fuse.norm1.aux."),
    ("decoder.classifier.1.", "fuse.norm1.main."),
    ("decoder.classifier.4.", "fuse.conv2."),
    ("decoder.classifier.5.aux_bn.", "fuse.norm2.aux."),
    ("decoder.classifier.5.", "fuse.norm2.main."),
    ("decoder.final.", "classifier."),
)


def to_segmenter(state: StateDict) -> Renaming:
    """The published names -> ours; names that are ours already are kept."""
    return rename(state, _our_name)


def describe(state: StateDict) -> str | None:
    """A published checkpoint, or the weights of our segmenter, in words."""
    ours = to_segmenter(state)
    classifier = ours.get("classifier.weight")
    if classifier is None or "fuse.norm1.aux.weight" not in ours:
        return None
    return f"DDFP checkpoint (DeepLabV3+ with two BatchNorms) with {classifier.shape[0]} classes"


def _our_name(name: str) -> str:
    for theirs, ours in _RENAMED:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
