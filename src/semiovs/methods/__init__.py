"""The learners: mathematics and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semiovs.methods.base import Method
from semiovs.methods.maths import Target
from semiovs.methods.ood import OodStream
from semiovs.methods.step import Learn, Passes, Progress, Step
from semiovs.methods.terms import Term, Terms
from semiovs.models.segmenter import Segmenter
from semiovs.registry import METHODS, check_options, lookup

__all__ = ["Learn", "Method", "OodStream", "Passes", "Progress", "Step", "Target", "Term", "Terms", "build_method"]


def build_method(
    name: str, segmenter: Segmenter, *, num_classes: int, ood: Mapping[str, Any] | None = None, **options: Any
) -> Method:
    """Build a registered method around `segmenter`.

    ood: None, or ``{"weight": λ, "mode": "ovs" | "naive", "confidence": "ones" | "score" | "calibrated" | "soft"}``;
        an absent weight is the published one, ``"auto"`` starts from it (`OodWeight`).

    Raises:
        UsageError: unknown method or option, or class counts that differ.
    """
    entry = lookup(METHODS, name, kind="method")
    check_options(entry, options, kind="method")
    stream = None if ood is None else OodStream.from_options(ood)
    method: Method = entry.load()(segmenter, num_classes=num_classes, ood=stream, **options)
    return method
