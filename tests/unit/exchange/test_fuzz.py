"""Good annotation files with one place spoilt at random: either they are read, or one error names the file. Never
anything else.
"""

import copy
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiovs.errors import SemiovsError
from semiovs.exchange import ClassRules, Importer, ProblemList, find_declared_classes, read_annotations
from semiovs.exchange.formats import list_formats
from semiovs.exchange.image_index import ImageIndex
from semiovs.exchange.regions import ExportLabel
from semiovs.vocab import Vocabulary

JUNK = (
    None, True, -1, 0, 1, 7.5, 10**30, -(10**400), float("nan"), float("inf"), "", " ", "a.jpg", "../../x", "\0", "ü" * 300,
    [], {}, [[]], [None], {"a": 1}, [1, 2, 3], [[1, 2], [3]], "1,2;3", {"size": [6, 8], "counts": "é"}, {"id": {}}, [[[1, 2]]],
)  # fmt: skip
ATTRIBUTES = ("", "nan", "-1", "1e400", "a", "1,2", "5;6", "é", "9" * 40, "0, 0", "../../x")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    (root / "images").mkdir()
    Image.new("RGB", (8, 6)).save(root / "images/a.jpg")
    return root


def good():
    """One small file of each kind, with every sort of shape in it."""
    label = np.zeros((6, 8), np.uint8)
    label[1:3, 2:6] = 1
    label[5] = 255
    table, given = list_formats(), [ExportLabel("a.jpg", label, 0.5)]
    coco = json.loads(table["coco"].write(given, ["road", "car"], None))
    polygons = json.loads(table["coco"].write(given, ["road", "car"], 0.0))
    coco["annotations"] += polygons["annotations"]
    coco["annotations"][0]["segmentation"]["counts"] = [40, 8]
    tasks = json.loads(table["label-studio"].write(given, ["road", "car"], None))
    tasks[0]["annotations"] = [{"result": tasks[0]["predictions"][0]["result"], "updated_at": "2026", "id": 3}]
    shapes = [
        {"label": "car", "points": [[1, 1], [5, 1], [5, 5]], "shape_type": "polygon"},
        {"label": "car", "points": [[1, 1], [5, 4]], "shape_type": "rectangle"},
        {"label": "car", "points": [[3, 3], [5, 4]], "shape_type": "circle", "group_id": None},
    ]
    labelme = {"imagePath": "a.jpg", "imageHeight": 6, "imageWidth": 8, "shapes": shapes}
    return {"coco": coco, "label-studio": tasks, "labelme": labelme}


def places(value, path=()):
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from places(item, (*path, key))


def changed(whole, rng):
    """A copy in which one value is gone or something else."""
    path = rng.choice(list(places(whole)))
    whole = copy.deepcopy(whole)
    if not path:
        return rng.choice(JUNK)
    parent = whole
    for key in path[:-1]:
        parent = parent[key]
    if rng.random() < 0.2:
        del parent[path[-1]]
    else:
        parent[path[-1]] = copy.deepcopy(rng.choice(JUNK))
    return whole


COUNT = itertools.count()


def outcome(root, file):
    """Import one file; "ok", or what our own error says. Any other exception fails the test."""
    number = next(COUNT)
    problems, out = ProblemList(), root / f"out{number}"
    said = "ok"
    try:
        found, _ = read_annotations(file, problems, predictions=True)
        vocabulary = find_declared_classes(found) if number % 2 else Vocabulary.of(["road", "car"])
        Importer(ClassRules(vocabulary), ImageIndex.of(root / "images", root), out, root).run(found, problems)
    except SemiovsError as error:
        said = str(error)
    assert out.exists() == (said == "ok")
    assert all(line.isprintable() for line in said.split("\n"))
    assert len(said) < 20_000
    return said


@pytest.mark.parametrize("kind", ["coco", "label-studio", "labelme"])
def test_spoilt_json(folder, kind):
    rng, whole = random.Random(kind), good()[kind]
    file = folder / f"{kind}.json"
    file.write_text(json.dumps(whole))
    assert outcome(folder, file) == "ok"
    seen = set()
    for _ in range(120):
        file.write_text(json.dumps(changed(whole, rng)))
        seen.add(outcome(folder, file))
    assert len(seen) > 15


def test_spoilt_xml(folder):
    label = np.zeros((6, 8), np.uint8)
    label[1:3, 2:6] = 1
    table, names = list_formats(), ["road", "car"]
    text = table["cvat"].write([ExportLabel("a.jpg", label)], names, None)
    more = table["cvat"].write([ExportLabel("a.jpg", label)], names, 0.0)
    text = text.replace(
        "  </image>", "\n".join(line for line in more.splitlines() if "polygon" in line) + "\n  </image>"
    )
    rng, file = random.Random(0), folder / "x.xml"
    file.write_text(text)
    assert outcome(folder, file) == "ok"
    seen = set()
    for _ in range(120):
        pieces = text.split('"')
        pieces[rng.randrange(1, len(pieces), 2)] = rng.choice(ATTRIBUTES)
        file.write_text('"'.join(pieces))
        seen.add(outcome(folder, file))
    assert len(seen) > 15


@pytest.mark.parametrize("kind", ["coco", "label-studio", "labelme", "cvat"])
def test_spoilt_bytes(folder, kind):
    """Cut off anywhere, or with a few bytes changed."""
    if kind == "cvat":
        data = (
            list_formats()["cvat"]
            .write([ExportLabel("a.jpg", np.eye(6, 8, dtype=np.uint8))], ["road", "car"], None)
            .encode()
        )
    else:
        data = json.dumps(good()[kind]).encode()
    rng, file = random.Random(kind), folder / f"bytes-{kind}"
    for number in range(60):
        spoilt = bytearray(data[: rng.randrange(len(data))] if number % 2 else data)
        for _ in range(rng.randrange(3)):
            if spoilt:
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
        Path(file).write_bytes(spoilt)
        outcome(folder, file)
