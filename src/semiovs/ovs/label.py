"""Label a list of images into a store: resumable, in shards, one bad file does not stop the rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from semiovs.data.image import read_image
from semiovs.data.manifest import Record
from semiovs.data.store import PseudoLabelStore, StoreWriteError
from semiovs.errors import DataError, UsageError
from semiovs.ovs.base import OpenVocabModel
from semiovs.vocab.vocabulary import Vocabulary

OnError = Literal["fail", "skip"]
#: Called after each image with how many are done and how many there are.
Progress = Callable[[int, int], None]


@dataclass
class LabelReport:
    """What `label_images` did with the images of its shard.

    failed: (id, reason) of images that were left out; duplicates: repeated entries of the list.
    """

    listed: int
    labeled: int = 0
    already: int = 0
    duplicates: int = 0
    seconds: float = 0.0
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        """Speed of this call, images that were already there not counted."""
        return self.labeled / self.seconds if self.seconds > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "listed": self.listed,
            "labeled": self.labeled,
            "already": self.already,
            "duplicates": self.duplicates,
            "failed": [{"id": identifier, "reason": reason} for identifier, reason in self.failed],
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 2),
        }


def label_images(
    teacher: OpenVocabModel,
    records: Iterable[Record],
    vocabulary: Vocabulary,
    store: PseudoLabelStore,
    *,
    batch_size: int = 1,
    on_error: OnError = "fail",
    shard: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
) -> LabelReport:
    """Label the images that the store lacks and add them to it; running it again does what is left.

    shard: (i, n) labels every n-th image from the i-th on, so n processes share the work; the same list gives the same shares.
    A batch that does not fit the memory is labelled in halves, with the same labels.

    Raises:
        UsageError: a shard that does not exist.
        DataError: an image or its label cannot be read (with on_error="fail"); two images of one id; a store of other classes.
    """
    index, count = shard
    if not 0 <= index < count:
        raise UsageError(f"shard {index}/{count}: shards of {count} are 0/{count} to {count - 1}/{count}")
    if store.vocabulary.hash != vocabulary.hash:
        raise DataError(f"{store.root}: its labels are of vocabulary {store.vocabulary.hash}, not {vocabulary.hash}")
    unique, duplicates = _unique(records)
    mine = unique[index::count]
    waiting = [record for record in mine if record.id not in store]
    report = LabelReport(len(mine), already=len(mine) - len(waiting), duplicates=duplicates)
    job = _Job(teacher, vocabulary, store, on_error, report)
    start = time.monotonic()
    for first in range(0, len(waiting), batch_size):
        job.run(waiting[first : first + batch_size])
        report.seconds = time.monotonic() - start
        if progress is not None:
            progress(report.already + report.labeled + len(report.failed), report.listed)
    return report


@dataclass
class _Job:
    """One call's constants."""

    teacher: OpenVocabModel
    vocabulary: Vocabulary
    store: PseudoLabelStore
    on_error: OnError
    report: LabelReport

    def run(self, records: Sequence[Record]) -> None:
        """Read, label and store a batch."""
        images, good = [], []
        for record in records:
            try:
                images.append(_tensor(record))
                good.append(record)
            except DataError as error:
                self._failed(record, error)
        if good:
            self._label(good, images)

    def _label(self, records: Sequence[Record], images: Sequence[Tensor]) -> None:
        ids = [record.id for record in records]
        try:
            labels, confidences = self.teacher.label(images, self.vocabulary, ids=ids)
        except (DataError, torch.OutOfMemoryError) as error:
            self._in_halves(records, images, error)
            return
        for record, image, label, confidence in zip(records, images, labels, confidences, strict=True):
            try:
                self._add(record, image, label, confidence)
            except DataError as error:
                self._failed(record, error)

    def _in_halves(self, records: Sequence[Record], images: Sequence[Tensor], error: Exception) -> None:
        """Find the one image of the batch that is wrong, or use less memory."""
        if len(records) > 1:
            middle = len(records) // 2
            self._label(records[:middle], images[:middle])
            self._label(records[middle:], images[middle:])
        elif isinstance(error, DataError):
            self._failed(records[0], error)
        else:
            raise error

    def _add(self, record: Record, image: Tensor, label: Tensor, confidence: Tensor) -> None:
        if label.shape != image.shape[1:]:
            raise DataError(
                f"{record.image}: image is {image.shape[2]}x{image.shape[1]}, "
                f"its label {label.shape[1]}x{label.shape[0]}; they must be equal"
            )
        certain = bool((confidence == 1).all())
        self.store.add(
            record.id, label.cpu().numpy(), None if certain else confidence.clamp(0, 1).float().cpu().numpy()
        )
        self.report.labeled += 1

    def _failed(self, record: Record, error: DataError) -> None:
        if self.on_error == "fail" or isinstance(error, StoreWriteError):
            raise error
        self.report.failed.append((record.id, str(error)))


def _tensor(record: Record) -> Tensor:
    """uint8 RGB (3, H, W), as shown."""
    pixels = np.array(read_image(record.image), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _unique(records: Iterable[Record]) -> tuple[list[Record], int]:
    """Records by id, first come first, and how many were repeated."""
    seen: dict[str, Record] = {}
    repeated = 0
    for record in records:
        if record.id not in seen:
            seen[record.id] = record
        elif seen[record.id].image == record.image:
            repeated += 1
        else:
            raise DataError(f"two images have the id '{record.id}': {seen[record.id].image} and {record.image}")
    return list(seen.values()), repeated
