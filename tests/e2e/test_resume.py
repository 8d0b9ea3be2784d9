"""A run that is killed, stopped or damaged, and resumed, ends in the very bytes of one that never stopped."""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from e2e.folders import CLASSES, settings
from e2e.launcher import command, finish, kill, start_command, train, wait_until
from semiovs.engine.run import read_metrics

STEPS = 24
KILLS = 10
OPTIONS = {"train__steps": STEPS, "train__log_every": 1, "train__save_every": 2}


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory) -> Path:
    """A run that never stopped."""
    run = tmp_path_factory.mktemp("straight") / "run"
    return train(data, run, **OPTIONS)


def final(run: Path) -> str:
    return hashlib.sha256((run / "checkpoints" / f"step-{STEPS:08d}.pt").read_bytes()).hexdigest()


def rows(run: Path) -> list[dict]:
    """Metrics without what depends on the machine."""
    return [{k: v for k, v in row.items() if not k.startswith("wall/")} for row in read_metrics(run / "metrics.jsonl")]


def step_of(run: Path) -> int:
    return max((row["step"] for row in read_metrics(run / "metrics.jsonl")), default=0)


def assert_same(run: Path, straight: Path) -> None:
    assert rows(run) == rows(straight)
    assert final(run) == final(straight)
    assert (run / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    assert not list((run / "checkpoints").glob("*.tmp-*"))


def stop_at(run: Path, step: int, number: int, *arguments: str) -> int:
    """Start, wait for a line of `step`, send the signal; return the exit code."""
    process = start_command(*arguments, log=run.with_name("log"))
    wait_until(lambda: step_of(run) >= step, process)
    assert process.is_alive(), run.with_name("log.err").read_text()
    os.kill(process.pid, number)
    return finish(process)


def test_ten_kills_and_any_number_of_workers_change_nothing(data, straight, tmp_path):
    run, draws = tmp_path / "run", random.Random(0)
    workers = draws.sample([0, 0, 0, 0, 0, 1, 2, 2, 2, 2], KILLS)
    for count in workers:
        ready = any((run / "checkpoints").glob("step-*.pt")) if run.exists() else False
        start = ["resume", str(run)] if ready else ["train", *settings(data, run, **OPTIONS), "run.overwrite=true"]
        target = min(step_of(run) + draws.randint(1, 4), STEPS - 2)
        process = start_command(*start, f"data.workers={count}", log=tmp_path / "log")
        wait_until(lambda target=target: step_of(run) >= target, process)
        time.sleep(draws.random() * 0.03)
        assert process.is_alive(), (tmp_path / "log.err").read_text()
        kill(process)
    assert command("resume", str(run), "data.workers=2", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    assert_same(run, straight)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_polite_stop_saves_and_continues(data, straight, tmp_path, number, code):
    run = tmp_path / "run"
    assert stop_at(run, 5, number, "train", *settings(data, run, **{**OPTIONS, "train__save_every": 1000})) == code
    told = (tmp_path / "log.err").read_text()
    assert "stopped by" in told
    assert "semiovs resume" in told
    assert any((run / "checkpoints").glob("step-*.pt"))
    changed = ["train.save_every=2", f"data.root={data}/."]
    assert command("resume", str(run), *changed, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    assert_same(run, straight)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the loader through /proc")
def test_killed_loaders_are_replaced_and_change_nothing(data, straight, tmp_path):
    run = tmp_path / "run"
    process = start_command("train", *settings(data, run, **OPTIONS, data__workers=1), log=tmp_path / "log")
    for step in (3, 9):
        wait_until(lambda step=step: step_of(run) >= step, process)
        os.kill(loader_of(process.pid), signal.SIGKILL)
    assert finish(process) == 0, (tmp_path / "log.err").read_text()
    assert_same(run, straight)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the loader through /proc")
def test_a_stopped_loader_does_not_keep_a_run_that_is_asked_to_end(data, straight, tmp_path):
    run = tmp_path / "run"
    process = start_command("train", *settings(data, run, **OPTIONS, data__workers=1), log=tmp_path / "log")
    wait_until(lambda: step_of(run) >= 3, process)
    os.kill(loader_of(process.pid), signal.SIGSTOP)
    time.sleep(2)
    assert step_of(run) < STEPS, "it waits for images"
    os.kill(process.pid, signal.SIGTERM)
    begin = time.monotonic()
    assert finish(process, within=60) == 75, (tmp_path / "log.err").read_text()
    assert time.monotonic() - begin < 15
    assert "is saved in" in (tmp_path / "log.err").read_text()
    assert command("resume", str(run), log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    assert_same(run, straight)


def test_two_writers_on_one_run_are_refused(data, straight, tmp_path):
    run = tmp_path / "run"
    process = start_command("train", *settings(data, run, **{**OPTIONS, "train__steps": 100_000}), log=tmp_path / "log")
    wait_until(lambda: step_of(run) >= 3, process)
    try:
        for name, arguments in (
            ("a", ["resume", str(run)]),
            ("b", ["train", *settings(data, run, **OPTIONS), "run.overwrite=true"]),
        ):
            assert command(*arguments, log=tmp_path / name) == 2
            told = (tmp_path / f"{name}.err").read_text()
            assert f"being written by another process (process {process.pid} on " in told
    finally:
        kill(process)
    code = command("train", *settings(data, run, **OPTIONS), "run.overwrite=true", log=tmp_path / "c")
    assert code == 0, (tmp_path / "c.err").read_text()
    assert_same(run, straight)


def loader_of(process: int) -> int:
    """The child that has the command line of its parent: it was forked and never became another program."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    names = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in (str(process), *children)}
    return next(int(child) for child in children if names[child] == names[str(process)])


def test_a_damaged_newest_checkpoint_falls_back(data, straight, tmp_path):
    run = tmp_path / "run"
    assert stop_at(run, 7, signal.SIGKILL, "train", *settings(data, run, **OPTIONS)) == -signal.SIGKILL
    newest = max((run / "checkpoints").glob("step-*.pt"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 3] ^= 255
    newest.write_bytes(content)
    assert command("resume", str(run), log=tmp_path / "log") == 0
    assert f"{newest.name}: damaged" in (tmp_path / "log.err").read_text()
    assert_same(run, straight)


def test_all_damaged_is_an_error_never_a_silent_restart(data, tmp_path):
    run = tmp_path / "run"
    assert stop_at(run, 5, signal.SIGKILL, "train", *settings(data, run, **OPTIONS)) == -signal.SIGKILL
    for path in (run / "checkpoints").glob("*.pt"):
        path.resolve().write_bytes(b"")
    assert command("resume", str(run), log=tmp_path / "log") == 4
    assert "checkpoints are damaged" in (tmp_path / "log.err").read_text()


def test_a_divergence_exits_with_5_and_saves_nothing_that_is_not_finite(data, tmp_path):
    run = tmp_path / "run"
    code = command("train", *settings(data, run, optim__lr=1e25, train__save_every=1), log=tmp_path / "log")
    assert code == 5, (tmp_path / "log.err").read_text()
    told = (tmp_path / "log.err").read_text()
    assert "training diverged at step" in told
    assert "Traceback" not in told
    assert "training diverged at step" in (run / "log.txt").read_text()
    for path in (run / "checkpoints").glob("*.pt"):
        state = torch.load(path, weights_only=True)["method"]
        assert all(torch.isfinite(value).all() for value in state.values())


def test_what_changes_the_mathematics_is_refused(data, straight, tmp_path):
    before = final(straight)
    assert command("resume", str(straight), "optim.lr=0.5", log=tmp_path / "a") == 2
    assert "optim.lr: the run was started with 0.01, now it is 0.5" in (tmp_path / "a.err").read_text()
    classes = json.dumps([*CLASSES[:2], "green"]).replace('"', "")
    assert command("resume", str(straight), f"data.classes={classes}", log=tmp_path / "b") == 4
    assert "other classes" in (tmp_path / "b.err").read_text()
    assert command("train", *settings(data, straight, **OPTIONS), log=tmp_path / "c") == 2
    assert "--overwrite" in (tmp_path / "c.err").read_text()
    assert command("resume", str(tmp_path / "nothing"), log=tmp_path / "d") == 2
    assert final(straight) == before


def test_resuming_a_finished_run_tells_its_result_again(straight, tmp_path):
    before = final(straight)
    assert command("resume", str(straight), "--json", log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    told = json.loads((tmp_path / "log").read_text())
    assert told["step"] == STEPS
    assert set(told["last"]) == {"student", "ema"}
    assert told["best"]["model"] == "ema"
    assert final(straight) == before
