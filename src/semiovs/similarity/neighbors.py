"""Nearest neighbours by cosine: exact for a few thousand vectors, by cells for up to millions.

Products of 8-bit vectors are integers below 2^24, which float32 holds exactly, so results do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from semiovs.similarity.descriptor import Vectors, lengths, quantize

#: Products held in memory at once.
_TOGETHER = 1 << 23
#: Up to this many vectors, every pair is compared.
_EXACT = 4096
_ROUNDS, _SAMPLES = 4, 32

Places = NDArray[np.int64]


def find_nearest(vectors: Vectors, others: Vectors) -> tuple[Places, NDArray[np.float64]]:
    """Index of the nearest of `others` (M, D), M > 0, for each of (N, D), and the cosine."""
    place = np.zeros(len(vectors), np.int64)
    cosine = np.zeros(len(vectors))
    table, long = others.astype(np.float32), lengths(others)
    step = max(1, _TOGETHER // len(others))
    for first in range(0, len(vectors), step):
        block = vectors[first : first + step]
        found = (block.astype(np.float32) @ table.T) / long
        place[first : first + step] = best = found.argmax(axis=1)
        cosine[first : first + step] = found[np.arange(len(block)), best] / lengths(block)
    return place, cosine


def near_vectors(vectors: Vectors, threshold: float) -> Iterator[Places]:
    """Pairs (P, 2), i < j, of rows (N, D) with at least this cosine, some at a time; each pair once or more.

    Above 4,096 rows they are sorted into cells around means (as many as the root of their number), and a row is
    compared with those whose own or second cell is its own: near pairs are then found but for a few at the threshold.
    """
    if len(vectors) <= _EXACT:
        every = np.arange(len(vectors))
        yield from _find_near_rows(vectors, every, every, threshold)
        return
    own, second = _assign_cells(vectors)
    homes, guests = np.argsort(own, kind="stable"), np.argsort(second, kind="stable")
    count = int(max(own.max(), second.max())) + 1
    home_ends, guest_ends = (np.cumsum(np.bincount(cell, minlength=count)) for cell in (own, second))
    for cell in range(count):
        members = homes[home_ends[cell - 1] if cell else 0 : home_ends[cell]]
        visitors = guests[guest_ends[cell - 1] if cell else 0 : guest_ends[cell]]
        yield from _find_near_rows(vectors, members, np.concatenate([members, visitors]), threshold)


def _find_near_rows(vectors: Vectors, rows: Places, others: Places, threshold: float) -> Iterator[Places]:
    """Near pairs of some rows with others, which begin with the same rows."""
    if not len(rows):
        return
    table, long = vectors[others].astype(np.float32), lengths(vectors[others]) * threshold
    step = max(1, _TOGETHER // len(others))
    for first in range(0, len(rows), step):
        block = vectors[rows[first : first + step]]
        near = block.astype(np.float32) @ table.T >= lengths(block)[:, None] * long
        # pairs among the rows themselves occur twice
        near[:, : len(rows)] &= np.arange(len(rows)) > np.arange(first, first + len(block))[:, None]
        i, j = near.nonzero()
        if len(i):
            yield np.sort(np.stack([rows[first + i], others[j]], axis=1), axis=1)


def _assign_cells(vectors: Vectors) -> tuple[Places, Places]:
    """Nearest and second nearest mean of each row; the means are fitted to an even sample (Lloyd's algorithm)."""
    count = int(np.sqrt(len(vectors)))
    sample = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), count * _SAMPLES)).astype(np.int64)]
    means = sample[:: len(sample) // count][:count]
    for _ in range(_ROUNDS):
        place, _ = find_nearest(sample, means)
        sums = np.zeros(means.shape)
        np.add.at(sums, place, sample / lengths(sample)[:, None])
        means = np.where((np.bincount(place, minlength=count) > 0)[:, None], quantize(sums), means)
    own, second = np.zeros((2, len(vectors)), np.int64)
    table, long = means.astype(np.float32), lengths(means).astype(np.float32)
    step = max(1, _TOGETHER // count)
    for first in range(0, len(vectors), step):
        found = (vectors[first : first + step].astype(np.float32) @ table.T) / long
        rows = np.arange(len(found))
        own[first : first + step] = best = found.argmax(axis=1)
        found[rows, best] = -np.inf
        second[first : first + step] = found.argmax(axis=1)
    return own, second
