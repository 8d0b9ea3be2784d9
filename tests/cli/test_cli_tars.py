"""Images in tars, through the commands: labelled, trained on, looked at, predicted."""

import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.cli.app import main
from semiovs.images.containers import container as containers
from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, save_model
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary
from unit import tars, toy_data


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data set whose OOD images lie in two tars, and ready-made masks for them."""
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "program-cache"))
    monkeypatch.setattr(containers, "_open", {})
    root = toy_data.make(tmp_path, val=0)
    for i in range(4):
        image = root / f"ood/o{i}.png"
        tars.write(root / f"shards/{i:02d}.tar", [(image.name, image.read_bytes())])
        made = root / f"made/{i:02d}/o{i}.png"
        made.parent.mkdir(parents=True)
        (root / f"ood-labels/o{i}.png").rename(made)
        image.unlink()
    (root / "ood-labels").rmdir()
    (root / "my.yaml").write_text("data: {root: ., crop_size: 32}\n")
    monkeypatch.chdir(root)
    return root


def test_label_then_train(folder, capsys):
    given = ["my.yaml", "ood=shards/{00..03}.tar"]
    assert main(["label", *given, "--from", "made", "--map", "0=sky,1=road,2=car,255=ignore"]) == 0
    assert "ood=shards/{00..03}.tar" in capsys.readouterr().out
    store = PseudoLabelStore.open(folder / "ood-labels")
    assert store.ids() == [f"{i:02d}/o{i}" for i in range(4)]
    assert (store.label("02/o2") == np.asarray(Image.open("made/02/o2.png"))).all()
    small = ["model.encoder=tiny", "train.steps=1", "train.batch_size=2", "data.workers=1", "run.dir=run"]
    assert main(["train", *given, *small, "method=fixmatch", "data.cache.budget_gb=1"]) == 0
    assert len(list((folder / "program-cache/decoded").rglob("*.rgb"))) > 0
    assert "ood_s" in (folder / "run/metrics.jsonl").read_text()


def test_label_without_a_configuration_and_look(folder, capsys):
    common = ["--classes", "sky,road,car", "--from", "made", "--out", "labels"]
    assert main(["label", "--images", "shards", *common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labeled"] == 4
    assert main(["labels", "view", "labels", "--images", "shards", "--out", "sheet.png", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 4
    assert Image.open("sheet.png").size[0] > 0


def test_predict(folder, capsys):
    torch.manual_seed(0)
    segmenter = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny")
    card = ModelCard("deeplabv3plus", 3, Vocabulary.of(toy_data.NAMES), {"encoder": "tiny"})
    save_model(folder / "m.safetensors", segmenter, card)
    found = {}
    for name, given in (("one", ["shards/01.tar"]), ("all", ["shards"]), ("member", ["shards/01.tar/o1.png"])):
        assert main(["predict", "m.safetensors", *given, "--out", name, "--json"]) == 0
        found[name] = json.loads(capsys.readouterr().out)["images"]
    assert [item["ids"] for item in found["all"]] == [f"all/{i:02d}/o{i}.png" for i in range(4)]
    assert [item["ids"] for item in found["one"] + found["member"]] == ["one/01/o1.png", "member/o1.png"]
    assert found["one"][0]["classes"] == found["all"][1]["classes"] == found["member"][0]["classes"]


@pytest.mark.parametrize("verb", [["label", "my.yaml", "--from", "made"], ["train", "my.yaml"]])
def test_hostile_tars_end_with_3_and_name_every_member(folder, capsys, verb):
    tars.write(
        folder / "shards/04.tar", [("../a.png", b""), ("/b.png", b""), tars.special("c.png", tarfile.SYMTYPE, "/x")]
    )
    assert main([*verb, "ood=shards"]) == 3
    said = capsys.readouterr().err
    assert all(f"04.tar: member '{name}'" in said for name in ("../a.png", "/b.png", "c.png"))
    assert not (folder / "ood-labels").exists()


def test_check_and_what_takes_lists_alone(folder, capsys):
    """A tar is checked as bare images; where only a list will do it is one mistake, not one a line of it."""
    given = next(folder.rglob("*.tar"))
    assert main(["data", "check", str(given), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["streams"]["unlabelled"]["listed"] > 0
    assert main(["data", "check", str(given.parent / "*.tar")]) == 0
    capsys.readouterr()
    assert main(["data", "check", "my.yaml", f"data.val={given}"]) == 3
    out = capsys.readouterr().out
    assert (out.count("an archive or a picture"), "1 error," in out) == (1, True)
