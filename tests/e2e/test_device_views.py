"""Training with strong views that are made on the device (`data.augment=device`; here the CPU)."""

from __future__ import annotations

import hashlib

import pytest
import torch

from e2e import toy_ranks
from e2e.launcher import ranks
from semiovs.cli.app import main
from semiovs.engine.run import read_metrics
from unit import toy_data

SETTINGS = [
    *toy_data.SMALL_RUN,
    "data.augment=device",
    "train.save_every=2",
    "train.log_every=1",
    "train.keep_last=9",
    "train.eval_every=4",
    "run.log=[]",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = toy_data.make(tmp_path_factory.mktemp("device") / "data")
    (root / "semiovs.yaml").write_text("data: {root: .}\nood: {images: ood}\n")
    return root


def losses(run):
    return [row["loss"] for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_resumed_run_is_the_run_that_never_stopped(root, tmp_path):
    run, last = tmp_path / "run", tmp_path / "run/checkpoints/step-00000004.pt"
    assert main(["train", str(root), *SETTINGS, f"run.dir={run}"]) == 0
    straight, learnt = digest(last), losses(run)
    assert len(learnt) == 4
    for path in (run / "checkpoints").iterdir():
        if path.name.startswith(("step-00000004", "last", "best")):
            path.unlink()
    assert main(["resume", str(run), "data.workers=1"]) == 0
    assert digest(last) == straight
    assert losses(run) == learnt
    assert main(["resume", str(run), "data.augment=workers"]) == 2  # it changes pixels


def test_two_ranks_train(root, tmp_path):
    run = tmp_path / "run"
    settings = [f"data.root={root}", "ood.images=ood", *SETTINGS, f"run.dir={run}"]
    assert ranks(toy_ranks.rehearse_and_train, 50, *settings, directory=tmp_path) == [0, 0]
    found = losses(run)
    assert len(found) == 4
    assert torch.tensor(found).isfinite().all()
