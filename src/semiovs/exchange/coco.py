"""COCO JSON: objects as polygons or run lengths (https://cocodataset.org/#format-data).

Objects may overlap and have no order: smaller ones lie on top. A crowd (``iscrowd``) lies under all objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.exchange.annotations import IGNORE_NAME, Annotated, Annotations, Region, Shape
from semiovs.exchange.document import Document, Node
from semiovs.exchange.polygons import Points, Polygons, outlines, polygon
from semiovs.exchange.problems import Problems
from semiovs.exchange.regions import Labeled, parts
from semiovs.images.coco_polygons import fill_polygons
from semiovs.images.run_lengths import Runs, decode_run_lengths, encode_run_lengths

_NEEDED = ("images", "annotations", "categories")


class CocoPolygons(Polygons):
    """As the COCO API draws them."""

    def raster(self, height: int, width: int) -> NDArray[np.bool_]:
        """(height, width) where the object is, see `Polygons`."""
        self.require_inside(height, width)
        return fill_polygons(self.parts, height, width)


def recognise(document: Document) -> bool:
    """Whether a file is of this format: an object with images, annotations or categories."""
    return isinstance(document.json, dict) and sum(key in document.json for key in _NEEDED) > 1


def read(document: Document, problems: Problems) -> Annotations:
    """Images with their objects, in the order of the file.

    Raises:
        DataError: a part of the file is missing; what is wrong with single shapes goes to their images' `faults`,
            the rest to `problems`.
    """
    root = document.root
    categories = _categories(root.get("categories"), problems)
    images = _images(root.get("images"), problems)
    shapes: dict[object, list[Shape]] = {key: [] for key in images}
    faults: dict[object, Problems] = {key: Problems() for key in images}
    for node in root.get("annotations").items():
        with problems.collect():
            image = node.get("image_id")
            key = _key(image)
            if key not in images:
                raise image.error(f"no image has the id {image.value!r}")
            with faults[key].collect():
                shapes[key].append(_shape(node, categories))
    found = Annotations(labels=list(dict.fromkeys(categories.values())))
    for key, (name, size, where) in images.items():
        wrong = tuple(faults[key].found)
        found.images.append(Annotated(name, size, tuple(shapes[key]), where, smaller_on_top=True, faults=wrong))
    return found


def _key(node: Node) -> object:
    """An id: a number or a text."""
    return node.value if isinstance(node.value, str) else node.whole()


def _categories(nodes: Node, problems: Problems) -> dict[object, str]:
    found: dict[object, str] = {}
    for node in nodes.items():
        with problems.collect():
            key = _key(node.get("id"))
            if key in found:
                raise node.error(f"the id {key!r} is that of '{found[key]}' already")
            found[key] = node.get("name").text().strip()
    return found


def _images(nodes: Node, problems: Problems) -> dict[object, tuple[str, tuple[int, int] | None, str]]:
    found: dict[object, tuple[str, tuple[int, int] | None, str]] = {}
    for node in nodes.items():
        with problems.collect():
            key, name = _key(node.get("id")), node.get("file_name").text()
            if key in found:
                raise node.error(f"the id {key!r} is that of '{found[key][0]}' already")
            has_size = node.has("height") and node.has("width")
            size = (node.get("height").whole(1), node.get("width").whole(1)) if has_size else None
            found[key] = (name, size, node.where)
    return found


def _shape(node: Node, categories: dict[object, str]) -> Shape:
    category = node.get("category_id")
    if _key(category) not in categories:
        raise category.error(f"no category has the id {category.value!r}")
    if node.has("segments_info"):
        raise node.error("a panoptic annotation; it needs its PNG files, export instances instead")
    crowd = node.has("iscrowd") and node.get("iscrowd").whole() == 1
    if not node.has("segmentation") or node.value["segmentation"] == []:
        raise node.error("has no segmentation, only a box; pixels cannot be told from it")
    segmentation = node.get("segmentation")
    return Shape(categories[_key(category)], _region(segmentation), segmentation.where, crowd=crowd)


def _region(node: Node) -> Region:
    if isinstance(node.value, dict):
        return _runs(node)
    if isinstance(node.value, list) and node.value and not isinstance(node.value[0], list):
        raise node.error("must be a list of polygons, [[x, y, x, y, …], …], or run lengths")
    return CocoPolygons(tuple(_polygon(item) for item in node.items()))


def _polygon(node: Node) -> Points:
    numbers = node.numbers()
    if len(numbers) % 2:
        raise node.error(f"has {len(numbers)} numbers; x and y come in pairs")
    try:
        return polygon(numbers.reshape(-1, 2))
    except DataError as error:
        raise node.error(str(error)) from None


def _runs(node: Node) -> Runs:
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


def write(images: Iterable[Labeled], names: Sequence[str], tolerance: float | None) -> str:
    """The JSON text of labels: one object a class and image as run lengths, or with `tolerance` one polygon a piece."""
    ids = {name: number for number, name in enumerate([*names, IGNORE_NAME], 1)}
    listed: list[dict[str, object]] = []
    objects: list[dict[str, object]] = []
    for number, image in enumerate(images, 1):
        height, width = image.label.shape
        listed.append({"id": number, "file_name": image.name, "width": width, "height": height})
        for name, mask in parts(image.label, names):
            for segmentation, area, box in _segmentations(mask, tolerance):
                objects.append(
                    {"id": len(objects) + 1, "image_id": number, "category_id": ids[name], "segmentation": segmentation,
                     "area": area, "bbox": box, "iscrowd": 0}
                )  # fmt: skip
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return json.dumps({"images": listed, "annotations": objects, "categories": categories}, ensure_ascii=False)


def _segmentations(
    mask: NDArray[np.bool_], tolerance: float | None
) -> Iterator[tuple[object, int | float, list[int | float]]]:
    """Segmentation, area and box (x, y, width, height) of each object of a mask."""
    if tolerance is None:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1]
        yield {"size": list(mask.shape), "counts": encode_run_lengths(mask)}, int(mask.sum()), [*box]
        return
    for points in outlines(mask, tolerance):
        (x, y), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        yield [points.ravel().tolist()], _area(points), [x, y, right - x, bottom - y]


def _area(points: Points) -> float:
    (x, y), (next_x, next_y) = points.T, np.roll(points, -1, axis=0).T
    return abs(float((x * next_y - next_x * y).sum())) / 2
