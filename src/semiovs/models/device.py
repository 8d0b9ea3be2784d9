"""Choice of the device that a network runs on."""

from __future__ import annotations

import torch

from semiovs.errors import UsageError

#: What `auto` looks for, in this order, before it takes the CPU: NVIDIA's and AMD's GPUs, Apple's, Intel's.
ACCELERATORS = ("cuda", "mps", "xpu")


def pick_device(requested: torch.device | str, *, rank: int | None = None, shared: bool = False) -> torch.device:
    """Device called `requested`; auto is the GPU where there is one (`ACCELERATORS`).

    rank: number of this process among those of the machine, each of which takes the GPU of its number; None: the
    current GPU. shared: several processes compute together, which GPUs but `cuda` cannot; auto then takes none of them.

    Raises:
        UsageError: no such device here.
    """
    if requested == "auto":
        known = ACCELERATORS[:1] if shared else ACCELERATORS
        requested = next((name for name in known if is_there(name)), "cpu")
    try:
        device = torch.device(requested)
        if device.type == "cuda":
            device = _pick_gpu(device, rank)
        if device.type != "cuda" or rank is None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageError(f"device '{requested}' is not there (auto, cpu, cuda, cuda:1, mps, xpu, …)") from None
    return device


def is_there(accelerator: str) -> bool:
    """Whether this machine has one of `ACCELERATORS`, and torch can use it."""
    module = torch.backends.mps if accelerator == "mps" else getattr(torch, accelerator, None)
    return module is not None and bool(module.is_available())


def _pick_gpu(device: torch.device, rank: int | None) -> torch.device:
    """The GPU by number; nothing is allocated, so that no process ever touches that of another."""
    found = torch.cuda.device_count()
    if found == 0:
        raise UsageError(f"device '{device}' is not there: no GPU is usable here; use auto or cpu")
    index = rank if device.index is None else device.index
    if index is not None and index >= found:
        if device.index is None:
            raise UsageError(f"process {index} wants GPU {index}, but there are {found}; lower --nproc-per-node")
        raise UsageError(f"device '{device}' is not there: this machine has {found} GPU(s)")
    return device if index is None else torch.device("cuda", index)
