"""SED's aggregator, sizes of SED-B, 48 concepts, a map of 24×24: time and extra memory against the plain one; equal
labels.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measure import Row, Size, alternately, counted, row
from benchmarks.plain_sed import plain_aggregator
from semiovs.models.sed import Aggregator
from semiovs.models.sed.fast_aggregation import aggregate
from semiovs.peak_memory import find_peak_memory

#: Channels of the text embeddings and of the image's maps in SED-B.
_DIM, _GUIDES, _PROMPTS = 640, (512, 256, 128), 80


class Inputs(NamedTuple):
    """A built aggregator and what it reads of one image."""

    model: Aggregator
    features: Tensor
    text: Tensor
    guides: tuple[Tensor, ...]


def rows(size: Size) -> list[Row]:
    concepts, side = size.of(48, 5), size.of(24, 3)
    given = inputs(concepts, side)
    _check(given)
    what = f"SED-B aggregator, {concepts} concepts, {side}x{side}"
    times = alternately(size, plain=lambda: plain(given), ours=lambda: ours(given))
    memory = [_peak(name, concepts, side) for name in ("ours", "plain")]
    return [row(what, times, "ours", "plain", "s"), counted(f"{what}, extra memory", *memory, "MB")]


def inputs(concepts: int, side: int) -> Inputs:
    """Weights as they start, and features with something of each concept here and there."""
    torch.manual_seed(0)
    model = Aggregator(_PROMPTS, _GUIDES).eval()
    text = torch.randn(concepts, 1, _DIM) + 0.5 * torch.randn(concepts, _PROMPTS, _DIM)
    where = torch.randn(concepts, side, side).relu()
    features = torch.randn(_DIM, side, side) + torch.einsum("thw,tc->chw", where, text[:, 0])
    guides = tuple(torch.randn(dim, side * 2**i, side * 2**i) for i, dim in enumerate(_GUIDES, start=1))
    return Inputs(model, features, text, guides)


@torch.inference_mode()
def plain(given: Inputs) -> Tensor:
    model, features, text, guides = given
    state = model.state_dict()
    return plain_aggregator(state, features[None], text, [guide[None] for guide in guides])[0][0].sigmoid()


@torch.inference_mode()
def ours(given: Inputs) -> Tensor:
    model = given.model.to(memory_format=torch.channels_last)  # the teacher does it once
    return aggregate(model, given.features, F.normalize(given.text, dim=-1), given.guides)


def _check(given: Inputs) -> None:
    first, second = plain(given), ours(given)
    assert torch.allclose(first, second, atol=2e-5, rtol=1e-4)
    agreement = (first.argmax(dim=0) == second.argmax(dim=0)).float().mean()
    assert agreement >= 0.999, f"labels agree on {100 * agreement:.2f} % of the pixels"


def _peak(name: str, concepts: int, side: int) -> float:
    """Megabytes by which one run raises a fresh process's peak."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_here, (name, concepts, side))


def _peak_here(name: str, concepts: int, side: int) -> float:
    torch.set_num_threads(1)
    variants: dict[str, Callable[[Inputs], Tensor]] = {"ours": ours, "plain": plain}
    variants[name](inputs(2, 3))  # libraries are loaded, kernels built
    given = inputs(concepts, side)
    before = find_peak_memory() or 0
    variants[name](given)
    return max((find_peak_memory() or 0) - before, 2**10) / 2**20
