"""Loader processes for a `StepStream`; each batch depends on its step alone, so killed workers can be replaced."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from semiovs.data.batch import Batch
from semiovs.errors import DataError, SemiovsError

#: Batches that each worker prepares ahead.
PREFETCH = 2
#: How often killed workers are replaced.
RESTARTS = 3


@dataclass(frozen=True)
class _Failure:
    """An error raised in a worker, returned as a value: torch would replace its message by a page of traceback."""

    error: SemiovsError


class _ErrorCatchingStream(Dataset[Batch | _Failure]):
    def __init__(self, stream: Dataset[Batch]) -> None:
        self.stream = stream

    def __getitem__(self, step: int) -> Batch | _Failure:
        try:
            return self.stream[step]
        except SemiovsError as error:
            return _Failure(error)


def loader(stream: Dataset[Batch], start: int, total: int, *, workers: int = 0) -> Iterator[Batch]:
    """Batches of micro-steps `start` to `total` - 1 in order, in page-locked memory where there is a GPU.

    Killed workers are replaced `RESTARTS` times; the batches stay the same, because each depends on its step alone.

    Raises:
        SemiovsError: as raised in a worker, at the step it belongs to; DataError: workers are killed again and again.
    """
    step, deaths = start, 0
    while step < total:
        try:
            for batch in _start_loader(stream, range(step, total), workers):
                if isinstance(batch, _Failure):
                    raise batch.error
                yield batch
                step += 1
        except (RuntimeError, EOFError, OSError) as error:
            if not _is_worker_death(error):
                raise
            deaths += 1
            if deaths > RESTARTS:
                raise DataError(
                    f"loader processes were killed {deaths} times, now at micro-step {step} (out of memory?); "
                    f"use fewer of them: data.workers={workers // 2}"
                ) from None


def _is_worker_death(error: Exception) -> bool:
    """Whether an error means that a worker was killed, and not that it raised one ("Caught …")."""
    return "DataLoader worker (pid" in str(error) or not (isinstance(error, RuntimeError) or "Caught" in str(error))


def _start_loader(stream: Dataset[Batch], steps: range, workers: int) -> Iterator[Batch | _Failure]:
    batches = DataLoader(
        _ErrorCatchingStream(stream),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_return_unchanged,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # else the loader draws from the global generator, which belongs to the model
    )
    with _keep_child_handler(), _stop_opencv_threads(), _block_termination():
        return iter(batches)


@contextmanager
def _block_termination() -> Iterator[None]:
    """Fork while SIGTERM is blocked: every thread of a worker inherits that, also those that torch starts before
    `_start_worker`.

    One thread that does not block it would let the signal end the worker.
    """
    if not hasattr(signal, "sigwaitinfo"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _stop_opencv_threads() -> Iterator[None]:
    """Fork while OpenCV has no threads: a worker that inherits its pool without the threads waits for them forever."""
    cv2 = sys.modules.get("cv2")
    if cv2 is None:
        yield
        return
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def _keep_child_handler() -> Iterator[None]:
    """Undo torch's SIGCHLD handler, which raises anywhere in the main process when a worker dies.

    Without it, the next request for a batch raises, where the error can be handled.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)


def _return_unchanged(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    """Use one thread, and ignore signals to the whole job: the main process writes a checkpoint, then ends its
    workers.
    """
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # where workers are spawned, nothing was inherited
        threading.Thread(target=_end_when_parent_asks, args=(os.getppid(),), daemon=True).start()


def _end_when_parent_asks(parent: int) -> None:
    """Obey SIGTERM only from the main process; a scheduler sends it to all processes of a job alike."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
