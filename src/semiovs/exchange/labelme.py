"""LabelMe's JSON, one file an image (https://github.com/wkentaro/labelme). Later shapes lie on top; group ids mean
nothing here.

Lines and points have no area: they are counted and not drawn.
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
from semiovs.exchange.polygons import Points, Polygons, make_ellipse, make_rectangle, require_polygon
from semiovs.exchange.problems import ProblemList

_WITHOUT_AREA = ("line", "linestrip", "point", "points")
#: Shapes that are told by their corners, and how many those are; 0: any number.
_OUTLINES = {"polygon": 0, "rotation": 0, "oriented_rectangle": 4, "quadrilateral": 4}
_KNOWN = (*_OUTLINES, "rectangle", "circle", "mask", *_WITHOUT_AREA)


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
    named = str(root.value.get("imagePath") or "").strip() != ""  # one of a picture inside the file alone is empty
    name = root.get("imagePath").text().replace("\\", "/") if named else own
    has_size = root.has("imageHeight") and root.has("imageWidth")
    size = (root.get("imageHeight").whole(1), root.get("imageWidth").whole(1)) if has_size else None
    found, shapes, faults = Annotations(), [], ProblemList()
    for node in root.get("shapes").items():
        with found.skipped.collect(node.where, faults):
            label, kind = node.get("label").text().strip(), _read_kind(node)
            if kind in _WITHOUT_AREA:
                found.skipped.add(kind, node.where)
                continue
            shapes.append(Shape(label, _read_region(node, kind), node.where, box=kind == "rectangle"))
    # A file that was renamed together with its image still names the old one.
    aliases = () if PurePosixPath(name).stem == own else (own,)
    found.images.append(
        AnnotatedImage(name, size, tuple(shapes), str(document.path), aliases, faults=tuple(faults.found))
    )
    return found


def _read_kind(node: JsonNode) -> str:
    kind = node.get("shape_type").text() if node.has("shape_type") else "polygon"
    if kind not in _KNOWN:
        raise node.get("shape_type").error(
            f"'{shorten_text(kind)}' is no shape of LabelMe that is known ({', '.join(_KNOWN)})"
        )
    return kind


def _read_region(node: JsonNode, kind: str) -> Region:
    points = node.get("points").points()
    if kind == "mask":
        return _read_mask(node, points)
    try:
        return Polygons((require_polygon(_make_outline(kind, points)),))
    except DataError as error:
        raise node.error(str(error), error.kind) from None


def _make_outline(kind: str, points: Points) -> Points:
    if kind in _OUTLINES or (kind == "rectangle" and len(points) == 4):
        if _OUTLINES.get(kind):
            _require_count(kind, points, _OUTLINES[kind])
        return points
    _require_count(kind, points, 2)
    (x, y), (other_x, other_y) = points.tolist()
    if kind == "rectangle":
        return make_rectangle(x, y, other_x - x, other_y - y)
    radius = float(np.hypot(other_x - x, other_y - y))
    return make_ellipse(x, y, radius, radius)


def _require_count(kind: str, points: Points, number: int) -> None:
    if len(points) != number:
        raise DataError(f"a {kind} of {len(points)} points; it has {number}")


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
