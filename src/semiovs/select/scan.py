"""Scan a pool: compute the features of every image, and ask a teacher which classes it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semiovs.errors import DataError, UsageError
from semiovs.images.record import Record
from semiovs.ovs.base import OpenVocabModel
from semiovs.select.candidates import InvalidEntry
from semiovs.select.class_presence import SHARE, ask_teacher
from semiovs.select.image_features import ImageFeatures, read_features, read_features_ahead
from semiovs.select.scan_table import (
    READ,
    UNANSWERED,
    UNREADABLE,
    PoolEntry,
    ScanRows,
    ScanTable,
    encode_entry,
    hash_id,
)
from semiovs.similarity.descriptor import Vectors
from semiovs.vocab.vocabulary import Vocabulary

Progress = Callable[[int], None]
#: RGB pictures (H, W, 3) to vectors (N, D).
Embed = Callable[[Sequence[NDArray[np.uint8]]], Vectors]

#: Version of the rows; increase it when their computation changes.
_FORM = 3


@dataclass(frozen=True)
class Examiner:
    """Computes the rows of images.

    teacher: None if classes do not matter; identity: plain data that identifies the teacher; share: of the pixels that
    a class must have; embed: an encoder, None: the descriptions alone.
    """

    vocabulary: Vocabulary
    teacher: OpenVocabModel | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    share: float = SHARE
    embed: Embed | None = None
    embedding: tuple[str, int] = ("", 0)
    batch_size: int = 1

    @property
    def settings(self) -> str:
        """Text that identifies everything that the rows depend on."""
        asked = None if self.teacher is None else [self.vocabulary.hash, self.identity, self.share]
        return json.dumps([_FORM, asked, self.embedding], sort_keys=True, default=str)

    @property
    def classes(self) -> int:
        """Columns of presence."""
        return 0 if self.teacher is None else len(self.vocabulary)

    def version(self, record: Record) -> str:
        """Version of the teacher's stored answer for an image; "" without a teacher."""
        return "" if self.teacher is None else self.teacher.version(record.id)

    def without_teacher(self) -> Examiner:
        """A copy for images whose classes do not matter."""
        return Examiner(self.vocabulary, embed=self.embed, embedding=self.embedding, batch_size=self.batch_size)

    def rows(
        self, images: Sequence[PoolEntry], threads: int, stop: Callable[[int], bool]
    ) -> tuple[ScanRows, list[str]] | None:
        """Rows and lines of one chunk; None if `stop` (called with the number of finished images) returned true."""
        rows = ScanRows.empty(len(images), self.classes, self.embedding[1])
        texts = [""] * len(images)
        waiting: list[tuple[int, ImageFeatures]] = []
        places = [place for place, image in enumerate(images) if isinstance(image, Record)]
        for place, image in enumerate(images):
            if isinstance(image, InvalidEntry):
                rows.status[place], rows.key[place], texts[place] = (
                    UNREADABLE,
                    hash_id(image.where),
                    encode_entry(image),
                )
        seen = read_features_ahead(
            (image for image in images if isinstance(image, Record)), threads=threads, see=read_features
        )
        for place, found in zip(places, seen, strict=True):
            if stop(place):
                return None
            record = images[place]
            assert isinstance(record, Record)
            rows.key[place] = hash_id(record.id)
            if isinstance(found, DataError):
                rows.status[place], texts[place] = UNREADABLE, encode_entry(record, str(found))
                continue
            texts[place] = encode_entry(record)
            _store_features(rows, place, found)
            waiting.append((place, found))
            if len(waiting) >= self.batch_size:
                self._examine(rows, texts, waiting)
                waiting = []
        if waiting:
            self._examine(rows, texts, waiting)
        return rows, texts

    def _examine(self, rows: ScanRows, texts: list[str], batch: Sequence[tuple[int, ImageFeatures]]) -> None:
        if self.embed is not None:
            rows.embedding[[place for place, _ in batch]] = self.embed([found.pixels for _, found in batch])
        if self.teacher is None:
            return
        images = [torch.from_numpy(np.array(found.pixels)).permute(2, 0, 1).contiguous() for _, found in batch]
        ids = [found.record.id for _, found in batch]
        for (place, found), answer in zip(
            batch, ask_teacher(self.teacher, images, self.vocabulary, ids, self.share), strict=True
        ):
            if isinstance(answer, DataError):
                rows.status[place], texts[place] = UNANSWERED, encode_entry(found.record, str(answer))
            else:
                rows.presence[place] = answer.level
                rows.seen[place] = np.packbits(answer.seen)


def _store_features(rows: ScanRows, place: int, found: ImageFeatures) -> None:
    rows.status[place] = READ
    rows.digest[place] = np.frombuffer(found.digest, np.uint8)
    rows.hash[place] = found.hash
    rows.size[place] = *found.content, min(found.size, 2**32 - 1)
    rows.picture[place] = found.picture


@dataclass(frozen=True)
class ImageScan:
    """Images to scan, and the table of their rows. asked: whether the teacher is asked about them."""

    table: ScanTable
    images: Iterable[PoolEntry]
    asked: bool = True

    def examiner(self, examiner: Examiner) -> Examiner:
        """What looks at these images."""
        return examiner if self.asked else examiner.without_teacher()


@dataclass
class ScanResult:
    """marks: of all chunks of the pool; made: images scanned by this call; listed: all; stopped: `stop` ended it."""

    marks: list[str] = field(default_factory=list)
    listed: int = 0
    made: int = 0
    stopped: bool = False


def scan_pool(
    scan: ScanTable,
    pool: Iterable[PoolEntry],
    examiner: Examiner,
    *,
    threads: int = 1,
    shard: tuple[int, int] = (0, 1),
    progress: Progress = lambda done: None,  # noqa: ARG005
    stop: Callable[[], bool] = lambda: False,
) -> ScanResult:
    """Compute the missing chunks of this shard (i, n): every n-th chunk from the i-th on.

    Raises:
        UsageError: a shard that does not exist.
    """
    index, count = shard
    if not 0 <= index < count:
        raise UsageError(f"shard {index}/{count}: shards of {count} are 0/{count} to {count - 1}/{count}")
    done = ScanResult()
    for number, images, mark in scan.chunks(pool, examiner.version):
        done.marks.append(mark)
        done.listed += len(images)
        if number % count == index and not scan.holds(number, mark):
            passed = done.listed - len(images)
            made = examiner.rows(images, threads, lambda n, passed=passed: _report_progress(passed + n, progress, stop))  # type: ignore[misc]
            if made is None:
                done.stopped = True
                return done
            scan.write(number, mark, *made)
            done.made += len(images)
        progress(done.listed)
    if count == 1:
        scan.trim(len(done.marks))
    return done


def _report_progress(done: int, progress: Progress, stop: Callable[[], bool]) -> bool:
    progress(done)
    return stop()
