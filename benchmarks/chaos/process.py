"""Processes of semiovs: forked from a server that has imported everything, or each a fresh `python -m semiovs`."""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.chaos.harm import Harm, install

_server = mp.get_context("forkserver")
#: Imported once by the server, by whose forks processes begin in a moment. Nothing here computes.
_server.set_forkserver_preload(
    [
        "torch",
        "torch._dynamo",
        "torch.utils.data",
        "semiovs.cli",
        "semiovs.engine.training",
        "semiovs.engine.run_scores",
        "semiovs.methods.unimatch",
        "semiovs.methods.prevmatch",
        "semiovs.ovs",
        "PIL.Image",
        "matplotlib.figure",
        "jinja2",
    ]
)


class Process:
    """`semiovs ARGUMENTS…` with a harm; what it says goes to the file `log`.

    launcher: words after `python` that begin several of it.
    """

    def __init__(
        self, arguments: Sequence[str], log: Path, harm: Harm, *, fresh: bool = False, launcher: Sequence[str] = ()
    ) -> None:
        self.arguments, self._log, self._begin = list(arguments), log, log.stat().st_size if log.exists() else 0
        self._forked, self._fresh = None, None
        if fresh or launcher:
            command = [
                sys.executable,
                *launcher,
                "-m",
                "benchmarks.chaos.process",
                json.dumps(asdict(harm)),
                *self.arguments,
            ]
            with log.open("ab") as file:
                self._fresh = subprocess.Popen(command, stdout=file, stderr=file, cwd=Path(__file__).parents[2])
        else:
            self._forked = _server.Process(target=_forked, args=(self.arguments, str(log), harm))
            self._forked.start()

    @property
    def pid(self) -> int:
        found = self._fresh.pid if self._fresh else self._forked and self._forked.pid
        assert found is not None
        return found

    def is_alive(self) -> bool:
        if self._fresh:
            return self._fresh.poll() is None
        assert self._forked is not None
        return self._forked.is_alive()

    def send(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.is_alive():
            os.kill(self.pid, number)

    def finish(self, within: float = 600) -> int | None:
        """Its exit code, negative for the signal that ended it; None: it hung, and was killed."""
        end = time.monotonic() + within
        while self.is_alive():
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                self.finish(30)
                return None
            if self._forked is not None:
                self._forked.join(0.5)
            else:
                time.sleep(0.01)
        return self._fresh.returncode if self._fresh else self._forked and self._forked.exitcode

    def wait_until(self, condition: Callable[[], bool], within: float = 300) -> bool:
        """Whether `condition()` came true while it was alive."""
        end = time.monotonic() + within
        while self.is_alive() and time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.002)
        return False

    def told(self) -> str:
        """What it has said."""
        with self._log.open("rb") as file:
            file.seek(self._begin)
            return file.read().decode("utf-8", "replace")


def children_of(process: int) -> list[int]:
    """Numbers of the children of a process; none where there is no /proc."""
    path = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in path.read_text("ascii").split()] if path.exists() else []


def _forked(arguments: list[str], log: str, harm: Harm) -> None:
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    mp.set_start_method(None, force=True)  # its loaders are forked from itself, as of a program of its own
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _run(arguments, harm)


def _run(arguments: list[str], harm: Harm) -> None:
    import torch

    torch.set_num_threads(1)
    sys.argv = ["semiovs", *arguments]
    install(harm)
    runpy.run_module("semiovs", run_name="__main__", alter_sys=False)


def _fresh(words: list[str]) -> None:
    fields: dict[str, Any] = json.loads(words[0])
    _run(words[1:], Harm(**fields))


if __name__ == "__main__":
    _fresh(sys.argv[1:])
