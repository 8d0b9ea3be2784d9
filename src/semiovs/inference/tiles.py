"""Which images go through a model in tiles, and their labels block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiovs.config.schema import EvalConfig
from semiovs.errors import UsageError
from semiovs.images.conventions import IGNORE
from semiovs.images.readers import Picture as Seen
from semiovs.images.tile_source import Part, TileSource
from semiovs.inference.blending import blend_windows

#: Side of tiles where none is asked for, and the least that may be.
SIDE, LEAST = 1024, 32
#: Share of a tile's side over which it is blended with the next one.
_SHARED = 8
#: Estimated bytes above which a picture is predicted in tiles.
MOST_BYTES = 4 << 30
#: Estimated bytes a pixel of an image that goes through a model as a whole: feature maps, and copies of each of its
#: channels and scores. In windows: the picture and what is found.
_FEATURES, _COPIES, _IN_WINDOWS = 256, 3, 48


@dataclass(frozen=True)
class Tiling:
    """Tiles of an image. side, overlap: in pixels; one tile of the image's longer side covers all."""

    side: int
    overlap: int


@dataclass(frozen=True, eq=False)
class LabelBlock:
    """Labels uint8 (255: not measured, or not covered) and confidences float32 of some rows and columns, and their
    pixels for people (h, w, 3).
    """

    rows: slice
    columns: slice
    labels: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    shown: NDArray[np.uint8]


def parse_tile(given: str | int | None) -> int | Literal["auto"] | None:
    """Side of tiles from an option: `auto` leaves it to the size of each image, None is never.

    Raises:
        UsageError: no number of pixels from `LEAST`.
    """
    if given is None or given == "auto":
        return "auto" if given == "auto" else None
    try:
        side = int(str(given))
    except ValueError:
        side = 0
    if side < LEAST:
        raise UsageError(f"tile '{given}': must be auto, or the side of the tiles in pixels, at least {LEAST}")
    return side


def estimate_bytes(size: tuple[int, int], *, bands: int, classes: int, settings: EvalConfig) -> int:
    """Roughly the memory that an image of `size` (width, height) takes in one pass."""
    whole = 4 * _COPIES * (bands + classes) + _FEATURES
    return size[0] * size[1] * (_IN_WINDOWS if settings.mode == "sliding" else whole)


def choose_tiling(
    size: tuple[int, int], settings: EvalConfig, *, tile: int | str | None, bands: int, classes: int
) -> Tiling | None:
    """Tiles for an image of `size` (width, height) that is larger than `tile`, or, for `auto`, whose estimate is above
    `MOST_BYTES`; None for others, and where the settings need the whole image.

    With `eval.mode` sliding, its windows and their step.
    """
    if tile is None or settings.mode == "center_crop" or settings.short_side is not None:
        return None
    if tile == "auto" and estimate_bytes(size, bands=bands, classes=classes, settings=settings) <= MOST_BYTES:
        return None
    if settings.mode == "sliding" and settings.window is not None:
        side = settings.window
        stride = settings.stride or max(1, side * 2 // 3)
        chosen = Tiling(side, side - min(stride, side))
    else:
        side = SIDE if isinstance(tile, str) else tile
        chosen = Tiling(side, side // _SHARED)
    return chosen if max(size) > chosen.side else None


def label_tiles(
    source: TileSource,
    tiling: Tiling,
    score: Callable[[Seen], Tensor],
    *,
    classes: int,
    spill: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
) -> Iterator[LabelBlock]:
    """Label an image block by block; each pixel comes once, from left to right in rows of blocks.

    score: a picture (h, w) -> its probabilities (K, h, w). Tiles in which nothing was measured are not looked at.
    """
    tile: dict[str, Any] = {}

    def find_scores(rows: slice, columns: slice) -> Tensor | None:
        part = source.read(rows, columns)
        tile.update(part=part, rows=rows, columns=columns)
        return None if part is None else score(part.seen)

    through: dict[str, Any] = {"window": tiling.side, "overlap": tiling.overlap, "spill": spill, "progress": progress}
    for rows, columns, scores in blend_windows(find_scores, (source.height, source.width), classes=classes, **through):
        inside = _shift(rows, tile["rows"].start), _shift(columns, tile["columns"].start)
        yield _make_block(rows, columns, scores, tile["part"], inside)


def _make_block(
    rows: slice, columns: slice, scores: Tensor, part: Part | None, inside: tuple[slice, slice]
) -> LabelBlock:
    confidence, label = scores.max(dim=0)
    labels = label.to(torch.uint8).numpy()
    labels[confidence.numpy() == 0] = IGNORE
    if part is None:
        return LabelBlock(rows, columns, labels, confidence.numpy(), np.zeros((*labels.shape, 3), np.uint8))
    if part.measured is not None:
        unknown = ~part.measured[inside]
        labels[unknown] = IGNORE
        confidence.numpy()[unknown] = 0
    return LabelBlock(rows, columns, labels, confidence.numpy(), part.shown[inside])


def _shift(span: slice, start: int) -> slice:
    return slice(span.start - start, span.stop - start)
