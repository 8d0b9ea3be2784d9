"""`semiovs init --labeled DIR --masks DIR …`: what is said is taken, wherever it lies, and read back as it is."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from semiovs.cli import run as main
from semiovs.cli.data_input import find_data
from semiovs.config import load_config
from semiovs.data.collection import KEYS


def picture(path, *values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.tile(np.asarray(values, np.uint8), (4, 1))).save(path)


def streams(yaml):
    """Stream -> (image, mask) relative to the working directory, of what `data check` reads."""
    found = find_data([str(yaml)]).collection
    assert [f for f in found.findings if f.severity == "error"] == []

    def short(path):
        return path and os.path.relpath(path)

    return {
        KEYS[name].removeprefix("data."): [(short(r.image), short(r.mask)) for r in s.manifest]
        for name, s in found.streams.items()
    }


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Folders that no convention knows, and others that would be found."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab"):
        picture(tmp_path / f"mine/pics/{name}.jpg", number, 9)
        picture(tmp_path / f"mine/truth/{name}_mask.png", 0, 1)
    picture(tmp_path / "mine/pics/bare.png", 5, 9)
    picture(tmp_path / "mine/images/other.jpg", 7, 9)
    picture(tmp_path / "mine/masks/other.png", 0, 1)
    picture(tmp_path / "mine/unlabeled/found.jpg", 8, 9)
    picture(tmp_path / "away/shots/v.png", 3, 9)
    picture(tmp_path / "away/shots/masks/v.png", 0, 1)
    picture(tmp_path / "away/bare/u.jpg", 4, 9)
    return tmp_path


LABELED = [("mine/pics/a.jpg", "mine/truth/a_mask.png"), ("mine/pics/b.jpg", "mine/truth/b_mask.png")]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("out", ["mine/semiovs.yaml", "yaml/run.yaml"])
def test_told_folders_win_over_found_ones(work, monkeypatch, absolute, out):
    def place(name):
        return str(work / name) if absolute else name

    told = [
        *("--labeled", place("mine/pics"), "--masks", place("mine/truth"), "--unlabeled", place("away/bare")),
        *("--val", place("away/shots"), "--val-masks", place("away/shots/masks"), "--out", out),
    ]
    assert main(["init", place("mine"), *told]) == 0
    read = {
        "labeled": LABELED,
        "unlabeled": [("away/bare/u.jpg", None)],
        "val": [("away/shots/v.png", "away/shots/masks/v.png")],
    }
    assert streams(out) == read
    (work / "else").mkdir()
    monkeypatch.chdir(work / "else")  # works from anywhere
    assert {name: len(rows) for name, rows in streams(work / out).items()} == {"labeled": 2, "unlabeled": 1, "val": 1}
    assert main(["data", "check", str(work / out), "data.crop_size=33"]) == 0


def test_roles_that_are_not_told_are_found(work, capsys):
    assert main(["init", "mine", "--labeled", "mine/pics", "--masks", "mine/truth"]) == 0
    assert streams("mine/semiovs.yaml") == {"labeled": LABELED, "unlabeled": [("mine/unlabeled/found.jpg", None)]}
    said = capsys.readouterr().err
    assert "2 of 3 images of mine/pics have masks in mine/truth" in said
    assert "number: images/ (1), masks/ (1), pics/ (1); name" in said


def test_images_without_a_mask_are_unlabelled_if_there_are_no_others(work):
    (work / "mine/unlabeled/found.jpg").unlink()
    assert main(["init", "mine", "--labeled", "mine/pics", "--masks", "mine/truth"]) == 0
    assert streams("mine/semiovs.yaml")["unlabeled"] == [("mine/pics/bare.png", None)]


def test_masks_are_found_beside_told_images(work):
    for name in "ab":
        picture(work / f"mine/mixed/{name}.png", ord(name), 9)
        picture(work / f"mine/mixed/{name}_gt.png", 0, 1)
    assert main(["init", "mine", "--labeled", "mine/mixed", "--val", "away/shots"]) == 0
    assert streams("mine/semiovs.yaml")["labeled"] == [
        (f"mine/mixed/{name}.png", f"mine/mixed/{name}_gt.png") for name in "ab"
    ]
    assert streams("mine/semiovs.yaml")["val"] == [("away/shots/v.png", "away/shots/masks/v.png")]


def test_an_image_has_one_role(work):
    """Unlabelled images are those of the folder that are not labelled; images to measure on are not learnt."""
    picture(work / "mine/pics/val/c.jpg", 6, 9)
    picture(work / "mine/truth/val/c.png", 0, 1)
    pics = ["--labeled", "mine/pics", "--masks", "mine/truth", "--unlabeled", "mine/pics"]
    assert main(["init", "mine", *pics, "--val", "mine/pics/val", "--val-masks", "mine/truth/val"]) == 0
    assert streams("mine/semiovs.yaml") == {
        "labeled": LABELED,
        "unlabeled": [("mine/pics/bare.png", None)],
        "val": [("mine/pics/val/c.jpg", "mine/truth/val/c.png")],
    }


def test_images_of_the_convention_are_not_unlabelled_too(work):
    """Only `unlabeled` is told: images/ and masks/ are labelled as ever."""
    picture(work / "mine/more/u.jpg", 4, 9)
    assert main(["init", "mine", "--unlabeled", "mine"]) == 0
    read = streams("mine/semiovs.yaml")
    assert read["labeled"] == [("mine/images/other.jpg", "mine/masks/other.png")]
    assert ("mine/images/other.jpg", None) not in read["unlabeled"]
    assert ("mine/more/u.jpg", None) in read["unlabeled"]


@pytest.mark.parametrize("labels", [False, True])
def test_ood_images(work, capsys, labels):
    if labels:
        picture(work / "mine/ood-labels/u.png", 0, 1)
    assert main(["init", "mine", "--ood", "away/bare", "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)["next"]
    config = load_config("mine/semiovs.yaml").config
    if labels:
        assert config.ood.images == str(work / "away/bare")
        assert streams("mine/semiovs.yaml")["ood.images"] == [("away/bare/u.jpg", None)]
    else:
        assert config.ood is None
        assert f"semiovs label mine/semiovs.yaml ood={work}/away/bare --teacher NAME" in steps[-1]


def test_links_that_lead_out_of_the_folder(work):
    (work / "mine/linked").symlink_to(work / "away/shots")
    assert main(["init", "mine", "--labeled", "mine/linked"]) == 0
    assert streams("mine/semiovs.yaml")["labeled"] == [("mine/linked/v.png", "mine/linked/masks/v.png")]


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        (["--masks", "mine/truth"], 2, "--masks mine/truth: masks of which images? name their folder with --labeled"),
        (["--val-masks", "mine/truth"], 2, "--val-masks mine/truth: masks of which images? name their folder with"),
        (["--labeled", "nowhere"], 3, "--labeled nowhere: no such folder"),
        (["--labeled", "list.txt"], 3, "--labeled list.txt: a file, but a folder is expected"),
        (["--unlabeled", "empty"], 3, "--unlabeled empty: no images in this folder (.jpg, "),
        (["--ood", "empty"], 3, "--ood empty: no images in this folder"),
        (
            ["--labeled", "mine/pics"],
            3,
            "--labeled mine/pics: no masks beside its images; name their folder with --masks",
        ),
        (["--labeled", "mine/pics", "--masks", "nowhere"], 3, "--masks nowhere: no such folder"),
        (["--labeled", "mine/pics", "--masks", "empty"], 3, "--masks empty: no masks in this folder (.png, "),
        (["--labeled", "mine/pics", "--masks", "away/bare"], 3, "JPEG changes the values of masks, save them as PNG"),
        (
            ["--labeled", "mine/pics", "--masks", "mine/masks"],
            3,
            "--masks mine/masks: none of its 1 files fits an image of --labeled mine/pics: for a.jpg it may be a.png, "
            "a.jpg.png, a_mask.png",
        ),
        (
            ["--labeled", "mine/images", "--masks", "mine/masks", "--unlabeled", "mine/images"],
            3,
            "another role already",
        ),
        (["--labeled", "away/shots", "--val", "away/shots"], 3, "all of its images are those of --val away/shots"),
    ],
)
def test_wrong_combinations_are_refused_in_one_line(work, capsys, told, code, said):
    (work / "empty").mkdir()
    (work / "list.txt").write_text("mine/pics/a.jpg\n")
    assert main(["init", "mine", *told]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (work / "mine/semiovs.yaml").exists()


def test_channels_of_nnunet_are_refused(work, capsys):
    for channel in range(2):
        picture(work / f"mine/scans/a_000{channel}.png", channel, 9)
    picture(work / "mine/truth/a.png", 0, 1)
    assert main(["init", "mine", "--labeled", "mine/scans", "--masks", "mine/truth"]) == 3
    assert "1 files are further channels of an image (like a_0001.png)" in capsys.readouterr().err


def test_the_folder_itself_may_be_told(work, capsys):
    picture(work / "mine/pics/below/c.jpg", 6, 9)
    assert main(["init", "mine/pics", "--unlabeled", "mine/truth/../pics"]) == 0
    assert capsys.readouterr().err == ""
    assert load_config("mine/pics/semiovs.yaml").config.data.unlabeled == "."


def test_files_that_are_not_read_are_told(work, capsys):
    (work / "away/bare/u2.heic").touch()
    assert main(["init", "mine", "--unlabeled", "away/bare"]) == 0
    assert "files that are not read (1 .heic)" in capsys.readouterr().err


def test_tars_may_be_told(work):
    import tarfile

    with tarfile.open(work / "away/shards.tar", "w") as tar:
        tar.add("away/bare/u.jpg", "u.jpg")
    (work / "tars").mkdir()
    (work / "away/shards.tar").rename("tars/0.tar")
    assert main(["init", "mine", "--unlabeled", "tars"]) == 0
    assert len(streams("mine/semiovs.yaml")["unlabeled"]) == 1
