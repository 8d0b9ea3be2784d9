"""Two gloo ranks against one process: averaged half-batch gradients, and (normalise=global) the doubled batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from contract.toy import ARMS, METHOD_NAMES, toy_batch, toy_method
from contract.two_ranks import average_gradients, gradients
from parity.allspark_inputs import without_dropout
from semiovs.data import Batch, take_mirrored
from semiovs.methods import Method, Progress, corrmatch, memory
from semiovs.methods.allspark import AllSpark
from semiovs.methods.draws import Draws

PROGRESS = Progress(1, 10)
CASES = [(name, arm, normalise) for name in METHOD_NAMES for arm in ARMS for normalise in ("rank", "global")]
#: A threshold that moves far enough in one step for the ranks to notice whose confidence it follows.
OPTIONS: dict[str, dict[str, Any]] = {"corrmatch": {"thresh_momentum": 0.5}}


class FixedDraws(Draws):
    """Drops every third channel, or every second for one view and the others for the other, and asks two models: the
    same whatever the batch.
    """

    def channel_dropout(self, features: tuple[Tensor, ...], p: float = 0.5) -> tuple[Tensor, ...]:
        return tuple(f * (torch.arange(f.shape[1]) % 3 > 0).to(f)[None, :, None, None] / p for f in features)

    def ensemble(self, available: int, most: int, *, vary: bool, seed: int | None = None) -> list[tuple[int, float]]:
        return [(1, 0.3), (0, 0.7)]

    def pixels(self, wanted: Tensor, most: int) -> Tensor:
        return torch.arange(len(wanted))

    def noise(self, like: Tensor, std: float) -> Tensor:
        return torch.zeros_like(like)

    def complementary_dropout(self, features: tuple[Tensor, ...], p: float = 0.5) -> tuple[Tensor, ...]:
        def halved(f: Tensor) -> Tensor:
            m1 = 2.0 * (torch.arange(f.shape[1]) % 2).to(f)[None, :, None, None]
            s1, s2 = f.chunk(2)
            return torch.cat([s1 * m1, s2 * (2 - m1)])

        return tuple(halved(f) for f in features)

    def positions(self, count: int, total: int, device: torch.device) -> Tensor:
        return (7 * torch.arange(count, device=device) + 3) % total


def build(name: str, arm: str, normalise: str) -> tuple[Method, list[Batch]]:
    """The same method everywhere, and the two ranks' batches, whose numbers of valid pixels differ."""
    method = toy_method(name, ARMS[arm], norm="group", normalise=normalise, **OPTIONS.get(name, {})).double()
    method.draws = FixedDraws()
    for module in method.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    batches = [toy_batch(method, seed=seed, dtype=torch.float64) for seed in (1, 2)]

    def fewer(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        if tensor.dtype == torch.bool:
            tensor[:, 9:] = False
        if tensor.dtype == torch.int64 and tensor.shape[-1] > 4:
            tensor[:, 12:] = 255
        return tensor

    batches = [batches[0], batches[1].map(fewer)]
    if isinstance(method, AllSpark):  # its memory, which all ranks fill, is read at once
        method.warmup_epoch = 0
        without_dropout(method)
    if (
        not method.views.mixing
    ):  # partners from the batch itself are others in the doubled batch: give those of the halves
        batches = [b if b.unlabeled is None else replace(b, mixing=b.unlabeled.map(take_mirrored)) for b in batches]
    return method, batches


@contextmanager
def alone(case: tuple[str, str, str]) -> Iterator[None]:
    """Inside, what ranks gather is what the two would have sent, though each is played by one process in turn."""
    sent: list[tuple[Tensor, Tensor]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "gather_ranks", lambda *own: sent.append(own) or own)
        for index in range(2):
            method, batches = build(*case)
            method(batches[index], PROGRESS)
        if sent:
            patch.setattr(memory, "gather_ranks", lambda *_: tuple(torch.cat(both) for both in zip(*sent, strict=True)))
        yield


@pytest.fixture(scope="module")
def two_ranks() -> dict[str, Tensor]:
    """Gradients of every case, averaged over two ranks by DDP."""
    return average_gradients(build, CASES, PROGRESS)


def concatenated(a: Any, b: Any) -> Any:
    """Two parts of a batch, or two batches, as one of doubled size."""
    if isinstance(a, Tensor):
        return torch.cat([a, b])
    if isinstance(a, tuple):
        return tuple(concatenated(x, y) for x, y in zip(a, b, strict=True))
    if a is None:
        return None
    return type(a)(**{key: concatenated(value, vars(b)[key]) for key, value in vars(a).items()})


def gradients_of_halves(case: tuple[str, str, str]) -> list[Tensor]:
    """Each rank's own gradients, in one process. What the ranks would tell each other on the way is heard in a first
    round.
    """

    def run(index: int) -> Tensor:
        method, batches = build(*case)
        method(batches[index], PROGRESS).terms.objective().backward()
        return gradients(method)

    if case[0] != "corrmatch":
        with alone(case):
            return [run(index) for index in range(2)]
    told: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corrmatch, "max_over_ranks", lambda values: told.append(values) or values)
        apart = [run(index) for index in range(2)]
        patch.setattr(corrmatch, "max_over_ranks", lambda _: torch.stack(told).amax(0))
        together = [run(index) for index in range(2)]
    assert any(not a.equal(b) for a, b in zip(apart, together, strict=True))  # so the test can tell the difference
    return together


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_ranks(case: tuple[str, str, str], two_ranks: dict[str, Tensor]) -> None:
    _, _, normalise = case
    if normalise == "rank":
        halves = gradients_of_halves(case)
        expected = (halves[0] + halves[1]) / 2
    else:
        method, batches = build(*case)
        method(concatenated(*batches), PROGRESS).terms.objective().backward()
        expected = gradients(method)
    torch.testing.assert_close(two_ranks["/".join(case)], expected, rtol=1e-5, atol=1e-9)


def test_the_normalisers_differ(two_ranks: dict[str, Tensor]) -> None:
    assert not torch.allclose(two_ranks["unimatch/ovs/rank"], two_ranks["unimatch/ovs/global"], rtol=1e-3)
