"""Label Studio's JSON (https://labelstud.io/guide/task_format): brush, polygon, rectangle and ellipse regions.

Of a task's annotations the ground truth counts, else the newest that was not skipped. Predictions are what a model said: a task
that nobody has handed in is not taken, unless they are asked for. Later regions lie on top.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from semiovs.errors import DataError
from semiovs.exchange.annotations import Annotated, Annotations, Region, Shape, Size
from semiovs.exchange.brush import Brush, encode
from semiovs.exchange.document import Document, Node, brief
from semiovs.exchange.polygons import Polygons, ellipse, polygon, rectangle
from semiovs.exchange.problems import Problems
from semiovs.exchange.regions import Labeled, layered, parts
from semiovs.vocab.colors import RGB, hex_of

#: Names of the two controls in `setup`, and of the image.
_BRUSH, _POLYGON, _IMAGE = "brush", "polygon", "image"
_KINDS = ("brush", "polygon", "rectangle", "ellipse")
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
#: Regions whose pixels are not read here.
_UNREADABLE = ("bitmask", "vector", "video", "magicwand")


def recognise(document: Document) -> bool:
    """Whether a file is of this format: a list of tasks with data."""
    tasks = document.json
    return isinstance(tasks, list) and bool(tasks) and isinstance(tasks[0], dict) and "data" in tasks[0]


def read(document: Document, problems: Problems, *, predictions: bool = False) -> Annotations:
    """Tasks with the regions of one annotation each.

    predictions: of tasks without an annotation take the newest prediction.

    Raises:
        DataError: no list of tasks; what is wrong with single regions goes to their images' `faults`, the rest to `problems`.
    """
    found = Annotations()
    for task in document.root.items():
        with problems.collect():
            name, aliases = _name(task.get("data"))
            chosen = _chosen(task, predictions=predictions)
            if chosen is None:
                found.untouched.append(name)
                continue
            faults = Problems()
            size, shapes = _regions(chosen.get("result"), found, faults)
            image = Annotated(name, size, tuple(shapes), task.where, aliases, faults=tuple(faults.found))
            found.images.append(image)
    return found


def _name(data: Node) -> tuple[str, tuple[str, ...]]:
    """File name of a task's image, and the name that it had before it was uploaded."""
    if not isinstance(data.value, dict):
        raise data.error("must be an object that names the image")
    key = next((key for key in (_IMAGE, "img", *data.value) if isinstance(data.value.get(key), str)), _IMAGE)
    name = data.get(key).text().replace("\\", "/")
    if "://" in name or name.startswith("/data/"):
        address = urlsplit(name)
        name = parse_qs(address.query).get("d", [""])[0] or unquote(address.path)
    folder, slash, last = name.rpartition("/")
    bare = _UPLOADED.sub("", last)
    return name, () if bare == last else (f"{folder}{slash}{bare}", bare)


def _chosen(task: Node, *, predictions: bool) -> Node | None:
    key = "annotations" if task.has("annotations") else "completions"
    given = list(task.get(key).items()) if task.has(key) else []
    kept = [node for node in given if not _flag(node, "was_cancelled")]
    best = [node for node in kept if _flag(node, "ground_truth")] or kept
    if not best and predictions and task.has("predictions"):
        best = list(task.get("predictions").items())
    return max(best, key=_time, default=None)


def _flag(node: Node, key: str) -> bool:
    if not isinstance(node.value, dict):
        raise node.error("must be an object; export as 'JSON' and not 'JSON-MIN'")
    return bool(node.value.get(key))


def _time(node: Node) -> tuple[str, str]:
    """When an annotation was last changed, then its number: comparable among those of one task."""
    when = node.value.get("updated_at") or node.value.get("created_at") or ""
    return str(when), f"{node.value.get('id', 0)!s:>20}"


def _regions(result: Node, found: Annotations, problems: Problems) -> tuple[Size | None, list[Shape]]:
    size: Size | None = None
    shapes = []
    labels = _labels_apart(result)
    for item in result.items():
        with problems.collect():
            kind = item.get("type").text().removesuffix("labels")
            if kind.startswith(_UNREADABLE):
                raise item.error(
                    f"a region of the type '{brief(kind)}', which is not read; draw with a brush or polygons"
                )
            if kind not in _KINDS:
                found.skipped[kind or "labels"] += kind != ""
                continue
            own = (item.get("original_height").whole(1), item.get("original_width").whole(1))
            if size is not None and own != size:
                raise item.error(
                    f"is of an image of {own[1]}x{own[0]} pixels, the regions before it of {size[1]}x{size[0]}"
                )
            size = own
            shapes.append(_shape(item, kind, own, labels))
    return size, shapes


def _labels_apart(result: Node) -> dict[Any, Node]:
    """Region -> its labels, where a control for labels stands beside that for drawing."""
    return {
        item.value.get("id"): item.get("value").get("labels")
        for item in result.items()
        if isinstance(item.value, dict) and item.value.get("type") == "labels" and item.value.get("value")
    }


def _shape(item: Node, kind: str, size: Size, labels: dict[Any, Node]) -> Shape:
    value = item.get("value")
    named = value.get(f"{kind}labels") if value.has(f"{kind}labels") else labels.get(item.value.get("id"))
    names = [] if named is None else [label.text() for label in named.items()]
    if len(names) != 1:
        raise item.error(f"has {len(names)} labels; a pixel has one class")
    if item.has("image_rotation") and item.get("image_rotation").number() % 360:
        raise item.error("was drawn on a turned image; turn it back in Label Studio")
    try:
        return Shape(names[0].strip(), _region(value, kind, size), value.where)
    except DataError as error:
        text = str(error)
        raise error if text.startswith(value.file) else value.error(text) from None


def _region(value: Node, kind: str, size: Size) -> Region:
    if kind == "brush":
        rle = value.get("rle")
        numbers = rle.numbers()
        if not ((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers))).all():
            raise rle.error("must be bytes, whole numbers from 0 to 255")
        return Brush(numbers.astype(np.uint8).tobytes(), size)
    percent = np.array(size[::-1]) / 100
    if kind == "polygon":
        return Polygons((polygon(value.get("points").points()) * percent,))
    x, y = (value.get("x").number(), value.get("y").number()) * percent
    sides = ("radiusX", "radiusY") if kind == "ellipse" else ("width", "height")
    across, down = (value.get(sides[0]).number(), value.get(sides[1]).number()) * percent
    turned = value.get("rotation").number() if value.has("rotation") else 0.0
    shape = ellipse if kind == "ellipse" else rectangle
    return Polygons((shape(x, y, across, down, turned),))


def write(images: Iterable[Labeled], names: Sequence[str], tolerance: float | None, *, prefix: str) -> str:
    """The JSON text of tasks, labels as predictions: one brush region a class, or with `tolerance` one polygon a piece.

    prefix: what stands before the file name in the image's address.
    """
    tasks = []
    for image in images:
        items = _brushes(image, names) if tolerance is None else _polygons(image, names, tolerance)
        prediction: dict[str, Any] = {"model_version": "semiovs", "result": list(items)}
        if image.score is not None:
            prediction["score"] = round(image.score, 4)
        tasks.append({"data": {_IMAGE: prefix + quote(image.name)}, "predictions": [prediction]})
    return json.dumps(tasks, ensure_ascii=False)


def _brushes(image: Labeled, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, (name, mask) in enumerate(parts(image.label, names)):
        value = {"format": "rle", "rle": list(encode(mask)), "brushlabels": [name]}
        yield _item(image, f"r{number}", _BRUSH, value)


def _polygons(image: Labeled, names: Sequence[str], tolerance: float) -> Iterator[dict[str, Any]]:
    percent = np.array(image.label.shape[::-1]) / 100
    for number, (name, points) in enumerate(layered(image.label, names, tolerance)):
        value = {"points": (points / percent).round(6).tolist(), "closed": True, "polygonlabels": [name]}
        yield _item(image, f"r{number}", _POLYGON, value)


def _item(image: Labeled, identifier: str, control: str, value: dict[str, Any]) -> dict[str, Any]:
    height, width = image.label.shape
    return {"id": identifier, "type": f"{control}labels", "from_name": control, "to_name": _IMAGE, "original_width": width,
            "original_height": height, "image_rotation": 0, "value": value}  # fmt: skip


def setup(names: Sequence[str], colors: Sequence[RGB]) -> str:
    """Labelling interface of a new project."""
    labels = [
        f"    <Label value={quoteattr(name)} background={quoteattr(hex_of(color))}/>"
        for name, color in zip(names, colors, strict=True)
    ]
    controls = [
        line
        for tag, control in (("BrushLabels", _BRUSH), ("PolygonLabels", _POLYGON))
        for line in (f'  <{tag} name="{control}" toName="{_IMAGE}">', *labels, f"  </{tag}>")
    ]
    image = f'  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true" zoomControl="true"/>'
    return "\n".join(["<View>", image, *controls, "</View>", ""])
