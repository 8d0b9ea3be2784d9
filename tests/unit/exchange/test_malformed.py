"""Annotation files as they should not be: each mistake is told with file and place, all at once, and nothing is
written.
"""

import json
import os

import pytest
from PIL import Image

from semiovs.cli.app import main

NAN, INFINITY = float("nan"), float("inf")
SQUARE = [1, 1, 5, 1, 5, 5, 1, 5]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two images, a.jpg and sub/b.jpg, of 8x6 pixels."""
    for name in ("a.jpg", "sub/b.jpg"):
        path = tmp_path / "work/images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def files(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())


def refused(folder, capsys, data, name):
    """Import `data`; it must fail without a trace. Gives back what was said."""
    (folder / "work" / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    before = files(folder)
    command = ["labels", "import", name, "--images", "images", "--out", "out", "--classes", "road,car"]
    assert main(command) == 3
    said = capsys.readouterr().err
    assert files(folder) == before
    assert not os.path.lexists("out")
    assert "Traceback" not in said
    assert all(line.startswith(("error:", "left out:", "note:")) for line in said.splitlines())
    return said


def coco(*annotations, images=None, categories=None, **more):
    """JSON of one image and good objects, but for what is said."""
    listed = [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}] if images is None else images
    known = [{"id": 1, "name": "road"}, {"id": 2, "name": "car"}] if categories is None else categories
    objects = [{"image_id": 1, "category_id": 1, "segmentation": [SQUARE], **a} for a in annotations]
    return json.dumps({"images": listed, "annotations": objects, "categories": known, **more})


def runs(counts, size=(6, 8)):
    return {"segmentation": {"size": list(size), "counts": counts}}


COCO = {
    "an empty file": (b"", "x.json: an empty file"),
    "only blanks": (b" \n\r\n ", "x.json: an empty file"),
    "a cut file": (coco({})[:-20], "x.json:1: not valid JSON at column"),
    "a file cut in a text": (coco({})[:30], "the file ends in the middle"),
    "a zip": (b"PK\x03\x04" + b"\0" * 40, "x.json: a ZIP archive; unpack it"),
    "UTF-16": (coco({}).encode("utf-16"), "x.json:1: not UTF-8 text"),
    "a NUL": (coco({}).replace("road", "ro\0ad"), "not valid JSON at column"),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0", "not UTF-8 text"),
    "deep nesting": ("[" * 100_000, "x.json: not valid JSON"),
    "a huge number": ('{"images": ' + "9" * 6000 + "}", "x.json: not valid JSON"),
    "a number": ("17", "x.json: JSON of no kind that is known (COCO JSON, CVAT for images 1.1"),
    "an empty list": ("[]", "x.json: an empty list"),
    "another JSON": ('{"type": "FeatureCollection"}', "JSON of no kind that is known"),
    "JSON-MIN": ('[{"image": "a.jpg", "tag": []}]', "export 'JSON' and not 'JSON-MIN'"),
    "no categories": ('{"images": [], "annotations": []}', "x.json: has no 'categories'"),
    "no images": (coco(images=[]), "no image is annotated"),
    "images as an object": (coco(images={"1": {}}), "x.json: images: must be a list, not an object"),
    "an image that is a text": (coco(images=["a.jpg"]), "images[0]: must be an object with 'id', not the text 'a.jpg'"),
    "an image without a name": (coco(images=[{"id": 1}]), "images[0]: has no 'file_name'"),
    "a name that is a number": (coco(images=[{"id": 1, "file_name": 7}]), "images[0].file_name: must be a text, not 7"),
    "an id that is null": (coco(images=[{"id": None, "file_name": "a"}]), "images[0].id: must be a number, not null"),
    "an id that is true": (coco(images=[{"id": True, "file_name": "a"}]), "images[0].id: must be a number, not true"),
    "an id that is broken": (coco(images=[{"id": 1.5, "file_name": "a"}]), "images[0].id: must be a whole number"),
    "one id twice": (
        coco(images=[{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]),
        "images[1]: the id 1 is that of 'a.jpg' already",
    ),
    "one image twice": (
        coco({}, {"image_id": 2}, images=[{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "x/a.jpg"}]),
        "x.json: images[1]: image 'a' is annotated in x.json: images[0] already",
    ),
    "an unknown image": (coco({}, images=[{"id": 1, "file_name": "c.jpg"}]), "x.json: images[0]: no image 'c.jpg' "
                                                                             "in images"),
    "a way out": (coco({}, images=[{"id": 1, "file_name": "../../c.jpg"}]), "images[0]: no image '../../c.jpg'"),
    "an absolute path": (coco({}, images=[{"id": 1, "file_name": "/etc/passwd"}]), "images[0]: no image '/etc/passwd'"),
    "a NUL in a name": (coco({}, images=[{"id": 1, "file_name": "a\0.jpg"}]), "images[0]: no image 'a�.jpg'"),
    "another size": (
        coco({}, images=[{"id": 1, "file_name": "a.jpg", "width": 16, "height": 12}]),
        "images[0]: annotated as 16x12 pixels, but images/a.jpg is 8x6 (was it scaled since?)",
    ),
    "a turned size": (
        coco({}, images=[{"id": 1, "file_name": "a.jpg", "width": 6, "height": 8}]),
        "(turned: was it annotated without regard to the EXIF orientation?)",
    ),
    "no size": (coco({}, images=[{"id": 1, "file_name": "a.jpg", "width": 0, "height": 6}]), "images[0].width: must be"),
    "one category twice": (coco(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "categories[1]: the id 1"),
    "an unknown category": (coco({"category_id": 9}), "annotations[0].category_id: no category has the id 9 (there are: 1 "
                                              "'road', 2 'car')"),
    "a category that is no class": (
        coco({}, categories=[{"id": 1, "name": "rood"}]),
        "annotations[0].segmentation: 'rood' (1 shapes) is no class (did you mean 'road'?); say what it is: --map "
        "'rood=CLASS'",
    ),
    "no image of that id": (coco({"image_id": 3}), "annotations[0].image_id: no image has the id 3"),
    "a box alone": (coco({"segmentation": [], "bbox": [1, 1, 4, 4]}), "no shape could be drawn: 1 object with only a box "
                                                                      "(first: x.json: annotations[0]); pixels are"),
    "no segmentation": (coco({"segmentation": None}), "drawn: 1 object without segmentation and box (first: x.json: "),
    "two points": (coco({"segmentation": [[1, 1, 5, 5]]}), "drawn: 1 polygon of fewer than 3 points (first: x.json: "
                                                           "annotations[0].segmentation[0])"),
    "an odd number": (coco({"segmentation": [[1, 1, 5, 5, 2, 3, 4]]}), "drawn: 1 polygon of an odd number of numbers"),
    "points on a line": (coco({"segmentation": [[1, 1, 3, 3.0, 5, 5]]}), "drawn: 1 polygon without area (first: "),
    "a crowd of a word": (coco({"iscrowd": "maybe"}), "annotations[0].iscrowd: must be 0 or 1, not the text 'maybe'"),
    "a text for a number": (coco({"segmentation": [[1, "1", 5, 5, 2, 3]]}), "segmentation[0][1]: must be a number, not "
                                                                            "the text"),
    "not a number": (coco({"segmentation": [[1, NAN, 5, 5, 2, 3]]}), "drawn: 1 shape with NaN or infinity (first: "),
    "infinity": (coco({"segmentation": [[1, 1, INFINITY, 5, 2, 3]]}), "drawn: 1 shape with NaN or infinity (first: "),
    "a very large number": (coco({"segmentation": [[1, 1, 10**400, 5, 2, 3]]}), "drawn: 1 shape with NaN or infinity"),
    "an outside polygon": (
        coco({"segmentation": [[90, 1, 95, 1, 95, 5]]}),
        "drawn: 1 shape outside of the image (first: x.json: annotations[0].segmentation)",
    ),
    "counts that do not sum": (coco(runs([3, 9])), "annotations[0].segmentation: counts that add up to 12, but the "
                                                   "mask has 8x6"),
    "counts that sum to more": (coco(runs([3, 90])), "counts that add up to 93"),
    "negative counts": (coco(runs([60, -12])), "segmentation.counts[1]: must be a whole number from 0 on, not -12"),
    "counts of texts": (coco(runs(["3", 45])), "segmentation.counts[0]: must be a number, not the text '3'"),
    "counts that are null": (coco(runs(None)), "segmentation.counts: must be a list, not null"),
    "cut text counts": (coco(runs("=420000P")), "segmentation.counts: the compressed counts end within a number"),
    "wrong text counts": (coco(runs("=42é")), "segmentation.counts: character 3 of the compressed counts cannot "
                                              "be right"),
    "short text counts": (coco(runs("=4")), "segmentation: counts that add up to 17, but the mask has 8x6 = 48 pixels"),
    "huge text counts": (coco(runs("o" * 12 + "0")), "segmentation.counts: character"),
    "another mask size": (coco(runs([0, 35], (5, 7))), "segmentation: a mask of 7x5 pixels, but the image is 8x6"),
    "half a size": (coco(runs([48], (6,))), "segmentation.size: must be [height, width]"),
    "a huge size": (coco(runs([0], (10**9, 10**9))), "a mask of 1000000000x1000000000 pixels, but the image is 8x6"),
    "panoptic": (coco({"segments_info": []}), "annotations[0]: a panoptic annotation"),
}  # fmt: skip


@pytest.mark.parametrize("name", COCO)
def test_coco(folder, capsys, name):
    data, message = COCO[name]
    assert message in refused(folder, capsys, data, "x.json")


def cvat(shape, name="a.jpg", head="", size='width="8" height="6"'):
    return (
        f'<?xml version="1.0"?>\n{head}<annotations>\n<image id="0" name="{name}" '
        f"{size}>\n{shape}\n</image>\n</annotations>\n"
    )


def box(**changes):
    given = {"label": "car", "xtl": "1", "ytl": "1", "xbr": "5", "ybr": "5"} | changes
    return "<box " + " ".join(f'{key}="{value}"' for key, value in given.items() if value is not None) + "/>"


def mask(**changes):
    given = {"label": "car", "rle": "0, 4", "left": "1", "top": "1", "width": "2", "height": "2"} | changes
    return "<mask " + " ".join(f'{key}="{value}"' for key, value in given.items() if value is not None) + "/>"


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
CVAT = {
    "a cut file": (cvat(box())[:-30], "x.xml:4: not valid XML: unclosed token; the file ends in the middle"),
    "an entity bomb": (cvat("&b;", head=BOMB), "x.xml:2: a document type (<!DOCTYPE …>)"),
    "an outside entity": (cvat("&e;", head='<!DOCTYPE x [<!ENTITY e SYSTEM '
                                           '"file:///etc/passwd">]>'), "x.xml:2: a document type"),
    "an unknown entity": (cvat("&nbsp;"), "x.xml:4: not valid XML: undefined entity"),
    "a NUL": (cvat(box()).replace("car", "c\0r"), "x.xml:4: not valid XML"),
    "deep nesting": ("<annotations>" + "<a>" * 500, "elements nested more than 64 deep"),
    "another XML": ("<annotation><folder/></annotation>", "x.xml: XML of no kind that is known"),
    "CVAT for video": ("<annotations><track id='0'/></annotations>", "x.xml:1: <track>: a file of 'CVAT for video'"),
    "no image": ("<annotations><version>1.1</version></annotations>", "no image is annotated"),
    "an image without a size": (cvat(box(), size=""), "x.xml:3: <image>: has no 'height'"),
    "a size of 0": (cvat(box(), size='width="0" height="6"'), "<image>: width must be a whole number from 1 on, "
                                                              "not '0'"),
    "another size": (cvat(box(), size='width="9" height="6"'), "x.xml:3: <image>: annotated as 9x6 pixels, but "
                                                               "images/a.jpg"),
    "an unknown image": (cvat(box(), "../a/b/c.jpg"), "x.xml:3: <image>: no image '../a/b/c.jpg' in images"),
    "no label": (cvat(box(label=None)), "x.xml:4: <box>: has no 'label'"),
    "an unknown label": (cvat(box(label="cart")), "x.xml:4: <box>: 'cart' (1 shapes) is no class (did you mean "
                                                  "'car'?)"),
    "a missing side": (cvat(box(xbr=None)), "x.xml:4: <box>: has no 'xbr'"),
    "a side that is no number": (cvat(box(xbr="five")), "x.xml:4: <box>: xbr must be a finite number, not 'five'"),
    "not a number": (cvat(box(xbr="nan")), "drawn: 1 shape with NaN or infinity (first: x.xml:4: <box>)"),
    "a box outside": (cvat(box(xtl="50", xbr="60")), "drawn: 1 shape outside of the image (first: x.xml:4: <box>)"),
    "a box of no width": (cvat(box(xbr="1")), "drawn: 1 polygon without area (first: x.xml:4: <box>)"),
    "lines and points": (
        cvat('<polyline label="car" points="0,0;4,4"/><points label="car" points="1,1"/>' * 2),
        "no shape could be drawn: 2 polyline, 2 points (first: x.xml:4: <polyline>); pixels are told by polygons",
    ),
    "a broken layer": (cvat(box(z_order="high")), "z_order must be a finite number, not 'high'"),
    "two points": (cvat('<polygon label="car" points="1,1;2,2"/>'), "drawn: 1 polygon of fewer than 3 points "
                                                                    "(first: x.xml:4: <polygon>)"),
    "no points": (cvat('<polygon label="car" points=""/>'), "drawn: 1 polygon of fewer than 3 points"),
    "half a point": (cvat('<polygon label="car" points="1,1;2;3,3"/>'), "points must be 'x,y;x,y;…'"),
    "points that are none": (cvat('<polygon label="car" points="a,b;c,d;e,f"/>'), "points must be 'x,y;x,y;…'"),
    "an infinite point": (cvat('<polygon label="car" '
                               'points="1,1;2,inf;3,3"/>'), "drawn: 1 shape with NaN or infinity"),
    "counts that do not sum": (cvat(mask(rle="1, 2")), "x.xml:4: <mask>: counts that add up to 3, but the mask has "
                                                       "2x2 = 4"),
    "negative counts": (cvat(mask(rle="6, -2")), "<mask>: a negative count"),
    "counts that are none": (cvat(mask(rle="1; 3")), "rle must be whole numbers"),
    "counts too large": (cvat(mask(rle="9" * 30)), "rle must be whole numbers"),
    "a mask that reaches out": (cvat(mask(left="7")), "a mask of 2x2 pixels at 7,1 reaches out of the image (8x6)"),
    "a mask to the left": (cvat(mask(left="-1")), "left must be a whole number from 0 on"),
    "an unknown shape": (cvat('<blob label="car"/>'), "x.xml:4: <blob>: no shape that is known"),
}  # fmt: skip


@pytest.mark.parametrize("name", CVAT)
def test_cvat(folder, capsys, name):
    data, message = CVAT[name]
    assert message in refused(folder, capsys, data, "x.xml")


def task(value, kind="polygon", **changes):
    item = {"type": f"{kind}labels", "original_width": 8, "original_height": 6,
            "value": {f"{kind}labels": ["car"], **value}} | changes  # fmt: skip
    return json.dumps([{"data": {"image": "a.jpg"}, "annotations": [{"result": [item]}]}])


TRIANGLE = {"points": [[1, 1], [50, 1], [50, 60]]}
VALUE = "x.json: [0].annotations[0].result[0].value"
STUDIO = {
    "a text for the data": ('[{"data": "a.jpg", '
                            '"annotations": []}]', "[0].data: must be an object that names the image"),
    "no image": ('[{"data": {"text": 5}, "annotations": []}]', "[0].data: has no 'image'"),
    "ids for annotations": ('[{"data": {"image": "a.jpg"}, '
                            '"annotations": [5]}]', "[0].annotations[0]: must be an object"),
    "no result": ('[{"data": {"image": "a.jpg"}, "annotations": [{}]}]', "[0].annotations[0]: has no 'result'"),
    "an unknown image": (task(TRIANGLE).replace("a.jpg", "s3://bucket/../c.jpg"), "x.json: [0]: no image"),
    "no size": (task(TRIANGLE, original_width=None), "result[0].original_width: must be a number, not null"),
    "another size": (task(TRIANGLE, original_width=80), "x.json: [0]: annotated as 80x6 pixels, but "
                                                        "images/a.jpg is 8x6"),
    "a turned image": (task(TRIANGLE, image_rotation=90), "result[0]: was drawn on a turned image"),
    "no label": (task({**TRIANGLE, "polygonlabels": []}), "result[0]: has 0 labels"),
    "two labels": (task({**TRIANGLE, "polygonlabels": ["car", "road"]}), "result[0]: has 2 labels; a pixel has "
                                                                         "one class"),
    "an unknown label": (task({**TRIANGLE, "polygonlabels": ["cat"]}), f"{VALUE}: 'cat' (1 shapes) is no class"),
    "two points": (task({"points": [[1, 1], [2, 2]]}), "drawn: 1 polygon of fewer than 3 points"),
    "points of three": (task({"points": [[1, 1, 1], [2, 2, 2]]}), f"{VALUE}.points: point 0 has 3 numbers"),
    "not a number": (task({"points": [[1, 1], [NAN, 2], [3, 3]]}), "drawn: 1 shape with NaN or infinity"),
    "an outside polygon": (task({"points": [[150, 1], [160, 1], [160, 50]]}), f"1 shape outside of the image (first: {VALUE})"),
    "a rectangle without a side": (task({"x": 1, "y": 1, "width": 5}, "rectangle"), f"{VALUE}: has no 'height'"),
    "a brush without runs": (task({"format": "rle"}, "brush"), f"{VALUE}: has no 'rle'"),
    "a brush of no bytes": (task({"rle": [1, 256]}, "brush"), f"{VALUE}.rle: must be bytes"),
    "an empty brush": (task({"rle": []}, "brush"), f"{VALUE}: a brush mask that ends after 0 bytes"),
    "a cut brush": (task({"rle": [0, 0, 0, 192, 57, 27, 254, 35, 0]}, "brush"), f"{VALUE}: a brush mask that ends "
                                                                                f"after 9 bytes"),
    "a brush of another image": (task({"rle": [0, 0, 9, 192, 57, 27, 254, 35, 0]}, "brush"), "a brush mask of 2,496 values"),
    "a bit mask": (task({"imageDataURL": "data:"}, "bitmask"), "result[0]: a region of the type 'bitmask', which is "
                                                               "not read"),
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIO)
def test_label_studio(folder, capsys, name):
    data, message = STUDIO[name]
    assert message in refused(folder, capsys, data, "x.json")


def labelme(shape, **changes):
    given = {"imagePath": "a.jpg", "imageHeight": 6, "imageWidth": 8, "shapes": [{"label": "car", **shape}]} | changes
    return json.dumps(given)


LABELME = {
    "shapes that are none": (labelme({}, shapes={}), "x.json: shapes: must be a list, not an object"),
    "a shape that is null": (labelme({}, shapes=[None]), "shapes[0]: must be an object with 'label', not null"),
    "no label": (labelme({}, shapes=[{"points": []}]), "shapes[0]: has no 'label'"),
    "an empty label": (labelme({"label": " ", "points": []}), "shapes[0].label: must be a text, not an empty text"),
    "no points": (labelme({}), "shapes[0]: has no 'points'"),
    "two points": (labelme({"points": [[1, 1], [2, 2]]}), "drawn: 1 polygon of fewer than 3 points (first: x.json: "
                                                          "shapes[0])"),
    "a circle of three": (labelme({"shape_type": "circle", "points": [[1, 1]] * 3}), "shapes[0]: a circle of 3 points; "
                                                                                     "it has 2"),
    "a quadrilateral of three": (labelme({"shape_type": "quadrilateral", "points": [[1, 1]] * 3}), "of 3 points; it has 4"),
    "lines alone": (labelme({"shape_type": "line", "points": [[1, 1], [5, 5]]}), "drawn: 1 line (first: x.json: shapes[0])"),
    "points alone": (labelme({"shape_type": "point", "points": [[1, 1]]}), "drawn: 1 point (first: x.json: shapes[0])"),
    "a strip alone": (labelme({"shape_type": "linestrip", "points": [[1, 1]]}), "drawn: 1 linestrip (first: x.json: "),
    "an unknown shape": (labelme({"shape_type": "star", "points": [[1, 1]] * 9}), "shapes[0].shape_type: 'star' is "
                                                                                  "no shape"),
    "a mask that is none": (
        labelme({"shape_type": "mask", "points": [[1, 1], [2, 2]], "mask": "!!!"}), "shapes[0].mask: is no PNG in base64"
    ),
    "a mask of one corner": (labelme({"shape_type": "mask", "points": [[1, 1]], "mask": "AAAA"}), "a mask between 1 corners"),
    "an unknown image": (labelme({"points": [[1, 1]] * 3}, imagePath="../../../c.jpg"), "x.json: no image '../../../c.jpg'"),
    "another size": (labelme({"points": [[1, 1], [5, 1], [5, 5]]}, imageWidth=9), "x.json: annotated as 9x6 pixels"),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELME)
def test_labelme(folder, capsys, name):
    data, message = LABELME[name]
    assert message in refused(folder, capsys, data, "x.json")


def test_all_at_once(folder, capsys):
    """Every kind of problem in one file: each has its own line."""
    data = coco(
        {"segmentation": [[1, 1, 2, 2]]},
        {"category_id": 9},
        {"image_id": 4},
        runs([1, 2]),
        {"segmentation": [[50, 50, 60, 60, 50, 60]]},
        {"category_id": 3},
        {},
        images=[{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "zzz.jpg"}, {"id": 3}],
        categories=[{"id": 1, "name": "road"}, {"id": 3, "name": "boat"}],
    )
    said = refused(folder, capsys, data, "x.json").splitlines()
    assert said[0] == "error: 6 problems in the annotations:"
    places = sorted(line.split(": ")[2] for line in said[1:])
    assert places == [
        "annotations[1].category_id", "annotations[2].image_id", "annotations[3].segmentation", "annotations[5].segmentation",
        "images[1]", "images[2]",
    ]  # fmt: skip


def test_all_files_of_a_folder_at_once(folder, capsys):
    (folder / "work/json").mkdir()
    (folder / "work/json/a.json").write_text(labelme({"points": [[1]]}))
    (folder / "work/json/b.json").write_text("{")
    (folder / "work/json/c.xml").write_text("<x>")
    assert main(["labels", "import", "json", "--images", "images", "--out", "out"]) == 3
    said = capsys.readouterr().err
    assert "3 problems" in said
    assert all(f"json/{name}" in said for name in ("a.json", "b.json", "c.xml"))
    assert not os.path.lexists("out")


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"\n\n  ", b""])
def test_what_does_not_matter(folder, capsys, prefix):
    """A byte order mark, CRLF and blanks, ten megabytes in one line, keys that nobody knows."""
    data = json.dumps(json.loads(coco({}, note="x" * 10_000_000, licenses=None)), indent=1).replace("\n", "\r\n")
    (folder / "work/x.json").write_bytes(prefix + data.encode())
    command = ["labels", "import", "x.json", "--images", "images", "--out", "out", "--classes", "road,car"]
    assert main(command) == 0
    xml = prefix.replace(b"\n\n  ", b"") + cvat(box()).replace("\n", "\r\n").encode()
    (folder / "work/x.xml").write_bytes(xml)
    assert main([*command[:2], "x.xml", *command[3:-3], "out2", *command[-2:]]) == 0


def test_good_images_can_go_on(folder, capsys):
    """--on-error skip: an image with any problem is left out whole, the others come in, and every problem is told."""
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "sub/b.jpg"}, {"id": 3, "file_name": "c.jpg"}]
    data = coco({}, {"segmentation": [["1"]]}, {"image_id": 2}, {"image_id": 3}, images=images)
    (folder / "work/x.json").write_text(data)
    command = ["labels", "import", "x.json", "--images", "images", "--out", "out", "--classes", "road,car", "--json"]
    assert main([*command, "--on-error", "skip"]) == 0
    out, said = capsys.readouterr()
    found = json.loads(out)
    assert (found["images"], found["left_out"], len(found["problems"])) == (1, ["a.jpg", "c.jpg"], 2)
    assert said.count("left out: x.json: ") == 2
    assert [p.name for p in (folder / "work/out/masks").rglob("*.png")] == ["b.png"]
