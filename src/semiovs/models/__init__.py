"""Segmenters, encoders, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semiovs.models.segmenter import Features, Normalization, Segmenter
from semiovs.registry import NECKS, SEGMENTERS, check_options, lookup

__all__ = ["Features", "Normalization", "Segmenter", "build_segmenter"]


def build_segmenter(
    name: str, *, num_classes: int, pretrained: bool | str | Path = False, neck: str | None = None, **options: Any
) -> Segmenter:
    """Build the segmenter called `name` (`semiovs list segmenters`) for `num_classes` classes.

    pretrained: False; True for the encoder's published weights (hub or its cache); or a file with encoder weights. neck: what a
    method has put between encoder and decoder, by name, to load what it trained (a method puts it there itself).

    Raises:
        UsageError: unknown name or option, or a value that cannot be taken.
        WeightsError: encoder weights that are missing or do not fit.
    """
    entry = lookup(SEGMENTERS, name, kind="segmenter")
    check_options(entry, options, kind="segmenter")
    given = pretrained if isinstance(pretrained, bool) else str(pretrained)
    segmenter: Segmenter = entry.load()(num_classes, pretrained=given, **{**entry.options, **options})
    if neck is not None:
        segmenter.neck = lookup(NECKS, neck, kind="neck").load()(segmenter.channels[-1])
    return segmenter
