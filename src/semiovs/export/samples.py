"""Images that go through the model and its file, as the file takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from semiovs.config import load_config
from semiovs.data.collection import Collection
from semiovs.data.items import read_labeled
from semiovs.errors import DataError, UsageError
from semiovs.evaluation.evaluate import normalize_image
from semiovs.images.conventions import IGNORE
from semiovs.images.readers import Picture
from semiovs.images.record import Record
from semiovs.inference.prediction_files import list_jobs
from semiovs.models.exported.segmenter import pack
from semiovs.models.weights import ModelCard
from semiovs.registry import DATASETS, lookup

T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One image as a batch of the file's kind, and its mask (H, W) uint8, 255 = ignore, where there is one."""

    image: NDArray[Any]
    mask: NDArray[np.uint8] | None


def read_run_images(folder: Path | None) -> Collection | None:
    """The images of a run; None where there is no run.

    Raises:
        DataError: they are not where they were.
    """
    if folder is None:
        return None
    config = load_config(str(folder)).config
    found: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data).read()
    return found


def choose_samples(
    images: Collection | None,
    folder: Path | None,
    card: ModelCard,
    *,
    most: int,
    kind: str,
    size: tuple[int, int] | None,
    labeled: bool = False,
) -> list[Sample]:
    """At most `most` images, evenly over the list: those in `folder`, else of the run, for evaluation or `labeled`.

    size: (height, width) of the centre that is cut out; None: whole images.

    Raises:
        UsageError: there are no images; DataError: they cannot be read.
    """
    if folder is not None:
        paths = [job.image for job in list_jobs([folder], Path("none"), recursive=True)]
        return [make_sample(card.images(path), None, card, kind, size) for path in _spread(paths, most)]
    manifest = None if images is None else images.labeled if labeled else images.val or images.labeled
    if images is None or manifest is None:
        raise UsageError("--images DIR: the weights lie in no run, so images of your own are needed to compare with")
    if difference := card.vocabulary.difference(images.vocabulary):
        raise DataError(f"the run's data have other classes today: {difference}; name images with --images DIR")
    records: Sequence[Record] = list(manifest)
    return [
        make_sample(*read_labeled(record, images.masks, card.images), card, kind, size)
        for record in _spread(records, most)
    ]


def make_sample(
    image: Picture, mask: NDArray[np.uint8] | None, card: ModelCard, kind: str, size: tuple[int, int] | None
) -> Sample:
    """An image as the file takes it."""
    normalized = normalize_image(image, card.normalization, "cpu")
    if size is None:
        return Sample(pack(normalized, kind, card.normalization), mask)
    cut = _cut(normalized[0].numpy(), size, "edge")[None]
    return Sample(
        pack(torch.from_numpy(np.ascontiguousarray(cut)), kind, card.normalization),
        None if mask is None else _cut(mask, size, "constant"),
    )


def _cut(values: NDArray[Any], size: tuple[int, int], fill: str) -> NDArray[Any]:
    """The centre of `size` of (…, H, W); what is smaller is filled up, at the right and below."""
    for axis, side in zip((-2, -1), size, strict=True):
        lacks = max(0, side - values.shape[axis])
        if lacks:
            pads = [(0, 0)] * values.ndim
            pads[axis] = (0, lacks)
            more: dict[str, Any] = {"constant_values": IGNORE} if fill == "constant" else {}
            values = np.pad(values, pads, mode=fill, **more)  # type: ignore[call-overload]
        start = (values.shape[axis] - side) // 2
        values = np.take(values, range(start, start + side), axis=axis)
    return values


def _spread(items: Sequence[T], most: int) -> list[T]:
    count = min(most, len(items))
    return [items[number * len(items) // count] for number in range(count)]
