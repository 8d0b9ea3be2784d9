"""Runs functions and commands in fresh processes that do not pay for imports: a fork server imports once, then
forks.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from e2e.folders import settings

_server = mp.get_context("forkserver")
#: What the server imports once, by names that are installed. Nothing here computes: threads do not survive a fork.
_server.set_forkserver_preload(
    [
        "torch",
        "torch._dynamo",
        "torch.distributed",
        "torch.utils.data",
        "semiovs.engine.experiment",
        "semiovs.methods.unimatch",
        "PIL.Image",
        "matplotlib.figure",
        "jinja2",
    ]
)


def start(
    function: Callable[..., object], *arguments: object, log: Path, environment: Mapping[str, str] | None = None
) -> ForkServerProcess:
    """Start `function(*arguments)` with its standard output in `log` and its standard error in `log`.err."""
    process = _server.Process(target=_call, args=(function, arguments, str(log), dict(environment or {})))
    process.start()
    return process


def start_command(*arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> ForkServerProcess:
    """Start `semiovs ARGUMENTS…`."""
    return start(_command, *arguments, log=log, environment=environment)


def command(*arguments: str, log: Path) -> int:
    """Run `semiovs ARGUMENTS…` to its end and return its exit code."""
    return finish(start_command(*arguments, log=log))


def train(data: Path, run: Path, **values: object) -> Path:
    """`semiovs train` on the folder `data` to its end, with `settings` (``train__steps=60``); returns the run."""
    code = command("train", *settings(data, run, **values), log=run.with_name("log"))
    assert code == 0, run.with_name("log.err").read_text()
    return run


def finish(process: ForkServerProcess, *, within: float = 120) -> int:
    """Wait for `process` and return its exit code."""
    process.join(within)
    if process.exitcode is None:
        kill(process)
        raise TimeoutError(f"the process did not end within {within} s")
    return process.exitcode


def kill(process: ForkServerProcess) -> None:
    """SIGKILL, and wait until it is gone."""
    process.kill()
    process.join(30)


def wait_until(condition: Callable[[], bool], process: ForkServerProcess, *, within: float = 60) -> None:
    """Wait until `condition()` holds or the process has ended."""
    end = time.monotonic() + within
    while process.is_alive() and not condition():
        if time.monotonic() > end:
            raise TimeoutError("the condition did not come true")
        time.sleep(0.002)


def ranks(function: Callable[..., object], *arguments: object, directory: Path, size: int = 2) -> list[int]:
    """Run `function` on `size` ranks of one gloo group; return the exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    processes = [
        start(
            function,
            *arguments,
            log=directory / f"rank{rank}.log",
            environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(size)
    ]
    return [finish(process) for process in processes]


def command_on_ranks(*arguments: str, directory: Path) -> list[int]:
    """Run `semiovs ARGUMENTS…` on two ranks without a launcher; return the exit codes."""
    return ranks(_command, *arguments, directory=directory)


def _command(*arguments: str) -> None:
    from semiovs.cli import run

    sys.exit(run(list(arguments)))


def _call(
    function: Callable[..., object], arguments: tuple[object, ...], log: str, environment: dict[str, str]
) -> None:
    mp.set_start_method(
        None, force=True
    )  # a fork server's child would start its loaders by the server; users' processes do not
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    for number, name in ((1, log), (2, f"{log}.err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    import torch

    torch.set_num_threads(1)
    function(*arguments)
