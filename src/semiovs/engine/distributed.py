"""One or many processes: rank and device as set by `torchrun`, and the few collectives that training needs."""

from __future__ import annotations

import hashlib
import inspect
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from semiovs.errors import ConfigError, UsageError
from semiovs.methods.label_counts import count_labels
from semiovs.models.device import pick_device

if TYPE_CHECKING:
    from semiovs.data import Batch
    from semiovs.methods import Learn, Method, Progress

T = TypeVar("T")

#: Seconds for the threads of a process group to let go of the tensors of its last collectives. They need the GIL for
#: that, and torch 2.6 destroys the group with the GIL held: without this pause, 1 of 8 launches on CPUs never ended.
_LET_GO = 0.1


@dataclass(frozen=True)
class World:
    """Device and rank of the current process, and the number of ranks. Only rank 0 writes files."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def wrap(self, method: Method) -> LossModule | nn.parallel.DistributedDataParallel:
        """Wrap the method as a module batch -> loss, whose gradients are averaged over the processes.

        Buffers are not broadcast: memories synchronise by their own collectives. Unused parameters are looked for,
        since methods may leave some out of a step, and because gradient buckets then never change their order: a
        resumed run sums over ranks exactly as an uninterrupted one.
        """
        loss = LossModule(method)
        if self.size == 1:
            return loss
        for parameter in method.parameters():
            dist.broadcast(parameter.data, src=0)  # not the buffers, which DDP would: a resumed rank has its own
        known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # its older name
        options: dict[str, Any] = {buffers: False, "find_unused_parameters": True}
        if "init_sync" in known:  # before torch 2.7 the parameters, all equal by now, are broadcast once more
            options["init_sync"] = False
        return nn.parallel.DistributedDataParallel(loss, **options)

    def sync_batchnorm(self, method: Method) -> Method:
        """Make BatchNorm see all ranks; plain BatchNorm is kept in one process and on the CPU, which has no SyncBN."""
        if self.size == 1 or self.device.type != "cuda":
            return method
        return cast("Method", nn.SyncBatchNorm.convert_sync_batchnorm(method))  # type: ignore[no-untyped-call]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the ranks, elementwise."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.size
        return values

    def max(self, number: int) -> int:
        """Largest of the ranks' numbers (a host synchronisation)."""
        if self.size == 1:
            return number
        value = torch.tensor(number, device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return int(value)

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in their order, on rank 0; nothing on the others."""
        if self.size == 1:
            return [value]
        box: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(value, box)
        return box or []

    @contextmanager
    def sharing_buffers(self, module: nn.Module) -> Iterator[None]:
        """Context in which every rank uses rank 0's buffers (BatchNorm statistics may differ between ranks)."""
        if self.size == 1:
            yield
            return
        buffers = list(module.buffers())
        own = [buffer.clone() for buffer in buffers]
        for buffer in buffers:
            dist.broadcast(buffer, src=0)
        try:
            yield
        finally:
            for buffer, kept in zip(buffers, own, strict=True):
                buffer.copy_(kept)

    def synchronize(self) -> None:
        """Wait until the device has done what it was asked to do (only to take the time)."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type != "cpu":
            torch.get_device_module(self.device).synchronize()

    def barrier(self) -> None:
        """Wait for all ranks (only around files)."""
        if self.size > 1:
            dist.barrier()


class LossModule(nn.Module):
    """A method as a module for DDP: returns the tensor to differentiate, and readings without gradient."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Batch, progress: Progress, learn: Learn) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the 0-d objective, and readings by name: `loss`, `term/<name>`, `log/<name>` of the method, all 0-d,
        and vectors of counts (`count_labels`).

        learn: differentiates the objective of each gradient pass but the last, whose graph is that of what is returned.
        DDP takes these for passes under `no_sync`: it averages the sum of all gradients after the last pass.
        """
        step = self.method(batch, progress, learn)
        total = step.terms.total()
        values = {f"term/{name}": value for name, (_, value) in {**step.terms, **step.terms.extras}.items()}
        values |= {f"log/{name}": value for name, value in step.log.items()} | count_labels(self.method, batch, step)
        return step.terms.objective(), {name: value.detach() for name, value in {"loss": total, **values}.items()}

    def no_sync(self) -> AbstractContextManager[None]:
        """A null context, as one process has nothing to synchronise."""
        return nullcontext()


@contextmanager
def join_processes(device: str = "auto", environment: Mapping[str, str] = os.environ) -> Iterator[World]:
    """Join the processes that `torchrun` started (gloo on CPU, NCCL on GPUs); a single process without it."""
    size = int(environment.get("WORLD_SIZE", "1"))
    try:
        chosen = pick_device(device, rank=int(environment.get("LOCAL_RANK", "0")), shared=size > 1)
    except UsageError as error:
        raise ConfigError(f"train.device: {error}") from None
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size == 1:
        yield World(chosen)
        return
    store, rank, size = next(rendezvous("env://"))
    # After a restart the store may still hold addresses of dead processes: each attempt gets keys of its own.
    store = PrefixStore(f"semiovs/{count_restarts(environment)}", store)
    group: dict[str, Any] = {"store": store, "rank": rank, "world_size": size}
    if chosen.type == "cuda":
        dist.init_process_group("nccl", device_id=chosen, **group)
    else:
        dist.init_process_group("gloo", **group)
    try:
        yield World(chosen, rank, size)
    finally:
        time.sleep(_LET_GO)
        dist.destroy_process_group()


def count_restarts(environment: Mapping[str, str] = os.environ) -> int:
    """Number of times that `torchrun` has restarted the processes after a failure."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", "0"))


def identify_launch(environment: Mapping[str, str] = os.environ) -> str | None:
    """A name of the `torchrun` process that began this one, the same after restarts; None without it."""
    if not is_launched(environment):
        return None
    told = f"{environment['TORCHELASTIC_RUN_ID']}/{socket.gethostname()}/{os.getppid()}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def count_local_processes(environment: Mapping[str, str] = os.environ) -> int:
    """Number of processes of this launch on this machine."""
    return int(environment.get("LOCAL_WORLD_SIZE", "1"))


def is_main(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is rank 0; works outside of `join_processes`."""
    return environment.get("RANK", "0") == "0"


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `torchrun` started this process."""
    return "TORCHELASTIC_RUN_ID" in environment
