"""Label Studio's JSON (https://labelstud.io/guide/task_format): brush, polygon, rectangle and ellipse regions.

Of a task's annotations the ground truth counts, else the newest that was not skipped. Predictions are what a model
said: a task that nobody has handed in is not taken, unless they are asked for. Later regions lie on top.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, unquote, unquote_plus, urlsplit
from xml.sax.saxutils import quoteattr

import numpy as np

from semiovs.errors import DataError
from semiovs.exchange.annotation_file import AnnotationFile, JsonNode, shorten_text
from semiovs.exchange.annotations import AnnotatedImage, Annotations, Region, Shape, Size
from semiovs.exchange.brush import BrushMask, encode_brush
from semiovs.exchange.polygons import Polygons, make_ellipse, make_rectangle, require_polygon
from semiovs.exchange.problems import ProblemList
from semiovs.exchange.regions import ExportLabel, layer_outlines, split_classes
from semiovs.vocab.colors import RGB, format_hex

#: Names of the two controls in `format_setup`, and of the image.
_BRUSH, _POLYGON, _IMAGE = "brush", "polygon", "image"
_KINDS = ("brush", "polygon", "rectangle", "ellipse")
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
#: Where the path stands in the address of a local file.
_LOCAL = re.compile(r"/data/local-files/*\?(?:.*&)?d=(?P<path>.+)")
#: Regions whose pixels are not read here.
_UNREADABLE = ("bitmask", "vector", "video", "magicwand")


def recognise(document: AnnotationFile) -> bool:
    """Whether a file is of this format: a list of tasks with data."""
    tasks = document.json
    return isinstance(tasks, list) and bool(tasks) and isinstance(tasks[0], dict) and "data" in tasks[0]


def read(document: AnnotationFile, problems: ProblemList, *, predictions: bool = False) -> Annotations:
    """Tasks with the regions of one annotation each.

    predictions: of tasks without an annotation take the newest prediction.

    Raises:
        DataError: no list of tasks; what is wrong with single regions goes to their images' `faults`, the rest to
        `problems`.
    """
    found, several = Annotations(), list[str]()
    for task in document.root.items():
        with problems.collect():
            name, aliases = _read_name(task.get("data"))
            chosen, others = _choose_annotation(task, predictions=predictions)
            several += [name] * bool(others)
            if chosen is None:
                found.untouched.append(name)
                continue
            faults = ProblemList()
            size, shapes = _read_regions(chosen.get("result"), found, faults)
            image = AnnotatedImage(name, size, tuple(shapes), task.where, aliases, faults=tuple(faults.found))
            found.images.append(image)
    if several:
        found.notes.append(
            f"{len(several)} tasks have several annotations (first: {several[0]}): the newest of each is taken, or of "
            "ground truths the newest"
        )
    return found


def _read_name(data: JsonNode) -> tuple[str, tuple[str, ...]]:
    """File name of a task's image, and the names that it may have had before it was uploaded."""
    if not isinstance(data.value, dict):
        raise data.error("must be an object that names the image")
    key = next((key for key in (_IMAGE, "img", *data.value) if isinstance(data.value.get(key), str)), _IMAGE)
    name = data.get(key).text().replace("\\", "/")
    paths = list(dict.fromkeys(_read_paths(name)))
    for path in paths[:]:
        folder, slash, last = path.rpartition("/")
        if (bare := _UPLOADED.sub("", last)) != last:
            paths += [f"{folder}{slash}{bare}", bare]
    return paths[0], tuple(paths[1:])


def _read_paths(address: str) -> Iterator[str]:
    """The paths that an address may stand for, the likeliest first: ``?d=`` of local files, a bucket's key, a path."""
    if local := _LOCAL.search(address):
        yield unquote(local["path"].partition("&")[0])
        yield unquote(local["path"])
        yield unquote_plus(local["path"].partition("&")[0])
    elif "://" in address or address.startswith("/data/"):
        whole = address.partition("://")[2].partition("/")[2] or address
        yield unquote(urlsplit(address).path)
        yield unquote(whole)
        yield whole
    else:
        yield address
        yield unquote(address)


def _choose_annotation(task: JsonNode, *, predictions: bool) -> tuple[JsonNode | None, int]:
    """The annotation that counts, and the number of those beside it that were handed in."""
    key = "annotations" if task.has("annotations") else "completions"
    given = list(task.get(key).items()) if task.has(key) else []
    kept = [node for node in given if not _read_flag(node, "was_cancelled")]
    best = [node for node in kept if _read_flag(node, "ground_truth")] or kept
    if not best and predictions and task.has("predictions"):
        best = list(task.get("predictions").items())
    return max(best, key=_sort_key, default=None), max(len(kept) - 1, 0)


def _read_flag(node: JsonNode, key: str) -> bool:
    if not isinstance(node.value, dict):
        raise node.error("must be an object; export as 'JSON' and not 'JSON-MIN'")
    return bool(node.value.get(key))


def _sort_key(node: JsonNode) -> tuple[str, str]:
    """When an annotation was last changed, then its number: comparable among those of one task."""
    when = node.value.get("updated_at") or node.value.get("created_at") or ""
    return str(when), f"{node.value.get('id', 0)!s:>20}"


def _read_regions(result: JsonNode, found: Annotations, problems: ProblemList) -> tuple[Size | None, list[Shape]]:
    size: Size | None = None
    shapes = []
    labels = _read_separate_labels(result)
    for item in result.items():
        with found.skipped.collect(item.where, problems):
            kind = item.get("type").text().removesuffix("labels")
            if kind.startswith(_UNREADABLE):
                raise item.error(
                    f"a region of the type '{shorten_text(kind)}', which is not read; draw with a brush or polygons"
                )
            if kind not in _KINDS:
                if kind:
                    found.skipped.add(shorten_text(kind), item.where)
                continue
            own = (item.get("original_height").whole(1), item.get("original_width").whole(1))
            if size is not None and own != size:
                raise item.error(
                    f"is of an image of {own[1]}x{own[0]} pixels, the regions before it of {size[1]}x{size[0]}"
                )
            size = own
            shapes.append(_read_shape(item, kind, own, labels))
    return size, shapes


def _read_separate_labels(result: JsonNode) -> dict[Any, JsonNode]:
    """Region -> its labels, where a control for labels stands beside that for drawing."""
    return {
        item.value.get("id"): item.get("value").get("labels")
        for item in result.items()
        if isinstance(item.value, dict) and item.value.get("type") == "labels" and item.value.get("value")
    }


def _read_shape(item: JsonNode, kind: str, size: Size, labels: dict[Any, JsonNode]) -> Shape:
    value = item.get("value")
    named = value.get(f"{kind}labels") if value.has(f"{kind}labels") else labels.get(item.value.get("id"))
    names = [] if named is None else [label.text() for label in named.items()]
    if len(names) != 1:
        raise item.error(f"has {len(names)} labels; a pixel has one class")
    if item.has("image_rotation") and item.get("image_rotation").number() % 360:
        raise item.error("was drawn on a turned image; turn it back in Label Studio")
    try:
        return Shape(names[0].strip(), _read_region(value, kind, size), value.where, box=kind == "rectangle")
    except DataError as error:
        text = str(error)
        raise error if text.startswith(value.file) else value.error(text, error.kind) from None


def _read_region(value: JsonNode, kind: str, size: Size) -> Region:
    if kind == "brush":
        rle = value.get("rle")
        numbers = rle.numbers()
        if not ((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers))).all():
            raise rle.error("must be bytes, whole numbers from 0 to 255")
        return BrushMask(numbers.astype(np.uint8).tobytes(), size)
    percent = np.array(size[::-1]) / 100
    if kind == "polygon":
        return Polygons((require_polygon(value.get("points").points()) * percent,))
    x, y = (value.get("x").number(), value.get("y").number()) * percent
    sides = ("radiusX", "radiusY") if kind == "ellipse" else ("width", "height")
    across, down = (value.get(sides[0]).number(), value.get(sides[1]).number()) * percent
    turned = value.get("rotation").number() if value.has("rotation") else 0.0
    shape = make_ellipse if kind == "ellipse" else make_rectangle
    return Polygons((require_polygon(shape(x, y, across, down, turned)),))


def write(images: Iterable[ExportLabel], names: Sequence[str], tolerance: float | None, *, prefix: str) -> str:
    """The JSON text of tasks, labels as predictions: one brush region a class, or with `tolerance` one polygon a piece.

    prefix: what stands before the file name in the image's address.
    """
    tasks = []
    for image in images:
        items = _make_brushes(image, names) if tolerance is None else _make_polygons(image, names, tolerance)
        prediction: dict[str, Any] = {"model_version": "semiovs", "result": list(items)}
        if image.score is not None:
            prediction["score"] = round(image.score, 4)
        tasks.append({"data": {_IMAGE: prefix + quote(image.name)}, "predictions": [prediction]})
    return json.dumps(tasks, ensure_ascii=False)


def _make_brushes(image: ExportLabel, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, (name, mask) in enumerate(split_classes(image.label, names)):
        value = {"format": "rle", "rle": list(encode_brush(mask)), "brushlabels": [name]}
        yield _make_item(image, f"r{number}", _BRUSH, value)


def _make_polygons(image: ExportLabel, names: Sequence[str], tolerance: float) -> Iterator[dict[str, Any]]:
    percent = np.array(image.label.shape[::-1]) / 100
    for number, (name, points) in enumerate(layer_outlines(image.label, names, tolerance)):
        value = {"points": (points / percent).round(6).tolist(), "closed": True, "polygonlabels": [name]}
        yield _make_item(image, f"r{number}", _POLYGON, value)


def _make_item(image: ExportLabel, identifier: str, control: str, value: dict[str, Any]) -> dict[str, Any]:
    height, width = image.label.shape
    return {
        "id": identifier,
        "type": f"{control}labels",
        "from_name": control,
        "to_name": _IMAGE,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": value,
    }


def format_setup(names: Sequence[str], colors: Sequence[RGB]) -> str:
    """Labelling interface of a new project."""
    labels = [
        f"    <Label value={quoteattr(name)} background={quoteattr(format_hex(color))}/>"
        for name, color in zip(names, colors, strict=True)
    ]
    controls = [
        line
        for tag, control in (("BrushLabels", _BRUSH), ("PolygonLabels", _POLYGON))
        for line in (f'  <{tag} name="{control}" toName="{_IMAGE}">', *labels, f"  </{tag}>")
    ]
    image = f'  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true" zoomControl="true"/>'
    return "\n".join(["<View>", image, *controls, "</View>", ""])
