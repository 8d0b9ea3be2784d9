"""Shard assignment and reports for the processes of one launch, without collectives."""

from __future__ import annotations

import json
import os
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
from semiovs.errors import UsageError

#: Seconds between two polls for reports of other ranks.
_EVERY = 0.2


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
        collective).

        stop: polled while waiting; once true, the reports so far are returned. Other ranks get their own data back.
        """
        if self.store is None:
            return [own]
        self.store.set(f"report/{self.rank}", json.dumps(own))
        if not self.is_main:
            return [own]
        found = [own]
        for rank in range(1, self.size):
            while not self.store.check([f"report/{rank}"]):
                if stop():
                    return found
                time.sleep(_EVERY)
            found.append(json.loads(self.store.get(f"report/{rank}")))
        return found


@contextmanager
def join_shards(environment: Mapping[str, str] = os.environ) -> Iterator[ShardWorker]:
    """Join the processes of this launch; with GPUs, each process gets its own as the current device.

    Raises:
        UsageError: RANK and WORLD_SIZE are set, but not what `torchrun` sets beside them.
    """
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        yield ShardWorker()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(environment.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    try:
        store, rank, size = next(rendezvous("env://", timeout=timedelta(minutes=30)))
    except ValueError as error:
        raise UsageError(
            f"WORLD_SIZE is set, but {error}; start with torchrun, or unset WORLD_SIZE and give --shard I/N"
        ) from None
    yield ShardWorker(rank, size, PrefixStore(f"semiovs/label/{count_restarts(environment)}", store))
