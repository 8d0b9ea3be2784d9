import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime

import pytest
import torch
from rich.console import Console

from semiovs.duration import format_duration
from semiovs.engine.checkpoint import Checkpoints
from semiovs.engine.checkpoint_state import CheckpointIdentity
from semiovs.engine.hooks import CheckpointHook, EvaluationHook, LogHook, StopHook
from semiovs.engine.loop import BestScore, Learner, fit
from semiovs.engine.run import Run, read_metrics
from semiovs.engine.signals import StopSignals
from semiovs.engine.writers import (
    ConsoleWriter,
    JsonLinesWriter,
)
from semiovs.errors import DivergedError, InterruptedRunError, PreemptedError, UsageError
from semiovs.loggers.choice import Loggers
from semiovs.loggers.logger import LoggedRun
from semiovs.models.weights import read_checkpoint
from unit.toy_learner import CPU, batches, learner_of, recipe_of

IDENTITY = CheckpointIdentity({"vocabulary": None}, {})


class Rows:
    def __init__(self) -> None:
        self.rows: list[Mapping] = []

    def write(self, row: Mapping) -> None:
        self.rows.append(row)


def saver(directory, *, every: int = 100, total: int = 8) -> CheckpointHook:
    return CheckpointHook(Checkpoints(directory), IDENTITY, CPU, every=every, total_steps=total)


def test_log_lines_come_on_time_and_at_the_end():
    rows, recipe = Rows(), recipe_of(8)
    fit(learner_of(), batches(), recipe, CPU, [LogHook(recipe, CPU, [rows], every=3, images=2)])
    assert [row["step"] for row in rows.rows] == [3, 6, 8]
    assert [row["epoch"] for row in rows.rows] == [0, 1, 2]
    row = rows.rows[0]
    assert row["lr/0"] == pytest.approx(0.1 * (1 - 1 / 8) ** 0.9)
    assert {"loss", "term/x", "term/odd", "log/confident", "grad_norm", "wall/images_per_second"} <= set(row)


def test_best_is_the_earliest_of_the_highest_and_the_method_hears_of_it():
    rows, learner = Rows(), learner_of()
    scores = {"student": iter([0.9, 0.8, 0.7, 0.6]), "ema": iter([0.2, 0.5, 0.5, 0.1])}

    def evaluator(model: torch.nn.Module) -> dict:
        name = "student" if model is learner.method.student else "ema"
        model.eval()
        return {"miou": next(scores[name])}

    hook = EvaluationHook(evaluator, [rows], every=2, total_steps=7, default="ema")
    fit(learner, batches(), recipe_of(7), CPU, [hook])
    assert learner.best == BestScore(0.5, 4)
    assert [row["step"] for row in rows.rows] == [2, 2, 4, 4, 6, 6, 7, 7]
    assert [row["step"] for row in rows.rows if row["best"]] == [2, 4]
    assert learner.method.heard[1] == {"step": 4, "miou": 0.5, "best": 1.0, "miou/student": 0.8, "miou/ema": 0.5}
    assert learner.method.training


def test_an_evaluation_is_made_once_after_a_step_and_not_before_the_first():
    rows, learner = Rows(), learner_of()
    hook = EvaluationHook(lambda _: {"miou": 0.5}, [rows], every=2, total_steps=7, default="ema")
    hook(learner)
    learner.step = 2
    hook(learner)
    hook(learner)
    assert learner.scored == {"eval": 2}
    assert [row["step"] for row in rows.rows] == [2, 2]


def test_saves_on_time_at_a_new_best_and_at_the_end(tmp_path):
    def crown(learner: Learner) -> None:
        if learner.step == 4:
            learner.best = BestScore(0.5, 4)

    fit(learner_of(), batches(), recipe_of(8), CPU, [crown, saver(tmp_path, every=3)])
    assert Checkpoints(tmp_path).steps() == [6, 8]
    assert read_checkpoint(tmp_path / "best.pt")["step"] == 4


def test_what_is_not_finite_is_never_saved(tmp_path):
    def poison(learner: Learner) -> None:
        if learner.step == 5:
            learner.method.student[1].running_mean[0] = float("inf")
            learner.method.student[0].weight.data[0] = float("nan")

    with pytest.raises(DivergedError):
        fit(learner_of(), batches(), recipe_of(8), CPU, [poison, saver(tmp_path, every=5)])
    assert Checkpoints(tmp_path).steps() == []


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [
        (signal.SIGTERM, PreemptedError, 75),
        (signal.SIGUSR1, PreemptedError, 75),
        (signal.SIGINT, InterruptedRunError, 130),
    ],
)
def test_a_signal_saves_at_the_step_boundary(tmp_path, number, error, code):
    def kill(learner: Learner) -> None:
        if learner.step == 3:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    save = saver(tmp_path)
    with StopSignals() as signals, pytest.raises(error, match="step 3 is saved") as raised:
        fit(learner_of(), batches(), recipe_of(8), CPU, [kill, save, StopHook(signals, save, CPU, total_steps=8)])
    assert raised.value.exit_code == code
    assert Checkpoints(tmp_path).steps() == [3]
    assert signal.getsignal(number) is before


def test_a_second_signal_ends_the_process_at_once():
    program = (
        "import os, signal, time\nfrom semiovs.engine.signals import StopSignals\n"
        "with StopSignals():\n os.kill(os.getpid(), signal.SIGTERM)\n print('alive', flush=True)\n"
        " os.kill(os.getpid(), signal.SIGINT)\n time.sleep(600)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.returncode) == ("alive\n", 130)


def test_a_launchers_echo_of_a_signal_is_no_second_one():
    with StopSignals(grace=60) as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGINT


def test_a_run_is_never_overwritten_silently(tmp_path):
    run = Run.create(tmp_path / "run", "a: 1\n", ["semiovs", "train"])
    assert json.loads((run.directory / "env.json").read_text())["packages"]["torch"]
    with pytest.raises(UsageError, match=r"semiovs resume .*run'.*--overwrite"):
        Run.create(run.directory, "a: 2\n", [])
    assert run.config.read_text() == "a: 1\n"
    (run.checkpoints / "step-00000001.pt").write_text("old")
    (run.directory / "notes.md").write_text("mine")
    Run.create(run.directory, "a: 2\n", [], overwrite=True)
    assert run.config.read_text() == "a: 2\n"
    assert list(run.checkpoints.iterdir()) == []
    assert (run.directory / "notes.md").read_text() == "mine"


def test_a_directory_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="is not a run"):
        Run.create(tmp_path, "", [], overwrite=True)
    with pytest.raises(UsageError, match=r"no config\.yaml"):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        Run.open(tmp_path / "nothing")


def test_default_directories_differ_and_latest_follows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = datetime(2026, 1, 2, 3, 4, 5)
    first = Run.default_directory("voc", "unimatch", now)
    assert str(first) == "runs/voc/20260102-030405-unimatch"
    Run.create(first, "", []).point_latest()
    second = Run.default_directory("voc", "unimatch", now)
    Run.create(second, "", []).point_latest()
    assert second != first
    assert (tmp_path / "runs/voc/latest").resolve() == second.resolve()


def test_metrics_after_the_resumed_step_are_cut_with_a_torn_line(tmp_path):
    run = Run(tmp_path)
    writer = JsonLinesWriter(run.metrics)
    for step in (1, 2, 3):
        writer.write({"kind": "train", "step": step, "loss": float("nan") if step == 1 else 0.5})
    with run.metrics.open("a") as file:
        file.write('{"kind": "train", "st')
    run.cut_metrics(2)
    assert read_metrics(run.metrics) == [
        {"kind": "train", "step": 1, "loss": None},
        {"kind": "train", "step": 2, "loss": 0.5},
    ]
    for kind in ("eval", "held_out"):
        writer.write({"kind": kind, "step": 2})
    run.cut_metrics(2, pending=["eval"])
    assert [row["kind"] for row in read_metrics(run.metrics)] == ["train", "train", "held_out"]


def test_console_lines_and_curves(tmp_path):
    out = io.StringIO()
    recipe = recipe_of(4)
    lines = ConsoleWriter(4, Console(file=out, width=400))
    events = Loggers(["tensorboard"], LoggedRun(tmp_path))
    fit(learner_of(), batches(), recipe, CPU, [LogHook(recipe, CPU, [lines, events], every=4, images=2)])
    lines.write({"kind": "eval", "step": 4, "model": "ema", "miou": 50.0, "best": True})
    text = out.getvalue()
    assert "step 4/4" in text
    assert "odd " in text
    assert "img/s" in text
    assert "evaluated ema: mIoU 50.00  (best)" in text
    assert any(path.stat().st_size > 100 for path in (tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (59.9, "60 s"), (120, "2 min"), (3661, "1 h 01 min")])
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe\x00", b"[" * 100_000, b'{"step": 2}', b'{"kind": "train", "step": true}', b"7" * 5000, b"null"],
)
def test_damaged_lines_of_metrics_are_left_out_and_counted(tmp_path, caplog, damage):
    run = Run(tmp_path)
    writer = JsonLinesWriter(run.metrics)
    writer.write({"kind": "train", "step": 1})
    with run.metrics.open("ab") as file:
        file.write(damage + b"\n")
    writer.write({"kind": "train", "step": 2})
    expected = [{"kind": "train", "step": 1}, {"kind": "train", "step": 2}]
    assert read_metrics(run.metrics) == expected
    with caplog.at_level("WARNING", logger="semiovs"):
        run.cut_metrics(2)
    assert "1 damaged line(s)" in caplog.text
    assert read_metrics(run.metrics) == expected
    assert len(run.metrics.read_text().splitlines()) == 2


def test_a_lock_ends_with_its_process(tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom semiovs.engine.run import Run\n"
        "with Run(Path(sys.argv[1])).writing():\n print('held', flush=True)\n time.sleep(60)\n"
    )
    run = Run(tmp_path / "run")
    with subprocess.Popen([sys.executable, "-c", program, str(run.directory)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(UsageError, match=rf"being written by another process \(process {other.pid} on "),
            run.writing(),
        ):
            pass
        run.check_free()  # a lock alone makes no run
        other.kill()
    with run.writing():
        child = os.fork()
        if child == 0:
            os._exit(0)  # a child neither has the lock nor takes it away
        os.waitpid(child, 0)
    with run.writing():
        pass
