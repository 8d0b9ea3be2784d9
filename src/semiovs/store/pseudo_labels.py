"""Pseudo-label stores on disk: written once by a teacher, read by every training.

A store is a directory::

    meta.json               format, vocabulary, teacher (its name, options, weights hash, thresholds)
    index.jsonl             one line an image: id, checksums, size, pixels of each class
    labels/<id>.png         8-bit palette PNG, 255 = ignore
    confidence/<id>.png     8-bit gray, round(255 * confidence); absent where every pixel counts fully
    incoming/               temporary files, while a job runs

An image is in the store once its line is in the index, which is written last; so a killed job loses at most the images
in progress, and can be resumed. Files are moved and lines appended under one lock, so that several processes can add to
one store; if two label the same image, files and line of one of them are kept.

`pack` makes tars of a finished store (see `packed_labels`), which are read in the same way and never changed.
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
from semiovs.files import open_regular, sync_directory, write_staged
from semiovs.images.palette import build_palette
from semiovs.object_store import find_url
from semiovs.store import label_png
from semiovs.store.index import IndexRow, StoreIndex, open_index
from semiovs.store.meta import HINT, INDEX, StoreMeta, prepare_folder
from semiovs.store.packed_labels import PackedLabels, is_packed
from semiovs.vocab.vocabulary import Vocabulary


class StoreWriteError(DataError):
    """The store cannot be written (disk full, permissions), which affects all images."""


StorePart = Literal["labels", "confidence"]


@dataclass(frozen=True)
class PreparedLabel:
    """Index row and staged files (in ``incoming/``) of one image that is not in the store yet."""

    row: IndexRow
    staged: Mapping[StorePart, Path]

    def discard(self) -> None:
        """Remove the files."""
        for path in self.staged.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)


class PseudoLabelStore:
    """Labels and confidences by image id. Made by `create` or `open`.

    root: the directory; meta: its metadata; vocabulary: the classes of the labels; teacher: as given to `create`;
    shards: its tars, if it is packed.
    """

    def __init__(self, root: Path, meta: StoreMeta, index: StoreIndex, shards: PackedLabels | None = None) -> None:
        self.root = root
        self.shards = shards
        self.meta = meta
        self.vocabulary = meta.vocabulary
        self.teacher = meta.teacher
        self._index = index
        self._palette = build_palette(self.vocabulary.shown_colors).tobytes()
        self._inside: set[Path] = set()

    @classmethod
    def create(
        cls, root: str | Path, vocabulary: Vocabulary, *, teacher: Mapping[str, Any], resume: bool = True
    ) -> PseudoLabelStore:
        """Make a store, or open one of the same vocabulary (concepts included) and teacher.

        teacher: plain JSON data that identifies the teacher (name, options, weights hash).

        Raises:
            DataError: `root` holds other files or labels of another vocabulary or teacher, or exists without `resume`.
        """
        return cls.create_as(Path(root), StoreMeta.of(vocabulary, teacher), resume=resume)

    @classmethod
    def create_as(cls, root: Path, meta: StoreMeta, *, resume: bool = True) -> PseudoLabelStore:
        """As `create`, with existing metadata (of a store to be merged)."""
        if url := find_url(root):
            raise DataError(
                f"{url}: labels are written into a folder of this machine; then send them there: "
                f"semiovs labels pack FOLDER {url}"
            )
        if is_packed(root):
            raise DataError(
                f"{root}: a packed store, to which nothing is added; unpack it into a new folder: "
                f"semiovs labels merge NEW {root}"
            )
        prepare_folder(root)
        try:
            root.mkdir(parents=True, exist_ok=True)
            index = StoreIndex.open(root / INDEX)
            with index.locked():
                there = (root / "meta.json").exists()
                if there and not resume:
                    raise DataError(f"{root}: there is a pseudo-label store already; choose another folder")
                found = StoreMeta.read(root) if there else meta  # raises if damaged
                if len(index):
                    found.require_same(root, meta)
                    meta = found
                else:  # an empty store may change its teacher
                    meta.write(root)
            return cls(root, meta, index)
        except OSError as error:
            raise DataError(f"{root}: a pseudo-label store cannot be made here: {error}") from None

    @classmethod
    def open(cls, root: str | Path, vocabulary: Vocabulary | None = None) -> PseudoLabelStore:
        """Open a store for reading; an incomplete last line of a killed writer is removed.

        vocabulary: expected classes; names and order must match, concepts may differ.

        Raises:
            DataError: not a store, unreadable, or of other classes than `vocabulary`.
        """
        root = Path(root)
        meta = StoreMeta.read(root)
        if vocabulary is not None and (difference := meta.vocabulary.difference(vocabulary)):
            raise DataError(f"{root}: its labels are of other classes: {difference}")
        if is_packed(root):
            return cls(root, meta, open_index(root), PackedLabels.open(root))
        return cls(root, meta, StoreIndex.open(root / INDEX))

    def __contains__(self, identifier: object) -> bool:
        """Whether the image is in the index and its label file exists."""
        if self.shards is not None:
            return identifier in self._index and identifier in self.shards
        return identifier in self._index and os.path.isfile(self.path("labels", str(identifier)))  # noqa: PTH113 - a million

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def ids(self) -> list[str]:
        """Ids of the labelled images, in the order of addition; sorted once a job is done."""
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
        """Raw index line of one image, or None."""
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
        """Write the label (H, W) uint8, 255 = ignore, and the confidence (H, W) in [0, 1]; atomic, replaces an older
        one.

        confidence: float, or uint8 times 255; image_hash: optional checksum of the image, recorded in the index.

        Raises:
            DataError: an id that leads out of the store, wrong shape, type or values; StoreWriteError: cannot be
            written.
        """
        self.commit([self.prepare(identifier, label, confidence, image_hash=image_hash)], replace=True)

    def prepare(
        self,
        identifier: str,
        label: NDArray[np.uint8],
        confidence: NDArray[Any] | None = None,
        *,
        image_hash: str | None = None,
    ) -> PreparedLabel:
        """First half of `add`: check, encode, and write to ``incoming/``; thread-safe."""
        pixels = label_png.count_pixels(identifier, label, len(self.vocabulary))
        self.path("labels", identifier)
        files: dict[StorePart, bytes] = {"labels": label_png.encode_label(label, self._palette)}
        if confidence is not None:
            files["confidence"] = label_png.encode_confidence(identifier, confidence, label.shape)
        sums = {part: hashlib.sha256(data).hexdigest() for part, data in files.items()}
        height, width = label.shape
        row = IndexRow(identifier, sums["labels"], sums.get("confidence"), (height, width), pixels, image_hash)
        staged: dict[StorePart, Path] = {}
        try:
            for part, data in files.items():
                staged[part] = self.stage(data)
        except OSError as error:
            PreparedLabel(row, staged).discard()
            raise StoreWriteError(f"{self.root}: the label of '{identifier}' cannot be written: {error}") from None
        return PreparedLabel(row, staged)

    def catch_up(self) -> None:
        """Read what other processes have added since this store was opened, or caught up the last time.

        Raises:
            StoreWriteError: the index cannot be locked.
        """
        try:
            with self._index.locked():
                pass
        except OSError as error:
            raise StoreWriteError(f"{self.root}: the index cannot be locked: {error}") from None

    def commit(self, prepared: Sequence[PreparedLabel], *, replace: bool = False) -> list[str]:
        """Second half of `add`, for several images: add all or none, with one durable write of the index.

        replace: replace images that are in the store; otherwise images that another process added meanwhile are kept.
        Returns the ids that were added.

        Raises:
            StoreWriteError: cannot be written, or the store was given to another teacher meanwhile.
        """
        taken: list[PreparedLabel] = []
        try:
            with self._index.locked() as file:
                if not self.meta.matches(self.root):
                    raise StoreWriteError(f"{self.root}: another job made it a store of another teacher meanwhile")
                taken = [item for item in prepared if replace or item.row.id not in self]
                self._move_files(taken)
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
        return label_png.decode_png(self.read("labels", self.row(identifier)))

    def confidence(self, identifier: str) -> NDArray[np.uint8] | None:
        """(H, W) uint8 confidence times 255, or None if it is 1 everywhere."""
        row = self.row(identifier)
        return None if row.confidence is None else label_png.decode_png(self.read("confidence", row))

    def read(self, part: StorePart, row: IndexRow) -> bytes:
        """The PNG of an image's label, or of its confidence (which the row must have).

        Raises:
            DataError: the file is missing or changed since it was written.
        """
        checksum = row.label if part == "labels" else row.confidence or ""
        if self.shards is not None:
            return self.shards.read(part, row.id, checksum)
        path = self.path(part, row.id)
        try:
            with open_regular(path) as file:
                data = file.read()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); run `semiovs label` again") from None
        if hashlib.sha256(data).hexdigest() != checksum:
            raise DataError(
                f"{path}: damaged, or changed after it was written; remove it and run `semiovs label` again"
            )
        return data

    def settle(self) -> None:
        """Sort the index by id, so that stores of equal content have equal bytes.

        Raises:
            StoreWriteError: the index cannot be written.
        """
        self._settle()
        with suppress(OSError):  # not empty while another job runs
            (self.root / "incoming").rmdir()

    def remove(self, identifiers: Sequence[str]) -> None:
        """Remove images from the store, first their lines, then their files."""
        paths = [path for identifier in identifiers for path, _ in self.files(self.row(identifier))]
        self._settle(drop=identifiers)
        for path in paths:
            with suppress(FileNotFoundError):
                path.unlink()

    @contextmanager
    def merging(self) -> Iterator[Callable[[Mapping[str, bytes]], None]]:
        """Lock the store; the yielded function adds index lines, whose files are in place, atomically at the end.

        Raises:
            StoreWriteError: the index cannot be written.
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

    def path(self, part: StorePart, identifier: str) -> Path:
        """File of an id, always inside of the store.

        Raises:
            DataError: the id is not a plain relative path.
        """
        pieces = identifier.split("/")
        odd = "\\" in identifier or "\0" in identifier or not _is_encodable(identifier)
        if odd or any(piece in {"", ".", ".."} for piece in pieces):
            raise DataError(f"{self.root}: {identifier!r} cannot be an image id: it must be a plain relative path")
        return self.root / part / f"{identifier}.png"

    def files(self, row: IndexRow) -> Iterator[tuple[Path, str]]:
        """Files of an image, with their checksums."""
        yield self.path("labels", row.id), row.label
        if row.confidence is not None:
            yield self.path("confidence", row.id), row.confidence

    def make_folder(self, path: Path) -> None:
        """Make the folder of a file; raise DataError if a link leads out of the store."""
        folder = path.parent
        if folder in self._inside:
            return
        if not folder.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"{path}: a link leads out of the store; remove it")
        folder.mkdir(parents=True, exist_ok=True)
        sync_directory(folder.parent)
        self._inside.add(folder)

    def stage(self, data: bytes) -> Path:
        """Write a file durably into ``incoming/``; moving the file commits it."""
        folder = self.root / "incoming"
        try:
            return write_staged(folder, data)
        except FileNotFoundError:  # the first file, or another job has just removed the folder
            folder.mkdir(exist_ok=True)
            return write_staged(folder, data)

    def _move_files(self, items: Sequence[PreparedLabel]) -> None:
        touched = set()
        for item in items:
            for part, staged in item.staged.items():
                path = self.path(part, item.row.id)
                self.make_folder(path)
                staged.replace(path)
                touched.add(path.parent)
            if "confidence" not in item.staged:
                self.path("confidence", item.row.id).unlink(missing_ok=True)
        for folder in touched:
            sync_directory(folder)


def _is_encodable(text: str) -> bool:
    """Whether text can be written to the index; false for undecodable file names."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
