"""Shard assignment and reports for the processes of one launch, without collectives."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from semiovs.engine.distributed import count_restarts
from semiovs.errors import DataError, UsageError

#: Seconds between two polls for reports of other ranks.
_EVERY = 0.2
#: Seconds between two signs of life of a process, and without one after which it counts as gone.
_BEAT, PATIENCE = 10.0, 120.0
#: Time that the processes of a launch have to meet.
_MEETING = timedelta(minutes=10)
_ADVICE = "what was labelled is in the store, and the same command does the rest"


@dataclass(frozen=True)
class ShardWorker:
    """One of the processes that `torchrun` started, or a single process."""

    rank: int = 0
    size: int = 1
    store: Store | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints and reports."""
        return self.rank == 0

    def take_shard(self, shard: tuple[int, int]) -> tuple[int, int]:
        """Part of shard (i, n) for the current process, itself a shard; the parts of all ranks make up the shard."""
        index, count = shard
        return index + count * self.rank, count * self.size

    def gather_reports(self, own: dict[str, Any], stop: Callable[[], bool] = lambda: False) -> list[dict[str, Any]]:
        """Send plain data to rank 0; on rank 0, wait for the data of all ranks (without the time limit of a
        collective: as long as they give signs of life).

        stop: polled while waiting; once true, the reports so far are returned. Other ranks get their own data back.

        Raises:
            DataError: a rank gives no sign of life, or rank 0 has ended.
        """
        if self.store is None:
            return [own]
        try:
            self.store.set(f"report/{self.rank}", json.dumps(own))
        except RuntimeError:
            raise DataError(f"process 0 of {self.size} has ended; {_ADVICE}") from None
        if not self.is_main:
            return [own]
        found = [own]
        for rank in range(1, self.size):
            if not self._wait_for(rank, stop):
                return found
            found.append(json.loads(self.store.get(f"report/{rank}")))
        return found

    def _wait_for(self, rank: int, stop: Callable[[], bool]) -> bool:
        """Wait for the report of a rank; False once `stop` is true. Raises DataError if the rank is gone."""
        assert self.store is not None
        beat, since = -1, time.monotonic()
        while not self.store.check([f"report/{rank}"]):
            if stop():
                return False
            now = self.store.add(f"beat/{rank}", 0)
            if now != beat:
                beat, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise DataError(
                    f"process {rank} of {self.size} has given no sign of life for {PATIENCE:.0f} s: it was killed or "
                    f"stopped; {_ADVICE}"
                )
            time.sleep(_EVERY)
        return True

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Give signs of life to rank 0 while the body runs."""
        if self.store is None or self.is_main:
            yield
            return
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(self.store, ended), name="beat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()

    def _beat(self, store: Store, ended: threading.Event) -> None:
        try:
            while not ended.is_set():
                store.add(f"beat/{self.rank}", 1)
                ended.wait(_BEAT)
        except RuntimeError:  # rank 0 has ended, which `gather_reports` tells
            return


@contextmanager
def join_shards(environment: Mapping[str, str] = os.environ) -> Iterator[ShardWorker]:
    """Join the processes of this launch; with GPUs, each process gets its own as the current device.

    Raises:
        UsageError: RANK and WORLD_SIZE are set, but not what `torchrun` sets beside them, or the other processes do not
        come.
    """
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        yield ShardWorker()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        store, rank, size = next(rendezvous("env://", timeout=_MEETING))
    except ValueError as error:
        raise UsageError(
            f"WORLD_SIZE is set, but {error}; start with torchrun, or unset WORLD_SIZE and give --shard I/N"
        ) from None
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:200]
        raise UsageError(
            f"WORLD_SIZE is {environment['WORLD_SIZE']}, but its processes did not meet: {reason}; start all of them, "
            "or unset WORLD_SIZE and give --shard I/N"
        ) from None
    worker = ShardWorker(rank, size, PrefixStore(f"semiovs/label/{count_restarts(environment)}", store))
    with worker.beating():
        yield worker
