"""Weights of the members of an ensemble, chosen on labelled images that are left out in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.labeled_image import LabeledImage
from semiovs.similarity.groups import assign_folds
from semiovs.vocab.vocabulary import Vocabulary

#: Number of members -> steps in which a weight goes from 0 to 1; more members: the last.
STEPS = {2: 10, 3: 5, 4: 4}
#: Points of mIoU within which fewer members are preferred.
TIE = 0.1
#: Parts of the labelled images that are left out in turn, and pixels of an image that are judged, at most.
_FOLDS, _PIXELS = 5, 4096

#: Scores (K, P) of a member at pixels of an image; arguments: number of the member, the member after it has learnt,
#: image, places (P,) in its flattened pixels.
Ask = Callable[[int, OpenVocabModel, LabeledImage, NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class ChosenWeights:
    """Weights that sum to 1; miou: in percent on left-out images, of the mix; alone: of each member by itself."""

    weights: tuple[float, ...]
    miou: float
    alone: tuple[float, ...]
    images: int

    def describe(self) -> dict[str, Any]:
        """Plain data."""
        alone = [round(score, 2) for score in self.alone]
        return {"images": self.images, "miou": round(self.miou, 2), "alone": alone}


def choose_weights(
    members: Sequence[OpenVocabModel], labeled: Sequence[LabeledImage], vocabulary: Vocabulary, ask: Ask
) -> ChosenWeights:
    """The weights of a grid with the highest mIoU on left-out images; among equals those of fewer members.

    Raises:
        DataError: fewer than two units of labelled images.
    """
    fold = assign_folds([one.unit for one in labeled], _FOLDS)
    if fold.max(initial=0) == 0:
        raise DataError(
            f"teacher 'ensemble': weight auto: {len(labeled)} labelled image(s) cannot be left out in turn; label two "
            "that differ, or give the weights"
        )
    grid = list_weights(len(members))
    confusions = np.zeros((len(grid), len(vocabulary), len(vocabulary)), np.int64)
    for number in range(int(fold.max()) + 1):
        rest = [one for one, at in zip(labeled, fold, strict=True) if at != number]
        taught = [member.learn(rest, vocabulary) for member in members]
        for image in (one for one, at in zip(labeled, fold, strict=True) if at == number):
            places, truth = _choose_pixels(image)
            parts = np.stack([ask(i, member, image, places) for i, member in enumerate(taught)])
            for which, weights in enumerate(grid):
                found = np.tensordot(np.asarray(weights, np.float32), parts, 1).argmax(axis=0)
                np.add.at(confusions[which], (truth, found), 1)
    scores = [_compute_miou(confusion) for confusion in confusions]
    best = _pick(grid, scores)
    alone = tuple(scores[grid.index(_only(member, len(members)))] for member in range(len(members)))
    return ChosenWeights(grid[best], scores[best], alone, len({one.id for one in labeled}))


def list_weights(members: int) -> list[tuple[float, ...]]:
    """The grid: weights in equal steps that sum to 1, each member alone among them."""
    steps = STEPS.get(members, STEPS[max(STEPS)])
    return [tuple(part / steps for part in parts) for parts in _share_out(steps, members)]


def _share_out(steps: int, members: int) -> Iterator[tuple[int, ...]]:
    for first in product(range(steps + 1), repeat=members - 1):
        if sum(first) <= steps:
            yield (*first, steps - sum(first))


def _pick(grid: Sequence[tuple[float, ...]], scores: Sequence[float]) -> int:
    """Among those within `TIE` of the best the one with fewest members, then with the highest score."""
    near = [i for i, score in enumerate(scores) if score >= max(scores) - TIE]
    return min(near, key=lambda i: (np.count_nonzero(grid[i]), -scores[i], i))


def _only(member: int, members: int) -> tuple[float, ...]:
    return tuple(float(i == member) for i in range(members))


def _choose_pixels(image: LabeledImage) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of pixels whose class is known, evenly spread over the image, and their classes."""
    mask = image.load()[1].numpy().ravel()
    known = np.flatnonzero(mask != IGNORE)
    places = known[np.linspace(0, len(known) - 1, min(len(known), _PIXELS)).round().astype(np.int64)]
    return places, mask[places].astype(np.int64)


def _compute_miou(confusion: NDArray[np.int64]) -> float:
    hit, truth = np.diagonal(confusion), confusion.sum(axis=1)
    there = truth > 0
    union = np.maximum(truth + confusion.sum(axis=0) - hit, 1)
    return float(100 * (hit / union)[there].mean()) if there.any() else 0.0


def take_pixels(planes: Iterator[torch.Tensor], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores (H, W), class by class -> (K, P) at the places."""
    index = torch.from_numpy(places)
    return np.stack([plane.float().cpu().flatten()[index].numpy() for plane in planes])
