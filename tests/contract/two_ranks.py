"""Gradients of cases that two gloo ranks average, as a training does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, distributed, multiprocessing

from semiovs.data import Batch
from semiovs.engine.distributed import World
from semiovs.methods import Method, Progress

Case = tuple[str, ...]
#: The same method on every rank, and one batch for each.
Build = Callable[..., tuple[Method, list[Batch]]]


def gradients(method: Method) -> Tensor:
    """All gradients of a method as one vector."""
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


def average_gradients(build: Build, cases: Iterable[Case], progress: Progress) -> dict[str, Tensor]:
    """``a/b/c`` -> gradients of the case (a, b, c), averaged over two ranks by DDP."""
    with tempfile.TemporaryDirectory() as directory:
        multiprocessing.spawn(_play_rank, args=(directory, build, list(cases), progress), nprocs=2)
        found: dict[str, Tensor] = torch.load(Path(directory) / "gradients.pt", weights_only=True)
        return found


def _play_rank(rank: int, directory: str, build: Build, cases: list[Case], progress: Progress) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{directory}/store", rank=rank, world_size=2)
    found = {}
    for case in cases:
        method, batches = build(*case)
        model = World(torch.device("cpu"), rank, 2).wrap(method)
        loss, _ = model(batches[rank], progress, Tensor.backward)
        loss.backward()
        found["/".join(case)] = gradients(method)
    if rank == 0:
        torch.save(found, Path(directory) / "gradients.pt")
    distributed.barrier()
    distributed.destroy_process_group()
