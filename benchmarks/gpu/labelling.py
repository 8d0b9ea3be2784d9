"""SED with random weights of the published shapes: time and memory of an image, and of the aggregator beside a plain
one.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.gpu.meter import Measured, Place, timed
from benchmarks.plain_sed import plain_aggregator
from semiovs.models.sed.checkpoint import Skeleton
from semiovs.models.sed.fast_aggregation import aggregate
from semiovs.models.sed.network import Sed
from semiovs.models.sed.trained import PUBLISHED_EDGES, PUBLISHED_SIZE, TrainedSed
from semiovs.models.sed_layout import VARIANTS
from semiovs.ovs.sed import SedTeacher
from semiovs.vocab import Vocabulary

#: Templates of a sentence.
_PROMPTS = 80
#: An image as COCO has it.
_SIZE = (480, 640)
#: In place of a published CLIP in a rehearsal.
_TINY = {
    "embed_dim": 16,
    "vision_cfg": {"timm_model_name": "test_convnext", "timm_pool": "", "timm_proj": "linear", "image_size": 64},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def of_sed(size: str, concepts: int, place: Place) -> list[Measured]:
    """Milliseconds of an image in each precision, one by one and eight together; memory; the aggregator alone."""
    source, vocabulary = network(size, place), names(concepts, place)
    what, kinds = f"SED {size}, {concepts} concepts", ("fp32", "tf32", "bf16") if place.on_gpu else ("fp32", "bf16")
    found = []
    for count in place.of((1, 8), (1, 2)):
        variants = {kind: label(source, vocabulary, kind, count, place) for kind in kinds}
        times = place.alternately(**variants)
        found += [timed(f"{what}, {kind}, batch {count}, an image", times, kind, "fp32", work=count) for kind in kinds]
        found += [
            Measured(f"{what}, {kind}, batch {count}, memory", place.megabytes(variants[kind]), "MB") for kind in kinds
        ]
        del variants
        place.forget()
    return found + _aggregator(what, source, vocabulary, place)


def network(size: str, place: Place) -> TrainedSed:
    """Random weights, and random vectors for texts: what they say means nothing, what they cost does not change."""
    torch.manual_seed(0)
    skeleton = Skeleton(place.of(VARIANTS[size][0], _TINY))
    state = {name: _random(name, like) for name, like in skeleton.expected().items()}
    built = skeleton.published(size, skeleton.load(state)).network
    looks = {"size": place.of(PUBLISHED_SIZE, (64, 64)), "edges": place.of(PUBLISHED_EDGES, None)}
    return TrainedSed(built, partial(_texts, dim=built.backbone.dim), **looks)


def names(concepts: int, place: Place) -> Vocabulary:
    """So many concepts, each a class."""
    return Vocabulary.of([f"thing {index}" for index in range(place.of(concepts, 5))])


def label(source: TrainedSed, vocabulary: Vocabulary, kind: str, count: int, place: Place) -> Any:
    """Labels `count` images of 640x480, from pixels to a class and a confidence each."""
    own = replace(source, network=_copy(source.network))
    teacher = SedTeacher.of(own, precision=kind, device=place.device, memory_gb=place.of(8.0, 0.1))
    generator = torch.Generator().manual_seed(0)
    shape = (3, *place.of(_SIZE, (48, 64)))
    images = [torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(count)]
    return lambda: teacher.label(images, vocabulary)


@torch.inference_mode()
def _aggregator(what: str, source: TrainedSed, vocabulary: Vocabulary, place: Place) -> list[Measured]:
    """Ours as the teacher runs it, in fp32, on features of noise."""
    built = _copy(source.network).to(place.device)
    aggregator, side = built.aggregator, place.of(24, 2)
    text = source.embed(vocabulary).to(place.device)
    features = torch.randn(built.backbone.dim, side, side, device=place.device)
    guides = tuple(
        torch.randn(dim, side * 2**i, side * 2**i, device=place.device)
        for i, dim in enumerate(built.backbone.guide_dims, start=1)
    )
    state = aggregator.state_dict()
    variants = {
        "ours": lambda: aggregate(aggregator, features, F.normalize(text, dim=-1), guides, budget=8 * 2**30),
        "plain": lambda: plain_aggregator(state, features[None], text, [guide[None] for guide in guides])[0],
    }
    times = place.alternately(**variants)
    memory = {name: place.megabytes(run) for name, run in variants.items()}
    return [
        timed(f"{what}, aggregator, fp32", times, "ours", "plain"),
        Measured(f"{what}, aggregator, fp32, memory", memory["ours"], "MB", plain=memory["plain"]),
    ]


def _texts(vocabulary: Vocabulary, *, dim: int) -> Tensor:
    return torch.randn(len(vocabulary.prompts), _PROMPTS, dim, generator=torch.Generator().manual_seed(1))


def _copy(network: Sed) -> Sed:
    """The teacher casts what it is given."""
    return copy.deepcopy(network)


def _random(name: str, like: Tensor) -> Tensor:
    """Small numbers for matrices and filters; scales of one and shifts of nought."""
    if like.ndim > 1:
        return 0.02 * torch.randn(like.shape)
    return torch.zeros(like.shape) if name.endswith("bias") else torch.ones(like.shape)
