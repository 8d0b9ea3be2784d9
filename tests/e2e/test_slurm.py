"""The batch script of examples/slurm with stand-ins for `srun` and `scontrol`: stopped, queued again, finished."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e.folders import settings
from e2e.launcher import command_on_ranks
from semiovs.engine.run import read_metrics

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "train.sbatch"
OPTIONS = {"train__steps": 20, "train__log_every": 1, "train__save_every": 20, "train__eval_every": 20}
#: As srun does, it sends a signal to every process of the step, torchrun and the ranks among them.
SRUN = """#!{python}
import os, signal, subprocess, sys
command = sys.argv[1:][sys.argv[1:].index("python"):]
step = subprocess.Popen(command)
def below(process):
    with open(f"/proc/{{process}}/task/{{process}}/children") as file:
        for child in map(int, file.read().split()):
            yield child
            yield from below(child)
def forward(number, frame):
    for process in [step.pid, *below(step.pid)]:
        os.kill(process, number)
signal.signal(signal.SIGUSR1, forward)
sys.exit(step.wait())
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists() or not shutil.which("bash"), reason="needs Linux and bash"),
]


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """That of a job, whose calls of `scontrol` are lines of tmp_path/scontrol."""
    tools = {
        "srun": SRUN.format(python=sys.executable),
        "scontrol": f'#!/bin/sh\necho "$@" >> {tmp_path}/scontrol\n',
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    (tmp_path / "bin").mkdir()
    for name, text in tools.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SLURM_JOB_ID": "17", "OMP_NUM_THREADS": "1"}


def submit(words: list[str], environment: dict[str, str], log: Path, *, stop_after: int | None = None) -> int:
    """Exit code of the job; stop_after: rows of the run until the script gets SIGUSR1."""
    run = Path(next(word for word in words if word.startswith("run.dir=")).partition("=")[2])
    with (
        log.open("ab") as file,
        subprocess.Popen(["bash", str(SCRIPT), *words], stdout=file, stderr=file, env=environment) as job,
    ):
        end = time.monotonic() + 240
        while stop_after is not None and len(read_metrics(run / "metrics.jsonl")) < stop_after:
            assert job.poll() is None, log.read_text()
            assert time.monotonic() < end
            time.sleep(0.01)
        if stop_after is not None:
            job.send_signal(signal.SIGUSR1)
        return job.wait(timeout=240)


def test_a_job_that_is_stopped_is_queued_again_and_finishes(data, tmp_path, environment):
    run, clean, log = tmp_path / "run", tmp_path / "clean", tmp_path / "log"
    words = settings(data, run, **OPTIONS)
    assert submit(words, environment, log, stop_after=1) == 75, log.read_text()
    assert (tmp_path / "scontrol").read_text() == "requeue 17\n"
    stopped = max(row["step"] for row in read_metrics(run / "metrics.jsonl"))
    assert 1 <= stopped < 20
    assert submit(words, environment, log) == 0, log.read_text()
    assert (tmp_path / "scontrol").read_text() == "requeue 17\n"
    assert f"continuing after step {stopped} of 20" in log.read_text()
    assert command_on_ranks("train", *settings(data, clean, **OPTIONS), directory=tmp_path) == [0, 0]
    ends = [(folder / "checkpoints" / "step-00000020.pt").read_bytes() for folder in (run, clean)]
    assert hashlib.sha256(ends[0]).digest() == hashlib.sha256(ends[1]).digest()


def test_a_mistake_is_neither_repeated_nor_queued_again(data, tmp_path, environment):
    log = tmp_path / "log"
    assert submit([*settings(data, tmp_path / "run"), "train.stepps=3"], environment, log) == 2
    assert not (tmp_path / "scontrol").exists()
    assert "train.stepps" in log.read_text()
