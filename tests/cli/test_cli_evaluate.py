"""``semiovs evaluate``: both checkpoints of a run, what is kept in eval.json, and every mistake."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.cli.app import main
from semiovs.evaluation import ConfusionMatrix
from semiovs.inference import Predictor
from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, save_model
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", "road", "car"])


def checkpoint(path, seed, step, *models):
    torch.manual_seed(seed)
    method = {}
    for name in models:
        segmenter = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny")
        method |= {f"{name}.{key}": value for key, value in segmenter.state_dict().items()}
    card = {**ModelCard("deeplabv3plus", 3, CLASSES, {"encoder": "tiny"}).as_json(), "step": step}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"card": card, "method": method}, path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for part, count in {"": 2, "val": 3}.items():
        for i in range(count):
            for kind, shape, top in (("images", (24, 33, 3), 256), ("masks", (24, 33), 2)):
                path = tmp_path / "data" / part / kind / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, top, shape, np.uint8)).save(path)
    run = tmp_path / "run"
    checkpoint(run / "checkpoints/best.pt", 1, 10, "student", "ema")
    checkpoint(run / "checkpoints/last.pt", 2, 20, "student", "ema")
    (run / "config.yaml").write_text(
        f"data: {{root: '{tmp_path}/data', classes: [sky, road, car], crop_size: 32}}\n"
        "model: {name: deeplabv3plus, encoder: tiny}\ntrain: {device: cpu}\n"
    )
    (run / "eval.json").write_text('{"last": {"student": {"miou": 5.0}}}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_hand(path, which, folder, part="val"):
    """mIoU by the predictor, image by image."""
    matrix, predictor = ConfusionMatrix(3), Predictor.load(path, which=which, device="cpu")
    for image in sorted((folder / "data" / part / "images").iterdir()):
        matrix.update(predictor(image).labels, np.asarray(Image.open(image.parent.parent / "masks" / image.name)))
    return matrix.miou()


def test_best_and_last(folder, capsys):
    assert main(["evaluate", "run", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["split"] == "val"
    for name, step in (("best", 10), ("last", 20)):
        assert data[name]["miou"] == pytest.approx(by_hand(f"run/checkpoints/{name}.pt", "ema", folder))
        assert (data[name]["step"], data[name]["model"], data[name]["images"]) == (step, "ema", 3)
        assert data[name]["absent"] == ["car"]
        assert data[name]["miou_present"] == pytest.approx(1.5 * data[name]["miou"])
    kept = json.loads((folder / "run/eval.json").read_text())
    assert kept["last"] == {"student": {"miou": 5.0}}  # what the training wrote
    assert kept["val"]["best"] == data["best"]


def test_the_table(folder, capsys):
    assert main(["evaluate", "run"]) == 0
    out = capsys.readouterr().out
    assert "best (step 10)" in out
    assert "last (step 20)" in out
    for word in ("sky", "road", "car", "mIoU", "mIoU, present classes", "pixel accuracy", "-: not in the masks"):
        assert word in out


def test_other_checkpoints_models_images(folder, capsys):
    def scores(*arguments):
        assert main(["evaluate", "run", "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    last = scores("--checkpoint", "last", "--model", "student")
    assert "best" not in last
    assert last["last"]["miou"] == pytest.approx(by_hand("run/checkpoints/last.pt", "student", folder))
    labeled = scores("--split", "labeled")
    assert labeled["best"]["miou"] == pytest.approx(by_hand("run/checkpoints/best.pt", "ema", folder, part=""))
    by_path = scores("--checkpoint", "run/checkpoints/best.pt")
    assert by_path["best"] == {**scores()["best"], "seconds": by_path["best"]["seconds"]}
    assert scores("eval.mode=center_crop", "eval.window=16")["best"]["pixels"] == 3 * 16 * 16
    kept = json.loads((folder / "run/eval.json").read_text())
    assert set(kept) == {"last", "val", "labeled"}
    assert kept["val"]["best"]["pixels"] > 3 * 16 * 16  # scores with other settings are not the run's own


def test_one_file_under_two_names_is_scored_once(folder, capsys, monkeypatch):
    from semiovs.engine import run_scores

    (folder / "run/checkpoints/best.pt").unlink()
    (folder / "run/checkpoints/best.pt").hardlink_to(folder / "run/checkpoints/last.pt")
    calls = []
    real = run_scores.evaluate
    monkeypatch.setattr(run_scores, "evaluate", lambda *a, **k: (calls.append(1), real(*a, **k))[1])
    assert main(["evaluate", "run", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["best"] == data["last"]
    assert len(calls) == 1


def test_weights_alone(folder, capsys):
    torch.manual_seed(3)
    segmenter = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny")
    save_model(folder / "x/y/m.safetensors", segmenter, ModelCard("deeplabv3plus", 3, CLASSES, {"encoder": "tiny"}))
    assert main(["evaluate", "x/y/m.safetensors"]) == 2
    assert "lies in no run" in capsys.readouterr().err
    assert main(["evaluate", "x/y/m.safetensors", "run/config.yaml", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["m"]["miou"] == pytest.approx(by_hand("x/y/m.safetensors", None, folder))
    assert main(["evaluate", "x/y/m.safetensors", "data.root=data", "data.classes=[sky,road,car]", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["m"]["iou"] == data["m"]["iou"]
    assert main(["evaluate", "run/checkpoints/best.pt", "--json"]) == 0  # a file of a run finds its configuration


def test_a_damaged_eval_json_is_replaced(folder):
    (folder / "run/eval.json").write_text("{")
    assert main(["evaluate", "run"]) == 0
    assert set(json.loads((folder / "run/eval.json").read_text())) == {"val"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 4, "neither a run directory nor a weight file"),
        (["data", "run/config.yaml"], 4, "is it a run directory"),
        (["run", "--checkpoint", "step-9"], 4, "step-9"),
        (["run", "--model", "teacher"], 2, "student and ema"),
        (["run", "data.classes=[sky,lane,car]"], 3, "class 1 is 'road' there, 'lane' wanted"),
        (["run", "data.classes=[sky,road]"], 3, "3 classes there, 2 wanted; only there: car; evaluate on masks of"),
        (["run", "data.classes=[sky,car,road]"], 3, "the same names in another order: class 1 is 'road' there, 'car'"),
        (["run", "data.root=nowhere"], 3, "no such folder"),
        (["run", "data.val=nowhere"], 3, "data.val"),
        (["run", "eval.mod=whole"], 2, "did you mean"),
        (["run", "--split", "test"], 2, "val"),
        (["run", "train.device=gpu"], 2, "gpu"),
    ],
)
def test_every_mistake_is_named(folder, capsys, arguments, code, message):
    before = (folder / "run/eval.json").read_bytes()
    assert main(["evaluate", *arguments]) == code
    assert message in capsys.readouterr().err
    assert (folder / "run/eval.json").read_bytes() == before


def test_data_without_evaluation_images_or_with_bad_masks(folder, capsys):
    mask = folder / "data/val/masks/1.png"
    Image.fromarray(np.full((24, 33), 7, np.uint8)).save(mask)
    assert main(["evaluate", "run"]) == 3
    assert "1.png" in capsys.readouterr().err
    (folder / "data/val/images").rename(folder / "data/val/pictures")
    assert main(["evaluate", "run"]) == 3
    assert "--split labeled" in capsys.readouterr().err
