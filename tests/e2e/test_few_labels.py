"""The options for few labels as a user sets them: all at once, stopped and resumed in the same bytes, and refused."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from e2e.folders import settings
from e2e.launcher import command, train
from semiovs.engine.run import read_metrics
from semiovs.methods.ood_weight import OodWeight

OPTIONS = {
    "method__name": "unimatch",
    "method__conf_thresh": 0.6,
    "method__thresh_quantile": 0.5,
    "method__thresh_floor": 0.1,
    "method__label_smoothing": 0.1,
    "ood__weight": "auto",
    "data__held_out": 1,
    "data__rare_crops": 0.5,
    "data__copy_paste": 0.5,
    "train__eval_every": 2,
    "train__save_every": 4,
    "train__keep_every": 4,
    "train__log_every": 1,
}


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    return train(data, run, **OPTIONS)


def test_a_resumed_run_ends_in_the_same_bytes(straight, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(straight, run, symlinks=True)
    for path in (run / "checkpoints").iterdir():
        if not path.name.startswith("step-00000004."):
            path.unlink()
    (run / "model.safetensors").unlink()
    state = torch.load(run / "checkpoints/step-00000004.pt", weights_only=True)["method"]
    assert state["class_thresholds.histogram"].sum() > 0
    assert state["moving_ood_weight.best"] >= 0
    assert command("resume", str(run), f"run.dir={run}", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    final = [hashlib.sha256((r / "checkpoints" / "step-00000012.pt").read_bytes()).hexdigest() for r in (run, straight)]
    assert final[0] == final[1]


def test_the_metrics_show_what_moves(straight):
    every = read_metrics(straight / "metrics.jsonl")
    rows = [row for row in every if row["kind"] == "train"]
    assert len(rows) == 12
    watched, heard = OodWeight(1.0), {row["step"]: row["miou"] for row in every if row["kind"] == "held_out"}
    for row in rows:  # the evaluation of a step comes after its line
        assert row["log/ood_weight"] == float(watched.value)
        if row["step"] in heard:
            watched.watch(heard[row["step"]])
    assert rows[0]["log/threshold"] == pytest.approx(0.6)
    lowest = [row["log/threshold_lowest"] for row in rows]
    assert all(0.1 - 1e-6 <= value <= 0.6 + 1e-6 for value in lowest)
    assert min(lowest) < 0.6
    assert "weight of the OOD images" in (straight / "report.html").read_text()
    assert "rare classes (data.rare_crops, data.copy_paste)" in (straight / "log.txt").read_text()


def test_a_weight_that_looks_after_itself_without_labels_aside_is_refused(data, tmp_path):
    arguments = settings(data, tmp_path / "run", **{**OPTIONS, "data__held_out": "null"})
    assert command("train", *arguments, log=tmp_path / "log") == 2
    assert "ood.weight: auto is lowered by scores on labels that are kept aside" in (tmp_path / "log.err").read_text()
    assert not (tmp_path / "run").exists()
