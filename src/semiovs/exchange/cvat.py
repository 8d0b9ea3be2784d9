"""CVAT XML 1.1, "CVAT for images" (https://docs.cvat.ai/docs/manual/advanced/xml_format/).

Of two shapes the one with the higher ``z_order`` lies on top, of equal ones the later. ``occluded`` and attributes mean
nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from semiovs.errors import DataError
from semiovs.exchange.annotation_file import AnnotationFile
from semiovs.exchange.annotations import IGNORE_NAME, AnnotatedImage, Annotations, Region, Shape
from semiovs.exchange.polygons import Points, Polygons, make_ellipse, make_rectangle, require_polygon
from semiovs.exchange.problems import ProblemList
from semiovs.exchange.regions import ExportLabel, layer_outlines, split_classes
from semiovs.exchange.xml_tree import XmlElement
from semiovs.images.run_lengths import Runs, count_runs
from semiovs.vocab.colors import RGB, format_hex

_WITHOUT_AREA = ("polyline", "points", "tag", "cuboid", "skeleton")


def recognise(document: AnnotationFile) -> bool:
    """Whether a file is of this format: XML, ``<annotations>`` outermost."""
    return document.xml is not None and document.xml.tag == "annotations"


def read(document: AnnotationFile, problems: ProblemList) -> Annotations:
    """Images with their shapes.

    Raises:
        DataError: a file of another kind; what is wrong with single shapes goes to their images' `faults`, the rest to
            `problems`.
    """
    root = document.xml
    if root is None or root.tag != "annotations":
        raise DataError(f"{document.path}: not XML of CVAT; its outermost element is <annotations>")
    if root.find_children("track"):
        raise root.find_children("track")[0].error("a file of 'CVAT for video'; export 'CVAT for images 1.1'")
    found = Annotations()
    for owner in ("task", "project", "job"):
        names = root.walk("meta", owner, "labels", "label", "name")
        found.labels += [name.text.strip() for name in names if name.text.strip() not in found.labels]
    for element in root.find_children("image"):
        with problems.collect():
            found.images.append(_read_image(element, found))
    return found


def _read_image(element: XmlElement, found: Annotations) -> AnnotatedImage:
    name, size = element.attribute("name"), (element.whole("height", 1), element.whole("width", 1))
    shapes, faults = [], ProblemList()
    for child in element.children:
        if child.tag in _WITHOUT_AREA or child.attributes.get("outside") == "1":
            found.skipped.add(child.tag if child.tag in _WITHOUT_AREA else f'{child.tag} with outside="1"', child.where)
            continue
        with found.skipped.collect(child.where, faults):
            layer = child.whole("z_order", -(1 << 31)) if "z_order" in child.attributes else 0
            label, region = child.attribute("label").strip(), _read_region(child)
            shapes.append(Shape(label, region, child.where, layer, box=child.tag == "box"))
    return AnnotatedImage(name, size, tuple(shapes), element.where, faults=tuple(faults.found))


def _read_region(element: XmlElement) -> Region:
    if element.tag == "polygon":
        return _make_polygon(element, _read_points(element))
    if element.tag == "mask":
        return _read_mask(element)
    turned = element.number("rotation") if "rotation" in element.attributes else 0.0
    if element.tag == "ellipse":
        x, y, across, down = (element.number(name) for name in ("cx", "cy", "rx", "ry"))
        return _make_polygon(element, make_ellipse(x, y, across, down, turned))
    if element.tag != "box":
        raise element.error("no shape that is known (polygon, box, mask, ellipse)")
    left, top, right, bottom = (element.number(name) for name in ("xtl", "ytl", "xbr", "ybr"))
    center = np.array([(left + right) / 2, (top + bottom) / 2])
    corners = make_rectangle(0, 0, right - left, bottom - top, turned)  # CVAT turns boxes around their middle
    return _make_polygon(element, corners - corners.mean(axis=0) + center)


def _read_points(element: XmlElement) -> Points:
    pairs = [pair.split(",") for pair in element.attribute("points").split(";") if pair.strip()]
    try:
        numbers = np.array([[float(part) for part in pair] for pair in pairs], np.float64).reshape(-1, 2)
    except ValueError:
        raise element.error("points must be 'x,y;x,y;…'") from None
    if not (np.abs(numbers) < 1e15).all():
        raise element.error("points hold a number that is not finite", "not-finite")
    return numbers


def _make_polygon(element: XmlElement, points: Points) -> Polygons:
    try:
        return Polygons((require_polygon(points),))
    except DataError as error:
        raise element.error(str(error), error.kind) from None


def _read_mask(element: XmlElement) -> Runs:
    try:
        counts = np.array([int(part) for part in element.attribute("rle").split(",")], np.int64)
    except (ValueError, OverflowError):
        raise element.error("rle must be whole numbers with commas between them") from None
    size = (element.whole("height", 1), element.whole("width", 1))
    return Runs(counts, size, by_columns=False, corner=(element.whole("left"), element.whole("top")))


def write(images: Iterable[ExportLabel], names: Sequence[str], tolerance: float | None) -> str:
    """The XML text of labels: one mask a class and image, or with `tolerance` one polygon a piece, larger ones
    below.
    """
    lines: list[str] = []
    number = 0
    for number, image in enumerate(images, 1):
        height, width = image.label.shape
        lines.append(f'  <image id="{number - 1}" name={quoteattr(image.name)} width="{width}" height="{height}">')
        shapes = _format_masks(image, names) if tolerance is None else _format_polygons(image, names, tolerance)
        lines += [f"    {shape}" for shape in shapes]
        lines.append("  </image>")
    head = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<annotations>",
        "  <version>1.1</version>",
        *_format_meta(names, number),
    ]
    return "\n".join([*head, *lines, "</annotations>", ""])


def _format_meta(names: Sequence[str], images: int) -> list[str]:
    """The task that the annotations are of; readers take the labels from it."""
    labels = "".join(f"<label><name>{escape(name)}</name></label>" for name in [*names, IGNORE_NAME])
    task = f"<name>semiovs</name><size>{images}</size><mode>annotation</mode><labels>{labels}</labels>"
    return ["  <meta>", f"    <task>{task}</task>", "  </meta>"]


def _format_masks(image: ExportLabel, names: Sequence[str]) -> Iterator[str]:
    for name, mask in split_classes(image.label, names):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        counts = ", ".join(map(str, count_runs(inner, by_columns=False).tolist()))
        yield (
            f'<mask label={quoteattr(name)} source="semi-auto" occluded="0" rle="{counts}" left="{columns[0]}" '
            f'top="{rows[0]}" '
            f'width="{inner.shape[1]}" height="{inner.shape[0]}" z_order="0"></mask>'
        )


def _format_polygons(image: ExportLabel, names: Sequence[str], tolerance: float) -> Iterator[str]:
    for layer, (name, points) in enumerate(layer_outlines(image.label, names, tolerance)):
        corners = ";".join(f"{x:.2f},{y:.2f}" for x, y in points.tolist())
        yield (
            f'<polygon label={quoteattr(name)} source="semi-auto" occluded="0" points="{corners}" '
            f'z_order="{layer}"></polygon>'
        )


def format_setup(names: Sequence[str], colors: Sequence[RGB]) -> str:
    """Labels for the "Raw" field of a new CVAT task."""
    return json.dumps(
        [
            {"name": name, "color": format_hex(color), "attributes": []}
            for name, color in zip(names, colors, strict=True)
        ],
        indent=2,
        ensure_ascii=False,
    )
