"""Pseudo-labels on disk: written by a teacher once, read by every training.

A store is a directory::

    meta.json               format, vocabulary, teacher (its name, options, weights hash, thresholds)
    index.jsonl             one line an image: id, checksums, size, pixels of each class
    labels/<id>.png         8-bit palette PNG, 255 = ignore
    confidence/<id>.png     8-bit gray, round(255 * confidence); absent where every pixel counts fully
    incoming/               files on their way, while a job runs

An image is in the store once its line is in the index, which is appended last; so a killed job loses at most the images that were
on their way, and running it again goes on from there. Files move in and lines are appended under one lock: several processes may
add to one store, and of two that label the same image one wins with file and line.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.files import sync_directory, write_staged
from semiovs.images.palette import build_palette
from semiovs.store import label_png
from semiovs.store.index import Index, IndexRow
from semiovs.store.meta import HINT, INDEX, StoreMeta, prepare_folder
from semiovs.vocab.vocabulary import Vocabulary


class StoreWriteError(DataError):
    """The store itself cannot be written (disk full, rights): no other image will fare better."""


Part = Literal["labels", "confidence"]


@dataclass(frozen=True)
class Prepared:
    """One image's line and its files, which lie on disk in ``incoming/`` and count for nothing yet."""

    row: IndexRow
    staged: Mapping[Part, Path]

    def discard(self) -> None:
        """Remove the files."""
        for path in self.staged.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)


class PseudoLabelStore:
    """Labels and confidences by image id. Made by `create` or `open`.

    root: the directory; meta: its description; vocabulary: the classes of the labels; teacher: what wrote them, as given to
    `create`.
    """

    def __init__(self, root: Path, meta: StoreMeta, index: Index) -> None:
        self.root = root
        self.meta = meta
        self.vocabulary = meta.vocabulary
        self.teacher = meta.teacher
        self._index = index
        self._palette = build_palette(self.vocabulary.colors).tobytes()
        self._inside: set[Path] = set()

    @classmethod
    def create(
        cls, root: str | Path, vocabulary: Vocabulary, *, teacher: Mapping[str, Any], resume: bool = True
    ) -> PseudoLabelStore:
        """Make a store, or go on with one of the same vocabulary (concepts too) and teacher.

        teacher: plain JSON data that identifies who labels (name, options, weights hash).

        Raises:
            DataError: `root` holds something else, another vocabulary's or teacher's labels, or is there and not `resume`.
        """
        return cls.create_as(Path(root), StoreMeta.of(vocabulary, teacher), resume=resume)

    @classmethod
    def create_as(cls, root: Path, meta: StoreMeta, *, resume: bool = True) -> PseudoLabelStore:
        """As `create`, with meta data that are there already (those of a store that is merged)."""
        prepare_folder(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            index = Index.open(root / INDEX)
            with index.locked():
                there = (root / "meta.json").exists()
                if there and not resume:
                    raise DataError(f"{root}: there is a pseudo-label store already; choose another folder")
                found = StoreMeta.read(root) if there else meta  # a damaged one is said, not replaced
                if len(index):
                    found.require_same(root, meta)
                    meta = found
                else:  # an empty one may get another teacher: its first command line was wrong
                    meta.write(root)
            return cls(root, meta, index)
        except OSError as error:
            raise DataError(f"{root}: a pseudo-label store cannot be made here: {error}") from None

    @classmethod
    def open(cls, root: str | Path, vocabulary: Vocabulary | None = None) -> PseudoLabelStore:
        """Open a store to read; the torn last line that a killed writer may leave is removed.

        vocabulary: the classes wanted; names and their order count, concepts do not (they matter to the teacher alone).

        Raises:
            DataError: no store, an unreadable one, or its classes are not those of `vocabulary`.
        """
        root = Path(root)
        meta = StoreMeta.read(root)
        if vocabulary is not None and (difference := meta.vocabulary.difference(vocabulary)):
            raise DataError(f"{root}: its labels are of other classes: {difference}")
        return cls(root, meta, Index.open(root / INDEX))

    def __contains__(self, identifier: object) -> bool:
        """Whether the image was labelled and its label file is there."""
        return identifier in self._index and os.path.isfile(self.path("labels", str(identifier)))  # noqa: PTH113 - a million

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def ids(self) -> list[str]:
        """Ids of the labelled images, in the order in which they were added; by id once a job is done."""
        return list(self._index)

    def rows(self) -> Iterator[IndexRow]:
        """Lines of the index, in the order of `ids`."""
        return self._index.rows()

    def row(self, identifier: str) -> IndexRow:
        """Line of one image.

        Raises:
            DataError: it is not in the store.
        """
        row = self._index.get(identifier)
        if row is None:
            raise DataError(f"{self.root}: image '{identifier}' has no label here; {HINT}")
        return row

    def line(self, identifier: str) -> bytes | None:
        """Line of one image as it stands in the index, or None."""
        return self._index.line(identifier)

    def size(self, identifier: str) -> tuple[int, int]:
        """(height, width) of the label of an image."""
        return self.row(identifier).size

    def add(
        self,
        identifier: str,
        label: NDArray[np.uint8],
        confidence: NDArray[Any] | None = None,
        *,
        image_hash: str | None = None,
    ) -> None:
        """Write the label (H, W) uint8, 255 = ignore, and the confidence (H, W) in [0, 1]; atomic, replaces an older one.

        confidence: float, or uint8 if it is times 255 already; image_hash: optional checksum of the image that was labelled, kept
        in the index.

        Raises:
            DataError: an id that leaves the store, wrong shape, type or values; StoreWriteError: the disk does not take it.
        """
        self.commit([self.prepare(identifier, label, confidence, image_hash=image_hash)], replace=True)

    def prepare(
        self,
        identifier: str,
        label: NDArray[np.uint8],
        confidence: NDArray[Any] | None = None,
        *,
        image_hash: str | None = None,
    ) -> Prepared:
        """First half of `add`: check, encode, and write to ``incoming/``. Threads may do this at once."""
        pixels = label_png.count_pixels(identifier, label, len(self.vocabulary))
        self.path("labels", identifier)
        files: dict[Part, bytes] = {"labels": label_png.label_png(label, self._palette)}
        if confidence is not None:
            files["confidence"] = label_png.confidence_png(identifier, confidence, label.shape)
        sums = {part: hashlib.sha256(data).hexdigest() for part, data in files.items()}
        height, width = label.shape
        row = IndexRow(identifier, sums["labels"], sums.get("confidence"), (height, width), pixels, image_hash)
        staged: dict[Part, Path] = {}
        try:
            for part, data in files.items():
                staged[part] = self.stage(data)
        except OSError as error:
            Prepared(row, staged).discard()
            raise StoreWriteError(f"{self.root}: the label of '{identifier}' cannot be written: {error}") from None
        return Prepared(row, staged)

    def commit(self, prepared: Sequence[Prepared], *, replace: bool = False) -> list[str]:
        """Second half of `add`, for several images at once: all of them come in, with one durable write of the index, or none.

        replace: also images that are in the store already; otherwise those that another process added meanwhile are left as
        they are. Returns the ids that came in.

        Raises:
            StoreWriteError: the disk does not take it, or the store is another teacher's by now.
        """
        taken: list[Prepared] = []
        try:
            with self._index.locked() as file:
                if not self.meta.holds_in(self.root):
                    raise StoreWriteError(f"{self.root}: another job made it a store of another teacher meanwhile")
                taken = [item for item in prepared if replace or item.row.id not in self]
                self._move_in(taken)
                self._index.append(file, [item.row for item in taken])
        except OSError as error:
            ids = ", ".join(f"'{item.row.id}'" for item in prepared[:3])
            raise StoreWriteError(f"{self.root}: labels of {ids} cannot be written: {error}") from None
        finally:
            for item in prepared:
                item.discard()
        return [item.row.id for item in taken]

    def label(self, identifier: str) -> NDArray[np.uint8]:
        """(H, W) class ids, 255 = ignore.

        Raises:
            DataError: not in the store, or the file is missing or changed since it was written.
        """
        return label_png.decode(self._read("labels", identifier, self.row(identifier).label))

    def confidence(self, identifier: str) -> NDArray[np.uint8] | None:
        """(H, W) confidence times 255, or None where the teacher gave none (every pixel counts fully)."""
        checksum = self.row(identifier).confidence
        return None if checksum is None else label_png.decode(self._read("confidence", identifier, checksum))

    def settle(self) -> None:
        """Put the index in order by id: the bytes of a finished store do not tell who wrote which image when.

        Raises:
            StoreWriteError: the disk does not take it.
        """
        self._settle()
        with suppress(OSError):  # not empty: another job is at work
            (self.root / "incoming").rmdir()

    def remove(self, identifiers: Sequence[str]) -> None:
        """Take images out of the store, first their lines, then their files."""
        paths = [path for identifier in identifiers for path, _ in self.files(self.row(identifier))]
        self._settle(drop=identifiers)
        for path in paths:
            with suppress(FileNotFoundError):
                path.unlink()

    @contextmanager
    def merging(self) -> Iterator[Callable[[Mapping[str, bytes]], None]]:
        """Keep other writers out; the function that is given takes lines whose files are in place, in one piece, as the last act.

        Raises:
            StoreWriteError: the disk does not take it.
        """
        try:
            with self._index.locked():
                yield lambda lines: self._index.settle(take=lines.items())
        except OSError as error:
            raise StoreWriteError(f"{self.root}: the index cannot be written: {error}") from None

    def _settle(self, **change: Any) -> None:
        try:
            with self._index.locked():
                self._index.settle(**change)
        except OSError as error:
            raise StoreWriteError(f"{self.root}: the index cannot be written: {error}") from None

    def path(self, part: Part, identifier: str) -> Path:
        """File of an id, which cannot lie outside the store.

        Raises:
            DataError: the id is no plain relative path.
        """
        pieces = identifier.split("/")
        odd = "\\" in identifier or "\0" in identifier or not _encodable(identifier)
        if odd or any(piece in {"", ".", ".."} for piece in pieces):
            raise DataError(f"{self.root}: {identifier!r} cannot be an image id: it must be a plain relative path")
        return self.root / part / f"{identifier}.png"

    def files(self, row: IndexRow) -> Iterator[tuple[Path, str]]:
        """Files of an image, with their checksums."""
        yield self.path("labels", row.id), row.label
        if row.confidence is not None:
            yield self.path("confidence", row.id), row.confidence

    def make_room(self, path: Path) -> None:
        """Make the folder of a file of the store, which no link may lead out of it."""
        folder = path.parent
        if folder in self._inside:
            return
        if not folder.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"{path}: a link leads out of the store; remove it")
        folder.mkdir(parents=True, exist_ok=True)
        sync_directory(folder.parent)
        self._inside.add(folder)

    def stage(self, data: bytes) -> Path:
        """Write a file into ``incoming/``, durable; moving it from there commits it."""
        folder = self.root / "incoming"
        try:
            return write_staged(folder, data)
        except FileNotFoundError:  # the first file; or another job has just ended and taken the folder away
            folder.mkdir(exist_ok=True)
            return write_staged(folder, data)

    def _move_in(self, items: Sequence[Prepared]) -> None:
        touched = set()
        for item in items:
            for part, staged in item.staged.items():
                path = self.path(part, item.row.id)
                self.make_room(path)
                staged.replace(path)
                touched.add(path.parent)
            if "confidence" not in item.staged:
                self.path("confidence", item.row.id).unlink(missing_ok=True)
        for folder in touched:
            sync_directory(folder)

    def _read(self, part: Part, identifier: str, checksum: str) -> bytes:
        path = self.path(part, identifier)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); run `semiovs label` again") from None
        if hashlib.sha256(data).hexdigest() != checksum:
            raise DataError(
                f"{path}: damaged, or changed after it was written; remove it and run `semiovs label` again"
            )
        return data


def _encodable(text: str) -> bool:
    """False for file names whose bytes were no valid text: they cannot stand in the index."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
