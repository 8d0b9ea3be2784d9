"""Label images into a store: asynchronous reading and writing, resumable, in shards, tolerant of bad files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np
from torch import Tensor

from semiovs.errors import DataError, UsageError, is_out_of_memory
from semiovs.images.record import Record
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.batch_size import AdaptiveBatchSize, choose_batch_size, release_memory
from semiovs.ovs.image_batches import Loaded, ReadRgb, read_batches
from semiovs.store.pseudo_labels import PseudoLabelStore, StoreWriteError
from semiovs.store.writer import LabelAnswer, LaterAnswer, StoreWriter
from semiovs.vocab.vocabulary import Vocabulary

OnError = Literal["fail", "skip"]
#: Called after each batch with the number of finished images, and of all images of the shard.
Progress = Callable[[int, int], None]


@dataclass
class LabelReport:
    """Result of `label_images` for its shard.

    already: images that were in the store, or were added by another job meanwhile; failed: (id, reason) of skipped
    images; duplicates: repeated entries of the list; smallest_batch: smallest batch size used, None if the full size
    always fitted; stopped: whether `stop` ended the job early.
    """

    listed: int
    labeled: int = 0
    already: int = 0
    duplicates: int = 0
    seconds: float = 0.0
    smallest_batch: int | None = None
    stopped: bool = False
    failed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def images_per_second(self) -> float:
        """Newly labelled images per second."""
        return self.labeled / self.seconds if self.seconds > 0 else 0.0

    @property
    def done(self) -> int:
        """Images that are finished, failed ones included."""
        return self.already + self.labeled + len(self.failed)

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
            "smallest_batch": self.smallest_batch,
        }


def label_images(
    teacher: OpenVocabModel,
    records: Iterable[Record],
    vocabulary: Vocabulary,
    store: PseudoLabelStore,
    *,
    batch_size: int | None = None,
    on_error: OnError = "fail",
    shard: tuple[int, int] = (0, 1),
    threads: int | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    read: ReadRgb | None = None,
    settle: bool = True,
) -> LabelReport:
    """Label the images that the store lacks and add them to it; running it again resumes the job.

    batch_size: None: `choose_batch_size`. shard: (i, n) labels every n-th image from the i-th on; the same list gives
    the same shards. Batches are cut from the whole shard, so that a resumed job forms the same batches; one that does
    not fit into memory is split. threads: number of readers and of writers; None: one per core, up to 8. read: path ->
    RGB image; None: `read_image`. stop: polled between batches; once true, finished labels are written and the call
    returns. settle: put the index in order at the end; off where further calls follow.

    Raises:
        UsageError: a shard that does not exist; ConfigError: classes that the teacher cannot look for.
        DataError: an image or its label cannot be read (with on_error="fail"; earlier labels are stored); two images
            with one id; a store of other classes, or with the label of another image of the same id.
        StoreWriteError: the store cannot be written, also with on_error="skip".
    """
    index, count = shard
    if not 0 <= index < count:
        raise UsageError(f"shard {index}/{count}: shards of {count} are 0/{count} to {count - 1}/{count}")
    if store.vocabulary.hash != vocabulary.hash:
        raise DataError(f"{store.root}: its labels are of vocabulary {store.vocabulary.hash}, not {vocabulary.hash}")
    teacher.check_vocabulary(vocabulary)
    unique, duplicates = drop_duplicates(records)
    mine = unique[index::count]
    waiting = [record.id not in store for record in mine]
    require_same_images(store, [record for record, waits in zip(mine, waiting, strict=True) if not waits])
    size = batch_size or choose_batch_size(teacher.device)
    report = LabelReport(len(mine), already=waiting.count(False), duplicates=duplicates)
    if any(waiting):
        job = _LabelJob(teacher, vocabulary, store, on_error, report, AdaptiveBatchSize(size), progress, stop, read)
        job.run(_make_batches(mine, waiting, size), threads or choose_threads())
        if len(report.failed) > 1:
            order = {record.id: number for number, record in enumerate(mine)}
            report.failed.sort(key=lambda item: order[item[0]])
    if settle and not report.stopped:
        store.settle()
    return report


def require_same_images(store: PseudoLabelStore, there: Iterable[Record]) -> None:
    """Raise DataError if the store holds labels of other images with the same ids, by their checksums."""
    others = [r.id for r in there if r.sha256 and (store.row(r.id).image or r.sha256) != r.sha256]
    if others:
        raise DataError(
            f"{store.root}: holds labels of other images of the same ids ('{others[0]}'{_count_more(others)}): by "
            f"their SHA-256 "
            "those of this list are different files; label into another folder (--out, or ood.labels)"
        )


def _count_more(some: Sequence[str]) -> str:
    return f" and {len(some) - 1} more" if len(some) > 1 else ""


def _make_batches(records: Sequence[Record], waiting: Sequence[bool], size: int) -> Iterator[list[Record]]:
    """Batches of the whole list, without the images that are labelled already."""
    for first in range(0, len(records), size):
        batch = [records[i] for i in range(first, min(first + size, len(records))) if waiting[i]]
        if batch:
            yield batch


def choose_threads() -> int:
    """Number of cores available to this process, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)


@dataclass
class _LabelJob:
    """State of one call of `label_images`."""

    teacher: OpenVocabModel
    vocabulary: Vocabulary
    store: PseudoLabelStore
    on_error: OnError
    report: LabelReport
    fit: AdaptiveBatchSize
    progress: Progress | None
    stop: Callable[[], bool]
    read: ReadRgb | None

    def run(self, batches: Iterable[Sequence[Record]], threads: int) -> None:
        """Read, label and store batch after batch."""
        self._start = time.monotonic()
        with (
            StoreWriter(self.store, threads=threads) as writer,
            closing(self._read(batches, threads)) as loaded,
        ):
            for batch in loaded:
                if self.stop():
                    self.report.stopped = True
                    break
                answers: list[LaterAnswer] = []
                try:
                    self._label_batch(batch, answers)
                finally:
                    writer.put(answers)
                self._report_progress(writer)
        self._report_progress(writer)

    def _read(self, batches: Iterable[Sequence[Record]], threads: int) -> Generator[Loaded, None, None]:
        return read_batches(
            self._skip_labeled(batches),
            threads=threads,
            batch_size=self.fit.size,
            read=self.read,
            look_ahead=self.teacher.look_ahead,
        )

    def _skip_labeled(self, batches: Iterable[Sequence[Record]]) -> Iterator[Sequence[Record]]:
        """Yield batches without the images that another job has added meanwhile."""
        for batch in batches:
            left = [record for record in batch if record.id not in self.store]
            self.report.already += len(batch) - len(left)
            if left:
                yield left

    def _report_progress(self, writer: StoreWriter) -> None:
        news = writer.take_results()
        self.report.labeled += len(news.added)
        self.report.already += len(news.others)
        self.report.seconds = time.monotonic() - self._start
        self.report.smallest_batch = self.fit.smallest
        for identifier, error in news.refused:
            self._record_failure(identifier, error)
        if self.progress is not None:
            self.progress(self.report.done, self.report.listed)

    def _label_batch(self, loaded: Loaded, answers: list[LaterAnswer]) -> None:
        """Label the readable images of a batch, as many at once as fit into memory."""
        records, images = [], []
        for record, image in zip(loaded.records, loaded.images, strict=True):
            if isinstance(image, DataError):
                self._record_failure(record.id, image)
            else:
                records.append(record)
                images.append(image)
        first = 0
        while first < len(records):
            last = min(first + self.fit.size, len(records))
            if self._try_label(records[first:last], images[first:last], answers):
                self.fit.record_success(last - first)
                first = last
            elif last - first > 1:
                self.fit.record_failure(last - first)
            else:
                self._record_failure(records[first].id, _make_memory_error(records[first], images[first]))
                first = last

    def _try_label(self, records: Sequence[Record], images: Sequence[Tensor], answers: list[LaterAnswer]) -> bool:
        """Label images as one batch; return False if it does not fit into memory."""
        known, failed = len(answers), len(self.report.failed)
        try:
            self._label(records, images, answers)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return True
        del answers[known:], self.report.failed[failed:]
        release_memory()  # after the exception and the tensors that it holds
        return False

    def _label(self, records: Sequence[Record], images: Sequence[Tensor], answers: list[LaterAnswer]) -> None:
        ids = [record.id for record in records]
        try:
            labels, confidences = self.teacher.label(images, self.vocabulary, ids=ids)
        except DataError as error:
            if len(records) == 1:
                self._record_failure(records[0].id, error)
                return
            middle = len(records) // 2  # find the bad image of the batch
            self._label(records[:middle], images[:middle], answers)
            self._label(records[middle:], images[middle:], answers)
            return
        for record, image, label, confidence in zip(records, images, labels, confidences, strict=True):
            try:
                answers.append(_promise_answer(record, image, label, confidence))
            except DataError as error:
                self._record_failure(record.id, error)

    def _record_failure(self, identifier: str, error: DataError) -> None:
        if self.on_error == "fail" or isinstance(error, StoreWriteError):
            raise error
        self.report.failed.append((identifier, str(error)))


def _promise_answer(record: Record, image: Tensor, label: Tensor, confidence: Tensor) -> LaterAnswer:
    """Answer for the store, made by a thread that writes: only there a GPU is waited for."""
    if label.shape != image.shape[1:]:
        raise DataError(
            f"{record.image}: image is {image.shape[2]}x{image.shape[1]}, "
            f"its label {label.shape[1]}x{label.shape[0]}; they must be equal"
        )
    held = label.nbytes + confidence.nbytes
    return LaterAnswer(record.id, held, partial(_make_answer, record, label, confidence))


def _make_answer(record: Record, label: Tensor, confidence: Tensor) -> LabelAnswer:
    """Confidence as round(255 * c), or None if it is 1 everywhere; by NumPy: torch would start threads of its own."""
    pixels, values = label.cpu().numpy(), confidence.float().cpu().numpy()
    if np.isnan(values).any():
        raise DataError(f"{record.image}: the teacher's confidence is not a number (NaN)")
    if (values == 1).all():
        return LabelAnswer(record.id, pixels, image_hash=record.sha256 or None)
    graded = np.rint(np.clip(values, 0, 1) * np.float32(255)).astype(np.uint8)
    return LabelAnswer(record.id, pixels, graded, record.sha256 or None)


def _make_memory_error(record: Record, image: Tensor) -> DataError:
    return DataError(
        f"{record.image}: {image.shape[2]}x{image.shape[1]} pixels do not fit the memory, even as a batch of one; "
        "free memory, use a smaller teacher or tiles, or leave it out with --on-error skip"
    )


def drop_duplicates(records: Iterable[Record]) -> tuple[list[Record], int]:
    """Records without repeated ones, in order, and the number of repetitions.

    Raises:
        DataError: two images with one id.
    """
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
