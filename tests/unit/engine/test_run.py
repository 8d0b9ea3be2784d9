"""What a killed process leaves in the directory of a run is no reason to refuse the next one."""

from __future__ import annotations

import socket

import pytest

from semiovs.engine import run as run_module
from semiovs.engine.checkpoint import Checkpoints
from semiovs.engine.run import Run
from semiovs.errors import UsageError

#: No process has this number.
GONE = f"tmp-{socket.gethostname()}-{2**22 - 1}-0"


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_killed_before_its_configuration_was_written_can_be_begun_again(tmp_path):
    run = Run(tmp_path / "run")
    with run.writing():
        (run.directory / f"config.yaml.{GONE}").write_text("half")
    run.check_free()
    (run.directory / "notes.txt").touch()
    with pytest.raises(UsageError, match="is not a run"):
        run.check_free()


def test_a_run_killed_while_it_replaces_another_can_be_begun_again(tmp_path, monkeypatch):
    run = Run.create(tmp_path, "seed: 1\n", ["train"])
    run.metrics.write_text("{}\n")
    (run.checkpoints / "step-00000001.pt").touch()
    monkeypatch.setattr(run_module, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        Run.create(tmp_path, "seed: 2\n", ["train"], overwrite=True)
    assert not run.checkpoints.exists()
    monkeypatch.undo()
    Run.create(tmp_path, "seed: 2\n", ["train"], overwrite=True)
    assert run.config.read_text() == "seed: 2\n"
    assert not run.metrics.exists()


def test_a_file_that_cannot_be_removed_is_a_message(tmp_path):
    Run.create(tmp_path, "seed: 1\n", ["train"])
    (tmp_path / "eval.json").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        Run.create(tmp_path, "seed: 1\n", ["train"], overwrite=True)


def test_half_written_files_beside_the_checkpoints_are_removed(tmp_path):
    run = Run(tmp_path)
    (tmp_path / "scores").mkdir()
    left = [tmp_path / f"metrics.jsonl.{GONE}", tmp_path / "scores" / f"last-ema.npz.{GONE}"]
    for path in left:
        path.touch()
    run.sweep()
    assert not [path for path in left if path.exists()]


def test_a_checksum_without_its_checkpoint_is_removed(tmp_path):
    for name in ("step-00000001.pt.sha256", "step-00000002.pt", "step-00000002.pt.sha256", "best.pt.sha256"):
        (tmp_path / name).touch()
    Checkpoints(tmp_path).sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.pt.sha256",
        "step-00000002.pt",
        "step-00000002.pt.sha256",
    ]
