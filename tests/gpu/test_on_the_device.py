"""What the training loop promises of a device: half precision with a scaler, one rank of many, the same bits again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from contract.toy import toy_batch, toy_method
from e2e import folders
from gpu.devices import DEVICES
from semiovs.config import load_config
from semiovs.config.schema import OptimConfig
from semiovs.engine import training
from semiovs.engine.distributed import World
from semiovs.engine.finite_guard import FiniteGuard
from semiovs.engine.loop import Learner, Recipe, fit
from semiovs.engine.lr_schedule import Schedule
from semiovs.engine.precision import Precision
from semiovs.methods import Method
from semiovs.methods.criterion import CrossEntropy

STEPS = 8


def learner_of(method: Method, world: World, precision: Precision) -> Learner:
    scaler = torch.amp.GradScaler(precision.device_type, init_scale=2.0**40, enabled=precision.name == "fp16")
    return Learner(method, method.optimizers(OptimConfig(lr=1e-3)), scaler, FiniteGuard(world))


def train(learner: Learner, world: World, precision: Precision, total: int = STEPS) -> Learner:
    batch = toy_batch(learner.method).to(world.device)
    recipe = Recipe(Schedule(total), precision, lambda given: given, 1, clip_norm=1.0)
    fit(learner, iter([batch] * total), recipe, world, [])
    return learner


def flat(learner: Learner) -> torch.Tensor:
    return torch.cat([p.detach().float().flatten().cpu() for p in learner.method.parameters()])


@DEVICES
def test_sixteen_bits_begin_with_a_scale_that_overflows_and_find_another(device):
    """Steps whose gradients overflow change no weight; the scale falls until they do not, then the model learns."""
    world, half = World(torch.device(device)), Precision("fp16", device)
    learner = learner_of(toy_method("unimatch").to(device), world, half)
    before, scale = flat(learner), learner.scaler.get_scale()
    train(learner, world, half, 1)
    assert learner.scaler.get_scale() < scale
    assert torch.equal(flat(learner), before), "a step that overflowed was taken"
    train(learner, world, half, 40)
    assert 1 < learner.scaler.get_scale() < scale
    assert torch.isfinite(flat(learner)).all()
    assert not torch.equal(flat(learner), before), "nothing was learnt"


@DEVICES
def test_one_rank_of_many_steps_as_a_process_alone(device, tmp_path):
    """Wrapped for several ranks, with BatchNorm over all of them where the device has that."""
    fp32, alone = Precision("fp32", device), World(torch.device(device))
    wanted = flat(train(learner_of(toy_method("unimatch").to(device), alone, fp32), alone, fp32, 3))
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    try:
        world = World(torch.device(device), 0, 2)  # as if there were another
        method = world.sync_batchnorm(toy_method("unimatch")).to(device)
        synced = [m for m in method.modules() if isinstance(m, torch.nn.SyncBatchNorm)]
        assert bool(synced) == (device == "cuda")
        found = flat(train(learner_of(method, world, fp32), world, fp32, 3))
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.fixture
def deterministic():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@DEVICES
@pytest.mark.usefixtures("deterministic")
def test_the_criterion_has_deterministic_kernels(device):
    logits, mask = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)), torch.ones(2, 5, 6).long()
    mask[0, 0] = 255
    here = CrossEntropy()(logits, mask)
    given = logits.to(device).requires_grad_()
    there = CrossEntropy().to(device)(given, mask.to(device))
    there.backward()
    torch.testing.assert_close(there.detach().cpu(), here)
    assert given.grad.abs().sum() > 0


class _StoppedError(Exception):
    pass


@DEVICES
@pytest.mark.parametrize("name", ["unimatch", "prevmatch", "corrmatch"])
@pytest.mark.usefixtures("deterministic")
def test_a_resumed_run_ends_in_the_same_bits(device, name, tmp_path, monkeypatch):
    data = folders.write(tmp_path / "data")
    own = {"prevmatch": {"method__prev_snapshot": "schedule", "method__prev_every": 2}}.get(name, {})
    options = {
        "method__name": name,
        "train__steps": STEPS,
        "train__device": device,
        "train__deterministic": True,
        **own,
    }

    def start(run: Path) -> None:
        training.train(load_config(None, folders.settings(data, run, **options)), ["test"])

    start(tmp_path / "straight")
    real = training.fit

    def break_off(learner, batches, recipe, world, hooks):
        def stop(learner):
            if learner.step == 5:
                raise _StoppedError

        real(learner, batches, recipe, world, [*hooks, stop])

    monkeypatch.setattr(training, "fit", break_off)
    with pytest.raises(_StoppedError):
        start(tmp_path / "resumed")
    monkeypatch.setattr(training, "fit", real)
    training.resume(tmp_path / "resumed", [], ["test"])
    last = f"checkpoints/step-{STEPS:08d}.pt"
    ends = [hashlib.sha256((tmp_path / run / last).read_bytes()).hexdigest() for run in ("straight", "resumed")]
    assert ends[0] == ends[1]
