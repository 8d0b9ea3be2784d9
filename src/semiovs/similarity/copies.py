"""Which of many pictures are copies of others: the first in order stays, what is near it goes.

Equal files; equal pictures (hashes within a radius, and the same lightness: `duplicates.py`); pictures that are near by
description.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.similarity import neighbors
from semiovs.similarity.descriptor import LIGHT, MIRROR, Vectors, cosines
from semiovs.similarity.hashes import CORRELATION, Hashes, HashIndex
from semiovs.similarity.neighbors import Places

#: Kinds of copies, in the order in which they are looked for.
EXACT, PERCEPTUAL, EMBEDDING = 1, 2, 3
KINDS = {EXACT: "exact", PERCEPTUAL: "perceptual", EMBEDDING: "embedding"}

#: Queries at once, and nearest earlier pictures of one that are remembered.
_BLOCK, _FEW = 16384, 16


@dataclass(frozen=True)
class Looks:
    """What is compared, one row a picture.

    digest: (N, 32) uint8 SHA-256 of the file; hashes: (N,) perceptual hashes; pictures: (N, 64) descriptions; embedding: (N,
    D), the descriptions again where there is no encoder.
    """

    digest: NDArray[np.uint8]
    hashes: Hashes
    pictures: Vectors
    embedding: Vectors

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, rows: NDArray[Any]) -> Looks:
        return Looks(self.digest[rows], self.hashes[rows], self.pictures[rows], self.embedding[rows])

    @property
    def names(self) -> NDArray[np.void]:
        """(N,) digests as one value each."""
        return np.ascontiguousarray(self.digest).view("V32").ravel()


@dataclass(frozen=True)
class Copies:
    """of: (N,) place of the picture that this is a copy of, -1 if of none; kind: (N,) how it was found, 0 for none."""

    of: Places
    kind: NDArray[np.uint8]


def copies_of(looks: Looks, others: Looks, *, radius: int, threshold: float) -> Copies:
    """Which pictures are copies of `others`, mirrored ones too where no encoder was used; places are those of `others`."""
    found = Copies(np.full(len(looks), -1), np.zeros(len(looks), np.uint8))
    if not len(looks) or not len(others):
        return found
    order = np.argsort(others.names, kind="stable")
    place = np.minimum(np.searchsorted(others.names[order], looks.names), len(order) - 1)
    _settle(found, np.flatnonzero(others.names[order[place]] == looks.names), order[place], EXACT)
    index = HashIndex(others.hashes)
    best = np.full(len(looks), -1)
    for block in _blocks(np.arange(len(looks))):
        pairs = index.query(looks.hashes[block], radius)
        pairs = _alike(looks.pictures[block], others.pictures, pairs)
        best[block[pairs[::-1, 0]]] = pairs[::-1, 1]
    _settle(found, np.flatnonzero(best >= 0), best, PERCEPTUAL)
    views = [others.embedding]
    if looks.embedding.shape == looks.pictures.shape and np.array_equal(looks.embedding[:1], looks.pictures[:1]):
        views.append((others.embedding * MIRROR).astype(np.int8))
    for view in views:
        near, cosine = neighbors.nearest(looks.embedding, view)
        _settle(found, np.flatnonzero(cosine >= threshold), near, EMBEDDING)
    return found


def _settle(found: Copies, rows: Places, of: Places, kind: int) -> None:
    rows = rows[found.of[rows] < 0]
    found.of[rows], found.kind[rows] = of[rows], kind


def copies_within(looks: Looks, *, radius: int, threshold: float) -> Copies:
    """Copies among pictures that stand in the order of preference: each copy is near an earlier picture that is none."""
    found = Copies(np.full(len(looks), -1), np.zeros(len(looks), np.uint8))
    _, first, group = np.unique(looks.names, return_index=True, return_inverse=True)
    _settle(found, np.flatnonzero(first[group] != np.arange(len(looks))), first[group], EXACT)
    for kind, search in (
        (PERCEPTUAL, lambda some: _perceptual(some, radius)),
        (EMBEDDING, lambda some: neighbors.near_vectors(some.embedding, threshold)),
    ):
        while _sift(looks, found, kind, search):
            pass
    return found


def _sift(looks: Looks, found: Copies, kind: int, search: Callable[[Looks], Iterable[Places]]) -> bool:
    """One search among the pictures that are left; True if so many were near one that another search is needed."""
    left = np.flatnonzero(found.of < 0)
    pairs, cut = _first_few(search(looks[left]))
    if not len(pairs):
        return False
    gone = np.zeros(len(left), bool)
    for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if not gone[i] and not gone[j]:
            gone[j] = True
            found.of[left[j]], found.kind[left[j]] = left[i], kind
    return cut


def _first_few(parts: Iterable[Places]) -> tuple[Places, bool]:
    """All pairs, but of those of one later picture only the first few; and whether any were left out."""
    waiting, size, kept, cut = [np.zeros((0, 2), np.int64)], 0, 0, False
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size > 2 * kept + (1 << 20):
            merged, less = _fewer(np.concatenate(waiting))
            waiting, size, kept, cut = [merged], len(merged), len(merged), cut or less
    merged, less = _fewer(np.concatenate(waiting))
    return merged, cut or less


def _fewer(pairs: Places) -> tuple[Places, bool]:
    keys = np.unique(pairs[:, 1] << 32 | pairs[:, 0])  # by the later picture, then by the earlier one
    pairs = np.stack([keys & 0xFFFFFFFF, keys >> 32], axis=1)
    starts = np.searchsorted(pairs[:, 1], pairs[:, 1])
    keep = np.arange(len(pairs)) - starts < _FEW
    return pairs[keep], not bool(keep.all())


def _perceptual(looks: Looks, radius: int) -> Iterator[Places]:
    """Pairs i < j of pictures whose hashes are near and whose lightness is the same."""
    index = HashIndex(looks.hashes)
    _, first, group = np.unique(looks.hashes, return_index=True, return_inverse=True)
    same = np.flatnonzero(first[group] != np.arange(len(looks)))
    yield _alike(looks.pictures, looks.pictures, np.stack([first[group[same]], same], axis=1))
    for block in _blocks(np.sort(first)):  # of equal hashes one asks
        pairs = index.query(looks.hashes[block], radius)
        pairs = np.sort(np.stack([block[pairs[:, 0]], pairs[:, 1]], axis=1), axis=1)
        yield _alike(looks.pictures, looks.pictures, pairs[pairs[:, 0] < pairs[:, 1]])


def _blocks(rows: Places) -> Iterator[Places]:
    """Rows some at a time; few at first, so that a crowd of copies does not come all at once."""
    first, step = 0, 256
    while first < len(rows):
        yield rows[first : first + step]
        first, step = first + step, min(2 * step, _BLOCK)


def _alike(one: Vectors, other: Vectors, pairs: Places) -> Places:
    """The pairs whose lightness correlates as that of copies does; even ones are alike to each other alone."""
    first, second = one[pairs[:, 0], :LIGHT], other[pairs[:, 1], :LIGHT]
    even = ~first.any(axis=1) & ~second.any(axis=1)
    return pairs[even | (cosines(first, second) >= CORRELATION)]
