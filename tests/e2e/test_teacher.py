"""A teacher of one's own: trained, stopped and resumed, evaluated, and asked for other names than it learnt."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from e2e.folders import settings
from e2e.launcher import command
from e2e.test_resume import rows, stop_at
from semiovs.models.weights import load_model
from semiovs.store import PseudoLabelStore

STEPS = 9
MODEL = {
    "encoder": "test_convnext", "text": "words", "text_dim": 8, "templates": "['{}', 'a {}.']", "hidden": 16,
    "decoder_dims": "[16,16,16]", "guides": "[4,4,4]", "kernel": 3,
}  # fmt: skip


def arguments(root: Path, run: Path, **values: object) -> list[str]:
    """As `settings`, for a teacher."""
    kept = ("data.", "train.", "run.")
    base = [a for a in settings(root, run, train__steps=STEPS, train__log_every=1) if a.startswith(kept)]
    own = {f"model.{key}": value for key, value in MODEL.items()} | values
    return [*base, "method.sample=2", "optim.name=adamw", *(f"{key}={value}" for key, value in own.items())]


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that never stopped."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert command("ovs", "train", *arguments(data, run), "--json", log=run.with_name("log")) == 0, run.with_name(
        "log.err"
    ).read_text()
    return run


def test_the_run_says_what_it_learnt(trained: Path) -> None:
    told = json.loads(trained.with_name("log").read_text())
    assert told["step"] == STEPS
    assert 0 <= told["last"]["student"] <= 100
    first = next(row for row in rows(trained) if row["kind"] == "train")
    assert {"term/x", "term/x0", "term/x1", "term/x2"} <= set(first)
    segmenter, card = load_model(trained / "model.safetensors")
    assert card.segmenter == "sed"
    assert card.vocabulary.names == ("ground", "red", "blue")
    assert "text" not in card.training  # its tower is among the weights
    assert any(name.startswith("words.") for name in segmenter.state_dict())


def test_it_labels_with_names_of_its_own_and_others(trained: Path, data: Path, tmp_path: Path) -> None:
    for name, classes in (("same", "ground,red,blue"), ("other", "a red thing,water,blue,ground")):
        out = tmp_path / name
        ask = ["--weights", str(trained), "--images", str(data / "ood"), "--classes", classes, "--out", str(out)]
        assert command("label", "--teacher", "sed", *ask, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
        store = PseudoLabelStore.open(out)
        assert len(list(store.ids())) == 5
        assert store.vocabulary.names == tuple(classes.split(","))
        assert store.label("o0").shape == (48, 48)
    assert command("evaluate", str(trained), "--json", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()


def test_resumed_is_as_never_stopped(trained: Path, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = arguments(data, run, **{"train.save_every": 2})
    assert stop_at(run, 3, signal.SIGKILL, "ovs", "train", *options) == -signal.SIGKILL
    resumed = ["resume", str(run), "train.save_every=3"]
    assert command(*resumed, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    assert rows(run) == rows(trained)
    assert (run / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()
    name = f"step-{STEPS:08d}.pt"
    assert (run / "checkpoints" / name).read_bytes() == (trained / "checkpoints" / name).read_bytes()


def test_a_run_without_words_is_no_teacher(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert command("train", *settings(data, run, train__steps=1), log=tmp_path / "log") == 0
    ask = ["--weights", str(run), "--images", str(data / "ood"), "--classes", "a,b", "--out", str(tmp_path / "out")]
    assert command("label", "--teacher", "sed", *ask, log=tmp_path / "log") == 4
    assert "cannot be asked with words" in (tmp_path / "log.err").read_text()
    assert command("ovs", "train", *settings(data, tmp_path / "no"), log=tmp_path / "log") == 2
    assert "Traceback" not in (tmp_path / "log.err").read_text()
