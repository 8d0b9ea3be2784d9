"""Loader processes are started in other ways on other systems (Windows and macOS: spawn); the batches are the same."""

import os
import subprocess
import sys

import pytest

from e2e.folders import settings

_PROGRAM = """
import sys
import torch.multiprocessing
torch.multiprocessing.set_start_method(sys.argv[1])
from semiovs.cli.app import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def expected(data, tmp_path_factory):
    """The weights after a few steps without loader processes."""
    return _train("fork", data, tmp_path_factory.mktemp("none") / "run", workers=0)


def test_workers_may_be_spawned(data, expected, tmp_path):
    assert _train("spawn", data, tmp_path / "run", workers=2) == expected


def _train(method, data, run, *, workers):
    arguments = settings(data, run, data__workers=workers, train__steps=4, train__eval_every=4)
    command = [sys.executable, "-c", _PROGRAM, method, "train", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    return (run / "model.safetensors").read_bytes()
