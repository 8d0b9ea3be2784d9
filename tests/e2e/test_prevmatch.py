"""PrevMatch as a user runs it: the ring survives a stop, held-out labels alone decide, and what lacks scores is refused."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from e2e.folders import settings
from e2e.launcher import command, train
from semiovs.engine.run import read_metrics

OPTIONS = {
    "method__name": "prevmatch",
    "method__prev_conf_thresh": 0.4,
    "method__prev_snapshot": "held-out",
    "data__held_out": 1,
    "train__eval_every": 2,
    "train__save_every": 4,
    "train__keep_every": 4,
}


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    return train(data, run, **OPTIONS)


def ring(run: Path, step: int) -> dict[str, torch.Tensor]:
    state = torch.load(run / "checkpoints" / f"step-{step:08d}.pt", weights_only=True)["method"]
    return {name: value for name, value in state.items() if name.startswith("previous.")}


def test_a_resumed_run_ends_in_the_same_bytes_ring_included(straight, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(straight, run, symlinks=True)
    for path in (run / "checkpoints").iterdir():
        if not path.name.startswith("step-00000004."):
            path.unlink()
    (run / "model.safetensors").unlink()
    assert any(key.startswith("previous.0.") for key in ring(run, 4))
    assert command("resume", str(run), f"run.dir={run}", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    final = [hashlib.sha256((r / "checkpoints" / "step-00000012.pt").read_bytes()).hexdigest() for r in (run, straight)]
    assert final[0] == final[1]


def test_held_out_labels_decide_and_evaluation_images_do_not(data, straight, tmp_path):
    rows = read_metrics(straight / "metrics.jsonl")
    scores = [row["miou"] for row in rows if row["kind"] == "held_out"]
    assert len(scores) == 6
    better = sum(score > max([-1.0, *scores[:i]]) for i, score in enumerate(scores))
    kept = ring(straight, 12)
    assert len({key.split(".")[1] for key in kept} - {"best"}) == better
    assert float(kept["previous.best"]) == max(scores)
    assert {"term/s1_prev", "log/mask_ratio_prev"} <= {k for row in rows if row["kind"] == "train" for k in row}
    assert "3 labelled" in (straight / "log.txt").read_text()

    blind = tmp_path / "data"
    shutil.copytree(data, blind)
    shutil.rmtree(blind / "val")
    run = tmp_path / "run"
    assert command("train", *settings(blind, run, **OPTIONS), log=tmp_path / "log") == 0, (
        tmp_path / "log.err"
    ).read_text()
    other = ring(run, 12)
    assert set(other) == set(kept)
    assert all(value.equal(other[name]) for name, value in kept.items())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"data__held_out": "null"}, "no data.held_out, so no model would ever be kept"),
        ({"data__held_out": 4}, "data.held_out: 4 of 4 labelled images cannot be kept aside; give 1 to 3"),
        ({"method__prev_storage": "disk"}, "method.prev_storage: 'disk' is not known"),
    ],
)
def test_nonsense_costs_one_line(data, tmp_path, options, told):
    arguments = settings(data, tmp_path / "run", **{**OPTIONS, **options})
    assert command("train", *arguments, log=tmp_path / "log") == 2
    lines = (tmp_path / "log.err").read_text().strip().splitlines()
    assert told in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_a_ring_of_another_model_exits_with_4(straight, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(straight, run, symlinks=True)
    path = run / "checkpoints" / "step-00000012.pt"
    state = torch.load(path, weights_only=True)
    name = next(key for key in state["method"] if key.startswith("previous.0.") and key.endswith("classifier.weight"))
    state["method"][name] = state["method"][name][:, :7].clone()
    for other in (run / "checkpoints").iterdir():
        other.unlink()
    torch.save(state, path)
    path.with_name(f"{path.name}.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n")
    assert command("resume", str(run), f"run.dir={run}", log=tmp_path / "log") == 4
    told = (tmp_path / "log.err").read_text().strip().splitlines()
    assert "snapshot 0 of the checkpoint is not of the student's kind" in told[-1]
