"""Find copies among images: the first of each group stays, the others are its copies.

Copies are equal files, images with near perceptual hashes and correlated lightness, or images with near descriptors or
embeddings.
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

#: Queries at once, and earlier copies of one image that are kept, at most.
_BLOCK, _FEW = 16384, 16


@dataclass(frozen=True)
class ImageFingerprints:
    """Features by which images are compared, one row per image.

    digest: (N, 32) uint8 SHA-256 of the file; hashes: (N,) perceptual hashes; pictures: (N, 64) descriptors; embedding:
    (N, D) of an encoder; without one, the descriptors again.
    """

    digest: NDArray[np.uint8]
    hashes: Hashes
    pictures: Vectors
    embedding: Vectors

    def __len__(self) -> int:
        return len(self.hashes)

    def __getitem__(self, rows: NDArray[Any]) -> ImageFingerprints:
        return ImageFingerprints(self.digest[rows], self.hashes[rows], self.pictures[rows], self.embedding[rows])

    @property
    def digest_keys(self) -> NDArray[np.void]:
        """(N,) digests as single values, to sort and compare."""
        return np.ascontiguousarray(self.digest).view("V32").ravel()


@dataclass(frozen=True)
class Copies:
    """of: (N,) index of the image that this one is a copy of, -1 for none; kind: (N,) how it was found, 0 for none."""

    of: Places
    kind: NDArray[np.uint8]


def find_copies_of(images: ImageFingerprints, others: ImageFingerprints, *, radius: int, threshold: float) -> Copies:
    """Find images that are copies of `others` (mirrored ones too without an encoder); indices are those of `others`."""
    found = Copies(np.full(len(images), -1), np.zeros(len(images), np.uint8))
    if not len(images) or not len(others):
        return found
    order = np.argsort(others.digest_keys, kind="stable")
    place = np.minimum(np.searchsorted(others.digest_keys[order], images.digest_keys), len(order) - 1)
    _record_copies(found, np.flatnonzero(others.digest_keys[order[place]] == images.digest_keys), order[place], EXACT)
    index = HashIndex(others.hashes)
    best = np.full(len(images), -1)
    for block in _split_blocks(np.arange(len(images))):
        pairs = index.query(images.hashes[block], radius)
        pairs = _keep_alike(images.pictures[block], others.pictures, pairs)
        best[block[pairs[::-1, 0]]] = pairs[::-1, 1]
    _record_copies(found, np.flatnonzero(best >= 0), best, PERCEPTUAL)
    views = [others.embedding]
    if images.embedding.shape == images.pictures.shape and np.array_equal(images.embedding[:1], images.pictures[:1]):
        views.append((others.embedding * MIRROR).astype(np.int8))
    for view in views:
        near, cosine = neighbors.find_nearest(images.embedding, view)
        _record_copies(found, np.flatnonzero(cosine >= threshold), near, EMBEDDING)
    return found


def _record_copies(found: Copies, rows: Places, of: Places, kind: int) -> None:
    rows = rows[found.of[rows] < 0]
    found.of[rows], found.kind[rows] = of[rows], kind


def find_copies_within(images: ImageFingerprints, *, radius: int, threshold: float) -> Copies:
    """Find copies among images in the order of preference: each copy is near an earlier image that is not a copy."""
    found = Copies(np.full(len(images), -1), np.zeros(len(images), np.uint8))
    _, first, group = np.unique(images.digest_keys, return_index=True, return_inverse=True)
    _record_copies(found, np.flatnonzero(first[group] != np.arange(len(images))), first[group], EXACT)
    for kind, search in (
        (PERCEPTUAL, lambda some: _find_perceptual_pairs(some, radius)),
        (EMBEDDING, lambda some: neighbors.near_vectors(some.embedding, threshold)),
    ):
        while _search_once(images, found, kind, search):
            pass
    return found


def _search_once(
    images: ImageFingerprints, found: Copies, kind: int, search: Callable[[ImageFingerprints], Iterable[Places]]
) -> bool:
    """Search once among the images that are left; True if pairs were cut off and another search is needed."""
    left = np.flatnonzero(found.of < 0)
    pairs, cut = _limit_pairs(search(images[left]))
    if not len(pairs):
        return False
    gone = np.zeros(len(left), bool)
    for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].tolist():
        if not gone[i] and not gone[j]:
            gone[j] = True
            found.of[left[j]], found.kind[left[j]] = left[i], kind
    return cut


def _limit_pairs(parts: Iterable[Places]) -> tuple[Places, bool]:
    """Keep the first `_FEW` pairs of each later image; and whether any pair was cut off."""
    waiting, size, kept, cut = [np.zeros((0, 2), np.int64)], 0, 0, False
    for part in parts:
        waiting.append(part)
        size += len(part)
        if size > 2 * kept + (1 << 20):
            merged, less = _keep_first_pairs(np.concatenate(waiting))
            waiting, size, kept, cut = [merged], len(merged), len(merged), cut or less
    merged, less = _keep_first_pairs(np.concatenate(waiting))
    return merged, cut or less


def _keep_first_pairs(pairs: Places) -> tuple[Places, bool]:
    keys = np.unique(pairs[:, 1] << 32 | pairs[:, 0])  # by the later picture, then by the earlier one
    pairs = np.stack([keys & 0xFFFFFFFF, keys >> 32], axis=1)
    starts = np.searchsorted(pairs[:, 1], pairs[:, 1])
    keep = np.arange(len(pairs)) - starts < _FEW
    return pairs[keep], not bool(keep.all())


def _find_perceptual_pairs(images: ImageFingerprints, radius: int) -> Iterator[Places]:
    """Pairs i < j of images with near hashes and correlated lightness."""
    index = HashIndex(images.hashes)
    _, first, group = np.unique(images.hashes, return_index=True, return_inverse=True)
    same = np.flatnonzero(first[group] != np.arange(len(images)))
    yield _keep_alike(images.pictures, images.pictures, np.stack([first[group[same]], same], axis=1))
    for block in _split_blocks(np.sort(first)):  # one query per distinct hash
        pairs = index.query(images.hashes[block], radius)
        pairs = np.sort(np.stack([block[pairs[:, 0]], pairs[:, 1]], axis=1), axis=1)
        yield _keep_alike(images.pictures, images.pictures, pairs[pairs[:, 0] < pairs[:, 1]])


def _split_blocks(rows: Places) -> Iterator[Places]:
    """Split rows into blocks; small ones first, so that many copies of one image do not arrive at once."""
    first, step = 0, 256
    while first < len(rows):
        yield rows[first : first + step]
        first, step = first + step, min(2 * step, _BLOCK)


def _keep_alike(one: Vectors, other: Vectors, pairs: Places) -> Places:
    """Keep pairs with correlated lightness; images of one even colour match only each other."""
    first, second = one[pairs[:, 0], :LIGHT], other[pairs[:, 1], :LIGHT]
    even = ~first.any(axis=1) & ~second.any(axis=1)
    return pairs[even | (cosines(first, second) >= CORRELATION)]
