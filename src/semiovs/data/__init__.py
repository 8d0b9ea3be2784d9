"""What training reads: streams of samples and batches. Names are loaded when they are first used: some need torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semiovs.data.batch import Batch, Labeled, OpenVocab, Unlabeled, take_mirrored, take_next
    from semiovs.data.collection import Collection
    from semiovs.data.device_views import make_missing_views
    from semiovs.data.label_source import LabelSource, MaskFiles, MaskFolder
    from semiovs.data.machine_limits import choose_workers, require_shared_memory
    from semiovs.data.normalization import normalize
    from semiovs.data.streams import StepStream, batch_digest, steps_per_epoch
    from semiovs.data.view_request import ViewRequest
    from semiovs.data.workers import LoadingStoppedError, loader

__all__ = [
    "Batch",
    "Collection",
    "LabelSource",
    "Labeled",
    "LoadingStoppedError",
    "MaskFiles",
    "MaskFolder",
    "OpenVocab",
    "StepStream",
    "Unlabeled",
    "ViewRequest",
    "batch_digest",
    "choose_workers",
    "loader",
    "make_missing_views",
    "normalize",
    "require_shared_memory",
    "steps_per_epoch",
    "take_mirrored",
    "take_next",
]

_MODULES = {
    "batch": ("Batch", "Labeled", "OpenVocab", "Unlabeled", "take_mirrored", "take_next"),
    "normalization": ("normalize",),
    "device_views": ("make_missing_views",),
    "collection": ("Collection",),
    "label_source": ("LabelSource", "MaskFiles", "MaskFolder"),
    "streams": ("StepStream", "batch_digest", "steps_per_epoch"),
    "view_request": ("ViewRequest",),
    "workers": ("LoadingStoppedError", "loader"),
    "machine_limits": ("choose_workers", "require_shared_memory"),
}
#: Names of earlier versions -> those of today.
_RENAMED = {"flipped": "take_mirrored", "followed": "take_next"}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    name = _RENAMED.get(name, name)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
