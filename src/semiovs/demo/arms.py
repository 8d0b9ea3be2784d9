"""The four trainings of the demo, in two processes of one thread each, so that scores do not depend on the cores."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from semiovs.config import load_config
from semiovs.engine.run import read_metrics
from semiovs.errors import SemiovsError

#: Called with the steps that are done and all there are.
Progress = Callable[[int, int], None]
#: Seconds between two looks at how far the trainings are.
_LOOK_EVERY = 1.0


@dataclass(frozen=True)
class Arm:
    """One training. name: in results.json; title: in the table; short: column; settings: added to the configuration."""

    name: str
    title: str
    short: str
    learns_from: str
    settings: tuple[str, ...]

    def directory(self, root: Path) -> Path:
        """Its run directory in the demo's folder."""
        return root / "runs" / self.name


def train_arms(root: Path, shares: Sequence[Sequence[Arm]], steps: int, show: Progress) -> None:
    """Train each share of the arms by a process of its own, one arm after the other, or all by one on a single core.

    steps: of each arm.

    Raises:
        SemiovsError: what a training raised; the others are stopped.
    """
    arms = [arm for share in shares for arm in share]
    if count_cores() == 1:
        shares = [arms]
    context = get_context("spawn")
    running: dict[int, tuple[Any, Connection]] = {}
    try:
        for share in shares:
            answer, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_train_share, args=(root, share, theirs), daemon=True)
            process.start()
            theirs.close()
            running[process.sentinel] = process, answer
        while running:
            for ended in wait(list(running), timeout=_LOOK_EVERY):
                assert isinstance(ended, int)
                _raise_failure(*running.pop(ended))
            show(sum(_count_steps(arm.directory(root)) for arm in arms), steps * len(arms))
    finally:
        for process, _ in running.values():
            process.kill()
            process.join()


def count_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _train_share(root: Path, arms: Sequence[Arm], answer: Connection) -> None:
    """Train arms in a process of their own, silently; an error is sent."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        _train(root, arms)
    except SemiovsError as error:
        answer.send(error)
    except Exception:  # any other is a bug, whose traceback the parent shows
        answer.send(traceback.format_exc())


def _train(root: Path, arms: Sequence[Arm]) -> None:
    import torch

    from semiovs.engine import training

    torch.set_num_threads(1)
    for arm in arms:
        loaded = load_config(str(root / "semiovs.yaml"), [*arm.settings, f"run.dir={arm.directory(root)}"])
        training.train(loaded, ["semiovs", "demo"])


def _raise_failure(process: Any, answer: Connection) -> None:
    process.join()
    found: SemiovsError | str | None = None
    with suppress(EOFError):
        found = answer.recv()
    if isinstance(found, SemiovsError):
        raise found
    if found is not None or process.exitcode:
        raise RuntimeError(found or f"a training ended with exit code {process.exitcode}")


def _count_steps(run: Path) -> int:
    return max((int(row["step"]) for row in read_metrics(run / "metrics.jsonl")), default=0)
