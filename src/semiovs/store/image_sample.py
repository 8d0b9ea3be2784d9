"""Pick images of a store for visual inspection."""

from __future__ import annotations

import numpy as np

from semiovs.images.conventions import IGNORE
from semiovs.store.pseudo_labels import PseudoLabelStore
from semiovs.store.stats import sample_evenly


def pick_images(
    store: PseudoLabelStore, count: int, *, of_class: int | None = None, worst: bool = False, sample: int = 1000
) -> list[tuple[str, float | None]]:
    """`count` images as (id, mean confidence of the pixels that are not ignored; None where all are).

    of_class: only images in which the class occurs, and the confidence of its pixels alone; worst: those of the lowest
    confidence among `sample` images, worst first, where otherwise images are taken evenly over the store.

    Raises:
        DataError: a file is missing or damaged.
    """
    ids = [row.id for row in store.rows() if of_class is None or row.pixels.get(of_class)]
    found = [
        (identifier, _mean_confidence(store, identifier, of_class))
        for identifier in sample_evenly(ids, sample if worst else count)
    ]
    if worst:
        found.sort(key=lambda item: -1.0 if item[1] is None else item[1])
    return found[:count]


def _mean_confidence(store: PseudoLabelStore, identifier: str, of_class: int | None) -> float | None:
    label, confidence = store.label(identifier), store.confidence(identifier)
    known = label != IGNORE if of_class is None else label == of_class
    if not known.any():
        return None
    return 1.0 if confidence is None else float(np.mean(confidence[known]) / 255)
