"""``semiovs data check`` on more than 200 malformed inputs, and on what people have."""

import json
import os
import re
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.config.schema import DataConfig
from semiovs.datasets.folder import FolderDataset
from semiovs.datasets.voc import Voc
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from unit import benchmark_trees as trees
from unit import malformed, toy_data


def checked(capsys, *arguments):
    code = main(["data", "check", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("build", malformed.BUILDERS, ids=lambda build: build.__name__)
def test_every_malformed_input_is_told(tmp_path, capsys, build):
    root = tmp_path / "own"
    root.mkdir()
    corpus = malformed.Corpus(root)
    corpus.good(4)
    build(corpus)
    corpus.good(2, "val")
    path = corpus.write()
    before = malformed.snapshot(tmp_path)
    code, found = checked(capsys, path)
    told = [(row["kind"], row["where"]) for row in found["list"]]
    assert not [expected for expected in corpus.expected if expected not in told]
    assert all(row["text"] and "\n" not in row["text"] and len(row["text"]) < 2000 for row in found["list"])
    wrong = len(corpus.expected) if corpus.severity == "error" else 0
    assert code == (3 if wrong else 0)
    errors = [row for row in found["list"] if row["severity"] == "error"]
    assert len(errors) == wrong
    streams = found["streams"].values()
    assert sum(s["bad"] for s in streams) == wrong
    assert all(s["good"] + s["bad"] == s["listed"] for s in streams)
    lines = sum(bool(line.strip()) for lines in corpus.lines.values() for line in lines)
    assert sum(s["listed"] for s in streams) == lines
    assert malformed.snapshot(tmp_path) == before


def test_the_corpus_is_large(tmp_path):
    kinds, number = set(), 0
    for build in malformed.BUILDERS:
        corpus = malformed.Corpus(tmp_path / build.__name__)
        corpus.root.mkdir()
        corpus.good(4)
        build(corpus)
        kinds |= {kind for kind, _ in corpus.expected}
        number += len(corpus.expected)
    assert number >= 200
    assert len(kinds) >= 20


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The layout of `toy_data` with pictures that are no thumbnails, and a YAML."""
    made = tmp_path / "set"
    made.mkdir()
    toy_data.make(made)
    for path in made.rglob("*.png"):
        with Image.open(path) as image:
            image.resize((64, 48), Image.Resampling.NEAREST).save(path)
    (made / "own.yaml").write_text("# mine\ndata:\n  root: .   # here\nmethod: supervised   # first\n")
    monkeypatch.chdir(tmp_path)
    return made


def kinds(found, severity="error"):
    return [row["kind"] for row in found["list"] if row["severity"] == severity]


def test_good_data(root, capsys):
    code, found = checked(capsys, root / "own.yaml", "ood=ood")
    assert (code, kinds(found), kinds(found, "warning")) == (0, [], [])
    assert {name: (s["listed"], s["good"]) for name, s in found["streams"].items()} == {
        "labelled": (5, 5), "unlabelled": (7, 7), "evaluation": (2, 2), "OOD": (4, 4),
    }  # fmt: skip
    assert main(["data", "check", str(root / "own.yaml")]) == 0
    assert "labelled    5       5     0" in capsys.readouterr().out


def test_all_lists_and_folders_are_told_at_once(root, capsys):
    (root / "labeled.txt").write_text("../a.png m.png\nimages/l0.png masks/l0.png\nimages/l1.png\n")
    (root / "val.txt").write_text("x\n" * 30)
    given = [root / "own.yaml", "data.labeled=labeled.txt", "data.val=val.txt", "data.unlabeled=nope", "ood=gone"]
    code, found = checked(capsys, *given)
    assert code == 3
    assert kinds(found) == ["line-outside", "mask-missing", "list-missing", *["line-columns"] * 30, "list-missing"]
    assert [found["streams"]["labelled"][key] for key in ("listed", "good", "bad")] == [3, 1, 2]
    assert [found["streams"]["evaluation"][key] for key in ("listed", "good", "bad")] == [30, 0, 30]
    with pytest.raises(DataError) as caught:
        FolderDataset(DataConfig(root=str(root), labeled="labeled.txt", val="val.txt", unlabeled="nope")).read()
    assert len(caught.value.problems) == 33
    main(["data", "check", *map(str, given)])
    printed = capsys.readouterr().out
    assert "… and 10 more: --all prints them" in printed
    main(["data", "check", *map(str, given), "--all"])
    assert capsys.readouterr().out.count("expected 'image mask'") == 30


def test_what_helps_against_all_of_a_kind_is_said_once(root, capsys):
    picture = Image.open(root / "val/images/v0.png").convert("RGB")
    for quality in (80, 85, 90):
        picture.save(root / f"unlabeled/near-{quality}.jpg", quality=quality)
    main(["data", "check", str(root / "own.yaml")])
    printed = capsys.readouterr().out
    assert "warning: leak-near (3)" in printed
    assert printed.count("measure on images of another place") == 1


def test_files_outside_are_an_error_until_allowed(root, tmp_path, capsys):
    toy_data.image(tmp_path / "far/f.png", 77, (64, 48))
    (root / "bare.txt").write_text(f"{tmp_path}/far/f.png\n")
    (root / "unlabeled/link.png").symlink_to(tmp_path / "far/f.png")
    code, found = checked(capsys, root / "own.yaml", "data.unlabeled=bare.txt")
    assert (code, kinds(found)) == (3, ["line-outside"])
    assert "lies outside of" in found["list"][0]["text"]
    assert "data.outside=true allows it" in found["list"][0]["text"]
    assert checked(capsys, root / "own.yaml", "data.unlabeled=bare.txt", "data.outside=true")[0] == 0
    code, found = checked(capsys, root / "own.yaml")
    assert (code, kinds(found), found["streams"]["unlabelled"]["bad"]) == (3, ["line-outside"], 1)
    assert checked(capsys, root / "own.yaml", f"data.unlabeled={tmp_path}/far")[0] == 0  # the user names it himself
    with pytest.raises(DataError, match=r"data\.outside=true allows it"):
        FolderDataset(DataConfig(root=str(root), unlabeled="bare.txt")).read()


def test_a_list_of_ood_images_lies_elsewhere(root, tmp_path, capsys):
    (root / "ood").rename(tmp_path / "web")
    (tmp_path / "web/list.txt").write_text("o0.png\no1.png\n/etc/passwd.png\n")
    code, found = checked(capsys, root / "own.yaml", f"ood.images={tmp_path}/web/list.txt", "ood.mode=naive")
    assert (code, kinds(found), found["streams"]["OOD"]["good"]) == (3, ["line-outside"], 2)


def test_binary_masks_are_fixed_in_the_yaml(root, capsys):
    (root / "classes.txt").write_text("background\nroad\n")
    for index, path in enumerate(root.rglob("masks/*.png")):
        toy_data.mask(path, index, (64, 48), (0, 255))
    before = (root / "own.yaml").read_bytes()
    code, found = checked(capsys, root / "own.yaml")
    assert (code, kinds(found)) == (3, ["mask-binary", "mask-binary"])
    assert found["list"][0]["setting"] == {"data.masks.map": {"0": "background", "255": "road"}}
    assert main(["data", "check", str(root / "own.yaml"), "--fix"]) == 3
    assert "+    map: {'0': background, '255': road}" in capsys.readouterr().err
    assert (root / "own.yaml").read_text() == (
        "# mine\ndata:\n  root: .   # here\n  masks:\n    map: {'0': background, '255': road}\nmethod: supervised   # "
        "first\n"
    )
    assert (root / "own.yaml.bak").read_bytes() == before
    assert checked(capsys, root / "own.yaml")[0] == 0


def test_colour_masks_of_known_colours_are_fixed(root, capsys):
    colors = {"sky": (0, 0, 255), "road": (128, 64, 128), "car": (64, 0, 128)}
    rows = "\n".join(f"  {name}: {{concepts: [{name}], color: {list(color)}}}" for name, color in colors.items())
    (root / "classes.yaml").write_text(f"classes:\n{rows}\n")
    table = np.array(list(colors.values()), np.uint8)
    for index, path in enumerate(root.rglob("masks/*.png")):
        Image.fromarray(table[np.random.default_rng(index).integers(0, 3, (48, 64))]).save(path)
    code, found = checked(capsys, root / "own.yaml", "--fix")
    assert (code, set(kinds(found)), found["fixed"]) == (3, {"mask-colors"}, ["data.masks.map"])
    assert checked(capsys, root / "own.yaml")[0] == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 100, 200), "set data.masks.map={'0': sky, '100': road, '200': car}, if they stand in this order"),
        ((0, 1, 2, 3), "is 0 'no class'? then set data.masks.reduce_zero_label=true"),
        (
            (0, 1, 2, 90, 91),
            "say what each means: data.masks.map={'0': sky, '1': road, '2': car, '90': '?', '91': '?'}",
        ),
    ],
)
def test_maps_are_proposed(root, capsys, values, words):
    for index, path in enumerate(root.rglob("masks/*.png")):
        toy_data.mask(path, index, (64, 48), values)
    code, found = checked(capsys, root / "own.yaml")
    assert code == 3
    assert any(words in row.get("fix", "") for row in found["list"] if row["kind"] == "mask-map")
    assert main(["data", "check", str(root / "own.yaml"), "--fix"]) == 3
    assert "none of the findings has a fix that is certain" in capsys.readouterr().err
    assert not list(root.glob("*.bak"))


def test_cleaned_lists_hold_the_good_images(root, tmp_path, capsys):
    shutil.copy(root / "val/images/v0.png", root / "images/l9.png")
    shutil.copy(root / "masks/l0.png", root / "masks/l9.png")
    (root / "images/l1.png").write_bytes(b"")
    (root / "unlabeled/u0.png").write_bytes(b"x")
    before = malformed.snapshot(root)
    code, found = checked(capsys, root / "own.yaml", "--clean", tmp_path / "clean")
    assert (code, sorted(kinds(found))) == (3, ["image-unreadable", "image-unreadable", "leak-exact"])
    assert malformed.snapshot(root) == before
    lists = found["clean"]
    assert set(lists) == {"data.labeled", "data.unlabeled", "data.val"}
    records = Manifest.read(lists["data.labeled"], root)
    assert [record.image.name for record in records] == ["l0.png", "l2.png", "l3.png", "l4.png"]
    overrides = [f"{key}={path}" for key, path in lists.items()]
    assert checked(capsys, root / "own.yaml", *overrides)[0] == 0


def test_page_and_json(root, tmp_path, capsys):
    (root / "images/l1.png").write_bytes(b"")
    assert main(["data", "check", str(root / "own.yaml"), "--out", str(tmp_path / "report")]) == 3
    page = (tmp_path / "report/check.html").read_text()
    assert "image-unreadable" in page
    assert "images/l1.png: cannot be read as an image: empty file" in page
    assert not re.search(r"(src|href)=.http|url\(http|@import|<script", page)
    assert json.loads((tmp_path / "report/check.json").read_text())["streams"]["labelled"]["bad"] == 1


def test_a_page_cannot_be_written_to_by_names(root, tmp_path):
    shutil.copy(root / "unlabeled/u0.png", root / "unlabeled/<script>alert(1)<script>.png")
    main(["data", "check", str(root / "own.yaml"), "--out", str(tmp_path / "report")])
    assert "<script>" not in (tmp_path / "report/check.html").read_text()


def test_a_folder_without_configuration(root, capsys):
    (root / "own.yaml").unlink()
    before = malformed.snapshot(root)
    code, found = checked(capsys, root)
    assert (code, found["streams"]["labelled"]["good"], kinds(found, "note")) == (0, 5, ["config-none"])
    assert malformed.snapshot(root) == before


def test_a_folder_of_bare_images_and_one_of_nothing(root, tmp_path, capsys):
    code, found = checked(capsys, root / "unlabeled")
    assert (code, list(found["streams"]), found["streams"]["unlabelled"]["good"]) == (0, ["unlabelled"], 7)
    (tmp_path / "empty").mkdir()
    assert main(["data", "check", str(tmp_path / "empty")]) == 3


def test_a_single_list_finds_its_root(root, capsys):
    (root / "splits").mkdir()
    (root / "splits/train.txt").write_text("images/l0.png masks/l0.png\nimages/none.png masks/l1.png\n")
    code, found = checked(capsys, root / "splits/train.txt")
    assert (code, kinds(found), found["root"]) == (3, ["image-missing"], str(root))
    (root / "classes.txt").unlink()
    (root / "splits/bare.txt").write_text("unlabeled/u0.png\n")
    assert checked(capsys, root / "splits/bare.txt")[1]["streams"]["unlabelled"]["good"] == 1
    code, found = checked(capsys, root / "splits/train.txt")
    assert found["streams"]["labelled"]["classes"]["2"]["images"] == 2  # values stand for themselves


def test_names_in_a_folder(root, capsys):
    for name in (b"a\x1b[31m.png", b"b\xff.png", b"u0.jpg", b"c\nd.png"):
        with open(os.path.join(os.fsencode(root / "unlabeled"), name), "wb") as file:  # noqa: PTH118, PTH123
            file.write((root / "unlabeled/u1.png").read_bytes())
    code, found = checked(capsys, root / "own.yaml")
    assert (code, sorted(kinds(found))) == (3, ["id-twice", *["name-control"] * 3])
    stream = found["streams"]["unlabelled"]
    assert (stream["listed"], stream["good"], stream["bad"]) == (11, 7, 4)
    assert main(["data", "check", str(root / "own.yaml")]) == 3
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(root, capsys):
    os.mkfifo(root / "unlabeled/pipe.png")
    code, found = checked(capsys, root / "own.yaml")
    assert (code, kinds(found)) == (3, ["image-unreadable"])
    assert "a pipe or device, no file" in found["list"][0]["text"]


def test_links_that_go_round(root, capsys):
    (root / "unlabeled/again").symlink_to("..", target_is_directory=True)
    (root / "unlabeled/self").symlink_to(".", target_is_directory=True)
    code, found = checked(capsys, root / "own.yaml")
    assert (code, found["streams"]["unlabelled"]["listed"]) == (0, 7)


def test_missing_classes(root, capsys):
    (root / "classes.txt").unlink()
    code, found = checked(capsys, root / "own.yaml")
    assert (code, kinds(found)) == (3, ["classes"])
    assert found["streams"]["labelled"]["classes"]["1"]["images"] == 5


def test_absent_classes_and_ood_labels(root, capsys):
    (root / "classes.txt").write_text("sky\nroad\ncar\nbus\n")
    (root / "ood-labels/o1.png").unlink()
    toy_data.mask(root / "ood-labels/o2.png", 0, (7, 7))
    code, found = checked(capsys, root / "own.yaml", "ood=ood")
    assert (code, kinds(found)) == (3, ["label-missing", "mask-size"])
    assert kinds(found, "warning") == ["class-absent", "class-absent"]
    assert found["list"][-2]["text"] == "1 of 4 classes never occur in the labelled masks: bus"


def test_usage(root, capsys):
    assert main(["data", "check", str(root / "nope")]) == 2
    assert main(["data", "check", str(root), "--fix"]) == 2
    assert "--fix changes a YAML file" in capsys.readouterr().err


def test_stats(root, tmp_path, capsys):
    assert main(["data", "stats", str(root / "own.yaml"), "--json", "--out", str(tmp_path / "report")]) == 0
    facts = json.loads(capsys.readouterr().out)["streams"]["labelled"]
    pixels = np.concatenate([np.asarray(Image.open(p)).reshape(-1, 3) for p in sorted((root / "images").iterdir())])
    np.testing.assert_allclose(facts["mean"], pixels.mean(0) / 255, atol=1e-4)
    np.testing.assert_allclose(facts["std"], pixels.std(0) / 255, atol=1e-4)
    masks = np.concatenate([np.asarray(Image.open(p)).ravel() for p in sorted((root / "masks").iterdir())])
    assert facts["classes"]["road"] == {
        "pixels": pytest.approx((masks == 1).sum() / (masks < 255).sum(), abs=1e-6),
        "images": 5,
    }
    assert facts["ignored"] == pytest.approx((masks == 255).mean(), abs=1e-6)
    assert (facts["width"], facts["sizes"], facts["formats"]) == ({"min": 64, "median": 64, "max": 64}, 1, {"PNG": 5})
    assert "Findings" not in (tmp_path / "report/stats.html").read_text()
    assert main(["data", "stats", str(root / "own.yaml")]) == 0
    assert "labelled" in capsys.readouterr().out


def test_a_benchmark_is_checked_where_its_files_are(tmp_path, capsys):
    trees.voc(tmp_path / "VOC2012")
    for index, path in enumerate(sorted((tmp_path / "VOC2012/JPEGImages").glob("*.jpg"))):
        with Image.open(path) as image:  # the miniature's pictures are all alike
            size = image.size
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)
    code, found = checked(capsys, "data.name=voc", f"data.root={tmp_path}")
    assert (code, kinds(found)) == (0, [])
    assert found["streams"]["labelled"]["good"] == found["streams"]["labelled"]["listed"] > 0
    victim = next(r.image for r in Voc(DataConfig(name="voc", root=str(tmp_path))).read().labeled)
    victim.write_bytes(victim.read_bytes()[:-40])
    code, found = checked(capsys, "data.name=voc", f"data.root={tmp_path}")
    assert (code, {row["file"] for row in found["list"] if row["severity"] == "error"}) == (3, {str(victim)})


def test_images_of_many_bands(root, capsys):
    tifffile = pytest.importorskip("tifffile")
    for index, path in enumerate([*root.rglob("images/*.png"), *(root / "unlabeled").iterdir()]):
        with Image.open(path) as image:
            size = image.size
        values = np.random.default_rng(index).integers(0, 60000, (size[1], size[0], 4), np.uint16)
        tifffile.imwrite(path.with_suffix(".tif"), values, photometric="minisblack", planarconfig="contig")
        path.unlink()
    code, found = checked(capsys, root / "own.yaml", "data.bands=[1,2,3,4]", "data.rgb=[3,2,1]")
    assert (code, kinds(found), found["streams"]["labelled"]["modes"]) == (0, [], {"4 channels": 5})
    shallow = np.zeros((48, 64, 5), np.uint16)
    tifffile.imwrite(root / "unlabeled/u1.tif", shallow, photometric="minisblack", planarconfig="contig")
    (root / "images/l1.tif").write_bytes((root / "images/l1.tif").read_bytes()[:900])
    code, found = checked(capsys, root / "own.yaml", "data.bands=[1,2,3,4]", "data.rgb=[3,2,1]")
    assert (code, sorted(kinds(found))) == (3, ["image-channels", "image-unreadable"])


def test_images_in_a_tar(root, tmp_path, capsys):
    (root / "unlabeled/u1.png").write_bytes(b"x")
    with tarfile.open(tmp_path / "web.tar", "w") as tar:
        for path in sorted((root / "unlabeled").iterdir()):
            tar.add(path, path.name)
        tar.add(root / "val/images/v0.png", "leak.png")
    code, found = checked(capsys, root / "own.yaml", f"data.unlabeled={tmp_path}/web.tar")
    assert (code, sorted(kinds(found))) == (3, ["image-unreadable", "leak-exact"])
    assert [found["streams"]["unlabelled"][key] for key in ("listed", "good", "bad")] == [8, 6, 2]
    assert {row["where"] for row in found["list"]} == {f"{tmp_path}/web.tar/{name}.png" for name in ("u1", "leak")}
