"""Loader processes for a `StepStream`; each batch depends on its step alone, so killed workers can be replaced."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from semiovs.data.batch import Batch
from semiovs.data.machine_limits import (
    PREFETCH,
    SHARED,
    SHARED_ADVICE,
    describe_shared_memory,
    find_limit,
    raise_open_files,
    require_spare_files,
)
from semiovs.errors import DataError, ResourcesError, SemiovsError, is_out_of_memory

#: How often killed workers are replaced.
RESTARTS = 3
#: Seconds between two looks at something else than the workers, and between two lines about a batch that does not come.
_POLL, _TOLD = 1, 60
_LIMIT_ADVICE = "raise the limit, or let the main process load images: data.workers=0"
_ADVICE = "take fewer loader processes (data.workers), or lower train.batch_size or data.crop_size"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Failure:
    """An error raised in a worker, returned as a value: torch would replace its message by a page of traceback."""

    error: SemiovsError


class _ErrorCatchingStream(Dataset["Batch | _Failure | _Packed"]):
    def __init__(self, stream: Dataset[Batch]) -> None:
        self.stream = stream

    def __getitem__(self, step: int) -> Batch | _Failure | _Packed:
        try:
            batch = self.stream[step]
            return batch if get_worker_info() is None else _Packed.of(batch)
        except SemiovsError as error:
            return _Failure(error)
        except (RuntimeError, MemoryError, OSError) as error:
            if (limit := find_limit(error)) is not None:
                return _Failure(ResourcesError(f"{limit}, in a loader process; {_LIMIT_ADVICE}"))
            if "shared memory" in str(error):
                return _Failure(ResourcesError(f"{SHARED} is full{describe_shared_memory()}; {SHARED_ADVICE}"))
            if not is_out_of_memory(error):
                raise
            return _Failure(ResourcesError(f"out of memory while loading images; {_ADVICE}"))


@dataclass(frozen=True)
class _Packed:
    """A batch on its way from a worker, in shared memory and pickled; whoever reads it gets the batch.

    torch's own thread would do both after the worker is done with it, and a batch that fails there, for want of shared
    memory or open files, would be lost without a word, and waited for forever.
    """

    data: bytes

    @classmethod
    def of(cls, batch: Batch) -> _Packed:
        packed = cls(bytes(ForkingPickler.dumps(batch.map(_share))))
        require_spare_files()
        return packed

    def __reduce__(self) -> tuple[Callable[[bytes], Batch], tuple[bytes]]:
        return pickle.loads, (self.data,)


def _share(tensor: Tensor) -> Tensor:
    return tensor.share_memory_()  # type: ignore[no-any-return, no-untyped-call]


class LoadingStoppedError(Exception):
    """A run that is to end did not wait for the batch of micro-step `step`."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def loader(
    stream: Dataset[Batch],
    start: int,
    total: int,
    *,
    workers: int = 0,
    stopping: Callable[[int], bool] = lambda _: False,
) -> Generator[Batch, None, None]:
    """Batches of micro-steps `start` to `total` - 1 in order, in page-locked memory where there is a GPU.

    Killed workers are replaced `RESTARTS` times; the batches stay the same, because each depends on its step alone.
    stopping: asked every second with the micro-step whose batch the workers have not brought yet, whether to wait no
    longer; also called by another thread. Closing the generator ends the workers, even those that do not answer.

    Raises:
        SemiovsError: as raised in a worker, at the step it belongs to; DataError: workers are killed again and again;
        ResourcesError: no memory for a batch, or no more processes or files; LoadingStoppedError: see `stopping`.
    """
    step, deaths = start, 0
    while step < total:
        batches = None
        try:
            batches = _start_loader(stream, range(step, total), workers)
            watch = _Watch(batches, stopping)
            while step < total:
                with watch.waiting_for(step):
                    batch = _wait_for_next(batches, partial(stopping, step))
                if isinstance(batch, _Failure):
                    raise batch.error
                yield batch
                step += 1
        except (RuntimeError, EOFError, OSError) as error:
            if (limit := find_limit(error)) is not None:
                raise ResourcesError(f"{limit}, at micro-step {step}; {_LIMIT_ADVICE}") from None
            if not _is_worker_death(error):
                raise
            if stopping(step):
                raise LoadingStoppedError(step) from None
            deaths += 1
            if deaths > RESTARTS:
                raise DataError(
                    f"loader processes were killed {deaths} times, now at micro-step {step} (out of memory?); "
                    f"use fewer of them: data.workers={workers // 2}{describe_shared_memory()}"
                ) from None
        finally:
            if step < total:
                _kill_workers(batches)


class _Watch:
    """Kills the workers once the run is to end while a batch is awaited.

    A thread does it, because the main one can be inside of a read from a worker that is stopped, which nothing else
    would end.
    """

    def __init__(self, batches: Any, stopping: Callable[[int], bool]) -> None:
        self._batches = weakref.ref(batches)
        self._stopping = stopping
        self._step: int | None = None
        if getattr(batches, "_workers", ()):
            threading.Thread(target=self._look, daemon=True).start()

    @contextmanager
    def waiting_for(self, step: int) -> Iterator[None]:
        self._step = step
        try:
            yield
        finally:
            self._step = None

    def _look(self) -> None:
        while (batches := self._batches()) is not None and not getattr(batches, "_shutdown", False):
            step = self._step
            if step is not None and self._stopping(step):
                _kill_workers(batches)
                return
            del batches
            time.sleep(_POLL)


def _wait_for_next(batches: Any, stopping: Callable[[], bool]) -> Batch | _Failure:
    """The next batch; torch gives up every `_POLL` seconds, so that something else can be looked after."""
    waited = 0
    while True:
        try:
            batch: Batch | _Failure = next(batches)
            return batch
        except RuntimeError as error:
            if "DataLoader timed out" not in str(error):
                raise
        pinning = getattr(batches, "_pin_memory_thread", None)
        if pinning is not None and not pinning.is_alive():  # torch says so only where it waits without a time limit
            raise ResourcesError(
                f"the thread that puts batches into page-locked memory has ended (out of memory?); {_ADVICE}"
            )
        waited += _POLL
        if waited % _TOLD == 0:
            log.warning("waiting for images for %d s: a slow disk, or loader processes that do not answer", waited)
        if stopping():
            raise RuntimeError("DataLoader worker (pid unknown) is not waited for any longer")


def _kill_workers(batches: Any) -> None:
    """End the workers of torch's iterator at once; one that is stopped would be waited for forever."""
    for worker in getattr(batches, "_workers", ()):
        if worker.is_alive():
            worker.kill()


def _is_worker_death(error: Exception) -> bool:
    """Whether an error means that a worker was killed, and not that it raised one ("Caught …")."""
    return "DataLoader worker (pid" in str(error) or not (isinstance(error, RuntimeError) or "Caught" in str(error))


def _start_loader(stream: Dataset[Batch], steps: range, workers: int) -> Iterator[Batch | _Failure]:
    if workers:
        raise_open_files()
    batches = DataLoader(
        _ErrorCatchingStream(stream),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        collate_fn=_return_unchanged,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=PREFETCH if workers else None,
        timeout=_POLL if workers else 0,
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
