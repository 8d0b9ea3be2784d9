"""Targets that are text: configurations, lists, classes, stores, annotations, files of runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from semiovs.config import load_config
from semiovs.config.option_texts import parse_map, parse_set
from semiovs.errors import SemiovsError
from semiovs.exchange import ClassRules, Importer, ProblemList, find_declared_classes, read_annotations
from semiovs.exchange.formats import list_formats
from semiovs.exchange.image_index import ImageIndex
from semiovs.exchange.regions import ExportLabel
from semiovs.images.masks import MaskReader
from semiovs.images.source import examine_source
from semiovs.store.pack import pack_store
from semiovs.store.pseudo_labels import PseudoLabelStore
from semiovs.store.verify import inspect
from semiovs.vocab import Vocabulary

NAMES = ("sky", "road", "car")
_CONFIG = """\
# a comment
data: {root: ., labeled: labeled.txt, classes: [sky, road, car], masks: {encoding: id, map: {7: road, 8: ignore}}}
model: {name: deeplabv3plus, encoder: tiny}
method: {name: fixmatch, conf_thresh: 0.95}
optim:
  lr: 1e-3
train: {steps: 10, batch_size: 2}
"""
_CLASSES = """\
# a comment
classes:
  sky: [sky, clouds]
  road: road
  car: {concepts: [car, bus]}
background: {concepts: [wall]}
colors: {sky: [0, 0, 255], road: '#804080'}
templates: ["a photo of a {}."]
ignore: [void]
merge: {vehicle: [car]}
rename: {sky: heaven}
"""


def no_seed_beside(folder: Path, *texts: str) -> list[bytes]:
    """Contents without anything around them."""
    return [text.encode() for text in texts]


def config(folder: Path) -> list[bytes]:
    """Configurations."""
    return no_seed_beside(
        folder, _CONFIG, "extends: pascal/92\noptim.lr: 0.01\n", "data:\n  root: /x\n  classes: voc21\n"
    )


def read_config(path: Path) -> None:
    load_config(str(path), ["optim.lr=0.1"]).dump()


def arguments(folder: Path) -> list[bytes]:
    """``key=value``, options of ``--set`` and ``--map``."""
    return no_seed_beside(
        folder, "optim.lr=0.1", "data.classes=[a, b]", "x={a: 1}", "7=road,8=ignore", "128,64,0=road", "x=2001-01-01"
    )


def read_arguments(path: Path) -> None:
    """All three readers; that one refuses must not hide another's failure."""
    text, refused = path.read_bytes().decode("utf-8", "surrogateescape"), None
    for read in (lambda: load_config(None, [text]), lambda: parse_set([text]), lambda: parse_map([text])):
        try:
            read()
        except SemiovsError as error:
            refused = error
    if refused is not None:
        raise refused


def mask_map(folder: Path) -> list[bytes]:
    """YAML files for ``--map``."""
    return no_seed_beside(
        folder, "7: road\n8: ignore\n", "0: sky\n1: 1\n255: ignore\n", "'128,64,0': car\n'0,0,0': ignore\n"
    )


def read_mask_map(path: Path) -> None:
    MaskReader(NAMES, map=parse_map([str(path)]))


def classes(folder: Path) -> list[bytes]:
    """Vocabularies as YAML, one of YOLO's form."""
    return no_seed_beside(
        folder, _CLASSES, "nc: 2\nnames: {0: sky, 1: road}\n", "extends: voc21\nclasses: [a]\n", "- sky\n- road\n"
    )


def class_list(folder: Path) -> list[bytes]:
    """Vocabularies as text."""
    listed = (
        "sky\nroad\ncar\n",
        "sky 0 0 255\nroad 128 64 128\n",
        "name,r,g,b\nsky,0,0,255\nroad,1,2,3\n",
        "0: sky\n1: road\n",
        "# label:color_rgb:parts:actions\nsky:0,0,255::\n",
        "id\tname\n0\tsky\n1\troad\n",
        '"sky","road"\n',
    )
    return no_seed_beside(folder, *listed)


def read_classes(path: Path) -> None:
    found = Vocabulary.load(path)
    Vocabulary.from_json(json.loads(json.dumps(found.as_json())))


def _images(folder: Path) -> None:
    for name in ("images/a.png", "images/b.png", "masks/a.png", "masks/b.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L" if name[0] == "m" else "RGB", (8, 6)).save(folder / name)


def image_list(folder: Path) -> list[bytes]:
    """Lists as text."""
    _images(folder)
    return no_seed_beside(
        folder, "images/a.png masks/a.png\nimages/b.png masks/b.png\n", "images/a.png\r\nimages/b.png\r\n"
    )


def manifest(folder: Path) -> list[bytes]:
    """Lists as JSON lines."""
    _images(folder)
    rows = [
        {"id": n, "image": f"images/{n}.png", "mask": f"masks/{n}.png", "source": "web", "license": "CC0"} for n in "ab"
    ]
    rows[0]["sha256"] = "0" * 64
    return no_seed_beside(folder, "\n".join(map(json.dumps, rows)))


def read_list(path: Path) -> None:
    """Also the files that it leads to must lie in the folder."""
    found, findings = examine_source(path, path.parent)
    inside = path.parent.resolve()
    if any(
        not each.resolve().is_relative_to(inside) for record in found for each in (record.image, record.mask) if each
    ):
        raise AssertionError("a list led out of its folder")
    refused = next((finding for finding in findings if finding.severity == "error"), None)
    if refused is not None:
        raise RefusedLineError(refused.text)


class RefusedLineError(SemiovsError):
    """A line that was refused in a finding, not in an error."""

    exit_code = 3


def _store(folder: Path, name: str = "store") -> Path:
    made = PseudoLabelStore.create(folder / name, Vocabulary.of(NAMES), teacher={"name": "t", "options": {"a": 1}})
    for image in ("a", "b/c"):
        made.add(image, np.ones((6, 8), np.uint8), np.full((6, 8), 200, np.uint8))
    made.settle()
    return folder / name


def store_index(folder: Path) -> list[bytes]:
    """``index.jsonl`` of a store."""
    return [(_store(folder) / "index.jsonl").read_bytes()]


def store_meta(folder: Path) -> list[bytes]:
    """``meta.json`` of a store."""
    return [(_store(folder) / "meta.json").read_bytes()]


def store_label(folder: Path) -> list[bytes]:
    """A label of a store."""
    return [next((_store(folder) / "labels").rglob("a.png")).read_bytes()]


def packed_index(folder: Path) -> list[bytes]:
    """``shards.jsonl`` of a packed store."""
    return [(_pack(folder) / "shards.jsonl").read_bytes()]


def packed_tar(folder: Path) -> list[bytes]:
    """A tar of labels."""
    return [(_pack(folder) / "000000.tar").read_bytes()]


def _pack(folder: Path) -> Path:
    pack_store(_store(folder, "files"), folder / "store")
    return folder / "store"


def read_store(path: Path) -> None:
    """Open it, check it, read a label."""
    root = next(parent for parent in path.parents if parent.name == "store")
    inspect(root)
    store = PseudoLabelStore.open(root, Vocabulary.of(NAMES))
    for row in store.rows():
        store.label(row.id)
        store.confidence(row.id)


def annotations(form: str, folder: Path) -> list[bytes]:
    """Files of an annotation tool."""
    _images(folder)
    label = np.zeros((6, 8), np.uint8)
    label[1:3, 2:6], label[5] = 1, 255
    given = [ExportLabel("a.png", label, 0.5), ExportLabel("b.png", label, None)]
    if form == "labelme":
        return no_seed_beside(folder, json.dumps(_labelme()))
    write = list_formats()[form].write
    if write is None:
        raise ValueError(form)
    texts = [write(given, list(NAMES), tolerance) for tolerance in (None, 0.0)]
    if form == "label-studio":
        tasks = json.loads(texts[0])
        for task in tasks:
            task["annotations"] = [{"result": task["predictions"][0]["result"], "id": 1}]
        texts[0] = json.dumps(tasks)
    return no_seed_beside(folder, *texts)


def _labelme() -> dict[str, object]:
    kinds = {
        "polygon": [[1, 1], [5, 1], [5, 5]],
        "rectangle": [[1, 1], [5, 4]],
        "circle": [[3, 3], [5, 4]],
        "line": [[0, 0], [3, 3]],
    }
    shapes = [
        {"label": "car", "points": points, "shape_type": kind, "group_id": None} for kind, points in kinds.items()
    ]
    return {
        "version": "5",
        "imagePath": "a.png",
        "imageHeight": 6,
        "imageWidth": 8,
        "imageData": None,
        "shapes": shapes,
    }


def read_annotation(path: Path) -> None:
    """Import it into a new folder, as `semiovs labels import` does."""
    problems, root = ProblemList(), path.parent
    found, _ = read_annotations(path, problems)
    declared = find_declared_classes(found)
    rules = ClassRules(declared if len(declared) else Vocabulary.of(NAMES))
    out = root / "out"
    try:
        Importer(rules, ImageIndex.of(root / "images", root), out, root).run(found, problems)
    finally:
        for left in sorted(out.rglob("*"), reverse=True):
            left.rmdir() if left.is_dir() else left.unlink()
        if out.is_dir():
            out.rmdir()
