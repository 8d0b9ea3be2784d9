"""Statistics of a store: class counts from the index, confidences from a sample of the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.store.pseudo_labels import PseudoLabelStore
from semiovs.store.store_folder import open_folder

#: Bars of the histogram of confidences: [0, 0.1), …, [0.9, 1].
BARS = 10


@dataclass(frozen=True)
class StoreStats:
    """Counts of a store. pixels: by class name; ignored: pixels; images_with: images in which each class occurs."""

    images: int
    pixels: dict[str, int]
    ignored: int
    images_with: dict[str, int]

    @property
    def ignored_share(self) -> float:
        """Share of ignored pixels."""
        total = sum(self.pixels.values()) + self.ignored
        return self.ignored / total if total else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class ConfidenceStats:
    """Confidence of the pixels that are not ignored, over a sample of the images.

    mean: in [0, 1], None if all pixels are ignored; by_class: mean of each class that occurs; histogram: share of the
    pixels in each of ten equal bars; with_confidence: images of the sample with a confidence file (the others count as
    1).
    """

    sampled: int
    with_confidence: int
    mean: float | None
    by_class: dict[str, float]
    histogram: list[float]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def count_classes(store: PseudoLabelStore) -> StoreStats:
    """Count classes from the index, without reading label files."""
    pixels = np.zeros(256, dtype=np.int64)
    images = np.zeros(256, dtype=np.int64)
    for row in store.rows():
        for value, count in row.pixels.items():
            pixels[value] += count
            images[value] += 1
    names = store.vocabulary.names
    return StoreStats(
        len(store),
        {name: int(pixels[i]) for i, name in enumerate(names)},
        int(pixels[IGNORE]),
        {name: int(images[i]) for i, name in enumerate(names)},
    )


def measure_confidence(
    store: PseudoLabelStore, ids: Sequence[str], *, progress: Callable[[int, int], None] | None = None
) -> ConfidenceStats:
    """Measure confidences over the images `ids`, reading their files.

    Raises:
        DataError: a file is missing or damaged.
    """
    table = np.zeros((256, 256), dtype=np.int64)  # class x confidence
    graded = 0
    for done, identifier in enumerate(ids, start=1):
        label, confidence = store.label(identifier), store.confidence(identifier)
        graded += confidence is not None
        known = label != IGNORE
        value = np.full(label.shape, 255, np.uint8) if confidence is None else confidence
        if value.shape != label.shape:
            raise DataError(f"{store.root}: label and confidence of '{identifier}' differ in size")
        pairs = label[known].astype(np.int32) * 256 + value[known]
        table += np.bincount(pairs, minlength=65536).reshape(256, 256)
        if progress is not None:
            progress(done, len(ids))
    values = np.arange(256) / 255
    by_class = {
        name: float(table[i] @ values / table[i].sum())
        for i, name in enumerate(store.vocabulary.names)
        if table[i].any()
    }
    total = table.sum(0)
    number = max(int(total.sum()), 1)
    bars = np.bincount(np.minimum((values * BARS).astype(int), BARS - 1), weights=total, minlength=BARS)
    mean = float(total @ values / number) if total.any() else None
    return ConfidenceStats(len(ids), graded, mean, by_class, [float(share) for share in bars / number])


def sample_evenly(ids: Sequence[str], count: int) -> list[str]:
    """`count` ids, evenly spaced over the list; all of them if there are fewer."""
    if count >= len(ids):
        return list(ids)
    return [ids[(2 * i + 1) * len(ids) // (2 * count)] for i in range(count)]


def count_bytes(root: Path) -> int:
    """Size of all files of a store."""
    return sum(open_folder(root).sizes().values())
