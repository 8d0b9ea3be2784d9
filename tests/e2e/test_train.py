import json
from pathlib import Path

import pytest
import yaml

from e2e.folders import settings, write
from e2e.launcher import command
from semiovs.engine.run import read_metrics
from semiovs.models.weights import load_model


def test_a_run_leaves_everything_behind(data, tmp_path):
    run = tmp_path / "run"
    arguments = settings(data, run, run__log="[tensorboard]")
    assert command("train", *arguments, "--json", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    told = json.loads((tmp_path / "log").read_text())
    assert Path(told["run"]).resolve() == run.resolve()
    for name in (
        "config.yaml",
        "env.json",
        "command.txt",
        "log.txt",
        "metrics.jsonl",
        "eval.json",
        "model.safetensors",
    ):
        assert (run / name).stat().st_size > 0, name
    assert any((run / "tensorboard").iterdir())
    evaluation = json.loads((run / "eval.json").read_text())
    assert evaluation["last"]["student"]["miou"] == told["last"]["student"]
    assert evaluation["best"]["miou"] == told["best"]["miou"]
    kinds = [(row["kind"], row["step"]) for row in read_metrics(run / "metrics.jsonl")]
    assert [step for kind, step in kinds if kind == "train"] == [2, 4, 6, 8, 10, 12]
    assert [step for kind, step in kinds if kind == "eval"] == [5, 5, 10, 10, 12, 12]
    _, card = load_model(run)
    assert (card.training["step"], card.training["model"]) == (told["best"]["step"], "ema")
    assert load_model(run / "model.safetensors")[1].training["miou"] == told["best"]["miou"]


def test_a_run_starts_from_another_ones_student(data, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert command("train", *settings(data, first, train__steps=2), log=tmp_path / "log") == 0
    begin = settings(data, second, train__steps=2, model__init_from=first, optim__lr=1e-12)
    assert command("train", *begin, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    old, new = (dict(load_model(run, which="student")[0].named_parameters()) for run in (first, second))
    assert all((old[name] - new[name]).abs().max() < 1e-6 for name in old)
    wrong = settings(data, tmp_path / "third", model__init_from=first, model__channels=32)
    assert command("train", *wrong, log=tmp_path / "wrong") == 4
    assert "model.init_from" in (tmp_path / "wrong.err").read_text()
    assert not (tmp_path / "third").exists()


def test_supervised_alone_and_without_evaluation_images(tmp_path):
    import shutil

    root = write(tmp_path / "data")
    shutil.rmtree(root / "val")
    arguments = [
        a for a in settings(root, tmp_path / "run", method__name="supervised") if not a.startswith(("ood.", "method.c"))
    ]
    arguments = [a for a in arguments if a != "method.ema_decay=0.9"]
    assert command("train", *arguments, "--json", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    told = json.loads((tmp_path / "log").read_text())
    assert (told["step"], told["last"], told["best"]) == (12, {}, None)
    assert "no evaluation images" in (tmp_path / "log.err").read_text()


def test_a_dry_run_writes_nothing_and_tells_what_is_to_come(data, tmp_path):
    run = tmp_path / "run"
    assert command("train", *settings(data, run), "--dry-run", "--json", log=tmp_path / "log") == 0
    told = json.loads((tmp_path / "log").read_text())
    assert told["steps"] == 12
    assert told["steps_per_epoch"] == 3
    assert told["batch"]["labeled.image"] == [2, 3, 32, 32]
    assert told["batch"]["unlabeled.strong[1]"] == [2, 3, 32, 32]
    assert told["batch"]["ood.label"] == [2, 32, 32]
    assert told["images_per_step"] == 6
    assert told["evaluations"] == 3  # after steps 5 and 10, and at the end
    scores = 3 * told["seconds_per_evaluation"]
    assert told["seconds_in_all"] == pytest.approx(12 * told["seconds_per_step"] + scores)
    assert not run.exists()


def test_wrong_data_is_told_before_the_first_step_and_leaves_no_run(tmp_path):
    root = write(tmp_path / "data")
    (root / "masks" / "i1.png").write_bytes(b"not a picture")
    (root / "unlabeled" / "u2.png").write_bytes(b"")
    assert command("train", *settings(root, tmp_path / "run"), log=tmp_path / "log") == 3
    told = (tmp_path / "log.err").read_text()
    assert "i1.png" in told
    assert "u2.png" in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_a_folder_with_a_yaml_is_a_configuration(data, tmp_path):
    keys = [a.split("=", 1) for a in settings(data, tmp_path / "run", train__steps=2)]
    tree: dict = {}
    for key, value in keys:
        section, _, name = key.partition(".")
        tree.setdefault(section, {})[name] = yaml.safe_load(value)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "semiovs.yaml").write_text(json.dumps(tree))
    assert command("train", str(tmp_path / "mine"), "train.steps=3", log=tmp_path / "log") == 0, (
        tmp_path / "log.err"
    ).read_text()
    assert "semiovs.yaml" in (tmp_path / "run" / "config.yaml").read_text()
    assert "step 3" in (tmp_path / "log").read_text()


def test_unimatch_v2_on_a_vision_transformer(data, tmp_path):
    run = tmp_path / "run"
    choice = {"method__name": "unimatch-v2", "model__name": "dpt", "model__encoder": "test_vit", "optim__name": "adamw"}
    arguments = settings(data, run, **choice, optim__lr=1e-3, optim__layer_decay=0.8, eval__mode="sliding")
    arguments = [a for a in arguments if not a.startswith("model.dilations")]
    assert command("train", *arguments, "--json", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    terms = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"][-1]
    assert {key for key in terms if key.startswith("term/")} == {
        f"term/{t}" for t in ("x", "s1", "s2", "ood_s1", "ood_s2")
    }
    segmenter, card = load_model(run)
    assert (card.segmenter, card.training["model"]) == ("dpt", "ema")
    assert segmenter.normalization.mean == (0.5, 0.5, 0.5)
    out = tmp_path / "out"
    assert command("predict", f"{run}", f"{data}/val/images", "--out", f"{out}", log=tmp_path / "log") == 0, (
        tmp_path / "log.err"
    ).read_text()


def test_ddfp_through_its_three_phases(data, tmp_path):
    """Two optimisers in one run: four epochs of three steps, the flow waits for the second."""
    run = tmp_path / "run"
    choice = {"method__name": "ddfp", "model__name": "deeplabv3plus-dual", "train__log_every": 1}
    assert command("train", *settings(data, run, **choice), "--json", log=tmp_path / "log") == 0, (
        tmp_path / "log.err"
    ).read_text()
    rows = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"]
    terms = [{key.removeprefix("term/") for key in row if key.startswith("term/")} for row in rows]
    assert terms[:3] == [{"x", "ood_s"}] * 3
    assert terms[3:6] == [{"x", "ood_s", "u", "flow"}] * 3
    assert terms[6:] == [{"x", "ood_s", "u", "flow", "u_pt", "ood_pt"}] * 6
    assert ["grad_norm/flow" in row for row in rows] == [False] * 3 + [True] * 9
    assert "flow 0.001" in (run / "log.txt").read_text()
    assert load_model(run)[1].training["model"] == "ema"
    out = tmp_path / "out"
    assert command("predict", f"{run}", f"{data}/val/images", "--out", f"{out}", log=tmp_path / "log") == 0, (
        tmp_path / "log.err"
    ).read_text()
