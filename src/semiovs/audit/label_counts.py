"""Pixels of each class in each labelled image, and pairs of images that are copies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.data.dataset import read_labeled
from semiovs.errors import DataError
from semiovs.images.image import read_image
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.read_ahead import read_ahead
from semiovs.similarity.hashes import alike_pairs, crop_borders, find_near_hashes, make_thumbnail, perceptual_hash


@dataclass(frozen=True)
class LabelCounts:
    """pixels: (N, K) pixels of each class in each image; copies: (P, 2) pairs i < j of images that are copies."""

    pixels: NDArray[np.int64]
    copies: NDArray[np.int64]


@dataclass(frozen=True)
class _RecordCounts:
    pixels: NDArray[np.int64]
    hash: int
    small: NDArray[np.uint8]


def count_labels(
    manifest: Manifest,
    masks: MaskReader,
    *,
    threads: int = 4,
    progress: Callable[[int, int], None] | None = None,
    read: Callable[[Path], Image.Image] = read_image,
) -> LabelCounts:
    """Read every image (as RGB, by `shown` of `Collection.images`) and mask once.

    Raises:
        DataError: one error for all images or masks that cannot be read or do not fit.
    """
    problems: list[str] = []
    found: list[_RecordCounts] = []
    counted = read_ahead(manifest, lambda record: _count_record(record, masks, read), threads=threads)
    for done, one in enumerate(counted, 1):
        if isinstance(one, DataError):
            problems.append(str(one))
        else:
            found.append(one)
        if progress is not None:
            progress(done, len(manifest))
    if problems:
        raise DataError.of(problems)
    near = find_near_hashes(np.array([one.hash for one in found], np.uint64))
    small = np.array([one.small for one in found], np.uint8)
    pixels = np.array([one.pixels for one in found], np.int64).reshape(-1, masks.num_classes)
    return LabelCounts(pixels, near[alike_pairs(small, near)])


def _count_record(record: Record, masks: MaskReader, read: Callable[[Path], Image.Image]) -> _RecordCounts | DataError:
    try:
        image, mask = read_labeled(record, masks, read)
    except DataError as error:
        return error
    pixels = np.asarray(image)
    counts = np.bincount(mask.ravel(), minlength=256)[: masks.num_classes]
    content = crop_borders(pixels)
    return _RecordCounts(counts, perceptual_hash(content), make_thumbnail(content))
