"""Train the cells of a queue in processes of their own; what is done is kept, whatever happens."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from semiovs.comparison.cell_files import finish, is_complete
from semiovs.comparison.queue import Queue, Training
from semiovs.engine.run import Run, RunHeldError, read_metrics
from semiovs.errors import (
    DivergedError,
    InterruptedRunError,
    PreemptedError,
    ResourcesError,
    SemiovsError,
    UsageError,
)
from semiovs.files import sole_writer

#: Called with the steps that are done and all there are.
Progress = Callable[[int, int], None]
#: Seconds between two looks at how far the trainings are.
_LOOK_EVERY = 1.0
#: Seconds that a training is given to save its state after a signal, before it is killed.
_PATIENCE = 120.0
#: What a launcher sets: each training is one process, whoever started the comparison.
_LAUNCHER = (
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
)
#: Exit code of a process that would not train, because the script that it imports calls for trainings itself.
IMPORTED_ANEW = 64


@dataclass(frozen=True)
class Machine:
    """How the trainings are run.

    jobs: at a time; threads: of each, None: those that torch would take (OMP_NUM_THREADS) by the jobs; deadline: of
    `time.monotonic`, when they stop; first_device: number of the first GPU, where there are several; keep_checkpoints:
    of finished trainings.
    """

    jobs: int = 1
    threads: int | None = None
    deadline: float | None = None
    first_device: int = 0
    keep_checkpoints: bool = False

    @classmethod
    def within(cls, minutes: float | None, jobs: int, **how: Any) -> Machine:
        """With a deadline so many minutes from now, or none."""
        return cls(jobs, deadline=None if minutes is None else time.monotonic() + 60 * minutes, **how)


@dataclass
class Outcome:
    """done: finished now or before; left: not finished, because of the deadline or another process; diverged: trainings
    that cannot be finished, and why.
    """

    done: list[Training] = field(default_factory=list)
    left: list[Training] = field(default_factory=list)
    diverged: dict[str, str] = field(default_factory=dict)


def train_cells(plan: Queue, cells: Sequence[Training], machine: Machine, show: Progress) -> Outcome:
    """Train those of `cells` that are not finished; a training that was begun goes on.

    Trainings that another process is making now are waited for. A training that diverges does not hold up the others.

    Raises:
        SemiovsError, OSError: what a training raised; the others are stopped, and have saved their state.
        InterruptedRunError, PreemptedError: a signal; as above.
    """
    outcome = Outcome([cell for cell in cells if is_complete(plan, cell)])
    waiting = [cell for cell in cells if cell not in outcome.done]
    team = _Team(plan, machine, waiting)
    total = sum(map(plan.steps_of, cells))
    try:
        with _raise_on_sigterm():
            while team.is_busy() and not _is_past(machine.deadline):
                team.assign()
                outcome.done += team.collect(outcome.diverged)
                begun = [cell for cell in cells if cell not in outcome.done]
                show(sum(map(plan.steps_of, outcome.done)) + sum(count_steps_done(plan, cell) for cell in begun), total)
    except KeyboardInterrupt:
        raise InterruptedRunError(_say_stopped(plan, "interrupted")) from None
    except _SigTermError:
        raise PreemptedError(_say_stopped(plan, "stopped by SIGTERM")) from None
    finally:
        team.stop()
    outcome.left = [c for c in cells if c not in outcome.done and c.name not in outcome.diverged]
    finished = [cell for cell in outcome.left if is_complete(plan, cell)]  # while the others were stopped
    outcome.done += finished
    outcome.left = [cell for cell in outcome.left if cell not in finished]
    return outcome


def require_finished(plan: Queue, outcome: Outcome) -> None:
    """Raise PreemptedError for trainings that are left, DivergedError for those that diverged."""
    if outcome.left:
        raise PreemptedError(
            f"{len(outcome.left)} trainings of {len(plan.cells())} are left; the same command goes on with them"
        )
    if outcome.diverged:
        raise DivergedError(f"{len(outcome.diverged)} trainings diverged: {', '.join(outcome.diverged)}")


def count_steps_done(plan: Queue, cell: Training) -> int:
    """Steps of an unfinished training that its log tells of."""
    rows = read_metrics(Run(plan.directory(cell)).metrics)
    return max((int(row["step"]) for row in rows), default=0)


def _say_stopped(plan: Queue, how: str) -> str:
    return f"{how}; what is done is kept in {plan.root}, and the same command goes on"


def _is_past(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() >= deadline


class _SigTermError(BaseException):
    """SIGTERM, so that trainings are asked to save their state."""


@contextmanager
def _raise_on_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise _SigTermError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass
class _Worker:
    """A process that trains one cell after the other. cell: what it trains now."""

    process: Any
    pipe: Connection
    cell: Training | None = None


class _Team:
    """The processes of a queue; they are started when there is something to do for them."""

    def __init__(self, plan: Queue, machine: Machine, waiting: list[Training]) -> None:
        self._plan, self._machine, self._waiting = plan, machine, waiting
        self._workers: list[_Worker] = []
        self._context = get_context("spawn")

    def is_busy(self) -> bool:
        """Whether anything waits or is trained."""
        return bool(self._waiting) or any(worker.cell for worker in self._workers)

    def assign(self) -> None:
        """Give the next cells to those who have none; cells that another process trains are left for later."""
        for cell in [cell for cell in self._waiting if not _is_held(self._plan.directory(cell))]:
            worker = next((w for w in self._workers if w.cell is None), None)
            if worker is None and len(self._workers) == self._machine.jobs:
                return
            worker = worker or self._start()
            worker.pipe.send(cell)
            worker.cell = cell
            self._waiting.remove(cell)

    def collect(self, diverged: dict[str, str]) -> list[Training]:
        """Wait a little; return the cells that were finished meanwhile, and note those that diverged."""
        done: list[Training] = []
        pipes = {worker.pipe: worker for worker in self._workers if worker.cell}
        if not pipes:
            time.sleep(_LOOK_EVERY)
        for pipe in wait(list(pipes), timeout=_LOOK_EVERY) if pipes else ():
            worker = pipes[pipe]  # type: ignore[index]
            cell, worker.cell = worker.cell, None
            assert cell is not None
            found = _receive(worker, cell)
            if isinstance(found, RunHeldError):
                self._waiting.append(cell)
            elif isinstance(found, DivergedError):
                diverged[cell.name] = str(found)
            elif found is not None:
                raise found
            else:
                done.append(cell)
        there = [cell for cell in self._waiting if Run(self._plan.directory(cell)).model.is_file()]
        elsewhere = [cell for cell in there if is_complete(self._plan, cell)]  # by another process
        self._waiting = [cell for cell in self._waiting if cell not in elsewhere]
        return done + elsewhere

    def stop(self) -> None:
        """Ask all to end, those that train to save their state first."""
        for worker in self._workers:
            worker.pipe.close()
            if worker.cell is not None:
                worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE)
            worker.process.kill()
            worker.process.join()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        number = len(self._workers)
        process = self._context.Process(target=_work, args=(self._plan, self._machine, number, theirs))
        with _ignoring_sigint():  # what the child does until it handles signals itself
            process.start()
        theirs.close()
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]


@contextmanager
def _ignoring_sigint() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _is_held(run: Path) -> bool:
    """Whether another process writes to the run now."""
    lock = run / ".lock"
    if not lock.exists():
        return False
    with sole_writer(lock) as owner:
        return owner is not None


def _receive(worker: _Worker, cell: Training) -> SemiovsError | OSError | RuntimeError | None:
    """The answer of a worker: None, or what went wrong."""
    found: SemiovsError | OSError | str | None
    try:
        found = worker.pipe.recv()
    except (EOFError, ConnectionResetError):
        worker.process.join()
        if worker.process.exitcode == IMPORTED_ANEW:
            return UsageError(explain_import())
        return ResourcesError(
            f"{cell.name}: the training was killed (exit code {worker.process.exitcode}), perhaps for want of memory; "
            "the same command goes on, fewer --jobs need less"
        )
    return RuntimeError(found) if isinstance(found, str) else found


def explain_import() -> str:
    """What to do about a script that trains whenever it is imported."""
    return (
        "trainings of a comparison run in processes that import this script anew, where it begins to work again: put "
        'what it does below the line: if __name__ == "__main__":'
    )


def _work(plan: Queue, machine: Machine, number: int, pipe: Connection) -> None:
    """Train what is sent, one after the other; answer None, an error, or the traceback of a bug."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches the parent alone, which then asks for a checkpoint, once
    for name in _LAUNCHER:
        os.environ.pop(name, None)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer: SemiovsError | OSError | str | None
    with suppress(EOFError, OSError):
        while True:
            cell = pipe.recv()
            try:
                _train_cell(plan, cell, machine, number)
                answer = None
            except (SemiovsError, OSError) as error:
                answer = error
            except Exception:  # any other is a bug, whose traceback the parent shows
                answer = traceback.format_exc()
            pipe.send(answer)


def _end_with_parent() -> None:
    """Stop the training as by SIGTERM, with its state saved, when the process that started it is gone."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _train_cell(plan: Queue, cell: Training, machine: Machine, number: int) -> None:
    import torch

    from semiovs.engine import training
    from semiovs.engine.checkpoint import Checkpoints

    torch.set_num_threads(machine.threads or max(1, torch.get_num_threads() // machine.jobs))
    loaded, directory = plan.load(cell), plan.directory(cell)
    run, command = Run(directory), ["semiovs", *plan.command]
    device = _choose_device(loaded.config.train.device, machine.first_device + number, torch.cuda.device_count())
    begun = run.config.is_file() and Checkpoints(run.checkpoints).newest_path() is not None
    if begun:
        training.resume(directory, device, command)
    else:
        training.train(plan.load(cell, device), command, overwrite=True)
    finish(run, keep_checkpoints=machine.keep_checkpoints)


def _choose_device(wanted: str, number: int, devices: int) -> list[str]:
    """The setting that gives each worker a GPU of its own, where there are several and nothing else is asked for."""
    return [f"train.device=cuda:{number % devices}"] if devices > 1 and wanted == "auto" else []
