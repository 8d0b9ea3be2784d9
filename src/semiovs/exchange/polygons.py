"""Fill polygons into masks, and trace the outlines of masks.

Coordinates are those of COCO, CVAT, LabelMe and Label Studio: x to the right, y down, the first pixel lies between 0
and 1. A pixel belongs to a polygon if its centre lies inside (even-odd rule); COCO's own are drawn by the COCO API, see
`images.coco_polygons`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError

_ROUND = 128
#: Rows that the edges of one polygon may cross, all together: far above any drawing, far below what fills the memory.
_MOST_CROSSINGS = 20_000_000
#: How far points may lie from a line, as a share of its length, to be on it: what rounding makes of a line.
_FLAT = 1e-9

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Polygons:
    """An object that is the union of polygons, each (N, 2) of x, y in pixels."""

    parts: tuple[Points, ...]

    def rasterize(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) where the object is; what reaches out of the image is cut.

        Raises:
            DataError: the object lies outside of the image.
        """
        self.require_inside(height, width)
        mask = np.zeros((height, width), np.bool_)
        for part in self.parts:
            mask |= fill_polygon(part, height, width)
        return mask

    def require_inside(self, height: int, width: int) -> None:
        """Raise a DataError if all of the object lies outside of the image."""
        corners = np.concatenate(self.parts)
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        if right < 0 or bottom < 0 or left > width or top > height:
            raise DataError(
                f"lies outside of the image: x {left:g} to {right:g}, y {top:g} to {bottom:g}, the image is "
                f"{width}x{height}",
                kind="outside",
            )


def require_polygon(points: Points) -> Points:
    """Return the corners (N, 2) of a polygon.

    Raises:
        DataError: fewer than three, or all on one line; its kind is one of `problems.WITHOUT_PIXELS`.
    """
    if len(points) < 3:
        raise DataError(f"a polygon of {len(points)} points; it takes at least 3", kind="few-points")
    apart = points - points[0]
    (far_x, far_y) = far = apart[np.abs(apart).sum(axis=1).argmax()]
    if np.abs(apart[:, 0] * far_y - apart[:, 1] * far_x).max() <= _FLAT * (far @ far):
        raise DataError(f"a polygon without area: its {len(points)} points lie on one line", kind="flat")
    return points


def fill_polygon(points: Points, height: int, width: int) -> NDArray[np.bool_]:
    """Fill a polygon (N, 2) into a mask (height, width): the pixels whose centres lie inside."""
    (x, y), (next_x, next_y) = points.T, np.roll(points, -1, axis=0).T
    first = np.clip(np.ceil(np.minimum(y, next_y) - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(np.maximum(y, next_y) - 0.5), 0, height).astype(np.int64)
    rows_of = last - first
    total = int(rows_of.sum())
    if total > _MOST_CROSSINGS:
        raise DataError(f"a polygon of {len(points):,} points whose edges cross {total:,} rows; simplify it")
    edge = np.repeat(np.arange(len(points)), rows_of)
    rows = np.arange(total) - np.repeat(np.cumsum(rows_of) - rows_of, rows_of) + first[edge]
    share = (rows + 0.5 - y[edge]) / (next_y - y)[edge]
    top, bottom = int(first.min()), int(last.max())
    left, right = (int(np.clip(bound, 0, width)) for bound in (np.floor(x.min()), np.ceil(x.max())))
    columns = np.clip(np.ceil(x[edge] + share * (next_x - x)[edge] - 0.5), left, right).astype(np.int64)
    wide = right - left + 1
    toggles = np.bincount((rows - top) * wide + columns - left, minlength=(bottom - top) * wide)
    inside = np.cumsum(toggles.reshape(bottom - top, wide), axis=1) & 1  # an odd number of edges lies to the left
    mask = np.zeros((height, width), np.bool_)
    mask[top:bottom, left:right] = inside[:, :-1]
    return mask


def make_rectangle(x: float, y: float, width: float, height: float, rotation: float = 0.0) -> Points:
    """Make a rectangle (4, 2); rotation: degrees clockwise around its first corner (x, y)."""
    across, down = _rotate_axes(rotation)
    corners = np.array([0 * across, width * across, width * across + height * down, height * down])
    return np.asarray(corners + np.array([x, y]))


def make_ellipse(x: float, y: float, radius_x: float, radius_y: float, rotation: float = 0.0) -> Points:
    """Make an ellipse around (x, y) as a polygon; rotation: degrees clockwise."""
    angles = np.arange(_ROUND) * (2 * np.pi / _ROUND)
    across, down = _rotate_axes(rotation)
    return np.array([x, y]) + radius_x * np.outer(np.cos(angles), across) + radius_y * np.outer(np.sin(angles), down)


def _rotate_axes(rotation: float) -> tuple[Points, Points]:
    angle = np.deg2rad(rotation)
    return np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])


def trace_outlines(mask: NDArray[np.bool_], tolerance: float) -> Iterator[Points]:
    """Trace the outer outline (N, 2) of each connected piece of a mask; holes are not traced.

    tolerance: how far dropped corners may lie from the outline, pixels; with 0, `fill_polygon` restores each piece and
    its holes.
    """
    pieces, marks, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    for number in range(1, pieces):
        left, top, width, height = (int(value) for value in stats[number, :4])
        piece = (marks[top : top + height, left : left + width] == number).astype(np.uint8)
        # Twice as large, outlines through the outermost pixels' centres run a quarter of a pixel within the piece.
        large = piece.repeat(2, axis=0).repeat(2, axis=1)
        contour = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0][0]
        simple = cv2.approxPolyDP(contour, 2 * tolerance, True) if tolerance else contour
        points = simple if len(simple) >= 3 else contour
        yield (points[:, 0, :].astype(np.float64) + 0.5) / 2 + (left, top)
