"""What `semiovs init` takes for the classes of colour masks, and of the class files of other programs."""

import json

import numpy as np
import pytest
from PIL import Image

from semiovs.cli import run as main
from semiovs.config import load_config
from semiovs.vocab.colors import voc_color

BLACK, ROAD, CAR, SKY, ODD = (0, 0, 0), (128, 64, 128), (0, 0, 142), (70, 130, 180), (11, 22, 33)


def colored(folder, *colors, name="a", masks="masks", images="images", mode="RGB"):
    """An image, and a mask with each colour in 32 rows of a pixel more than the one before."""
    for place in (images, masks):
        (folder / place).mkdir(parents=True, exist_ok=True)
    rows = [color for number, color in enumerate(colors, 1) for color in [color] * number]
    mask = np.tile(np.asarray(rows, np.uint8), (32, 1, 1))
    noise = np.random.default_rng(ord(name)).integers(0, 255, mask.shape)
    Image.fromarray(noise.astype(np.uint8)).save(folder / images / f"{name}.png")
    Image.fromarray(mask).convert(mode).save(folder / masks / f"{name}.png")


def palette_mask(path, values, palette):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(np.tile(np.asarray(values, np.uint8), (32, 8)))
    mask.putpalette([part for color in palette for part in color])
    mask.save(path)


def init(folder, *more):
    assert main(["init", str(folder), *more]) == 0
    return load_config(str(folder / "semiovs.yaml")).config.data


def check(folder):
    return main(["data", "check", str(folder), "data.crop_size=33"])


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "road 128 64 128\nsky 70 130 180\nbackground 0 0 0\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:128,64,128::\nsky:70,130,180::\nbackground:0,0,0::\n"),
        ("label_colors.txt", "128 64 128 road\n70 130 180 sky\n0 0 0 background\n"),
        ("class_dict.csv", "name,r,g,b\nroad,128,64,128\nsky,70,130,180\nbackground,0,0,0\n"),
    ],
)
def test_class_files_with_colours(tmp_path, file, text, mode):
    colored(tmp_path, ROAD, BLACK, mode=mode)
    (tmp_path / file).write_text(text)
    data = init(tmp_path)
    assert (data.classes, data.masks.encoding) == (file, "rgb")
    assert data.masks.map == {"128,64,128": "road", "70,130,180": "sky", "0,0,0": "background"}
    assert check(tmp_path) == 0


def test_a_colour_for_not_labelled_is_no_class(tmp_path):
    colored(tmp_path, ROAD, BLACK)
    (tmp_path / "classes.txt").write_text("void 0 0 0\nroad 128 64 128\nsky 70 130 180\n")
    data = init(tmp_path)
    assert data.classes == ["road", "sky"]
    assert data.masks.map == {"0,0,0": "ignore", "128,64,128": "road", "70,130,180": "sky"}
    assert check(tmp_path) == 0


def test_a_class_file_with_colours_beside_masks_of_ids(tmp_path):
    """The ids are read; the colours are those of pictures."""
    palette_mask(tmp_path / "masks/a.png", [0, 1], [ROAD, SKY])
    palette_mask(tmp_path / "images/a.png", [0, 1], [ROAD, SKY])
    (tmp_path / "classes.txt").write_text("road 128 64 128\nsky 70 130 180\n")
    data = init(tmp_path)
    assert (data.classes, data.masks.map) == ("classes.txt", None)


def test_palettes_that_contradict_the_class_file(tmp_path):
    palette_mask(tmp_path / "masks/a.png", [0, 1], [ROAD, SKY])
    palette_mask(tmp_path / "images/a.png", [0, 1], [ROAD, SKY])
    (tmp_path / "labelmap.txt").write_text("sky:70,130,180::\nroad:128,64,128::\n")
    assert init(tmp_path).masks.map == {"70,130,180": "sky", "128,64,128": "road"}


def test_palettes_that_a_class_file_names_but_for_black(tmp_path):
    """Index 1 is road by its colour, and would be the second class by its number."""
    palette_mask(tmp_path / "masks/a.png", [0, 1], [BLACK, ROAD])
    palette_mask(tmp_path / "images/a.png", [0, 1], [BLACK, ROAD])
    (tmp_path / "classes.txt").write_text("road 128 64 128\nsky 70 130 180\n")
    assert init(tmp_path).masks.map == {"128,64,128": "road", "70,130,180": "sky"}
    assert check(tmp_path) == 3


def test_a_palette_of_one_colour_tells_no_classes(tmp_path):
    for place in ("masks", "images"):
        palette_mask(tmp_path / place / "a.png", [0, 1], [BLACK, BLACK])
    (tmp_path / "classes.txt").write_text("background 0 0 0\nroad 128 64 128\n")
    assert init(tmp_path).masks.map is None


def test_known_colours_of_voc(tmp_path):
    colored(tmp_path, BLACK, voc_color(7), voc_color(15), voc_color(3), voc_color(255))
    data = init(tmp_path)
    assert data.classes[:2] == ["background", "aeroplane"]
    assert len(data.classes) == 21
    assert data.masks.map["128,128,128"] == "car"
    assert data.masks.map["224,224,192"] == "ignore"
    assert check(tmp_path) == 0


def test_known_colours_of_cityscapes(tmp_path, capsys):
    """Black is not labelled there; classes that are not evaluated have to be named."""
    colored(tmp_path, BLACK, ROAD, CAR, SKY, ODD)
    data = init(tmp_path)
    assert len(data.classes) == 19
    assert data.masks.map["0,0,0"] == "ignore"
    assert "11,22,33" not in data.masks.map
    assert "data.masks.map: 11,22,33 (160 pixels)" in capsys.readouterr().err
    assert "# 11,22,33: ignore   # NEEDED (160 pixels): the name of its class, or ignore" in (
        (tmp_path / "semiovs.yaml").read_text().replace("'", "").replace('"', "")
    )
    assert check(tmp_path) == 3


def test_classes_that_cityscapes_does_not_evaluate(tmp_path, capsys):
    """Their colours are known: ignored as the benchmark does, with their names said, or learnt if they are named."""
    parking, tunnel = (250, 170, 160), (150, 120, 90)
    colored(tmp_path, BLACK, ROAD, CAR, SKY, parking, tunnel)
    data = init(tmp_path)
    assert len(data.classes) == 19
    assert (data.masks.map["250,170,160"], data.masks.map["150,120,90"]) == ("ignore", "ignore")
    assert "230,150,140" not in data.masks.map  # another one is asked about if it comes
    said = capsys.readouterr().err
    assert "that Cityscapes does not evaluate are ignored: parking (250,170,160), tunnel (150,120,90)" in said
    assert check(tmp_path) == 0
    data = init(tmp_path, "--classes", "road,car,sky,parking", "--force")
    assert (data.masks.map["250,170,160"], data.masks.map["150,120,90"]) == ("parking", "ignore")
    assert "are ignored: tunnel (150,120,90)\n" in capsys.readouterr().err


def test_known_colours_of_ade20k(tmp_path, capsys):
    """Black is no class there; one colour is that of two classes, and is asked about."""
    wall, tree, flag, both = (120, 120, 120), (4, 200, 3), (92, 0, 255), (140, 140, 140)
    colored(tmp_path, BLACK, wall, tree, flag)
    data = init(tmp_path)
    assert (len(data.classes), data.classes[0], data.classes[-1]) == (150, "wall", "flag")
    named = [data.masks.map[key] for key in ("0,0,0", "120,120,120", "4,200,3", "92,0,255")]
    assert named == ["ignore", "wall", "tree", "flag"]
    assert len(data.masks.map) == 149
    assert "those of ADE20K; mmsegmentation paints other data sets in them too" in capsys.readouterr().err
    assert check(tmp_path) == 0
    colored(tmp_path, both, name="b")
    assert "140,140,140" not in init(tmp_path, "--force").masks.map
    said = capsys.readouterr().err
    assert "in ADE20K 140,140,140 is road and skyscraper" in said
    assert "data.masks.map: 140,140,140 (32 pixels)" in said
    assert check(tmp_path) == 3


def test_colours_that_everybody_uses_prove_nothing(tmp_path):
    """Red, blue, yellow and magenta are classes of ADE20K, and of every second home-made set."""
    colored(tmp_path, (255, 0, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
    assert init(tmp_path).classes == [f"class_{number}" for number in (1, 2, 3, 4)]


def test_few_known_colours_prove_nothing(tmp_path):
    colored(tmp_path, voc_color(1), voc_color(2))
    assert init(tmp_path).classes == ["class_1", "class_2"]


def test_black_is_asked_about(tmp_path, capsys):
    colored(tmp_path, ODD, BLACK)
    data = init(tmp_path)
    assert (data.classes, data.masks.map) == (["class_1"], {"11,22,33": "class_1"})
    assert "whose meaning you have to say, in data.masks.map: 0,0,0 (64 pixels)" in capsys.readouterr().err
    yaml = tmp_path / "semiovs.yaml"
    text = yaml.read_text()
    assert "black: ignore, if it means 'not labelled'; if it is a class, its name, as background" in text
    assert check(tmp_path) == 3  # until somebody says it
    (line,) = [line for line in text.splitlines() if "NEEDED" in line]
    yaml.write_text(text.replace(line, line.replace("# ", "", 1)))
    assert load_config(str(yaml)).config.data.masks.map["0,0,0"] == "ignore"
    assert check(tmp_path) == 0


@pytest.mark.parametrize("names", ["road,sky", "background,road,sky", "class_1,class_2"])
def test_names_without_colours_are_refused(tmp_path, capsys, names):
    colored(tmp_path, ODD, BLACK, ROAD)
    assert main(["init", str(tmp_path), "--classes", names]) == 2
    said = capsys.readouterr().err
    assert f"--classes '{names}': the masks hold colours, and names alone do not say which colour is which" in said
    assert "NAME 11 22 33   # 32 pixels; the name of its class, or ignore" in said
    assert "NAME 0 0 0   # 64 pixels; black: ignore, if it means 'not labelled'" in said
    assert not (tmp_path / "semiovs.yaml").exists()
    lines = [line.removeprefix("error:").strip() for line in said.splitlines()[1:]]
    filled = [line.replace("NAME", name) for line, name in zip(lines, ("ignore", "b", "c"), strict=True)]
    (tmp_path / "classes.txt").write_text("\n".join(filled))  # as the message asks
    assert len(init(tmp_path).masks.map) == 3
    assert check(tmp_path) == 0


def test_names_with_known_colours_are_taken(tmp_path):
    colored(tmp_path, ROAD, CAR, SKY, BLACK)
    data = init(tmp_path, "--classes", "sky,road,car")
    assert data.classes == ["sky", "road", "car"]
    assert data.masks.map == {"128,64,128": "road", "0,0,142": "car", "70,130,180": "sky", "0,0,0": "ignore"}
    assert check(tmp_path) == 0


def test_a_class_file_without_colours(tmp_path, capsys):
    """Nothing can be told, and nothing is guessed: the YAML has the lines to fill in."""
    colored(tmp_path, ODD, BLACK)
    (tmp_path / "classes.txt").write_text("background\nroad\n")
    data = init(tmp_path)
    assert (data.classes, data.masks.map) == ("classes.txt", None)
    text = (tmp_path / "semiovs.yaml").read_text()
    assert text.count("NEEDED") == 2
    assert "0,0,0 (64 pixels), 11,22,33 (32 pixels)" in capsys.readouterr().err


@pytest.mark.parametrize("named", [True, False])
def test_palettes_that_disagree_are_read_as_colours(tmp_path, capsys, named):
    usual, other = [BLACK, ODD, SKY], [BLACK, SKY, ODD]
    for number in range(12):
        values = [0, 2, 1] if number == 11 else [0, 1, 2]
        palette_mask(tmp_path / f"masks/{number}.png", values, other if number == 11 else usual)
        palette_mask(tmp_path / f"images/{number}.png", [number, 1], usual * 5)
    if named:
        (tmp_path / "classes.txt").write_text("ground\nodd\nsky\n")
    data = init(tmp_path)
    names = ("ground", "odd", "sky") if named else ("class_0", "class_1", "class_2")
    assert data.masks.encoding == "rgb"
    assert data.masks.map == dict(zip(("0,0,0", "11,22,33", "70,130,180"), names, strict=True))
    assert "1 masks have a palette with the same colours under other indices" in capsys.readouterr().err


def test_colours_that_share_an_index_are_not_one_class(tmp_path, capsys):
    """Palettes made anew for each file: index 1 is each time another colour."""
    palettes = [[BLACK, ODD], [BLACK, SKY], [BLACK, CAR], [ODD, BLACK]]
    for number, palette in enumerate(palettes):
        palette_mask(tmp_path / f"masks/{number}.png", [0, 1], palette)
        palette_mask(tmp_path / f"images/{number}.png", [number, 1], [SKY, *palette] * 3)
    named = init(tmp_path).masks.map
    assert len(set(named.values())) == len(named) == 3
    assert "0,0,0 is 1 in" in capsys.readouterr().err


def test_indices_that_change_their_colour_are_told(tmp_path, capsys):
    for number, color in enumerate([ODD, SKY]):
        palette_mask(tmp_path / f"masks/{number}.png", [0, 1], [BLACK, color])
        palette_mask(tmp_path / f"images/{number}.png", [number, 1], [SKY, ODD, BLACK])
    assert init(tmp_path).classes == ["class_0", "class_1"]
    said = capsys.readouterr().err
    assert "1 indices of palette masks have other colours in other files: 1 is 70,130,180 in" in said
    assert "the indices are taken for the classes; if the colours mean them, data.masks.encoding: rgb" in said


@pytest.mark.parametrize(
    ("labels", "classes", "meant"),
    [
        ({"background": 0, "road": 1}, ["background", "road"], None),
        ({"0": "background", "1": "road"}, ["background", "road"], None),
        (
            {"road": 1, "background": 0, "ignore": 2},
            ["background", "road"],
            {"0": "background", "1": "road", "2": "ignore"},
        ),
    ],
)
def test_classes_of_nnunet(tmp_path, capsys, labels, classes, meant):
    palette_mask(tmp_path / "imagesTr/a_0000.png", [0, 9, 5], [BLACK, SKY] * 9)
    Image.fromarray(np.tile(np.array([[0, 1, 1]], np.uint8), (32, 8))).save(tmp_path / "a.png")
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "labelsTr/a.png")
    about = {"channel_names": {"0": "rgb"}, "labels": labels, "numTraining": 1, "file_ending": ".png"}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    data = init(tmp_path)
    assert (data.classes, data.masks.map) == (classes, meant)
    said = capsys.readouterr().err
    assert "class names are those of nnU-Net's dataset.json" in said
    assert "labels import" not in said
    assert check(tmp_path) == 0


@pytest.mark.parametrize(
    "text", ['{"labels": {"a": 0}}', "[", '{"labels": {}, "modality": {}}', '{"labels": [1], "modality": {}}']
)
def test_other_files_of_that_name(tmp_path, text):
    colored(tmp_path, ODD, ROAD)
    (tmp_path / "dataset.json").write_text(text)
    assert init(tmp_path).classes == ["class_1", "class_2"]


def test_regions_of_nnunet_have_no_names(tmp_path, capsys):
    colored(tmp_path, (0, 0, 0), (1, 1, 1))
    (tmp_path / "dataset.json").write_text('{"modality": {}, "labels": {"background": 0, "whole": [1, 2], "core": 2}}')
    assert init(tmp_path).classes == ["class_0", "class_1"]
    assert "labels are regions of several ids: name each id" in capsys.readouterr().err


def test_the_export_of_cvat(tmp_path, capsys):
    colored(tmp_path, ROAD, BLACK, masks="SegmentationClass", images="JPEGImages")
    colored(tmp_path, ROAD, BLACK, masks="SegmentationObject", images="JPEGImages")
    (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:128,64,128::\n")
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/default.txt").write_text("a\n")
    data = init(tmp_path)
    assert data.masks.map == {"0,0,0": "background", "128,64,128": "road"}
    said = capsys.readouterr().err
    assert "1 images of JPEGImages/ have masks in SegmentationClass/" in said
    assert "SegmentationObject/ (1)" in said
    assert check(tmp_path) == 0


@pytest.mark.parametrize("mark", ["labelmap.txt", "ImageSets/Segmentation/default.txt"])
def test_an_export_of_cvat_without_masks(tmp_path, capsys, mark):
    colored(tmp_path, ROAD, images="JPEGImages", masks="JPEGImages/SegmentationObject")
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).write_text("a\n")
    assert main(["init", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "CVAT's export, but without masks in SegmentationClass/; export 'Segmentation mask 1.1'" in said
    assert "VOC" not in said


def test_notes_of_init_are_findings_of_a_check(tmp_path, capsys):
    """Of a folder without a YAML; files left aside are said there too."""
    colored(tmp_path, ODD, ROAD)
    colored(tmp_path, ODD, masks="more", images="more")
    assert main(["data", "check", str(tmp_path), "--json"]) == 0
    notes = [f["text"] for f in json.loads(capsys.readouterr().out)["list"] if f["kind"] == "folder-note"]
    assert len(notes) == 1
    assert "left aside, with their number: more/ (1)" in notes[0]


@pytest.mark.parametrize(
    ("values", "declared", "meant"),
    [
        ((0, 1, -9999), None, {"0": "a", "1": "b", "-9999": "ignore"}),
        ((0, 1, 2), "2", {"0": "a", "1": "b", "2": "ignore"}),
        ((0, 255, -1), None, {"0": "a", "255": "b", "-1": "ignore"}),
        ((0, 1), "0", None),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_no_data_of_maps(tmp_path, capsys, values, declared, meant, named):
    """What a file declares, and what is below 0, is no class; a declared 0 is told."""
    tifffile = pytest.importorskip("tifffile")
    palette_mask(tmp_path / "images/a.png", range(len(values)), [SKY, ODD, BLACK])
    (tmp_path / "masks").mkdir()
    ids = np.tile(np.asarray(values, np.int16), (32, 8))
    tags = [] if declared is None else [(42113, 2, 0, declared, True)]
    tifffile.imwrite(tmp_path / "masks/a.tif", ids, photometric="minisblack", extratags=tags, metadata=None)
    data = init(tmp_path, *(["--classes", "a,b"] if named else []))
    renamed = dict(zip(data.classes, "ab", strict=True)) | {"ignore": "ignore"}
    found = data.masks.map
    assert (found and {key: renamed[name] for key, name in found.items()}) == meant
    assert ("files declare 0 as 'no data', and it is taken for a class" in capsys.readouterr().err) == (declared == "0")
    assert check(tmp_path) == 0
