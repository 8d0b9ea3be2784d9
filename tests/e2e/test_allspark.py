"""AllSpark from a folder: strong labelled views, a memory in the checkpoint, resumed to the byte, and a neck in the model."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from e2e.folders import settings
from e2e.launcher import command, train
from semiovs.engine.run import read_metrics
from semiovs.models.bottleneck import Bottleneck
from semiovs.models.weights import load_model, read_checkpoint

LAST = "step-00000012.pt"


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps in four epochs; from the second on the memory is read."""
    run = tmp_path_factory.mktemp("allspark") / "run"
    choice = {"method__name": "allspark", "method__conf_thresh": 0.0, "method__warmup_epoch": 1}
    return train(data, run, **choice, method__ema_decay="null", train__save_every=6, train__keep_last=9)


def test_terms_and_memory(run: Path) -> None:
    row = [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "train"][-1]
    assert {key for key in row if key.startswith("term/")} == {"term/x", "term/u", "term/ood_s"}
    memory = read_checkpoint(run / "checkpoints" / LAST)["method"]["memory.channels"]
    assert memory.shape == (3, 64, 4)
    assert memory.any()


def test_resumed_to_the_byte(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    shutil.copytree(run, again)
    for name in (LAST, f"{LAST}.sha256", "best.pt", "best.pt.sha256"):
        (again / "checkpoints" / name).unlink(missing_ok=True)
    assert command("resume", f"{again}", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    assert "after step 6" in (again / "log.txt").read_text()
    digests = [hashlib.sha256((r / "checkpoints" / LAST).read_bytes()).hexdigest() for r in (run, again)]
    assert digests[0] == digests[1]


def test_the_model_is_used_with_its_neck(run: Path, data: Path, tmp_path: Path) -> None:
    for source in (run, run / "model.safetensors"):
        segmenter, card = load_model(source)
        assert card.neck == "allspark"
        assert isinstance(segmenter.neck, Bottleneck)
    arguments = ("predict", f"{run}", f"{data}/val/images", "--out", f"{tmp_path / 'out'}")
    assert command(*arguments, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    begin = settings(data, tmp_path / "next", method__name="allspark", method__ema_decay="null", train__steps=2)
    begin.append(f"model.init_from={run}")
    assert command("train", *begin, "optim.lr=1e-12", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    old, new = (dict(load_model(r, which="student")[0].named_parameters()) for r in (run, tmp_path / "next"))
    assert set(old) == set(new)
