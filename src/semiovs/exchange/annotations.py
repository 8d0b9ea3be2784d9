"""The common form of all annotation files: images with named shapes, and their rasterisation to labels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.exchange.problems import ProblemList, SkippedShapes
from semiovs.images.conventions import IGNORE

#: Size of an image: height, width.
Size = tuple[int, int]

#: Name of the ignore value 255 in annotation files.
IGNORE_NAME = "ignore"

_NOTHING = -1


class Region(Protocol):
    """The pixels of an object (`Polygons`, `Runs`, `BrushMask`, `Bitmap`)."""

    def rasterize(self, height: int, width: int, /) -> NDArray[np.bool_]:
        """Mask (height, width) of the object; DataError if it does not fit the image."""


@dataclass(frozen=True, eq=False)
class Bitmap:
    """A mask (h, w) with its upper left corner at (left, top); it is cut at the border of the image."""

    mask: NDArray[np.bool_]
    left: int
    top: int

    def rasterize(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) where the object is."""
        whole = np.zeros((height, width), np.bool_)
        x, y = max(self.left, 0), max(self.top, 0)
        part = self.mask[max(-self.top, 0) :, max(-self.left, 0) :][: max(height - y, 0), : max(width - x, 0)]
        whole[y : y + part.shape[0], x : x + part.shape[1]] = part
        return whole


@dataclass(frozen=True, slots=True)
class Shape:
    """One object. label: class name as the file has it; where: file and place; layer: higher ones lie on top; crowd:
    COCO's region of objects that are not told apart; box: whether it is an upright box, not an outline.
    """

    label: str
    region: Region
    where: str
    layer: int = 0
    crowd: bool = False
    box: bool = False


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image of an annotation file.

    name: file name as given, with folders; size: as given, or None; shapes: later ones lie on top, or, if
    `smaller_on_top`, smaller ones; aliases: other names of the image; faults: problems of shapes that were left out;
    unclear: regions in which an object of unknown outline lies: ignored where no shape is.
    """

    name: str
    size: Size | None
    shapes: tuple[Shape, ...]
    where: str
    aliases: tuple[str, ...] = ()
    smaller_on_top: bool = False
    faults: tuple[str, ...] = ()
    unclear: tuple[Region, ...] = ()


@dataclass
class Annotations:
    """The annotations of a file or folder.

    labels: declared class names, in order; skipped: shapes without pixels; untouched: names of images that were
    assigned but not annotated; notes: what else a person should know, a line each.
    """

    images: list[AnnotatedImage] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: SkippedShapes = field(default_factory=SkippedShapes)
    untouched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, other: Annotations) -> None:
        """Add the annotations of another file."""
        self.images += other.images
        self.labels += [label for label in other.labels if label not in self.labels]
        self.skipped.add_all(other.skipped)
        self.untouched += other.untouched
        self.notes += other.notes

    def used(self) -> dict[str, list[str]]:
        """Label -> places of its shapes."""
        found: dict[str, list[str]] = {}
        for image in self.images:
            for shape in image.shapes:
                found.setdefault(shape.label, []).append(shape.where)
        return found


@dataclass(frozen=True)
class PaintedLabel:
    """A label (H, W) uint8; bare: number of pixels without a shape; covered: of pixels under one; empty: of shapes
    thinner than a pixel; drawn: of the others; outside: of shapes outside of the image.
    """

    label: NDArray[np.uint8]
    bare: int
    covered: int
    empty: int
    drawn: int
    outside: int


def paint(
    image: AnnotatedImage,
    size: Size,
    ids: Mapping[str, int],
    *,
    rest: int,
    crowd_ignored: bool,
    problems: ProblemList,
    skipped: SkippedShapes,
) -> PaintedLabel:
    """Rasterise all shapes into one label, the topmost last.

    ids: label -> class id, or 255; rest: value of pixels without a shape; crowd_ignored: whether crowds become 255
    (they lie under all other shapes); problems: collects the problems of single shapes; skipped: counts those that lie
    outside of the image.
    """
    label = np.full(size, _NOTHING, np.int16)
    drawn, empty, outside = [], 0, 0
    for number, shape in enumerate(image.shapes):
        try:
            mask = shape.region.rasterize(*size)
        except DataError as error:
            if skipped.add_error(error, shape.where):
                outside += 1
            else:
                problems.add(shape.where, error)
            continue
        window = _find_window(mask)
        if window is None:
            empty += 1
            continue
        value = IGNORE if shape.crowd and crowd_ignored else ids[shape.label]
        area = -int(mask[window].sum()) if image.smaller_on_top else 0
        drawn.append(((not shape.crowd, shape.layer, area, number), window, mask[window].copy(), value))
    for _, window, mask, value in sorted(drawn, key=lambda item: item[0]):
        label[window][mask] = value
    bare = label == _NOTHING
    covered = label.size - int(bare.sum())
    if rest != IGNORE:
        bare &= ~_join_unclear(image, size)
    label[label == _NOTHING] = IGNORE
    label[bare] = rest
    return PaintedLabel(label.astype(np.uint8), int(bare.sum()), covered, empty, len(drawn), outside)


def _join_unclear(image: AnnotatedImage, size: Size) -> NDArray[np.bool_]:
    """Where objects of unknown outline may lie."""
    found = np.zeros(size, np.bool_)
    for region in image.unclear:
        with suppress(DataError):  # outside of the image
            found |= region.rasterize(*size)
    return found


def _find_window(mask: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """Find the rows and columns that contain a mask; None if it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
