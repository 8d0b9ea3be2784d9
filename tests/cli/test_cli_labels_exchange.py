"""``semiovs labels export`` and ``labels import``: there and back, choosing, joining lists, and their mistakes."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from PIL import Image

from semiovs.audit.check import check_collection
from semiovs.cli.app import main
from semiovs.config import load_config
from semiovs.datasets.folder import FolderDataset
from semiovs.images.manifest import Manifest
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", 'a "road" & <lane>', "tree, bush"])
FILES = {"coco": "annotations.json", "cvat": "annotations.xml", "label-studio": "tasks.json"}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of six images of growing confidence, smooth blobs with ignored pixels; odd names; image 3 lacks class
    2.
    """
    rng = np.random.default_rng(0)
    made = PseudoLabelStore.create(tmp_path / "store", CLASSES, teacher={"name": "t"})
    for number in range(6):
        size = (40, 50 + number)
        maps = np.stack([cv2.GaussianBlur(rng.random(size).astype(np.float32), (0, 0), 4) for _ in range(4)])
        label = np.array([0, 1, 2, 255], np.uint8)[maps.argmax(axis=0)]
        if number == 3:
            label[label == 2] = 0
        name = f"ünd/a b%20&#'{number}"
        made.add(name, label, np.full(size, (number + 1) / 10, np.float32))
        path = tmp_path / f"images/{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size[::-1]).save(path)
    made.settle()
    (tmp_path / "names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    monkeypatch.chdir(tmp_path)
    return made


def told(capsys, *command, code=0):
    assert main(["labels", *command]) == code
    return capsys.readouterr()


def export(capsys, to, *more, out="out"):
    command = ["export", "store", "--to", to, "--images", "images", "--out", out, "--json", *more]
    return json.loads(told(capsys, *command).out)


def back(capsys, file, *more, out="back"):
    command = ["import", file, "--images", "images", "--out", out, "--classes", "names.txt", "--json", *more]
    return json.loads(told(capsys, *command).out)


def same(store, out="back"):
    """Share of equal pixels over all images that came back."""
    records = list(Manifest.read(f"{out}/labeled.jsonl", "."))
    pairs = [(np.asarray(Image.open(record.mask)), store.label(record.id)) for record in records]
    assert all(one.shape == other.shape for one, other in pairs)
    return sum(int((one == other).sum()) for one, other in pairs) / sum(one.size for one, _ in pairs), len(pairs)


@pytest.mark.parametrize("to", FILES)
def test_masks_come_back_exactly(store, capsys, to):
    """Every pixel and every name, ignore too; the images lie beside the file, under the names that stand in it."""
    done = export(capsys, to)
    assert done["annotations"] == f"out/{FILES[to]}"
    assert [item["id"] for item in done["images"]] == store.ids()
    for item in done["images"]:
        assert (Path("out/images") / item["name"]).read_bytes() == (Path("images") / item["name"]).read_bytes()
    found = back(capsys, f"out/{FILES[to]}", "--predictions")
    assert found["formats"] == [to]
    assert found["without_shape"] == 0
    assert found["ignored"] > 0
    assert same(store) == (1.0, 6)


@pytest.mark.parametrize("to", FILES)
def test_polygons_come_back_nearly(store, capsys, to):
    export(capsys, to, "--polygons", "0", out="exact")
    assert back(capsys, f"exact/{FILES[to]}", "--predictions")["images"] == 6
    assert same(store) == (1.0, 6)
    export(capsys, to, "--polygons", "1", out="simple")
    back(capsys, f"simple/{FILES[to]}", "--predictions", out="back2")
    share, _ = same(store, "back2")
    assert 0.95 < share < 1.0


def test_the_worst_and_others(store, capsys):
    ids = store.ids()
    assert [item["id"] for item in export(capsys, "coco", "--worst", "2")["images"]] == ids[:2]
    assert export(capsys, "coco", "--worst", "2", out="b")["images"][1]["confidence"] == pytest.approx(0.2, abs=0.01)
    assert [i["id"] for i in export(capsys, "cvat", "--class", "tree, bush", out="c")["images"]] == ids[:3] + ids[4:]
    Path("ids.txt").write_text(f"\ufeff{ids[4]}\r\n\n{ids[1]}.jpg\n{ids[4]}\n")
    assert [i["id"] for i in export(capsys, "cvat", "--ids", "ids.txt", out="d")["images"]] == [ids[4], ids[1]]
    tasks = json.loads(Path(export(capsys, "label-studio", "--worst", "1", out="e")["annotations"]).read_text())
    assert tasks[0]["predictions"][0]["score"] == pytest.approx(0.1, abs=0.01)
    assert tasks[0]["data"]["image"].startswith("/data/local-files/?d=images/%C3%BCnd/a%20b%2520%26%23%27")


def test_what_sets_the_programs_up(store, capsys):
    labels = json.loads(Path(export(capsys, "cvat")["setup"]).read_text())
    assert [label["name"] for label in labels] == [*CLASSES, "ignore"]
    root = ET.parse(export(capsys, "label-studio", out="b")["setup"]).getroot()
    assert [label.get("value") for label in root.find("BrushLabels")] == [*CLASSES, "ignore"]
    assert root.find("Image").get("name") == "image"


def test_a_file_alone(store, capsys):
    done = export(capsys, "cvat", out="here/x.xml")
    assert (done["annotations"], done["setup"], done["images_folder"]) == ("here/x.xml", "here/x-labels.json", None)
    assert sorted(path.name for path in Path("here").iterdir()) == ["x-labels.json", "x.xml"]
    said = told(capsys, "export", "store", "--to", "coco", "--out", "y.json")
    assert "y.json: 6 images, COCO JSON" in said.out
    assert "without --images file names are made up: <id>.jpg" in said.err
    assert back(capsys, "y.json")["images"] == 6
    assert told(capsys, "export", "store", "--to", "coco", "--out", "y.json", code=3).err.startswith(
        "error: y.json: is there"
    )


def test_a_folder_of_masks(store, capsys):
    export(capsys, "coco")
    back(capsys, "out/annotations.json")
    command = ["export", "back/masks", "--to", "cvat", "--out", "again", "--images", "images"]
    assert "masks do not tell their classes" in told(capsys, *command, code=2).err
    assert "again/annotations.xml: 6 images" in told(capsys, *command, "--classes", "names.txt").out
    back(capsys, "again/annotations.xml", out="back2")
    assert same(store, "back2") == (1.0, 6)
    found = told(
        capsys, "export", "back/labeled.jsonl", "--to", "coco", "--out", "list", "--classes", "names.txt", "--json"
    ).out
    assert json.loads(found)["images_folder"] == "list/images"
    back(capsys, "list/annotations.json", out="back3")
    assert same(store, "back3") == (1.0, 6)
    said = told(capsys, *command, "--classes", "names.txt", "--worst", "2", code=2).err
    assert "--worst needs confidences" in said


def test_corrected_images_join_the_labelled_ones(store, capsys):
    """The new list holds both; the bare images that are left are listed; a training takes them as they are."""
    ids = store.ids()
    for folder, name in (("old", "x"), ("oldmasks", "x")):
        Path(folder).mkdir()
        Image.new("L" if folder == "oldmasks" else "RGB", (9, 9)).save(f"{folder}/{name}.png")
    Path("labeled.txt").write_text("old/x.png oldmasks/x.png\n")
    export(capsys, "coco", "--worst", "2")
    found = back(capsys, "out/annotations.json", "--add-to", "labeled.txt", "--remove-from", "images")
    assert (found["images"], found["listed"], found["unlabeled"]) == (2, 3, 4)
    manifest = Manifest.read("back/labeled.jsonl", ".")
    assert [record.id for record in manifest] == ["old/x", *ids[:2]]
    assert all(record.image.is_file() and record.mask.is_file() for record in manifest)
    assert manifest[1].source == "annotations.json"
    left = Manifest.read("back/unlabeled.jsonl", ".")
    assert [record.id for record in left] == ids[2:]
    assert all(record.image.is_file() for record in left)
    Path("my.yaml").write_text(
        "data: {classes: names.txt, labeled: back/labeled.jsonl, unlabeled: back/unlabeled.jsonl, crop_size: 16}\n"
    )
    check_collection(FolderDataset(load_config("my.yaml").config.data).read())


def test_an_image_cannot_be_labelled_twice(store, capsys):
    """By path, by id, or by content: all are named, and nothing is written."""
    ids = store.ids()
    export(capsys, "coco", "--worst", "3")
    back(capsys, "out/annotations.json")
    Path("copy.jpg").write_bytes(Path(f"images/{ids[1]}.jpg").read_bytes())
    rows = [
        {"id": "one", "image": f"images/{ids[0]}.jpg", "mask": "m.png"},
        {"id": "two", "image": "copy.jpg", "mask": "m.png"},
        {"id": ids[2], "image": "other.jpg", "mask": "m.png"},
    ]
    Path("list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ["--classes", "names.txt"]
    command = ["import", "out/annotations.json", "--images", "images", "--out", "b", "--add-to", "list.jsonl"]
    assert "--add-to needs --classes" in told(capsys, *command, code=2).err
    said = told(capsys, *command, *names, code=3).err
    assert "3 problems in joining 3 images to list.jsonl" in said
    assert f"images/{ids[0]}.jpg is labelled there already, as 'one'" in said
    assert f"images/{ids[1]}.jpg is a copy of 'two', which is labelled there" in said
    assert f"has another image of the id '{ids[2]}'" in said
    assert not Path("b").exists()
    assert not list(Path().glob(".b*"))


def test_classes_of_the_file(store, capsys):
    """Without --classes those that the file declares, with a list of them; pixels without a shape are said."""
    data = {
        "images": [{"id": 1, "file_name": f"{store.ids()[0]}.jpg"}, {"id": 2, "file_name": f"{store.ids()[1]}.jpg"}],
        "categories": [{"id": 1, "name": "tree"}, {"id": 2, "name": "background"}],
        "annotations": [
            {"image_id": 1, "category_id": 1, "segmentation": [[0, 0, 10, 0, 10, 10, 0, 10], [1, 1, 1, 2, 1, 3]]}
        ],
    }
    Path("x.json").write_text(json.dumps(data))
    said = told(capsys, "import", "x.json", "--images", "images", "--out", "a")
    assert "a/masks: 1 images (coco)" in said.out
    assert "95.00% of the pixels are under no shape: ignore (--rest)" in said.out
    assert "if no shape means background, say --rest background" in said.out
    assert "note: 1 images without any shape, left out" in said.out
    assert f"data.classes={Path('a/classes.txt').absolute()}" in said.out
    assert Path("a/classes.txt").read_text() == "tree\nbackground\n"
    found = json.loads(
        told(capsys, "import", "x.json", "--images", "images", "--out", "b", "--rest", "background", "--json").out
    )
    assert (found["images"], found["ignored"], found["pixels"]["tree"]) == (2, 0, 100)
    said = told(capsys, "import", "x.json", "--images", "images", "--out", "c", "--classes", "sky,wood", code=3).err
    assert "'tree' (1 shapes) is no class" in said
    common = ["import", "x.json", "--images", "images", "--classes", "sky,wood", "--map", "tree=wood"]
    assert told(capsys, *common, "--out", "c", "--map", "background=sky")
    assert "--map: 'tree' is given twice, as 'wood' and as 'sky'" in (
        told(capsys, *common, "--out", "d", "--map", "tree=sky", code=2).err
    )
    assert "is there already" in told(capsys, "import", "x.json", "--images", "images", "--out", "b", code=3).err


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("export store --to cocoo --out x", 2, "--to cocoo: no such format (did you mean 'coco'?)"),
        (
            "export store --to coco --out x --class skyy",
            2,
            "--class skyy: no such class in store (did you mean 'sky'?)",
        ),
        ("export store --to coco --out x --ids no.txt", 3, "no.txt: cannot be read as a list of ids"),
        ("export store --to coco --out x --ids bad.txt", 3, "bad.txt:2: no label of '../../x'"),
        ("export store --to coco --out x --ids bad.txt --worst 2", 2, "--ids names the images"),
        ("export store --to coco --out x --images few", 3, "few"),
        ("export nowhere --to coco --out x --classes a,b", 3, "nowhere: no such folder"),
        ("export store --to coco --out images", 3, "images: is there already"),
        ("import no.json --images images --out x", 3, "no.json: no such file or folder of annotations"),
        ("import few --images images --out x", 3, "few: no JSON or XML files"),
        ("import bad.json --images nowhere --out x --classes a,b", 3, "nowhere: no such folder"),
        ("import bad.json --images images --out x --from cvatt", 2, "--from cvatt: no such format"),
        ("import bad.json --images images --out x --from cvat", 3, "bad.json: not XML of CVAT"),
        ("import bad.json --images images --out x --map a", 2, "--map a: expected label=CLASS"),
        ("import bad.json --images images --out x --crowd no", 2, "--crowd no: ignore or class"),
        ("import bad.json --images images --out x --rest no", 2, "--rest=no: no such class"),
        ("import bad.json --images images --out x --on-error no", 2, "--on-error no"),
    ],
)
def test_mistakes(store, capsys, command, code, message):
    Path("few").mkdir()
    Image.new("RGB", (5, 5)).save("few/x.jpg")
    Path("bad.txt").write_text(f"{store.ids()[0]}\n../../x\n/etc/passwd\n")
    Path("bad.json").write_text(
        '{"shapes": [{"label": "a", "points": [[0, 0], [1, 0], [1, 1]]}], "imagePath": "no.jpg"}'
    )
    before = sorted(Path().iterdir())
    said = told(capsys, *command.split(), code=code).err
    assert message in said
    assert sorted(Path().iterdir()) == before


def test_labels_of_other_images(store, capsys):
    for path in Path("images").rglob("*.jpg"):
        Image.new("RGB", (7, 7)).save(path)
    said = told(capsys, "export", "store", "--to", "coco", "--out", "x", "--images", "images", code=3).err
    assert "6 problems in the labels" in said
    assert "is 7x7 pixels, but its label is 50x40; are these the images that were labelled?" in said
    assert not Path("x").exists()


def test_a_store_without_confidences(store, capsys):
    bare = PseudoLabelStore.create("bare", CLASSES, teacher={"name": "t"})
    bare.add("a", np.zeros((4, 4), np.uint8))
    said = told(capsys, "export", "bare", "--to", "coco", "--out", "x", "--worst", "1", code=3).err
    assert "holds no confidences, so none is the worst" in said


def test_training_says_what_to_do_with_annotations(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    Image.new("RGB", (20, 20)).save("images/a.jpg")
    Path("set.json").write_text("{}")
    for extra in ("", ", labeled: set.json"):
        Path("my.yaml").write_text(f"data: {{classes: [a, b]{extra}}}\n")
        assert main(["train", "my.yaml"]) == 3
        said = capsys.readouterr().err
        assert "semiovs labels import " in said
        assert "set.json --images DIR --out DIR" in said
    assert main(["init", ".", "--out", "new.yaml"]) == 0
    assert "semiovs labels import set.json --images images" in capsys.readouterr().err


def test_relative_coordinates(store, capsys):
    """Corners from 0 to 1 are pixels of nothing: that is said, and not taken for an empty image."""
    image = {"id": 1, "file_name": f"{store.ids()[0]}.jpg"}
    shape = {"image_id": 1, "category_id": 1, "segmentation": [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9]]}
    Path("x.json").write_text(
        json.dumps({"images": [image], "categories": [{"id": 1, "name": "a"}], "annotations": [shape]})
    )
    said = told(capsys, "import", "x.json", "--images", "images", "--out", "a", code=3).err
    assert "x.json: images[0]: its 1 shapes cover 1 pixels; are the coordinates from 0 to 1?" in said


def test_masks_that_are_marked_as_crowds(store, capsys):
    """CVAT's COCO files mark every brush mask as a crowd: that has to be decided, and not to be lost without a word."""
    export(capsys, "coco")
    data = json.loads(Path("out/annotations.json").read_text())
    for item in data["annotations"]:
        item["iscrowd"] = 1
    Path("x.json").write_text(json.dumps(data))
    command = ["import", "x.json", "--images", "images", "--out", "a", "--classes", "names.txt"]
    said = told(capsys, *command, code=3).err
    assert "23 of 23 objects are crowds (iscrowd: 1)" in said
    back(capsys, "x.json", "--crowd", "class")
    assert same(store) == (1.0, 6)
    assert back(capsys, "x.json", "--crowd", "ignore", out="b")["ignored"] == sum(
        store.label(i).size for i in store.ids()
    )
