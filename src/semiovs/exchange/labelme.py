"""LabelMe's JSON, one file an image (https://github.com/wkentaro/labelme). Later shapes lie on top; group ids mean
nothing here.

Lines become 10 pixels wide and points discs with a radius of 5, as in LabelMe's own masks.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from semiovs.errors import DataError
from semiovs.exchange.annotation_file import AnnotationFile, JsonNode, shorten_text
from semiovs.exchange.annotations import AnnotatedImage, Annotations, Bitmap, Region, Shape
from semiovs.exchange.polygons import Points, Polygons, make_ellipse, make_line, make_rectangle, require_polygon
from semiovs.exchange.problems import ProblemList

_LINE_WIDTH, _POINT_RADIUS = 10.0, 5.0


def recognise(document: AnnotationFile) -> bool:
    """Whether a file is of this format: an object with shapes."""
    return isinstance(document.json, dict) and "shapes" in document.json


def read(document: AnnotationFile, _: ProblemList) -> Annotations:
    """Read the image with its shapes; the picture inside the file (``imageData``) is ignored.

    Raises:
        DataError: no list of shapes; what is wrong with single ones goes to the image's `faults`.
    """
    root = document.root
    own = document.path.with_suffix("").name
    name = root.get("imagePath").text().replace("\\", "/") if root.has("imagePath") else own
    has_size = root.has("imageHeight") and root.has("imageWidth")
    size = (root.get("imageHeight").whole(1), root.get("imageWidth").whole(1)) if has_size else None
    shapes, faults = [], ProblemList()
    for node in root.get("shapes").items():
        with faults.collect():
            shapes.append(Shape(node.get("label").text().strip(), _read_region(node), node.where))
    # A file that was renamed together with its image still names the old one.
    aliases = () if PurePosixPath(name).stem == own else (own,)
    return Annotations(
        [AnnotatedImage(name, size, tuple(shapes), str(document.path), aliases, faults=tuple(faults.found))]
    )


def _read_region(node: JsonNode) -> Region:
    kind = node.get("shape_type").text() if node.has("shape_type") else "polygon"
    points = node.get("points").points()
    if kind == "mask":
        return _read_mask(node, points)
    try:
        made = _make_polygons(kind, points)
    except DataError as error:
        raise node.error(str(error)) from None
    if made is None:
        raise node.get("shape_type").error(f"'{shorten_text(kind)}' is no shape of LabelMe that is known")
    return Polygons(made)


def _make_polygons(kind: str, points: Points) -> tuple[Points, ...] | None:
    if kind in {"polygon", "rotation"} or (kind == "rectangle" and len(points) == 4):
        return (require_polygon(points),)
    if kind in {"point", "points"}:
        _require_count(kind, points, 1, 1 if kind == "point" else len(points))
        return tuple(make_ellipse(x, y, _POINT_RADIUS, _POINT_RADIUS) for x, y in points.tolist())
    if kind in {"line", "linestrip"}:
        _require_count(kind, points, 2, 2 if kind == "line" else len(points))
        made = make_line(points, _LINE_WIDTH)
        if not made:
            raise DataError(f"a {kind} of no length")
        return made
    if kind not in {"rectangle", "circle"}:
        return None
    _require_count(kind, points, 2, 2)
    (x, y), (other_x, other_y) = points.tolist()
    if kind == "rectangle":
        return (make_rectangle(x, y, other_x - x, other_y - y),)
    radius = float(np.hypot(other_x - x, other_y - y))
    return (make_ellipse(x, y, radius, radius),)


def _require_count(kind: str, points: Points, least: int, most: int) -> None:
    if not least <= len(points) <= most:
        raise DataError(f"a {kind} of {len(points)} points; it has {least}{'' if most == least else ' or more'}")


def _read_mask(node: JsonNode, points: Points) -> Bitmap:
    """A mask that LabelMe's assistants draw: a PNG of what lies between two corners, both included."""
    if len(points) != 2:
        raise node.error(f"a mask between {len(points)} corners instead of 2")
    (left, top), (right, bottom) = np.rint(points).astype(np.int64).tolist()
    mask = node.get("mask")
    try:
        data = base64.b64decode(mask.text(), validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if abs(image.width - (right - left + 1)) > 1 or abs(image.height - (bottom - top + 1)) > 1:
                raise mask.error(
                    f"is {image.width}x{image.height} pixels, its corners are "
                    f"{right - left + 1}x{bottom - top + 1} apart"
                )
            values = np.asarray(image.convert("L")) > 0
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise mask.error("is no PNG in base64") from None
    return Bitmap(values, left, top)
