"""Worker processes in front of a `StepStream`; what they return depends on the step alone."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from semiovs.data.batch import Batch
from semiovs.errors import SemiovsError

#: Batches that each worker prepares ahead.
PREFETCH = 2


@dataclass(frozen=True)
class _Failure:
    """An error on its way from a worker; torch would rebuild it with a page of traceback as its message."""

    error: SemiovsError


class _Guarded(Dataset[Batch | _Failure]):
    def __init__(self, stream: Dataset[Batch]) -> None:
        self.stream = stream

    def __getitem__(self, step: int) -> Batch | _Failure:
        try:
            return self.stream[step]
        except SemiovsError as error:
            return _Failure(error)


def loader(stream: Dataset[Batch], start: int, total: int, *, workers: int = 0) -> Iterator[Batch]:
    """Batches of micro-steps `start` to `total` - 1 in order, in page-locked memory where there is a GPU.

    Raises:
        SemiovsError: as raised in a worker, at the step it belongs to.
    """
    batches = DataLoader(
        _Guarded(stream),
        batch_size=None,
        sampler=range(start, total),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # else the loader draws from the global generator, which belongs to the model
    )
    for batch in batches:
        if isinstance(batch, _Failure):
            raise batch.error
        yield batch


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    """One thread a worker; signals are the main process's business (it checkpoints, then stops its workers)."""
    torch.set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
