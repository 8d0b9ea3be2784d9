"""Files as the four programs write them, and which pixels become which class."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from semiovs.errors import ConfigError, DataError
from semiovs.exchange import ClassRules, Importer, ProblemList, find_declared_classes, read_annotations
from semiovs.exchange.image_index import ImageIndex
from semiovs.images.manifest import Manifest
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["background", "road", "car"])


def photo(path, width=8, height=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (9, 9, 9)).save(path)


def read(path, **options):
    problems = ProblemList()
    found, names = read_annotations(path, problems, **options)
    problems.check("the test")
    return found, names


def masks(root, path, *, images=None, classes=CLASSES, **rules):
    """Import and give back {id: mask}."""
    annotations, _ = read(path, predictions=rules.pop("predictions", False))
    importer = Importer(
        ClassRules(classes, **rules), ImageIndex.of(images or root / "images", root), root / "out", root
    )
    importer.run(annotations, ProblemList())
    manifest = Manifest.read(root / "out/labeled.jsonl", root)
    return {record.id: np.asarray(Image.open(record.mask)) for record in manifest}


def rows(mask):
    return ["".join("." if value == 255 else str(value) for value in row) for row in mask.tolist()]


def coco(root, annotations, categories=("road", "car"), images=None):
    data = {
        "info": {"year": 2017},
        "images": images or [{"id": 5, "file_name": "train2017/a.jpg", "width": 8, "height": 6}],
        "annotations": [{"id": i, "image_id": 5, **a} for i, a in enumerate(annotations)],
        "categories": [{"id": 7 + i, "name": name, "supercategory": "x"} for i, name in enumerate(categories)],
    }
    path = root / "instances.json"
    path.write_text(json.dumps(data))
    photo(root / "images/a.jpg")
    return path


def test_coco(tmp_path):
    """Several parts are one object; of two objects the smaller lies on top, whatever their order; a crowd lies under
    all.
    """
    small = {"category_id": 8, "iscrowd": 0, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]}
    large = {"category_id": 7, "segmentation": [[0, 0, 8, 0, 8, 4, 0, 4], [6, 5, 8, 5, 8, 6, 6, 6]]}
    crowd = {"category_id": 8, "iscrowd": 1, "segmentation": {"size": [6, 8], "counts": [3, 3, 42]}}
    path = coco(tmp_path, [small, large, crowd])
    assert rows(masks(tmp_path, path, rest="background")["a"]) == [
        "11111111",
        "12211111",
        "12211111",
        "11111111",
        ".0000000",
        ".0000011",
    ]


def test_coco_crowds_can_count(tmp_path):
    crowd = {"category_id": 8, "iscrowd": 1, "segmentation": {"size": [6, 8], "counts": [0, 12, 36]}}
    assert rows(masks(tmp_path, coco(tmp_path, [crowd]), crowd_ignored=False)["a"]) == ["22......"] * 6


def test_coco_run_lengths_as_text(tmp_path):
    """The text was recorded from the COCO API, for the rectangle x 2..5, y 1..4 of 8x6 pixels."""
    path = coco(tmp_path, [{"category_id": 7, "segmentation": {"size": [6, 8], "counts": "=4200000;"}}])
    assert rows(masks(tmp_path, path)["a"]) == ["........", "..1111..", "..1111..", "..1111..", "..1111..", "........"]


def test_coco_declares_its_classes(tmp_path):
    found, names = read(coco(tmp_path, [], ("tree", "ignore", "sky")))
    assert names == ("coco",)
    assert find_declared_classes(found).names == ("tree", "sky")


def cvat(root, shapes, name="a.jpg", head=""):
    path = root / "annotations.xml"
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>{head}\n'
        f'<image id="0" name="{name}" width="8" height="6" subset="default">\n{shapes}\n</image></annotations>'
    )
    photo(root / "images/a.jpg")
    return path


def test_cvat(tmp_path):
    """The higher z_order lies on top, then the later shape; attributes, occlusion and shapes without area mean
    nothing.
    """
    shapes = """
      <mask label="car" source="manual" occluded="1" rle="0, 2, 1, 3" left="1" top="1" width="3" height="2" z_order="2">
        <attribute name="colour">red</attribute></mask>
      <polygon label="road" source="manual" occluded="0" points="0.00,0.00;8.00,0.00;8.00,4.00;0.00,4.00" z_order="1"/>
      <box label="ignore" source="manual" occluded="0" xtl="6" ytl="2" xbr="8" ybr="6" z_order="1"></box>
      <ellipse label="car" cx="1" cy="5" rx="1" ry="1" z_order="0"/>
      <polyline label="car" points="0,0;4,4" z_order="9"/><points label="car" points="1,1"/><tag label="rain"/>"""
    head = "<meta><job><labels><label><name>car</name></label><label><name>road</name></label></labels></job></meta>"
    path = cvat(tmp_path, shapes, head=head)
    found, names = read(path)
    assert names == ("cvat",)
    assert found.labels == ["car", "road"]
    assert found.skipped.counts == {"polyline": 1, "points": 1, "tag": 1}
    assert rows(masks(tmp_path, path, rest="background")["a"]) == [
        "11111111",
        "12211111",
        "122211..",
        "111111..",
        "220000..",
        "220000..",
    ]


def test_cvat_turns_boxes_around_their_middle(tmp_path):
    path = cvat(tmp_path, '<box label="car" xtl="2" ytl="2" xbr="6" ybr="4" rotation="90.0"/>')
    assert rows(masks(tmp_path, path)["a"]) == ["........", "...22...", "...22...", "...22...", "...22...", "........"]


def region(kind, value, label="car", **more):
    return {
        "type": f"{kind}labels", "from_name": "tag", "to_name": "img", "original_width": 8, "original_height": 6,
        "image_rotation": 0, "value": {**value, f"{kind}labels": [label]}, **more,
    }  # fmt: skip


def label_studio(root, *tasks):
    path = root / "project-1-at-2026.json"
    path.write_text(json.dumps(tasks))
    return path


RECTANGLE = {"x": 25, "y": 50, "width": 50, "height": 50, "rotation": 0}
#: The brush of x 1..3, y 1..2 on 8x6, recorded from the converter of label-studio-sdk.
BRUSH = [0, 0, 0, 192, 57, 27, 254, 35, 0, 183, 255, 132, 192, 45, 255, 230, 240, 0]


def test_label_studio(tmp_path):
    result = [
        region("polygon", {"points": [[0, 0], [100, 0], [100, 50], [0, 50]], "closed": True}, "road"),
        region("brush", {"format": "rle", "rle": BRUSH}),
        region("rectangle", RECTANGLE, "ignore"),
        {"type": "choices", "value": {"choices": ["sunny"]}, "from_name": "c", "to_name": "img"},
    ]
    task = {"id": 1, "data": {"image": "/data/upload/3/0a1b2c3d-a.jpg"}, "annotations": [{"id": 4, "result": result}]}
    photo(tmp_path / "images/a.jpg")
    path = label_studio(tmp_path, task)
    assert read(path)[0].skipped.counts == {"choices": 1}
    assert rows(masks(tmp_path, path, rest="background")["a"]) == [
        "11111111",
        "12221111",
        "12221111",
        "00....00",
        "00....00",
        "00....00",
    ]


def test_label_studio_labels_beside_the_brush(tmp_path):
    """Drawing and naming by two controls: two entries of one id."""
    ellipse = region("ellipse", {"x": 50, "y": 50, "radiusX": 25, "radiusY": 100 / 3}) | {"type": "ellipse", "id": "r1"}
    del ellipse["value"]["ellipselabels"]
    named = {"type": "labels", "id": "r1", "value": {"labels": ["road"]}, "from_name": "l", "to_name": "img"}
    photo(tmp_path / "images/a.jpg")
    task = {"data": {"photo": "a.jpg"}, "annotations": [{"id": 4, "result": [ellipse, named]}]}
    mask = masks(tmp_path, label_studio(tmp_path, task))["a"]
    assert rows(mask)[2:4] == ["..1111..", "..1111.."]


@pytest.mark.parametrize(
    ("annotations", "chosen"),
    [
        ([("road", "2026-01-01", {}), ("car", "2026-01-02", {})], "2"),
        ([("road", "2026-01-03", {}), ("car", "2026-01-02", {})], "1"),
        ([("road", "2026-01-01", {}), ("car", "2026-01-02", {"was_cancelled": True})], "1"),
        ([("road", "2026-01-01", {"ground_truth": True}), ("car", "2026-01-02", {})], "1"),
        ([("car", "2026-01-02", {"was_cancelled": True})], None),
        ([], None),
    ],
)
def test_label_studio_which_annotation_counts(tmp_path, annotations, chosen):
    given = [
        {"id": i, "updated_at": when, "result": [region("rectangle", RECTANGLE, label)], **more}
        for i, (label, when, more) in enumerate(annotations)
    ]
    other = {"data": {"image": "b.jpg"}, "annotations": [{"id": 0, "result": [region("rectangle", RECTANGLE)]}]}
    task = {"data": {"image": "a.jpg"}, "annotations": given,
            "predictions": [{"result": [region("rectangle", RECTANGLE, "background")]}]}  # fmt: skip
    photo(tmp_path / "images/a.jpg")
    photo(tmp_path / "images/b.jpg")
    path = label_studio(tmp_path, task, other)
    assert read(path)[0].untouched == ([] if chosen else ["a.jpg"])
    several = [row for row in annotations if "was_cancelled" not in row[2]][1:]
    assert [note.partition(":")[0] for note in read(path)[0].notes] == [
        "1 tasks have several annotations (first"
    ] * len(several)
    found = masks(tmp_path, path)
    assert (rows(found["a"])[3] == f"..{chosen * 4}..") if chosen else ("a" not in found)


def test_label_studio_predictions_on_demand(tmp_path):
    task = {"data": {"image": "a.jpg"}, "predictions": [{"result": [region("rectangle", RECTANGLE)]}]}
    photo(tmp_path / "images/a.jpg")
    path = label_studio(tmp_path, task)
    with pytest.raises(DataError, match="none of the 1 tasks was handed in; --predictions"):
        masks(tmp_path, path)
    assert rows(masks(tmp_path, path, predictions=True)["a"])[3] == "..2222.."


def labelme(root, shapes, name="a", **more):
    data = {
        "version": "5.4.1", "flags": {}, "imagePath": f"..\\photos\\{name}.jpg", "imageData": "A" * 50, "imageHeight": 6,
        "imageWidth": 8, "shapes": [{"label": "car", "group_id": 3, "flags": {}, "description": "", **s} for s in shapes], **more,
    }  # fmt: skip
    path = root / f"json/{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data))
    photo(root / f"images/{name}.jpg")
    return path


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ({"points": [[0, 0], [4, 0], [4, 2], [0, 2]]}, {0: "2222....", 1: "2222....", 2: "........"}),
        ({"shape_type": "rectangle", "points": [[4, 2], [1, 0]]}, {0: ".222....", 2: "........"}),
        ({"shape_type": "circle", "points": [[4, 3], [4, 1]]}, {0: "........", 2: "..2222.."}),
        (
            {"shape_type": "oriented_rectangle", "points": [[4, 0], [8, 4], [6, 6], [2, 2]]},
            {0: "...2....", 3: "...2222."},
        ),
        ({"shape_type": "quadrilateral", "points": [[0, 0], [4, 0], [2, 2], [0, 2]]}, {0: "222.....", 1: "22......"}),
    ],
)
def test_labelme(tmp_path, shape, expected):
    mask = rows(masks(tmp_path, labelme(tmp_path, [shape]))["a"])
    assert {row: mask[row] for row in expected} == expected


def test_labelme_masks_and_folders(tmp_path):
    """A mask of an assistant is a PNG between two corners; a folder of files is one set; later shapes lie on top."""
    file = io.BytesIO()
    Image.fromarray(np.array([[255, 0], [255, 255]], np.uint8)).save(file, "PNG")
    mask = {"shape_type": "mask", "points": [[2, 1], [3, 2]], "mask": base64.b64encode(file.getvalue()).decode()}
    labelme(tmp_path, [{"points": [[0, 0], [8, 0], [8, 6], [0, 6]], "label": "road"}, mask], "a")
    labelme(tmp_path, [mask, {"points": [[0, 0], [8, 0], [8, 6], [0, 6]], "label": "__ignore__"}], "b")
    found = masks(tmp_path, tmp_path / "json")
    assert rows(found["a"])[:3] == ["11111111", "11211111", "11221111"]
    assert rows(found["b"]) == ["........"] * 6


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("seq1/0001.jpg", "seq1/0001"),
        ("C:\\data\\train\\seq1\\0001.jpg", "seq1/0001"),
        ("/home/me/seq1/0001.jpg", "seq1/0001"),
        ("../../seq2/0001.jpg", "seq2/0001"),
        ("seq1/0001.png", "seq1/0001"),
        ("one.jpg", "seq2/one"),
        ("./one", "seq2/one"),
        ("frame.0007.jpg", "frame.0007"),
        ("frame.0007", "frame.0007"),
    ],
)
def test_names_of_images(tmp_path, name, found):
    for path in ("seq1/0001.jpg", "seq2/0001.jpg", "seq2/one.jpg", "frame.0007.jpg"):
        photo(tmp_path / "images" / path)
    assert ImageIndex.of(tmp_path / "images", tmp_path).find(name).id == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0001.jpg", "may be any of 2 images"),
        ("seq3/0001.jpg", "no image"),
        ("../../etc/passwd", "no image"),
        ("..", "no image '..'"),
        ("onee.jpg", "did you mean 'one.jpg'"),
        ("a\0b", "no image 'a�b'"),
    ],
)
def test_names_of_no_image(tmp_path, name, message):
    for path in ("seq1/0001.jpg", "seq2/0001.jpg", "seq2/one.jpg"):
        photo(tmp_path / "images" / path)
    with pytest.raises(DataError, match=message):
        ImageIndex.of(tmp_path / "images", tmp_path).find(name)


def test_names_of_classes():
    rules = ClassRules(CLASSES, {"auto": "car", "tree": "ignore"}, "background")
    found = {name: rules.id_of(name) for name in ("road", "auto", "tree", "ignore", "void", "_background_", "bus")}
    assert found == {"road": 1, "auto": 2, "tree": 255, "ignore": 255, "void": 255, "_background_": 0, "bus": None}
    with pytest.raises(ConfigError, match=r"--rest=rood: no such class \(did you mean 'road'"):
        ClassRules(CLASSES, rest="rood")
    with pytest.raises(ConfigError, match="--map auto=carr: no such class"):
        ClassRules(CLASSES, {"auto": "carr"})


def test_a_label_that_is_a_class_named_void():
    assert ClassRules(Vocabulary.of(["void", "car"])).id_of("void") == 0
