"""Files as people have them, sloppy but clear: read right, and every shape that could not be drawn is counted."""

import json

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main

SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]
FULL = ["........", *[".1111..."] * 4, "........"]
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture
def take(tmp_path, monkeypatch, capsys):
    """Import a file (and the pictures of the given names, 8x6 pixels); gives the report, the notes and the masks."""
    monkeypatch.chdir(tmp_path)

    def run(data, *options, images=("a.jpg",), name="x.json", code=0):
        for image in images:
            path = tmp_path / "images" / image
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6)).save(path)
        (tmp_path / name).write_text(data if isinstance(data, str) else json.dumps(data), "utf-8")
        command = ["labels", "import", name, "--images", "images", "--classes", "road,car", *options, "--out"]
        assert main([*command, "out", "--json"]) == code
        said = capsys.readouterr()
        if code:
            return said.err
        assert main([*command, "again"]) == 0
        notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
        masks = {path.stem: rows(path) for path in sorted((tmp_path / "out/masks").rglob("*.png"))}
        return json.loads(said.out), notes, masks

    return run


def rows(path):
    return ["".join("." if v == 255 else str(v + 1) for v in row) for row in np.asarray(Image.open(path)).tolist()]


def coco(*annotations, images=None, categories=None):
    known = [{"id": 1, "name": "road"}, {"id": 2, "name": "car"}] if categories is None else categories
    listed = [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}] if images is None else images
    objects = [
        {"id": i, "image_id": 1, "category_id": 1, "segmentation": [SQUARE], **a} for i, a in enumerate(annotations)
    ]
    return {"images": listed, "annotations": objects, "categories": known}


def image(**changes):
    return [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6} | changes]


@pytest.mark.parametrize(
    "data",
    [
        coco({"iscrowd": False}),
        coco({"iscrowd": 0.0, "area": None}),
        coco({"iscrowd": "0"}),
        coco({"iscrowd": None, "area": "12"}),
        coco({"image_id": "1"}),
        coco({"image_id": 1.0, "category_id": 1.0}),
        coco({"category_id": "1"}),
        coco({}, images=image(id="1", width=8.0, height=6.0)),
        coco({"category_id": "7f"}, categories=[{"id": "7f", "name": "road"}]),
        coco({"image_id": 2**62}, images=image(id=2**62)),
        coco({"image_id": "01"}, images=[*image(), *image(id="01", file_name="b.jpg")]),
        coco({"segmentation": SQUARE}),
        coco({}, images=image(file_name="train\\2017\\a.jpg")),
        coco({}, images=image(file_name="C:\\Users\\me\\a.jpg")),
        coco({}, images=image(file_name="./train/a.jpg")),
        coco({"segmentation": [[1, 1, 9e99, 3], [2, 2, 2, 2, 2, 2], SQUARE]}),
    ],
    ids=range(16),
)
def test_sloppy_coco(take, data):
    """Booleans, texts and whole floats where COCO has integers, and paths of other machines, change nothing."""
    found, _, masks = take(data, images=("a.jpg", "b.jpg"))
    assert (found["images"], found["shapes"]) == (1, 1)
    assert next(iter(masks.values())) == FULL


@pytest.mark.parametrize("crowd", [True, "true", "1", 1.0])
def test_crowds_that_are_true(take, crowd):
    whole = {"segmentation": [[0, 0, 8, 0, 8, 6, 0, 6]], "category_id": 2, "iscrowd": crowd}
    assert take(coco(whole, *[{"iscrowd": False}] * 10), "--rest", "car")[2]["a"] == FULL


def test_degenerate_polygons_are_counted(take):
    """Each kind has a line with its number and where the first stands; the rest of the file is drawn."""
    wrong = [[], [1, 1], [1, 1, 5, 5], [1, 1, 1, 1, 1, 1], [0, 0, 2, 2, 4, 4], [1, 1, 2, 2, 3], [1, NAN, 2, 2, 3, 1]]
    wrong += [[1, 1, INFINITY, 2, 3, 1], [1, 1, 2, 3, 1e300, 1], [90, 90, 95, 90, 95, 95]]
    found, notes, masks = take(coco(*[{"segmentation": [polygon]} for polygon in wrong], {}))
    assert masks["a"] == FULL
    assert found["skipped_shapes"] == {
        "object without segmentation and box": 1,
        "polygon of fewer than 3 points": 2,
        "polygon without area": 2,
        "polygon of an odd number of numbers": 1,
        "shape with NaN or infinity": 3,
        "shape outside of the image": 1,
    }
    assert "note: 2 not drawn: polygon without area (first: x.json: annotations[3].segmentation[0])" in notes
    assert len([note for note in notes if "not drawn" in note]) == 6


def test_an_object_with_only_a_box_is_not_background(take):
    """Its outline is not known: its box is ignored, under all shapes, and it is counted."""
    data = coco({"segmentation": [], "bbox": [4, 0, 4, 3]}, {}, {"segmentation": [[1, 1]], "bbox": [0, 5, 1, 1.0]})
    found, notes, masks = take(data, "--rest", "car")
    assert masks["a"] == ["2222....", *["21111..."] * 2, *["21111222"] * 2, ".2222222"]
    assert found["skipped_shapes"] == {"object with only a box": 1, "polygon of fewer than 3 points": 1}
    assert "note: 1 not drawn: object with only a box (first: x.json: annotations[0])" in notes
    assert found["without_shape"] == 21


def test_annotations_of_one_id(take):
    data = coco({"id": 7}, {"id": "7", "category_id": 2, "segmentation": [[6, 0, 8, 0, 8, 6, 6, 6]]})
    found, notes, masks = take(data)
    assert found["shapes"] == 2
    assert masks["a"][1] == ".1111.22"
    assert "note: x.json: 1 ids stand at more than one annotation (first: 7); all are drawn" in notes


def test_categories_that_do_not_exist_are_named(take):
    said = take(coco({"category_id": 3}, {"category_id": "x"}), code=3)
    assert "annotations[0].category_id: no category has the id 3 (there are: 1 'road', 2 'car')" in said
    assert "annotations[1].category_id: no category has the id 'x'" in said


def labelme(*shapes, **changes):
    return {"imagePath": "a.jpg", "imageHeight": 6, "imageWidth": 8, "shapes": list(shapes)} | changes


ROAD = {"label": "road", "points": [[1, 1], [5, 1], [5, 5], [1, 5]]}


def test_labelme_lines_have_no_area(take):
    kinds = {"line": [[0, 0], [8, 6]], "point": [[7, 5]], "points": [[7, 5]], "linestrip": [[0, 0], [8, 0], [8, 6]]}
    shapes = [{"label": "car", "shape_type": kind, "points": points} for kind, points in kinds.items()]
    found, notes, masks = take(labelme(ROAD, *shapes, shapes[0]))
    assert masks["a"] == FULL
    assert found["skipped_shapes"] == {"line": 2, "point": 1, "points": 1, "linestrip": 1}
    assert "note: 2 not drawn: line (first: x.json: shapes[1])" in notes


@pytest.mark.parametrize("named", [{"imagePath": "..\\imgs\\a.jpg"}, {"imagePath": ""}, {"imagePath": None}])
def test_labelme_paths(take, named):
    """A file with only its picture inside (imageData) belongs to the image of its own name."""
    assert take(labelme(ROAD, imageData="iVBORw0KGgo=", **named), name="a.json")[2]["a"] == FULL


def studio(address):
    value = {"points": [[12.5, 100 / 6], [62.5, 100 / 6], [62.5, 500 / 6], [12.5, 500 / 6]], "polygonlabels": ["road"]}
    item = {"type": "polygonlabels", "original_width": 8, "original_height": 6, "value": value}
    return [{"data": {"image": address}, "annotations": [{"result": [item]}]}]


@pytest.mark.parametrize(
    ("address", "image"),
    [
        ("/data/upload/1/ab12cd34-a.jpg", "a.jpg"),
        ("/data/upload/1/ab12cd34-my%20house.jpg", "my house.jpg"),
        ("/data/upload/1/ab12cd34-my_house_2.jpg", "my house (2).jpg"),
        ("/data/upload/ab12cd34-a.jpg", "sub/a.jpg"),
        ("ab12cd34-a.jpg", "ab12cd34-a.jpg"),
        ("s3://bucket/some/name.jpg", "name.jpg"),
        ("s3://bucket/some/a%20%23b.jpg", "some/a #b.jpg"),
        ("s3://bucket/some/100%#1.jpg", "some/100%#1.jpg"),
        ("gs://bucket/name.jpg", "name.jpg"),
        ("https://host/x/name.jpg?X-Amz-Date=2026&d=1", "name.jpg"),
        ("/data/local-files/?d=folder/name.jpg", "folder/name.jpg"),
        ("/data/local-files/?d=folder%2Fa%20b.jpg", "folder/a b.jpg"),
        ("/data/local-files/?d=folder/a+b.jpg", "a+b.jpg"),
        ("/data/local-files/?d=folder/a+c.jpg", "a c.jpg"),
        ("/data/local-files/?d=folder/a&b.jpg", "a&b.jpg"),
        ("/data/local-files?d=folder\\name.jpg", "folder/name.jpg"),
        ("http://localhost:8080/data/local-files/?d=folder/name.jpg", "name.jpg"),
        ("my%20house.jpg", "my house.jpg"),
        ("u\u0308ber.jpg", "\u00fcber.jpg"),
    ],
)
def test_label_studio_names(take, address, image):
    found, _, masks = take(studio(address), images=(image, "other.jpg"))
    assert found["images"] == 1
    assert masks == {image.rpartition("/")[2].removesuffix(".jpg"): FULL}


@pytest.mark.parametrize(
    ("address", "images"),
    [
        ("/data/upload/1/ab12cd34-a.jpg", ("train/a.jpg", "val/a.jpg")),
        ("/data/upload/1/ab12cd34-my_house.jpg", ("my house.jpg", "(my) house.jpg")),
    ],
)
def test_label_studio_names_of_several_images(take, address, images):
    said = take(studio(address), images=images, code=3)
    assert "may be any of 2 images in images: " in said
    assert all(f"'{image.removesuffix('.jpg')}'" in said for image in images)


def cvat(*shapes, labels=("road", "car")):
    names = "".join(f"<label><name>{label}</name></label>" for label in labels)
    return (
        f"<annotations><meta><task><labels>{names}</labels></task></meta>"
        f'<image id="0" name="a.jpg" width="8" height="6">{"".join(shapes)}</image></annotations>'
    )


def test_cvat_boxes_are_told(take):
    box = '<box label="{}" xtl="{}" ytl="1" xbr="{}" ybr="5"/>'
    hidden = '<box label="car" outside="1" xtl="0" ytl="0" xbr="8" ybr="6"/>'
    found, notes, masks = take(cvat(box.format("road", 1, 5), box.format("car", 6, 8), hidden), name="x.xml")
    assert masks["a"][1:5] == [".1111.22"] * 4
    assert (found["boxes"], found["skipped_shapes"]) == (2, {'box with outside="1"': 1})
    assert "note: 2 of 2 shapes are boxes: every pixel in them counts as the class" in notes


def test_cvat_without_classes_says_what_it_holds(take, tmp_path, capsys):
    """An export of lines is told as such, not as a file without classes."""
    take(cvat('<polygon label="road" points="1,1;5,1;5,5"/>'), name="good.xml")
    (tmp_path / "lines.xml").write_text(cvat('<polyline label="road" points="1,1;5,1"/>' * 3, labels=()))
    assert main(["labels", "import", "lines.xml", "--images", "images", "--out", "lines"]) == 3
    assert "no shape could be drawn: 3 polyline (first: lines.xml:1: <polyline>); pixels" in capsys.readouterr().err


def test_nothing_but_background_is_no_import(take):
    """With a class for the rest, a file without one shape that can be drawn must not become masks of that class."""
    said = take(
        cvat('<tag label="road"/>', '<polyline label="road" points="1,1;5,1"/>'), "--rest", "car", name="x.xml", code=3
    )
    assert "no shape could be drawn: 1 tag, 1 polyline" in said
