"""Split one labelled set into evaluation, held-out and training images, with nested labelled fractions of the latter.

Images are drawn one after another such that every prefix of the order holds the classes in about the same shares as the
whole set. So the first eighth of the list is representative, and is contained in the first quarter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.similarity.groups import find_groups

Counts = NDArray[np.int64]

#: Images among which the next one is chosen: few leave room for chance, many follow the shares more closely.
CANDIDATES = 32


@dataclass(frozen=True)
class DataSplit:
    """Indices of the images in each part.

    train: in the order in which they were drawn; labeled: name of a fraction -> a prefix of `train`.
    """

    train: list[int]
    val: list[int]
    held_out: list[int]
    labeled: Mapping[str, list[int]]

    def unlabeled(self, name: str) -> list[int]:
        """Indices of `train` that are unlabelled in the fraction `name`."""
        return self.train[len(self.labeled[name]) :]


def make_split(
    pixels: Counts,
    ids: Sequence[str],
    sizes: Mapping[str, float | int],
    *,
    val: float = 0,
    held_out: float = 0,
    seed: int = 0,
    together: Sequence[Sequence[int]] = (),
) -> DataSplit:
    """Split images.

    pixels: (N, K) number of pixels of each class in each image; ids: of the images, the only thing that ties the draws
    to them, so that the order of the list does not matter; sizes: name -> share (float) or number (int) of training
    images that keep their labels; val, held_out: share or number for evaluation and for decisions while training, taken
    first; together: groups of images that go to one side of these two cuts (frames of one film, copies), whole.

    Raises:
        DataError: parts that are larger than what there is, or nothing is left to train on.
    """
    if len(ids) != len(pixels):
        raise ValueError(f"{len(pixels)} rows for {len(ids)} ids")
    taken: set[int] = set()
    units = _group_units(len(ids), together)
    parts = []
    for name, share in (("val", val), ("held_out", held_out)):
        count = _resolve_count(share, len(ids), name)
        part = _draw_units(pixels, ids, [unit for unit in units if unit[0] not in taken], count, f"{seed}/{name}")
        taken.update(part)
        parts.append(part)
    rest = [index for index in range(len(ids)) if index not in taken]
    if not rest:
        raise DataError("no images are left to train on; make val or held_out smaller")
    train = [rest[i] for i in draw_order(pixels[rest], [ids[i] for i in rest], f"{seed}/train")]
    labeled = {}
    for name, size in sizes.items():
        count = _resolve_count(size, len(train), name)
        if count == 0:
            raise DataError(f"{name}: no image of {len(train)} would be labelled; ask for more")
        labeled[name] = train[:count]
    return DataSplit(train, parts[0], parts[1], labeled)


def draw_order(pixels: Counts, ids: Sequence[str], seed: str) -> list[int]:
    """Order images (N, K) such that every prefix holds the classes as the whole does; a pure function of its arguments.

    Of the next `CANDIDATES` images that show a class for the first time (of all, once there is no such image) the one
    is taken that brings the shares nearest to those of the whole (of pixels, and of images with the class; rare classes
    weigh as much as frequent ones) and shows most new classes: both are compared with the mean of the candidates.
    """
    left = sorted(range(len(ids)), key=lambda i: hashlib.sha256(f"{seed}/{ids[i]}".encode()).digest())
    shown = pixels > 0
    goals = pixels.sum(axis=0) / max(int(pixels.sum()), 1), shown.mean(axis=0)
    have, seen, new = np.zeros(pixels.shape[1]), np.zeros(pixels.shape[1]), shown.sum(axis=1)
    out: list[int] = []
    places: Sequence[int]
    while left:
        places = [place for place, index in enumerate(left) if new[index]] if new.any() else range(len(left))
        places = places[-CANDIDATES:]
        near = [left[place] for place in places]
        ahead = have + pixels[near]
        shares = ahead / np.maximum(ahead.sum(axis=1, keepdims=True), 1)
        away = np.add(_chi_square(shares, goals[0]), _chi_square((seen + shown[near]) / (len(out) + 1), goals[1]))
        chosen = left.pop(places[int(np.argmin(_divide_by_mean(away) - _divide_by_mean(new[near])))])
        new = new - shown[:, shown[chosen] & (seen == 0)].sum(axis=1)
        have += pixels[chosen]
        seen += shown[chosen]
        out.append(chosen)
    return out


def _divide_by_mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Divide by the mean; zeros stay zeros."""
    return np.asarray(values / max(float(values.mean()), 1e-12), np.float64)


def _chi_square(shares: NDArray[np.float64], goal: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, K) shares -> (N,) chi-square distances to `goal` (K,); classes with a goal of 0 do not count."""
    there = goal > 0
    distances: NDArray[np.float64] = ((shares[:, there] - goal[there]) ** 2 / goal[there]).sum(axis=1)
    return distances


def _resolve_count(share: float | int, total: int, name: str) -> int:
    """Number of images: an int as it is, a float as a share of `total`, at least one image if positive."""
    count = share if isinstance(share, int) else max(int(share * total), 1 if share > 0 else 0)
    if not 0 <= count <= total:
        raise DataError(f"{name}: {share:g} of {total} images cannot be taken")
    return count


def _group_units(count: int, together: Sequence[Sequence[int]]) -> list[list[int]]:
    """Group all images; an image outside of all groups is a group of its own."""
    grouped = {index for group in together for index in group}
    units = [sorted(set(group)) for group in together if group]
    if sum(map(len, units)) != len(grouped):
        raise ValueError("groups overlap")
    return [*units, *([index] for index in range(count) if index not in grouped)]


def _draw_units(pixels: Counts, ids: Sequence[str], units: list[list[int]], count: int, seed: str) -> list[int]:
    """Draw whole units in `draw_order` until `count` images are reached; units that do not fit are skipped."""
    if not count:
        return []
    sums = np.array([pixels[unit].sum(axis=0) for unit in units])
    names = [min(ids[index] for index in unit) for unit in units]
    taken: list[int] = []
    for place in draw_order(sums, names, seed):
        if len(taken) + len(units[place]) <= count:
            taken += units[place]
    return sorted(taken)


def pairs_by_group(
    copies: NDArray[np.int64], ids: Sequence[str], group: str | None, option: str = "--group"
) -> NDArray[np.int64]:
    """Pairs of images that stay together: (P, 2) copies, and those whose ids give the same first group of the pattern
    `group`.

    Raises:
        UsageError, DataError: as `find_groups`.
    """
    if group is None:
        return copies
    groups, first = find_groups(ids, group, option), dict[str, int]()
    pairs = [(first.setdefault(groups[name], index), index) for index, name in enumerate(ids)]
    return np.concatenate([copies, np.array(pairs, np.int64).reshape(-1, 2)])
