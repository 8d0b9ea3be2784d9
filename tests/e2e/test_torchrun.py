"""The real launcher: two gloo processes, one of them killed; torchrun starts both again and the run ends as if nothing
had been.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.folders import settings
from e2e.launcher import command_on_ranks
from semiovs.engine.run import read_metrics

OPTIONS = {"train__steps": 14, "train__log_every": 1, "train__save_every": 2, "method__name": "fixmatch"}


def launch(data: Path, run: Path, meddle: Callable[[subprocess.Popen], None]) -> str:
    """Train on two ranks by torchrun; return what was said."""
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "1",
    ]
    arguments = [*torchrun, "-m", "semiovs", "train", *settings(data, run, **OPTIONS)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = run.with_name(f"{run.name}.log")
    with log.open("wb") as file, subprocess.Popen(arguments, stdout=file, stderr=file, env=environment) as process:
        try:
            meddle(process)
            code = process.wait(timeout=300)
        finally:
            process.kill()
    assert code == 0, log.read_text()
    return log.read_text()


def rows(run: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.startswith("wall/")} for row in read_metrics(run / "metrics.jsonl")]


def final(run: Path) -> str:
    return hashlib.sha256((run / "checkpoints" / "step-00000014.pt").read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_killed_rank_is_restarted_and_changes_nothing(data, tmp_path):
    clean, broken = tmp_path / "clean", tmp_path / "broken"
    assert command_on_ranks("train", *settings(data, clean, **OPTIONS), directory=tmp_path) == [0, 0]
    assert [row["step"] for row in rows(clean) if row["kind"] == "train"] == list(range(1, 15))

    def kill_rank_one(process: subprocess.Popen) -> None:
        end = time.monotonic() + 240
        while max((row["step"] for row in read_metrics(broken / "metrics.jsonl")), default=0) < 5:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout
        os.kill(int(children.split()[-1]), signal.SIGKILL)

    told = launch(data, broken, kill_rank_one)
    assert "continuing after step" in told
    assert "2 process(es) on cpu" in told
    assert told.count("next: semiovs evaluate") == 1
    assert rows(broken) == rows(clean)
    assert final(broken) == final(clean)
