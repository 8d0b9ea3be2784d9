"""``semiovs label``: with and without a configuration, resumed, in shards, and every mistake."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.files import sha256_of
from semiovs.images.manifest import Manifest
from semiovs.store import PseudoLabelStore


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set, OOD images, ready-made masks with foreign values; the working directory."""
    rng = np.random.default_rng(0)
    sizes = {"images": 2, "ood": 4}
    for part, count in sizes.items():
        for i in range(count):
            path = tmp_path / part / f"{part}{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (6, 8 + i, 3), np.uint8)).save(path)
    for name, source, values in (("masks", "images", 2), ("made", "ood", 2), ("foreign", "ood", 9)):
        (tmp_path / name).mkdir()
        for path in sorted((tmp_path / source).iterdir()):
            mask = rng.integers(0, values, (6, Image.open(path).width), np.uint8)
            Image.fromarray(mask).save(tmp_path / name / path.name)
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    (tmp_path / "my.yaml").write_text("data: {root: ., crop_size: 32}\nood: {images: ood, labels: labels}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(Path(root).rglob("*")) if p.is_file()}


def test_with_a_configuration(folder, capsys):
    assert main(["label", "my.yaml", "--from", "made"]) == 0
    out = capsys.readouterr().out
    assert "4 images labelled" in out
    assert "next: semiovs train my.yaml" in out
    store = PseudoLabelStore.open(folder / "labels")
    assert store.ids() == [f"ood{i}" for i in range(4)]
    assert store.vocabulary.names == ("sky", "road")
    assert (store.label("ood2") == np.asarray(Image.open(folder / "made/ood2.png"))).all()
    before = tree(folder / "labels")
    assert main(["label", "my.yaml", "--from", "made", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["labeled"], data["already"], data["stats"]["images"]) == (0, 4, 4)
    assert tree(folder / "labels") == before


def test_without_a_configuration(folder, capsys):
    common = ["--images", "ood", "--from", "made", "--json"]
    assert main(["label", *common, "--classes", "classes.txt", "--out", "a"]) == 0
    assert main(["label", *common, "--classes", "sky,road", "--out", "b"]) == 0
    assert tree("a") == tree("b")
    capsys.readouterr()
    assert main(["label", "--images", "ood", "--classes", "classes.txt"]) == 2
    assert "--out DIR" in capsys.readouterr().err


def test_images_and_out_replace_those_of_the_configuration(folder, capsys):
    (folder / "plain.yaml").write_text("data: {root: .}\n")
    assert main(["label", "plain.yaml", "--images", "ood", "--from", "made", "--out", "s"]) == 0
    assert "ood.images=ood ood.labels=s" in capsys.readouterr().out
    assert len(PseudoLabelStore.open("s")) == 4
    assert main(["label", "plain.yaml", "ood=ood", "--from", "made", "--out", "t"]) == 0
    assert tree("s") == tree("t")
    assert main(["label", "plain.yaml", "--from", "made"]) == 2
    assert "ood=DIR" in capsys.readouterr().err
    assert main(["label", "my.yaml", "ood.labels=null", "--from", "made"]) == 2
    assert "give --out DIR, or set ood.labels" in capsys.readouterr().err


def test_shards_fill_one_store(folder):
    assert main(["label", "my.yaml", "--from", "made", "--shard", "1/2"]) == 0
    assert PseudoLabelStore.open("labels").ids() == ["ood1", "ood3"]
    assert main(["label", "my.yaml", "--from", "made", "--shard", "0/2"]) == 0
    assert len(PseudoLabelStore.open("labels")) == 4


@pytest.mark.parametrize("by", ["text", "file"])
def test_values_are_mapped(folder, by, capsys):
    mapping = ",".join([*(f"{v}=sky" for v in range(7)), "7=road", "8 = ignore"])
    if by == "file":
        (folder / "map.yaml").write_text("\n".join(f"{v}: sky" for v in range(7)) + "\n7: 1\n8: ignore\n")
        mapping = "map.yaml"
    assert main(["label", "my.yaml", "--from", "foreign", "--map", mapping]) == 0
    mask = np.asarray(Image.open("foreign/ood1.png"))
    assert (PseudoLabelStore.open("labels").label("ood1") == np.where(mask == 8, 255, mask == 7)).all()


def test_a_map_in_several_options(folder, capsys):
    """All count, files too; a value with two classes is refused."""
    (folder / "map.yaml").write_text("6: sky\n7: 1\n")
    parts = [*(f"{value}=sky" for value in range(5)), "5=sky,8=ignore", "map.yaml", "0=sky"]
    options = [word for part in parts for word in ("--map", part)]
    assert main(["label", "my.yaml", "--from", "foreign", *options]) == 0
    mask = np.asarray(Image.open("foreign/ood1.png"))
    assert (PseudoLabelStore.open("labels").label("ood1") == np.where(mask == 8, 255, mask == 7)).all()
    for verb in ("label", "calibrate", "card"):
        assert main([verb, "my.yaml", "--from", "foreign", "--teacher", "masks", *options, "--map", "0=road"]) == 2
        assert "--map: '0' is given twice, as 'sky' and as 'road'" in capsys.readouterr().err


def test_colours_are_mapped(folder):
    (folder / "colour").mkdir()
    for path in (folder / "made").iterdir():
        colours = np.array([[128, 64, 0], [0, 0, 0]], np.uint8)[np.asarray(Image.open(path))]
        Image.fromarray(colours).save(folder / "colour" / path.name)
    assert main(["label", "my.yaml", "--from", "colour", "--map", "128,64,0=sky;0,0,0=road"]) == 0
    assert (PseudoLabelStore.open("labels").label("ood0") == np.asarray(Image.open("made/ood0.png"))).all()


def test_bad_images_fail_or_are_listed(folder, capsys):
    (folder / "ood/ood1.png").write_bytes(b"no image")
    (folder / "made/ood2.png").unlink()
    assert main(["label", "my.yaml", "--from", "made"]) == 3
    assert "ood1.png" in capsys.readouterr().err
    assert main(["label", "my.yaml", "--from", "made", "--on-error", "skip", "--json"]) == 0
    done = capsys.readouterr()
    assert [item["id"] for item in json.loads(done.out)["failed"]] == ["ood1", "ood2"]
    assert done.err.count("left out") == 2
    assert PseudoLabelStore.open("labels").ids() == ["ood0", "ood3"]
    assert main(["label", "my.yaml", "--from", "made", "--on-error", "skip"]) == 0
    words = shlex.split(capsys.readouterr().out.split("next: ")[1])
    assert words == ["semiovs", "train", "my.yaml", f"ood.images={folder}/labels-images.jsonl"]
    assert [record.id for record in Manifest.read("labels-images.jsonl", ".")] == ["ood0", "ood3"]
    assert main(["data", "check", *words[2:]]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["my.yaml", "--from", "nowhere"], 3, "no such folder of masks"),
        (["my.yaml"], 2, "--from DIR"),
        (["my.yaml", "--from", "foreign"], 3, "ood0.png"),
        (["my.yaml", "--from", "made", "--shard", "2/2"], 2, "shard 2/2"),
        (["my.yaml", "--from", "made", "--shard", "half"], 2, "I/N"),
        (["my.yaml", "--from", "made", "--on-error", "stop"], 2, "skip or fail"),
        (["my.yaml", "--from", "made", "--teacher", "mask"], 2, "did you mean 'masks'"),
        (["my.yaml", "--from", "made", "--set", "sufix=x"], 2, "did you mean 'suffix'"),
        (["my.yaml", "--from", "made", "--set", "suffix"], 2, "KEY=VALUE"),
        (["my.yaml", "--from", "made", "--map", "7"], 2, "7=road"),
        (["my.yaml", "--from", "made", "--map", "none.yaml"], 2, "none.yaml"),
        (["my.yaml", "--from", "made", "--map", "0=sky,1=raod"], 2, "did you mean 'road'"),
        (["my.yaml", "--from", "made", "--classes", "a,b"], 2, "--classes"),
        (["my.yaml", "--from", "made", "--weights", "x.pth"], 2, "no weights"),
        (["my.yaml", "--from", "made", "--out", "ood"], 3, "not empty"),
        (["my.yaml", "--from", "made", "--images", "elsewhere"], 3, "no such list or folder"),
        (["my.yaml", "--from", "made", "data.clases=[a]"], 2, "did you mean"),
    ],
)
def test_every_mistake_is_one_line(folder, capsys, arguments, code, message):
    assert main(["label", *arguments]) == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (folder / "labels/labels").exists()


def test_no_label_at_all_is_a_failure_that_does_not_flood(folder, capsys):
    (folder / "labels-of-others").mkdir()
    Image.new("L", (3, 3)).save(folder / "labels-of-others/x.png")
    for number in range(20):
        Image.new("RGB", (8, 8)).save(folder / f"ood/more{number}.png")
    assert main(["label", "my.yaml", "--from", "labels-of-others", "--on-error", "skip", "--json"]) == 3
    done = capsys.readouterr()
    assert done.out == ""
    lines = done.err.strip().splitlines()
    assert len(lines) == 12
    assert lines[-2:] == ["error: … and 14 more left out", "error: none of the 24 images could be labelled"]


def test_a_folder_stands_for_the_configuration_in_it(folder):
    (folder / "my.yaml").rename(folder / "semiovs.yaml")
    assert main(["label", ".", "--from", "made"]) == 0
    assert len(PseudoLabelStore.open("labels")) == 4


def test_a_wrong_first_try_does_not_block_the_next(folder, capsys):
    assert main(["label", "my.yaml", "--from", "foreign"]) == 3
    assert main(["label", "my.yaml", "--from", "made"]) == 0
    capsys.readouterr()
    assert main(["label", "my.yaml", "--from", "foreign"]) == 3
    assert "another teacher" in capsys.readouterr().err


def test_another_image_of_the_same_id_is_not_taken_for_labelled(folder, capsys):
    """Where lists know checksums, as those of `semiovs select` do."""

    def listed(name):
        path = folder / "ood" / f"{name}.png"
        (folder / "list.jsonl").write_text(
            json.dumps({"id": "ood0", "image": str(path), "sha256": sha256_of(path)}) + "\n"
        )
        return main(["label", "my.yaml", "--from", "made", "--images", "list.jsonl"])

    assert listed("ood0") == 0
    assert listed("ood0") == 0
    assert "0 images labelled" in capsys.readouterr().out
    assert listed("ood1") == 3
    assert "labels of other images of the same ids ('ood0')" in capsys.readouterr().err
