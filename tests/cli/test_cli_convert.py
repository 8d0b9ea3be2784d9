"""``semiovs convert``: published checkpoints in, models of ours out, and back without a bit lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from parity.keyfill import state_dict_for
from semiovs.cli import convert
from semiovs.cli.app import main
from semiovs.errors import UsageError
from semiovs.inference import Predictor
from semiovs.models import build_segmenter
from semiovs.models.convert import FAMILIES, recognise
from semiovs.models.published_checkpoints import read_published, write_published
from semiovs.models.weights import load_model

LAYOUTS = Path(__file__).parents[1] / "parity" / "layouts"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint as UniMatch's program saves it, ResNet-50, 21 classes."""
    state = state_dict_for(json.loads((LAYOUTS / "deeplabv3plus_r50.json").read_text("utf-8")))
    path = tmp_path_factory.mktemp("published") / "r50.pth"
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 3, "previous_best": 71.9}, path)
    return path, state


@pytest.fixture(scope="module")
def converted(published, tmp_path_factory):
    out = tmp_path_factory.mktemp("converted")
    assert main(["convert", str(published[0]), "--to", str(out), "--preset", "pascal/92"]) == 0
    return out


def test_it_is_a_model_of_ours(converted, published):
    segmenter, card = load_model(converted)
    assert (card.segmenter, dict(card.options), card.num_classes) == ("deeplabv3plus", {"encoder": "resnet50s"}, 21)
    assert card.vocabulary.names[:2] == ("background", "aeroplane")
    assert card.evaluation["mode"] == "whole"
    assert card.training["family"] == "deeplabv3plus"
    assert all(v.equal(published[1][k]) for k, v in segmenter.state_dict().items())
    assert Predictor.load(converted)(torch.zeros(24, 40, 3, dtype=torch.uint8).numpy()).labels.shape == (24, 40)


@pytest.mark.parametrize("ddp", [False, True])
def test_there_and_back_without_a_bit_lost(converted, published, tmp_path, ddp):
    out = tmp_path / "back.pth"
    assert (
        main(["convert", str(converted), "--to", str(out), "--export", "reference", *(["--ddp"] if ddp else [])]) == 0
    )
    data = torch.load(out, weights_only=True)
    assert set(data) == {"model"}
    prefix = "module." if ddp else ""
    assert list(data["model"]) == [f"{prefix}{k}" for k in published[1]]
    assert all(v.equal(published[1][k.removeprefix("module.")]) and v.dtype == published[1][k.removeprefix("module.")].dtype
               for k, v in data["model"].items())  # fmt: skip
    again = read_published(out)
    assert all(v.equal(published[1][k]) for k, v in again.segmenter.state_dict().items())


def test_the_report(published, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    out.write_bytes(b"")
    arguments = ["convert", str(published[0]), "--to", str(out), "--family", "unimatch", "--set", "dilations=[1,2,3]"]
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*arguments, "--overwrite", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [line.rpartition(": ")[2] for line in found["next"]] == [
        f"semiovs evaluate {out} CONFIG",
        f"semiovs predict {out} IMAGES",
    ]
    assert all(line.startswith("#") for line in found["next"])  # neither works as it stands
    assert found["what"] == "resnet50s DeepLabV3+ checkpoint with 21 classes"
    assert (found["family"], found["tensors"], found["parameters"]) == ("deeplabv3plus", 386, 40_475_957)
    assert found["options"] == {"encoder": "resnet50s", "dilations": [1, 2, 3]}


def test_another_entry_of_the_file(published, tmp_path, capsys):
    torch.save({"model": {"a.weight": torch.zeros(1)}, "model_ema": published[1]}, tmp_path / "two.pth")
    read = read_published(tmp_path / "two.pth", key="model_ema")
    assert read.report.ok
    arguments = ["convert", str(tmp_path / "two.pth"), "--to", str(tmp_path / "ema.safetensors")]
    assert main([*arguments, "--key", "modl_ema"]) == 2
    assert "did you mean 'model_ema'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--family", "sed"], 4, "looks like a resnet50s DeepLabV3+ checkpoint with 21 classes, not like family 'sed'"),
        (["--family", "unimach"], 2, "did you mean 'unimatch'"),
        (["--classes", "context60"], 2, "60 classes, but the checkpoint has 21"),
        (["--preset", "cityscapes/1_16"], 2, "19 classes, but the checkpoint has 21"),
        (["--set", "encodr=x"], 2, "did you mean 'encoder'"),
        (["--set", "encoder=resnet101s"], 4, "the model is a resnet101s"),
        (["--set", "dilations"], 2, "expected KEY=VALUE"),
        (["--ddp"], 2, "--ddp is for a conversion with --export"),
        (["--export", "reference", "--classes", "voc21"], 2, "--classes is for a conversion without --export"),
        (["--export", "onnx"], 2, "there is only 'reference'"),
        (["--export", "reference"], 2, "read a .pth file"),
    ],
)
def test_mistakes_are_one_line(published, tmp_path, capsys, arguments, code, said):
    assert main(["convert", str(published[0]), "--to", str(tmp_path / "out"), *arguments]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_converted(tmp_path, capsys):
    encoder = build_segmenter("deeplabv3plus", num_classes=3, encoder="resnet50s", channels=16).backbone.state_dict()
    torch.save(encoder, tmp_path / "resnet50.pth")
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "odd.pth")
    (tmp_path / "cut.pth").write_bytes(b"PK")
    cases = (("resnet50.pth", "bare resnet50s encoder"), ("odd.pth", "no family that is known"), ("cut.pth", "damaged"))
    for name, said in (*cases, ("none.pth", "no such file")):
        assert main(["convert", str(tmp_path / name), "--to", str(tmp_path / "out")]) == 4
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_classes_that_must_be_said(tmp_path):
    with pytest.raises(UsageError, match="7 classes: say which with --classes"):
        convert._find_vocabulary(None, 7)
    (tmp_path / "names.txt").write_text("\n".join("abcdefg"))
    assert convert._find_vocabulary(str(tmp_path / "names.txt"), 7).names == tuple("abcdefg")
    assert convert._find_vocabulary(None, 19).names[0] == "road"


@pytest.mark.parametrize("options", [{"encoder": "tiny"}, {"encoder": "resnet50s", "channels": 16}])
def test_a_segmenter_that_the_reference_does_not_have_is_refused(tmp_path, options):
    with pytest.raises(UsageError, match="no published layout to be exported to; there are: deeplabv3plus"):
        write_published(tmp_path / "x.pth", build_segmenter("deeplabv3plus", num_classes=3, **options))
    assert not list(tmp_path.iterdir())


def test_every_family_that_exports_recognises_what_it_wrote(published):
    assert recognise(published[1]) == "deeplabv3plus"
    assert any(row.export is not None for row in FAMILIES.values())


def test_a_unimatch_v2_checkpoint_becomes_a_dpt(tmp_path):
    state = state_dict_for(json.loads((LAYOUTS / "unimatch_v2_small.json").read_text("utf-8")))
    torch.save({"model": {}, "model_ema": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "v2.pth")
    read = read_published(tmp_path / "v2.pth", key="model_ema")
    assert read.blueprint.options == {"encoder": "vit_small_patch14_dinov2"}
    assert read.blueprint.segmenter == "dpt"
    assert read.report.family == "unimatch_v2"
    own = read.segmenter.state_dict()
    assert all(v.equal(state[k]) for k, v in own.items() if k in state)
    assert own["head.scratch.layer1_rn.weight"].equal(state["head.scratch.layer1_rn.weight"])
    with pytest.raises(UsageError, match="no published layout to be exported to"):
        write_published(tmp_path / "x.pth", read.segmenter)
