"""Folders as people have them: what `semiovs init` takes for what, and what it says about the rest."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiovs.cli import run as main
from semiovs.config import load_config
from semiovs.images.manifest import Manifest


def picture(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.tile(np.asarray(values, np.uint8), (4, 1))).save(path)


def pairs(folder, role="labeled"):
    listed = getattr(load_config(str(folder / "semiovs.yaml")).config.data, role)
    return [(r.image.name, r.mask.name if r.mask else None) for r in Manifest.read(folder / listed, folder)]


def test_masks_with_an_ending_in_the_folder_of_the_convention(tmp_path):
    for name in "ab":
        picture(tmp_path / f"images/{name}.jpg", [0, 9])
        picture(tmp_path / f"masks/{name}_mask.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert pairs(tmp_path) == [("a.jpg", "a_mask.png"), ("b.jpg", "b_mask.png")]


def test_masks_beside_images_are_no_images(tmp_path, capsys):
    for name in "ab":
        picture(tmp_path / f"{name}.jpg", [0, 9])
        picture(tmp_path / f"{name}_mask.png", [0, 1])
    picture(tmp_path / "bare.png", [0, 9])
    assert main(["init", str(tmp_path)]) == 0
    assert pairs(tmp_path) == [("a.jpg", "a_mask.png"), ("b.jpg", "b_mask.png")]
    assert pairs(tmp_path, "unlabeled") == [("bare.png", None)]
    assert "2 images of this folder have masks beside them" in capsys.readouterr().err


def names(folder, role):
    listed = getattr(load_config(str(folder / "semiovs.yaml")).config.data, role)
    return [
        (r.image.relative_to(folder).as_posix(), r.mask and r.mask.relative_to(folder).as_posix())
        for r in Manifest.read(folder / listed, folder)
    ]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}_image.png", "{}_mask.png"),
        ("{}_sat.jpg", "{}_mask.png"),
        ("image_{}.png", "mask_{}.png"),
        ("img-{}.jpg", "label_{}.png"),
        ("{}.jpg", "gt_{}.png"),
        ("images/image_{}.png", "masks/mask_{}.png"),
        ("imgs/train/img_{}.png", "masks/train/{}.png"),
        ("{}_img.tif", "{}_gt.png"),
        ("{}_leftImg8bit.png", "{}_labelIds.png"),
        ("{}.jpg", "{}.jpg.png"),
        ("{}.jpg", "{}.png"),
        ("images/{}_image.png", "images/{}_mask.png"),
        ("images/{}.jpg", "masks/{}.jpg.png"),
        ("images/{}_image.png", "masks/{}.png"),
        ("images/{}_sat.png", "masks/{}_mask.png"),
        ("img_dir/train/{}.jpg", "ann_dir/train/{}.png"),
        ("img_dir/{}.jpg", "ann_dir/{}.png"),
        ("imgs/{}.jpg", "masks/{}.png"),
        ("imgs/train/{}.jpg", "masks/train/{}.png"),
        ("imagesTr/{}_0000.png", "labelsTr/{}.png"),
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
        ("default/{}.png", "defaultannot/{}.png"),
        ("train/{}.png", "trainannot/{}.png"),
        ("train/{}.png", "train/masks/{}.png"),
        ("{}.png", "masks/{}.png"),
    ],
)
def test_layouts(tmp_path, capsys, image, mask):
    """Each image has its mask, and no mask is an image: 2 labelled ones, 1 without a mask, all in their place."""
    for name in "ab":
        picture(tmp_path / image.format(name), [0, 9])
        picture(tmp_path / mask.format(name), [0, 1])
    picture(tmp_path / image.format("bare"), [7, 9])
    picture(tmp_path / mask.format("stray"), [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert names(tmp_path, "labeled") == [(image.format(name), mask.format(name)) for name in "ab"]
    like_an_image = [(mask.format("stray"), None)] if mask in ("{}.png", "{}.jpg.png") else []
    assert names(tmp_path, "unlabeled") == [(image.format("bare"), None), *like_an_image]
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path), "data.crop_size=33"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("img_dir/{}/p.jpg", "ann_dir/{}/p.png"),
        ("images/{}/p.jpg", "annotations/{}/p.png"),
        ("{}/imgs/p.jpg", "{}/masks/p.png"),
        ("{}/p_sat.jpg", "{}/p_mask.png"),
        ("{}/p.png", "{}annot/p.png"),
    ],
)
def test_parts_of_layouts(tmp_path, image, mask):
    for part, value in (("train", 3), ("val", 5)):
        picture(tmp_path / image.format(part), [value, 9])
        picture(tmp_path / mask.format(part), [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert names(tmp_path, "labeled") == [(image.format("train"), mask.format("train"))]
    assert names(tmp_path, "val") == [(image.format("val"), mask.format("val"))]
    assert main(["data", "check", str(tmp_path), "data.crop_size=33"]) == 0


def test_images_to_measure_on_are_not_learnt(tmp_path):
    """Beside a folder val/ alone the others are labelled ones."""
    for name in ("a", "val/b"):
        picture(tmp_path / f"imgs/{name}.jpg", [len(name), 9])
        picture(tmp_path / f"masks/{name}.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert names(tmp_path, "labeled") == [("imgs/a.jpg", "masks/a.png")]
    assert names(tmp_path, "val") == [("imgs/val/b.jpg", "masks/val/b.png")]


def test_channels_of_nnunet_are_refused(tmp_path, capsys):
    for channel in range(2):
        picture(tmp_path / f"imagesTr/case_000{channel}.png", [0, 9])
    picture(tmp_path / "labelsTr/case.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 3
    assert "imagesTr: 1 files are further channels of an image (like case_0001.png)" in capsys.readouterr().err


def test_frames_are_no_channels(tmp_path):
    for number in range(3):
        picture(tmp_path / f"images/frame_000{number}.png", [number, 9])
    picture(tmp_path / "masks/frame_0000.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert [len(names(tmp_path, role)) for role in ("labeled", "unlabeled")] == [1, 2]


@pytest.mark.parametrize("place", ["unlabelled", "unlabelled/images", "unlabeled_images", "images/unlabelled"])
def test_folders_of_images_without_masks(tmp_path, capsys, place):
    picture(tmp_path / "images/train/a.jpg", [0, 9])
    picture(tmp_path / "masks/train/a.png", [0, 1])
    picture(tmp_path / place / "u.jpg", [1, 9])
    assert main(["init", str(tmp_path)]) == 0
    assert names(tmp_path, "unlabeled") == [(f"{place}/u.jpg", None)]
    assert f"1 images of {place.removesuffix('/images')}/ are taken as unlabelled" in capsys.readouterr().err


def test_the_folder_of_the_convention_goes_before_other_spellings(tmp_path, capsys):
    for place in ("images/a", "unlabeled/u", "unlabelled/v"):
        picture(tmp_path / f"{place}.png", [0, len(place)])
    picture(tmp_path / "masks/a.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert load_config(str(tmp_path / "semiovs.yaml")).config.data.unlabeled is None  # that is unlabeled/
    assert "left aside, with their number: unlabelled/ (1)" in capsys.readouterr().err


@pytest.mark.parametrize("listed", [False, True])
def test_masks_between_images_without_labels(tmp_path, capsys, listed):
    """In unlabeled/, and beside images that a list names: masks never become images."""
    for name in "ab":
        picture(tmp_path / f"{name}_image.png", [0, 9])
        picture(tmp_path / f"{name}_mask.png", [0, 1])
    if listed:
        (tmp_path / "train.txt").write_text("a_image.png a_mask.png\n")
    else:
        picture(tmp_path / "unlabeled/u_image.png", [0, 9])
        picture(tmp_path / "unlabeled/u_mask.png", [0, 1])
        picture(tmp_path / "unlabeled/v_mask.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    if listed:
        assert "left aside, with their number: this folder (2)" in said
    else:
        assert names(tmp_path, "unlabeled") == [("unlabeled/u_image.png", None)]
        assert "2 files of unlabeled/ are masks by their names: left aside" in said


@pytest.mark.parametrize("place", ["unlabeled", "unlabelled"])
def test_masks_in_the_place_of_images_without_labels(tmp_path, capsys, place):
    picture(tmp_path / "images/a.png", [0, 9])
    picture(tmp_path / "masks/a.png", [0, 1])
    picture(tmp_path / place / "u_mask.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert f"{place}/ holds nothing but 1 masks by their names: move them away" in capsys.readouterr().err
    assert load_config(str(tmp_path / "semiovs.yaml")).config.data.unlabeled is None


def test_everything_left_aside_is_named(tmp_path, capsys):
    for place in ("images/a", "more/x", "more/y", "elsewhere/deep/z", "unlabeled/u", "flat", "ood/o_mask"):
        picture(tmp_path / f"{place}.png", [0, 9])
    picture(tmp_path / "masks/a.png", [0, 1])
    picture(tmp_path / "SegmentationObject/a.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "number: this folder (1), SegmentationObject/ (1), elsewhere/deep/ (1), more/ (2); name" in said
    assert "ood/ holds 1 files that are masks by their names" in said
    for number in range(15):
        picture(tmp_path / f"more/{number}/z.png", [0, 9])
    assert main(["init", str(tmp_path), "--force"]) == 0
    assert "number: this folder (1), SegmentationObject/ (1), elsewhere/ (1), more/ (17); name" in (
        capsys.readouterr().err
    )


def test_nothing_but_masks_is_refused(tmp_path, capsys):
    picture(tmp_path / "a_mask.png", [0, 1])
    picture(tmp_path / "more/b.png", [0, 1])
    assert main(["init", str(tmp_path)]) == 3
    assert "images in this folder, named like masks (1), more/ (1)" in capsys.readouterr().err


@pytest.mark.parametrize("mask", ["{part}/{part}_mask.png", "{part}_masks/{part}.png"])
def test_parts_without_a_folder_called_images(tmp_path, mask):
    for part in ("train", "valid"):
        picture(tmp_path / f"{part}/{part}.jpg", [0, 9])
        picture(tmp_path / mask.format(part=part), [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert [image for image, _ in pairs(tmp_path)] == ["train.jpg"]
    assert [image for image, _ in pairs(tmp_path, "val")] == ["valid.jpg"]


def test_images_beside_labelled_ones_are_the_bare_ones(tmp_path):
    picture(tmp_path / "images/a.jpg", [0, 9])
    picture(tmp_path / "masks/a.png", [0, 1])
    picture(tmp_path / "bare.jpg", [0, 9])
    assert main(["init", str(tmp_path)]) == 0
    assert pairs(tmp_path, "unlabeled") == [
        ("bare.jpg", None)
    ]  # and not those of images/, as "unlabeled: ." would mean


@pytest.mark.parametrize("empty", ["unlabeled", "images", "val/images", "ood", "images/train"])
def test_empty_folders_count_as_absent(tmp_path, capsys, empty):
    """What they would stand for is found elsewhere; what is written can be checked and trained with."""
    (tmp_path / empty).mkdir(parents=True)
    for name in "ab":
        picture(tmp_path / f"{name}.jpg", [0, 9])
        picture(tmp_path / f"{name}_mask.png", [0, 1])
    picture(tmp_path / "more/bare.jpg", [0, 9])
    picture(tmp_path / "bare.jpg", [7, 9])
    assert main(["init", str(tmp_path)]) == 0
    assert pairs(tmp_path) == [("a.jpg", "a_mask.png"), ("b.jpg", "b_mask.png")]
    assert pairs(tmp_path, "unlabeled") == [("bare.jpg", None)]
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path), "data.crop_size=33"]) == 0, capsys.readouterr().out


def test_names_with_accents_from_another_system(tmp_path):
    picture(tmp_path / "images" / (unicodedata.normalize("NFD", "über") + ".jpg"), [0, 9])
    picture(tmp_path / "masks" / (unicodedata.normalize("NFC", "über") + ".png"), [0, 1])
    assert main(["init", str(tmp_path)]) == 0
    assert len(pairs(tmp_path)) == 1


def test_a_link_that_turns_back_is_walked_once(tmp_path, capsys):
    picture(tmp_path / "images/a.jpg", [0, 9])
    picture(tmp_path / "masks/a.png", [0, 1])
    (tmp_path / "images/loop").symlink_to(".")
    assert main(["init", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"]["images in images/"] == 1


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("train.txt", "train.txt is left aside"),
        ("val.csv", "val.csv is left aside"),
        ("labelmap.txt", "labelmap.txt may hold the class names"),
        ("labels.txt", "labels.txt may hold the class names"),
        ("classes.json", "classes.json may hold the class names"),
        ("images/a.heic", "not read (1 .heic)"),
        ("film.mp4", "not read (1 .mp4)"),
    ],
)
def test_what_is_left_out_is_said(tmp_path, capsys, file, said):
    picture(tmp_path / "images/a.jpg", [0, 9])
    picture(tmp_path / "masks/a.png", [0, 1])
    (tmp_path / file).write_text("nothing here\n")
    assert main(["init", str(tmp_path)]) == 0
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("Images/a.jpg", "there are images in Images/ (1): say what they are: semiovs init "),
        ("mine/images/a.jpg", "mine"),
        ("JPEGImages/a.jpg", "semiovs data prepare voc"),
    ],
)
def test_images_that_lie_elsewhere_are_named(tmp_path, capsys, file, said):
    picture(tmp_path / file, [0, 9])
    assert main(["init", str(tmp_path)]) == 3
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "said"), [("_annotations.coco.json", "semiovs labels import"), ("labels/a.txt", "YOLO")]
)
def test_annotations_that_are_no_masks(tmp_path, capsys, file, said):
    picture(tmp_path / "a.jpg", [0, 9])
    (tmp_path / "labels").mkdir()
    (tmp_path / file).write_text("{}")
    assert main(["init", str(tmp_path)]) == 0
    assert said in capsys.readouterr().err


def test_lists_lie_with_the_yaml_file(tmp_path):
    for name in "ab":
        picture(tmp_path / f"data/{name}.jpg", [0, 9])
        picture(tmp_path / f"data/{name}_mask.png", [0, 1])
    before = sorted(tmp_path.rglob("data/**"))
    assert main(["init", str(tmp_path / "data"), "--out", str(tmp_path / "mine/run.yaml")]) == 0
    assert sorted(tmp_path.rglob("data/**")) == before
    data = load_config(str(tmp_path / "mine/run.yaml")).config.data
    assert len(Manifest.read(data.labeled, tmp_path / "data")) == 2
    assert main(["data", "check", str(tmp_path / "mine/run.yaml")]) == 0


def test_a_folder_that_is_read_only(tmp_path, capsys, monkeypatch):
    picture(tmp_path / "a.jpg", [0, 9])

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("semiovs.images.discover.starter_file.write_text", refused)
    assert main(["init", str(tmp_path)]) == 3
    assert capsys.readouterr().err.endswith("cannot be written into: Permission denied; --out FILE writes elsewhere\n")


def test_smoothed_masks_are_doubted(tmp_path, capsys):
    picture(tmp_path / "images/a.jpg", [0, 9])
    picture(tmp_path / "masks/a.png", range(0, 251, 5))
    assert main(["init", str(tmp_path)]) == 0
    assert "51 values, too many for classes" in capsys.readouterr().err


def test_white_among_grays_is_not_ignored_without_a_word(tmp_path, capsys):
    picture(tmp_path / "images/a.jpg", [0, 9])
    picture(tmp_path / "masks/a.png", [0, 128, 255])
    assert main(["init", str(tmp_path)]) == 0
    assert "255 is taken for 'not labelled'; if it is a class, name it" in capsys.readouterr().err


def test_lists_with_backslashes(tmp_path, capsys):
    for name in "ab":
        picture(tmp_path / f"images/{name}.jpg", [0, 9 if name == "a" else 200])
        picture(tmp_path / f"masks/{name}.png", [0, 1])
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbfimages\\a.jpg masks\\a.png\r\nimages\\b.jpg masks\\b.png\r\n")
    assert main(["init", str(tmp_path)]) == 0
    assert not (tmp_path / "lists").exists()  # no image is left for an unlabelled list
    assert main(["data", "check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert all(f"note: {kind} (1)" in said for kind in ("list-backslash", "list-bom", "list-crlf"))


def test_names_that_do_not_fit_a_map_are_noted(tmp_path, capsys):
    picture(tmp_path / "images/a.jpg", [0, 9])
    picture(tmp_path / "masks/a.png", [0, 255])
    assert main(["init", str(tmp_path), "--classes", "road"]) == 0
    assert "1 classes given, but masks hold 0 and 255; say what each value means" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["", "train/"])
def test_classes_of_roboflow(tmp_path, place):
    picture(tmp_path / "train/a_jpg.rf.0.jpg", [0, 9])
    picture(tmp_path / "train/a_jpg.rf.0_mask.png", [0, 1])
    (tmp_path / f"{place}_classes.csv").write_text("Pixel Value, Class\n 0, background\n 1, road\n")
    assert main(["init", str(tmp_path)]) == 0
    assert load_config(str(tmp_path / "semiovs.yaml")).config.data.classes == f"{place}_classes.csv"
    assert main(["data", "check", str(tmp_path), "data.crop_size=33"]) == 0


def test_negative_values_are_proposed_as_no_data(tmp_path):
    import tifffile

    from semiovs.images.discover.classes import guess_classes

    path = tmp_path / "m.tif"
    tifffile.imwrite(path, np.array([[-1, 0, 1], [2, 255, 1]], np.int16))
    found = guess_classes([path])
    assert found.map == {"0": "class_0", "1": "class_1", "2": "class_2", "-1": "ignore", "255": "ignore"}
    tifffile.imwrite(path, np.array([[np.nan, 10, 70], [70, 200, 10]], np.float32))
    found = guess_classes([path])
    assert found.map == {"10": "class_0", "70": "class_1", "200": "class_2", "nan": "ignore"}


CLASS_MASKS = [
    ("images/{}.jpg", ("masks/road/{}.png", "masks/car/{}.png")),
    ("images/train/{}.jpg", ("masks/train/{}_road.png", "masks/train/{}_traffic_light.png")),
    ("img/{}.jpg", ("masks/{}-0.png", "masks/{}-1.png")),
    ("train/{}.png", ("train_masks/{}/0.png", "train_masks/{}/1.png")),
    ("{}.jpg", ("{}_road.png", "{}_car.png")),
    ("images/{}.png", ("images/{}_road.png", "images/{}_car.png")),
]


@pytest.mark.parametrize(("image", "masks"), CLASS_MASKS)
def test_one_mask_a_class_is_refused(tmp_path, capsys, image, masks):
    for name in ("a1", "b_2"):
        picture(tmp_path / image.format(name), [0, 9])
        for mask in masks:
            picture(tmp_path / mask.format(name), [0, 255])
    (tmp_path / "classes.txt").write_text("background\nroad\ncar\ntraffic light\n")
    for verb in (["init"], ["data", "check"]):
        assert main([*verb, str(tmp_path)]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert "2 images of" in line
        assert "have several masks each, like" in line
        assert "'One mask a class' in docs/your-data.md" in line


def test_one_mask_a_class_is_put_together_by_the_lines_of_the_guide(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "images/a.jpg", [0, 9, 8])
    picture(tmp_path / "masks/road/a.png", [0, 255, 255])
    picture(tmp_path / "masks/car/a.png", [0, 0, 1])
    assert main(["init", ".", "--labeled", "images", "--masks", "masks"]) == 3
    assert "several masks each, like car/a.png and road/a.png" in capsys.readouterr().err
    text = (Path(__file__).parents[2] / "docs/your-data.md").read_text("utf-8")
    exec(text.split("### One mask a class")[1].split("```python\n")[1].split("```")[0], {})
    assert np.asarray(Image.open("merged/a.png"))[0].tolist() == [0, 1, 2]
    assert main(["init", ".", "--labeled", "images", "--masks", "merged", "--classes", "background,road,car"]) == 0
    assert main(["data", "check", ".", "data.crop_size=33"]) == 0


@pytest.mark.parametrize("names", [("img", "img_1", "img_2"), ("a_road", "a_car", "b")])
def test_names_alone_make_no_mask_of_a_class(tmp_path, names):
    for name in names:
        picture(tmp_path / f"{name}.png", [0, 9])
    (tmp_path / "classes.txt").write_text("background\nroad\ncar\n")
    assert main(["init", str(tmp_path)]) == 0
