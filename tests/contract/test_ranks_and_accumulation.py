"""Whole steps of every learner: two ranks with batches of b images equal one process with 2 b, where gradients are
accumulated. The network has no BatchNorm, whose statistics each rank has for itself on a CPU; sums are divided by the
pixels of all ranks (`method.normalise=global`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from contract.test_two_ranks import build, concatenated
from contract.toy import METHOD_NAMES
from semiovs.config.schema import OptimConfig
from semiovs.data import Batch
from semiovs.engine.distributed import World
from semiovs.engine.finite_guard import FiniteGuard
from semiovs.engine.loop import Learner, fit
from unit.toy_learner import recipe_of

STEPS = 1
ACCUMULATE = 2
CASES = [(name, arm, "global") for name in METHOD_NAMES for arm in ("alone", "ovs")]
#: Means over each rank's own pixels: not what one process computes, so that the test can tell the difference.
OTHER = ("unimatch", "ovs", "rank")


def batches_of(halves: list[Batch], ranks: tuple[int, ...]) -> Iterator[Batch]:
    """Without end: a micro-step's batch of each rank, the ranks' one after the other; every second one exchanges them."""
    turn = 0
    while True:
        own = [halves[(rank + turn) % 2] for rank in ranks]
        yield own[0] if len(own) == 1 else concatenated(*own)
        turn += 1


def train(name: str, arm: str, normalise: str, world: World) -> dict[str, Tensor]:
    """Weights, averages, memories and optimiser after `STEPS` steps of `ACCUMULATE` batches, and the mean loss."""
    method, halves = build(name, arm, normalise)
    learner = Learner(
        method, method.optimizers(OptimConfig(lr=0.05)), torch.amp.GradScaler(enabled=False), FiniteGuard(world)
    )
    ranks = (0, 1) if world.size == 1 else (world.rank,)
    fit(learner, batches_of(halves, ranks), recipe_of(STEPS, accumulate=ACCUMULATE), world, ())
    found = dict(method.state_dict())
    for index, optimizer in enumerate(learner.optimizers):
        for number, state in optimizer.state_dict()["state"].items():
            found |= {f"optimizer/{index}/{number}/{key}": v for key, v in state.items() if isinstance(v, Tensor)}
    row = learner.meter.read(world)
    return found | {"loss": torch.tensor(row["loss"])}


def play_rank(rank: int, directory: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{directory}/store", rank=rank, world_size=2)
    world = World(torch.device("cpu"), rank, 2)
    ends = {"/".join(case): train(*case, world) for case in (*CASES, OTHER)}
    torch.save(ends, Path(directory) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ends() -> list[dict[str, dict[str, Tensor]]]:
    """Of each rank: case -> where it arrived."""
    with tempfile.TemporaryDirectory() as directory:
        multiprocessing.spawn(play_rank, args=(directory,), nprocs=2)
        return [torch.load(Path(directory) / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_ranks_end_where_one_process_ends(case, ends):
    found, other = (end["/".join(case)] for end in ends)
    expected = train(*case, World(torch.device("cpu")))
    assert found.keys() == other.keys() == expected.keys()
    before = build(*case)[0].state_dict()
    assert any(not torch.equal(expected[key], value) for key, value in before.items())
    for key, value in expected.items():
        assert torch.equal(found[key], other[key]), key
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-9, msg=lambda text, key=key: f"{key}: {text}")


def test_means_over_a_rank_s_own_pixels_end_elsewhere(ends):
    one, other = (ends[0]["/".join((*OTHER[:2], normalise))] for normalise in ("rank", "global"))
    assert not all(torch.allclose(one[key], other[key], rtol=1e-5, atol=1e-9) for key in one)
