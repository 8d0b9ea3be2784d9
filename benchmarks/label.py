"""SED's aggregator, sizes of SED-B, 48 concepts, a map of 24×24: time and extra memory against the plain one; a whole
image with 171 concepts, where both have our encoder; equal labels.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu import labelling
from benchmarks.gpu.meter import Place
from benchmarks.measure import Row, Size, alternately, counted, row
from benchmarks.plain_sed import plain_aggregator
from semiovs.models.sed import Aggregator
from semiovs.models.sed.fast_aggregation import aggregate
from semiovs.models.sed.trained import PUBLISHED_SIZE
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
    return [row(what, times, "ours", "plain", "s"), counted(f"{what}, extra memory", *memory, "MB"), *_image(size)]


@torch.inference_mode()
def _image(size: Size) -> list[Row]:
    """From a normalised image of 768x768 to the maps of all concepts."""
    place = Place("cpu", size.tiny, Path())
    source, vocabulary = labelling.network("base", place), labelling.names(171, place)
    network, text = source.network.eval().to(memory_format=torch.channels_last), source.embed(vocabulary)
    image = torch.randn(1, 3, *place.of(PUBLISHED_SIZE, (64, 64)))
    state = network.aggregator.state_dict()

    def plain() -> Tensor:
        features, guides = network.encode(image)
        return plain_aggregator(state, features, text, guides)[0][0].sigmoid()

    def ours() -> Tensor:
        return network.probabilities(image, text)[0]

    _compare(plain(), ours())
    what = f"SED-B image, {len(text)} concepts"
    return [row(what, alternately(size, plain=plain, ours=ours), "ours", "plain", "s")]


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
    _compare(plain(given), ours(given))


def _compare(first: Tensor, second: Tensor) -> None:
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
