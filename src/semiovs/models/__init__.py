"""Segmenters, encoders, weights. The classes are loaded when they are first used: they need torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiovs.errors import UsageError
from semiovs.registry import NECKS, SEGMENTERS, check_options, lookup

if TYPE_CHECKING:
    from semiovs.models.segmenter import Features, Normalization, Segmenter

__all__ = ["Features", "Normalization", "Segmenter", "build_segmenter"]


def __getattr__(name: str) -> Any:
    if name not in {"Features", "Normalization", "Segmenter"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from semiovs.models import segmenter

    return getattr(segmenter, name)


def build_segmenter(
    name: str,
    *,
    num_classes: int,
    pretrained: bool | str | Path = False,
    neck: str | None = None,
    bands: int | None = None,
    **options: Any,
) -> Segmenter:
    """Build the segmenter called `name` (`semiovs list segmenters`) for `num_classes` classes.

    pretrained: False; True for the encoder's published weights (hub or its cache); or a file with encoder weights.
    neck: what a method has put between encoder and decoder, by name, to load what it trained (a method puts it there
    itself). bands: of images that are not RGB: the encoder's first layer is adapted (`adapt_stem`), and the
    normalisation is the caller's business.

    Raises:
        UsageError: unknown name or option, or a value that cannot be taken; a segmenter or encoder that sees RGB alone.
        WeightsError: encoder weights that are missing or do not fit.
    """
    entry = lookup(SEGMENTERS, name, kind="segmenter")
    check_options(entry, options, kind="segmenter")
    given = pretrained if isinstance(pretrained, bool) else str(pretrained)
    make = entry.load()
    if bands is not None and make.sees_rgb_alone:
        raise UsageError(
            f"model.name: {name} sees RGB alone; leave data.bands away, or use deeplabv3plus, dpt or segformer"
        )
    chosen = {**entry.defaults, **options}
    segmenter: Segmenter = make(num_classes, pretrained=given, **chosen)
    if bands is not None:
        _adapt(segmenter, bands, trained=bool(pretrained), name=str(chosen.get("encoder", name)))
    if neck is not None:
        segmenter.neck = lookup(NECKS, neck, kind="neck").load()(segmenter.channels[-1])
    return segmenter


def _adapt(segmenter: Segmenter, bands: int, *, trained: bool, name: str) -> None:
    from semiovs.models.segmenter import Normalization
    from semiovs.models.stem import RGB, adapt_stem

    if bands != RGB:
        adapt_stem(segmenter.backbone, bands, trained=trained, name=name)
    segmenter.normalization = Normalization((0.5,) * bands, (0.25,) * bands)
