"""Two arms side by side: the same images, the same masks, as many seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semiovs.comparison.areas import Areas, Floats, ImageAreas, compute_iou
from semiovs.errors import DataError


@dataclass(frozen=True, eq=False)
class PairedAreas:
    """Areas of two arms with S seeds each, summed over the images of each of G groups, for K classes.

    target: (G, K), the same for all; predicted, hit: (2, S, G, K), first the base, then the other arm;
    averaged: (K,) the classes whose mean is the score.
    """

    target: Areas
    predicted: Areas
    hit: Areas
    averaged: NDArray[np.bool_]

    @property
    def seeds(self) -> int:
        """Seeds S of each arm."""
        return int(self.hit.shape[1])

    @property
    def groups(self) -> int:
        """Number of groups G."""
        return len(self.target)

    def score(self) -> Floats:
        """(2, S, 1 + K) in percent, of all groups together: first the mean over the averaged classes, then each IoU."""
        return self._score(self.target.sum(axis=0), self.predicted.sum(axis=2), self.hit.sum(axis=2))

    def score_without(self, part: slice) -> Floats:
        """(2, S, g, 1 + K): the score without one group, for each of the g groups in `part`."""
        predicted, hit = (areas.sum(axis=2, keepdims=True) - areas[:, :, part] for areas in (self.predicted, self.hit))
        return self._score(self.target.sum(axis=0) - self.target[part], predicted, hit)

    def _score(self, target: Areas, predicted: Areas, hit: Areas) -> Floats:
        iou = compute_iou(target, predicted, hit)
        return np.concatenate([iou[..., self.averaged].mean(axis=-1, keepdims=True), iou], axis=-1)


def pair_arms(
    base: Sequence[ImageAreas],
    other: Sequence[ImageAreas],
    groups: Mapping[str, str] | None = None,
    present_only: bool = True,
) -> PairedAreas:
    """Align the images of both arms by id, and sum those of a group; the order of images does not matter.

    base, other: one entry a seed, in the same order of seeds; groups: id -> label of what is one independent sample,
    such as a film or a scene (images by themselves if not given); present_only: average over the classes that occur in
    the masks of the whole set, else over all.

    Raises:
        DataError: different numbers of seeds, images, masks or classes; an image without a group; empty masks.
    """
    if len(base) != len(other) or not base:
        raise DataError(f"{len(base)} and {len(other)} seeds: a comparison needs the same seeds in both arms")
    arms = [[areas.sort() for areas in arm] for arm in (base, other)]
    first = arms[0][0]
    for arm in arms:
        for areas in arm:
            _check_same(first, areas)
    present = first.present()
    if not present.any():
        raise DataError("the masks of the evaluation images hold no class at all; check the class list")
    codes = _number_groups(first.ids, groups)
    return PairedAreas(
        _sum_groups(first.target, codes),
        np.stack([[_sum_groups(areas.predicted, codes) for areas in arm] for arm in arms]),
        np.stack([[_sum_groups(areas.hit, codes) for areas in arm] for arm in arms]),
        present if present_only else np.ones_like(present),
    )


def _check_same(first: ImageAreas, areas: ImageAreas) -> None:
    if first.classes != areas.classes:
        raise DataError(f"{first.classes} and {areas.classes} classes: the arms must have the same class list")
    if first.ids != areas.ids:
        example = min(set(first.ids) ^ set(areas.ids))
        raise DataError(f"image '{example}' was not evaluated with every arm and seed; evaluate all on the same images")
    for index in np.flatnonzero((first.target != areas.target).any(axis=1)):
        raise DataError(f"image '{first.ids[index]}' was evaluated with different masks; evaluate all in the same way")


def _number_groups(ids: Sequence[str], groups: Mapping[str, str] | None) -> NDArray[np.int64]:
    """(N,) number of each image's group."""
    if groups is None:
        return np.arange(len(ids))
    for name in ids:
        if name not in groups:
            raise DataError(f"image '{name}' has no group; give every evaluation image one")
    numbers = {label: number for number, label in enumerate(sorted({groups[name] for name in ids}))}
    return np.array([numbers[groups[name]] for name in ids])


def _sum_groups(areas: Areas, codes: NDArray[np.int64]) -> Areas:
    sums = np.zeros((int(codes.max()) + 1, areas.shape[1]), np.int64)
    np.add.at(sums, codes, areas)
    return sums
