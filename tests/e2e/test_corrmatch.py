"""CorrMatch by the command line: a run that is killed and resumed ends in the bytes of one that was not."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch

from e2e.folders import settings
from e2e.launcher import command
from e2e.test_resume import assert_same, stop_at
from semiovs.engine.run import read_metrics
from semiovs.models.weights import load_model

CHOICE: dict[str, Any] = {
    "method__name": "corrmatch", "method__ema_decay": "null", "method__thresh_momentum": 0.9,
    "train__steps": 24, "train__log_every": 1, "train__save_every": 2, "train__eval_every": 12,
}  # fmt: skip


def test_killed_and_resumed(data: Path, tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken" / "run"
    broken.parent.mkdir()
    log = tmp_path / "log"
    assert command("train", *settings(data, straight, **CHOICE), log=log) == 0, log.with_suffix(".err").read_text()
    rows = [row for row in read_metrics(straight / "metrics.jsonl") if row["kind"] == "train"]
    names = ("x", "x_corr", "s", "kl", "fp", "s_corr", "w_corr", "ood_s", "ood_fp", "ood_s_corr", "ood_w_corr")
    assert {key for key in rows[-1] if key.startswith("term/")} == {f"term/{name}" for name in names}

    state = torch.load(max((straight / "checkpoints").glob("step-*.pt")), weights_only=True)["method"]
    assert 0.4 < state["moving_threshold"] < 1
    assert {"proj.0.weight", "corr.conv1.weight", "corr.conv2.bias"} <= set(state)
    segmenter, _ = load_model(straight)  # what predicts is the student alone
    assert not any(name.startswith(("proj", "corr")) for name in segmenter.state_dict())

    assert stop_at(broken, 5, signal.SIGKILL, "train", *settings(data, broken, **CHOICE)) == -signal.SIGKILL
    assert command("resume", str(broken), log=log) == 0, log.with_suffix(".err").read_text()
    assert_same(broken, straight)
