"""A step never waits for the device: neither for a value of a tensor, nor to bring it a number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from contract.toy import METHOD_NAMES, toy_batch, toy_method
from gpu.devices import ON_GPU, VALUELESS
from semiovs.config.schema import OptimConfig
from semiovs.data import Batch
from semiovs.engine.distributed import World
from semiovs.engine.finite_guard import FiniteGuard
from semiovs.engine.loop import Learner, Recipe, fit
from semiovs.engine.lr_schedule import Schedule
from semiovs.engine.precision import Precision
from semiovs.methods import Method

OOD = {"weight": 1.0}


class _NothingIsSent(TorchDispatchMode):
    """Fails when something of the host becomes a tensor of the device, which waits for it on a GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, out = func.overloadpacket.__name__, func(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_"):
            given = args[1] if name == "copy_" else args[0]
            assert (given.device.type, out.device.type) != ("cpu", "meta"), "a tensor of the host goes to the device"
        return out


class _NothingIsMade(TorchFunctionMode):
    """The same for numbers of Python."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.tensor, torch.as_tensor):
            assert out.device.type != "meta", "numbers of Python become a tensor of the device"
        return out


@contextmanager
def without_waiting(device: str) -> Iterator[None]:
    if device == "meta":
        with _NothingIsSent(), _NothingIsMade():
            yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.fixture(autouse=True)
def no_autocast_without_values(monkeypatch):
    """`meta` has no autocast; in fp32 there is none to speak of."""
    real = torch.autocast

    def autocast(device_type: str, *given: Any, **options: Any) -> Any:
        return nullcontext() if device_type == "meta" else real(device_type, *given, **options)

    monkeypatch.setattr(torch, "autocast", autocast)


def train(method: Method, device: str, config: OptimConfig, precision: str = "fp32") -> Learner:
    """One step that may wait (optimisers and memories are made in it), then two that must not."""
    method, world = method.to(device), World(torch.device(device))
    chosen = Precision(precision, device)  # type: ignore[arg-type]
    learner = Learner(method, method.optimizers(config), chosen.scaler(), FiniteGuard(world))
    batch = toy_batch(method)
    batch = batch.pin_memory() if device == "cuda" else batch.to(device)

    def prepare(given: Batch) -> Batch:
        return given.to(device, non_blocking=True)

    def go_on(total: int) -> None:
        recipe = Recipe(Schedule(total), chosen, prepare, 1, clip_norm=1.0)
        fit(learner, iter([batch] * total), recipe, world, [])

    go_on(1)
    with without_waiting(device):
        go_on(3)
    return learner


@VALUELESS
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_no_method_waits(name, device):
    """With OOD images: the pass of a step without them is part of it."""
    learner = train(toy_method(name, OOD, ema_decay=0.9), device, OptimConfig())
    assert learner.step == 3
    assert len(learner.meter._sums) >= 1


@VALUELESS
def test_no_optimiser_waits(device):
    assert train(toy_method("unimatch"), device, OptimConfig(name="adamw")).step == 3


@pytest.mark.parametrize("device", [ON_GPU])
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_no_method_waits_in_bf16(name, device):
    assert train(toy_method(name, OOD), device, OptimConfig(), "bf16").step == 3


WAITING = {
    "item": lambda x: x.sum().item(),
    "mask": lambda x: x[x > 0],
    "bool": lambda x: bool(x.any()),
    "list": lambda x: x.tolist(),
    "made": lambda x: x + torch.tensor([1.0], device=x.device),
    "sent": lambda x: x + torch.ones(1).to(x.device),
}


@VALUELESS
@pytest.mark.parametrize("what", WAITING)
def test_who_waits_is_found(what, device):
    x = torch.ones(3, device=device)
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)), without_waiting(device):
        WAITING[what](x)
