"""COCO JSON: objects as polygons or run lengths (https://cocodataset.org/#format-data).

Objects may overlap and have no order: smaller ones lie on top. A crowd (``iscrowd``) lies under all objects.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.exchange.annotation_file import AnnotationFile, JsonNode, describe_kind, shorten_text
from semiovs.exchange.annotations import IGNORE_NAME, AnnotatedImage, Annotations, Region, Shape
from semiovs.exchange.polygons import Points, Polygons, make_rectangle, require_polygon, trace_outlines
from semiovs.exchange.problems import WITHOUT_PIXELS, ProblemList, SkippedShapes
from semiovs.exchange.regions import ExportLabel, split_classes
from semiovs.images.coco_polygons import fill_polygons
from semiovs.images.run_lengths import Runs, decode_run_lengths, encode_run_lengths

_NEEDED = ("images", "annotations", "categories")
#: A number without leading zeros, which would tell ids apart.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}


class CocoPolygons(Polygons):
    """Polygons that are filled by the COCO API."""

    def rasterize(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) where the object is, see `Polygons`."""
        self.require_inside(height, width)
        return fill_polygons(self.parts, height, width)


def recognise(document: AnnotationFile) -> bool:
    """Whether a file is of this format: an object with images, annotations or categories."""
    return isinstance(document.json, dict) and sum(key in document.json for key in _NEEDED) > 1


def read(document: AnnotationFile, problems: ProblemList) -> Annotations:
    """Images with their objects, in the order of the file.

    Raises:
        DataError: a part of the file is missing; what is wrong with single shapes goes to their images' `faults`,
            the rest to `problems`.
    """
    root = document.root
    categories = _read_categories(root.get("categories"), problems)
    images = _read_images(root.get("images"), problems)
    found = Annotations(labels=list(dict.fromkeys(categories.values())))
    drawn = {key: _Objects() for key in images}
    repeated = Counter[str]()
    for node in root.get("annotations").items():
        with problems.collect():
            image = node.get("image_id")
            key = _read_id(image)
            if key not in images:
                raise image.error(f"no image has the id {image.value!r}")
            if node.has("id"):
                repeated[str(node.value["id"])] += 1
            with drawn[key].faults.collect():
                _read_object(node, categories, drawn[key], found.skipped)
    if shared := [key for key, number in repeated.items() if number > 1]:
        found.notes.append(
            f"{document.path}: {len(shared)} ids stand at more than one annotation (first: {shorten_text(shared[0])}); "
            f"all are drawn"
        )
    for key, (name, size, where) in images.items():
        own = drawn[key]
        wrong = tuple(own.faults.found)
        found.images.append(
            AnnotatedImage(
                name, size, tuple(own.shapes), where, smaller_on_top=True, faults=wrong, unclear=tuple(own.unclear)
            )
        )
    return found


@dataclass
class _Objects:
    """What was read of the objects of one image, see `AnnotatedImage`."""

    shapes: list[Shape] = field(default_factory=list)
    unclear: list[Polygons] = field(default_factory=list)
    faults: ProblemList = field(default_factory=ProblemList)


def _read_id(node: JsonNode) -> object:
    """An id: a number or a text; ``"12"`` and 12.0 are 12."""
    value = node.value
    if isinstance(value, str):
        return int(value) if _NUMBER.fullmatch(value) else value
    return value if type(value) is int else node.whole()


def _read_categories(nodes: JsonNode, problems: ProblemList) -> dict[object, str]:
    found: dict[object, str] = {}
    for node in nodes.items():
        with problems.collect():
            key = _read_id(node.get("id"))
            if key in found:
                raise node.error(f"the id {key!r} is that of '{found[key]}' already")
            found[key] = node.get("name").text().strip()
    return found


def _read_images(nodes: JsonNode, problems: ProblemList) -> dict[object, tuple[str, tuple[int, int] | None, str]]:
    found: dict[object, tuple[str, tuple[int, int] | None, str]] = {}
    for node in nodes.items():
        with problems.collect():
            key, name = _read_id(node.get("id")), node.get("file_name").text()
            if key in found:
                raise node.error(f"the id {key!r} is that of '{found[key][0]}' already")
            has_size = node.has("height") and node.has("width")
            size = (node.get("height").whole(1), node.get("width").whole(1)) if has_size else None
            found[key] = (name, size, node.where)
    return found


def _read_object(node: JsonNode, categories: dict[object, str], found: _Objects, skipped: SkippedShapes) -> None:
    """Read an annotation: a shape, or, where its outline is not known, the region in which it lies."""
    category = node.get("category_id")
    name = categories.get(_read_id(category))
    if name is None:
        few = ", ".join(f"{key} '{shorten_text(known)}'" for key, known in list(categories.items())[:8])
        raise category.error(f"no category has the id {category.value!r} (there are: {few or 'none'})")
    if node.has("segments_info"):
        raise node.error("a panoptic annotation; it needs its PNG files, export instances instead")
    crowd = node.has("iscrowd") and _read_flag(node.get("iscrowd"))
    if not node.has("segmentation") or node.value["segmentation"] in ([], [[]], {}, ""):
        skipped.add(WITHOUT_PIXELS["box-only" if node.has("bbox") else "nothing"], node.where)
        region = None
    else:
        region = _read_region(node.get("segmentation"), skipped)
    if region is not None:
        found.shapes.append(Shape(name, region, f"{node.where}.segmentation", crowd=crowd))
    elif node.has("bbox"):
        found.unclear += _read_box(node.get("bbox"))


def _read_flag(node: JsonNode) -> bool:
    """0 or 1, also as a boolean or a text."""
    text = str(node.value).strip().lower()
    if text not in _FLAGS:
        raise node.error(f"must be 0 or 1, not {describe_kind(node.value)}")
    return _FLAGS[text]


def _read_box(node: JsonNode) -> list[Polygons]:
    """The region of a box [x, y, width, height], or nothing if it is none."""
    with suppress(DataError):
        x, y, width, height = node.numbers().tolist()
        return [Polygons((require_polygon(make_rectangle(x, y, width, height)),))]
    return []


def _read_region(node: JsonNode, skipped: SkippedShapes) -> Region | None:
    """Read a segmentation; None if none of its polygons has an area."""
    if isinstance(node.value, dict):
        return _read_runs(node)
    flat = isinstance(node.value, list) and node.value and not isinstance(node.value[0], list)
    parts = []
    for item in [node] if flat else node.items():
        try:
            parts.append(_read_polygon(item))
        except DataError as error:
            if not skipped.add_error(error, item.where):
                raise
    return CocoPolygons(tuple(parts)) if parts else None


def _read_polygon(node: JsonNode) -> Points:
    numbers = node.numbers()
    if len(numbers) % 2:
        raise node.error(f"has {len(numbers)} numbers; x and y come in pairs", "odd")
    try:
        return require_polygon(numbers.reshape(-1, 2))
    except DataError as error:
        raise node.error(str(error), error.kind) from None


def _read_runs(node: JsonNode) -> Runs:
    size = [item.whole(1) for item in node.get("size").items()]
    if len(size) != 2:
        raise node.get("size").error("must be [height, width]")
    counts = node.get("counts")
    if not isinstance(counts.value, str):
        return Runs(np.array([item.whole() for item in counts.items()], np.int64), (size[0], size[1]))
    try:
        return Runs(decode_run_lengths(counts.value), (size[0], size[1]))
    except DataError as error:
        raise counts.error(str(error)) from None


def write(images: Iterable[ExportLabel], names: Sequence[str], tolerance: float | None) -> str:
    """The JSON text of labels: one object a class and image as run lengths, or with `tolerance` one polygon a piece."""
    ids = {name: number for number, name in enumerate([*names, IGNORE_NAME], 1)}
    listed: list[dict[str, object]] = []
    objects: list[dict[str, object]] = []
    for number, image in enumerate(images, 1):
        height, width = image.label.shape
        listed.append({"id": number, "file_name": image.name, "width": width, "height": height})
        for name, mask in split_classes(image.label, names):
            for segmentation, area, box in _make_segmentations(mask, tolerance):
                objects.append(
                    {
                        "id": len(objects) + 1,
                        "image_id": number,
                        "category_id": ids[name],
                        "segmentation": segmentation,
                        "area": area,
                        "bbox": box,
                        "iscrowd": 0,
                    }
                )
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return json.dumps({"images": listed, "annotations": objects, "categories": categories}, ensure_ascii=False)


def _make_segmentations(
    mask: NDArray[np.bool_], tolerance: float | None
) -> Iterator[tuple[object, int | float, list[int | float]]]:
    """Segmentation, area and box (x, y, width, height) of each object of a mask."""
    if tolerance is None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1]
        yield {"size": list(mask.shape), "counts": encode_run_lengths(mask)}, int(mask.sum()), [*box]
        return
    for points in trace_outlines(mask, tolerance):
        (x, y), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        yield [points.ravel().tolist()], _measure_area(points), [x, y, right - x, bottom - y]


def _measure_area(points: Points) -> float:
    (x, y), (next_x, next_y) = points.T, np.roll(points, -1, axis=0).T
    return abs(float((x * next_y - next_x * y).sum())) / 2
