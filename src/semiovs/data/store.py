"""Pseudo-labels on disk: written by a teacher once, read by every training.

A store is a directory::

    meta.json               format, vocabulary, teacher (its name, options, weights hash, thresholds)
    index.jsonl             one line an image: id, checksums, size, pixels of each class
    labels/<id>.png         8-bit palette PNG, 255 = ignore
    confidence/<id>.png     8-bit gray, round(255 * confidence); absent where every pixel counts fully

An image is in the store once its line is in the index, which is appended last; so a killed job loses at most the image it was
at, and running it again goes on from there. Several processes may add different ids to one store.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.data.batch import IGNORE
from semiovs.data.index import Index, IndexRow
from semiovs.data.palette import palette
from semiovs.errors import ConfigError, DataError
from semiovs.files import sweep_temporaries, write_bytes, write_json
from semiovs.vocab.vocabulary import Vocabulary

FORMAT = 1
_META = "meta.json"
_INDEX = "index.jsonl"
_HINT = "`semiovs label` writes one"


class StoreWriteError(DataError):
    """The store itself cannot be written (disk full, rights): no other image will fare better."""


Part = Literal["labels", "confidence"]


@dataclass(frozen=True)
class StoreReport:
    """What `PseudoLabelStore.verify` found; the lists hold ids (missing, damaged) and paths (stray)."""

    checked: int
    missing: list[str]
    damaged: list[str]
    stray: list[str]

    @property
    def ok(self) -> bool:
        """Whether every image of the index is there and unchanged (stray files do no harm)."""
        return not self.missing and not self.damaged

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True)
class StoreStats:
    """What a store holds: images, pixels of each class (by name), ignored pixels, in how many images each class occurs."""

    images: int
    pixels: dict[str, int]
    ignored: int
    images_with: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class PseudoLabelStore:
    """Labels and confidences by image id. Made by `create` or `open`.

    root: the directory; vocabulary: the classes of the labels; teacher: what wrote them, as given to `create`.
    """

    def __init__(self, root: Path, vocabulary: Vocabulary, teacher: Mapping[str, Any], index: Index) -> None:
        self.root = root
        self.vocabulary = vocabulary
        self.teacher = dict(teacher)
        self._index = index
        self._palette = palette(vocabulary.colors).tobytes()

    @classmethod
    def create(
        cls, root: str | Path, vocabulary: Vocabulary, *, teacher: Mapping[str, Any], resume: bool = True
    ) -> PseudoLabelStore:
        """Make a store, or go on with one of the same vocabulary (concepts too) and teacher.

        teacher: plain JSON data that identifies who labels (name, options, weights hash).

        Raises:
            DataError: `root` holds something else, another vocabulary's or teacher's labels, or is there and not `resume`.
        """
        root = Path(root)
        given = json.loads(json.dumps(dict(teacher)))
        for directory in _folders(root):
            sweep_temporaries(directory)
        if not (root / _META).exists():
            _require_empty(root)
        elif not resume:
            raise DataError(f"{root}: there is a pseudo-label store already; choose another folder")
        elif len(cls.open(root)):  # an empty one may get another teacher: its first command line was wrong
            return cls._continued(root, vocabulary, given)
        meta = {
            "format": FORMAT,
            "vocabulary": {"hash": vocabulary.hash, **vocabulary.as_json()},
            "teacher": given,
        }
        try:
            write_json(root / _META, meta)
            return cls(root, vocabulary, given, Index.open(root / _INDEX))
        except OSError as error:
            raise DataError(f"{root}: a pseudo-label store cannot be made here: {error}") from None

    @classmethod
    def _continued(cls, root: Path, vocabulary: Vocabulary, teacher: dict[str, Any]) -> PseudoLabelStore:
        store = cls.open(root, vocabulary)
        if store.vocabulary.hash != vocabulary.hash:
            raise DataError(
                f"{root}: labelled with other concepts of the same classes (vocabulary {store.vocabulary.hash} there, "
                f"{vocabulary.hash} now); choose another folder"
            )
        if store.teacher != teacher:
            raise DataError(
                f"{root}: labelled by another teacher ({_difference(store.teacher, teacher)}); choose another folder"
            )
        return store

    @classmethod
    def open(cls, root: str | Path, vocabulary: Vocabulary | None = None) -> PseudoLabelStore:
        """Open a store to read; the torn last line that a killed writer may leave is removed.

        vocabulary: the classes wanted; names and their order count, concepts do not (they matter to the teacher alone).

        Raises:
            DataError: no store, an unreadable one, or its classes are not those of `vocabulary`.
        """
        root = Path(root)
        meta = _read_meta(root / _META)
        try:
            own = Vocabulary.from_json(meta["vocabulary"])
            teacher = dict(meta["teacher"])
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise DataError(f"{root / _META}: not the description of a pseudo-label store: {error!r}") from None
        if vocabulary is not None and (difference := own.difference(vocabulary)):
            raise DataError(f"{root}: its labels are of other classes: {difference}")
        return cls(root, own, teacher, Index.open(root / _INDEX))

    def __contains__(self, identifier: object) -> bool:
        """Whether the image was labelled and its label file is there."""
        return identifier in self._index and self._path("labels", str(identifier)).is_file()

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def ids(self) -> list[str]:
        """Ids of the labelled images, in the order in which they were added."""
        return list(self._index)

    def size(self, identifier: str) -> tuple[int, int]:
        """(height, width) of the label of an image."""
        return self._row(identifier).size

    def add(
        self,
        identifier: str,
        label: NDArray[np.uint8],
        confidence: NDArray[np.floating[Any]] | None = None,
        *,
        image_hash: str | None = None,
    ) -> None:
        """Write the label (H, W) uint8, 255 = ignore, and the confidence (H, W) in [0, 1]; atomic, replaces an older one.

        image_hash: optional checksum of the image that was labelled, kept in the index.

        Raises:
            DataError: an id that leaves the store, wrong shape, type or values; StoreWriteError: the disk does not take it.
        """
        pixels = self._checked(identifier, label)
        files: dict[Part, bytes] = {"labels": self._label_png(label)}
        if confidence is not None:
            files["confidence"] = _confidence_png(identifier, confidence, label.shape)
        try:
            for part, data in files.items():
                path = self._path(part, identifier)
                self._require_inside(path)
                write_bytes(path, data)
            if confidence is None:
                self._path("confidence", identifier).unlink(missing_ok=True)
            sums = {part: hashlib.sha256(data).hexdigest() for part, data in files.items()}
            height, width = label.shape
            self._index.append(
                IndexRow(identifier, sums["labels"], sums.get("confidence"), (height, width), pixels, image_hash)
            )
        except OSError as error:
            raise StoreWriteError(f"{self.root}: the label of '{identifier}' cannot be written: {error}") from None

    def label(self, identifier: str) -> NDArray[np.uint8]:
        """(H, W) class ids, 255 = ignore.

        Raises:
            DataError: not in the store, or the file is missing or changed since it was written.
        """
        return _decode(self._read("labels", identifier, self._row(identifier).label))

    def confidence(self, identifier: str) -> NDArray[np.uint8] | None:
        """(H, W) confidence times 255, or None where the teacher gave none (every pixel counts fully)."""
        checksum = self._row(identifier).confidence
        return None if checksum is None else _decode(self._read("confidence", identifier, checksum))

    def verify(self) -> StoreReport:
        """Compare every file with its checksum in the index."""
        missing, damaged, expected = [], [], set()
        for row in self._index.rows():
            bad = set()
            for path, checksum in self._files(row):
                expected.add(path)
                if not path.is_file():
                    bad.add("missing")
                elif hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
                    bad.add("damaged")
            if "missing" in bad:
                missing.append(row.id)
            elif bad:
                damaged.append(row.id)
        found = (p for part in ("labels", "confidence") for p in (self.root / part).rglob("*") if p.is_file())
        stray = sorted(str(path.relative_to(self.root)) for path in found if path not in expected)
        return StoreReport(len(self._index), missing, damaged, stray)

    def stats(self) -> StoreStats:
        """Count classes, from the index alone."""
        pixels = np.zeros(256, dtype=np.int64)
        images = np.zeros(256, dtype=np.int64)
        for row in self._index.rows():
            for value, count in row.pixels.items():
                pixels[value] += count
                images[value] += 1
        names = self.vocabulary.names
        return StoreStats(
            len(self._index),
            {name: int(pixels[i]) for i, name in enumerate(names)},
            int(pixels[IGNORE]),
            {name: int(images[i]) for i, name in enumerate(names)},
        )

    def _row(self, identifier: str) -> IndexRow:
        row = self._index.get(identifier)
        if row is None:
            raise DataError(f"{self.root}: image '{identifier}' has no label here; {_HINT}")
        return row

    def _path(self, part: Part, identifier: str) -> Path:
        """File of an id, which cannot lie outside the store."""
        pieces = identifier.split("/")
        odd = "\\" in identifier or "\0" in identifier or not _encodable(identifier)
        if odd or any(piece in {"", ".", ".."} for piece in pieces):
            raise DataError(f"{self.root}: {identifier!r} cannot be an image id: it must be a plain relative path")
        return (self.root / part).joinpath(*pieces[:-1], f"{pieces[-1]}.png")

    def _require_inside(self, path: Path) -> None:
        """Refuse to write through a link that leads out of the store."""
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"{path}: a link leads out of the store; remove it")

    def _files(self, row: IndexRow) -> Iterator[tuple[Path, str]]:
        yield self._path("labels", row.id), row.label
        if row.confidence is not None:
            yield self._path("confidence", row.id), row.confidence

    def _read(self, part: Part, identifier: str, checksum: str) -> bytes:
        path = self._path(part, identifier)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); run `semiovs label` again") from None
        if hashlib.sha256(data).hexdigest() != checksum:
            raise DataError(
                f"{path}: damaged, or changed after it was written; remove it and run `semiovs label` again"
            )
        return data

    def _checked(self, identifier: str, label: NDArray[np.uint8]) -> dict[int, int]:
        """Pixels of each value of a label that may be stored."""
        if label.dtype != np.uint8 or label.ndim != 2 or not label.size:
            raise DataError(f"label of '{identifier}': {label.dtype} of shape {label.shape}; must be uint8 (H, W)")
        counts = np.bincount(label.ravel(), minlength=256)
        values = np.flatnonzero(counts)
        wrong = [int(v) for v in values if len(self.vocabulary) <= v != IGNORE]
        if wrong:
            raise DataError(
                f"label of '{identifier}': value {wrong[0]} on {counts[wrong[0]]} pixels is no class of "
                f"0..{len(self.vocabulary) - 1} and not ignore ({IGNORE})"
            )
        return {int(v): int(counts[v]) for v in values}

    def _label_png(self, label: NDArray[np.uint8]) -> bytes:
        image = Image.fromarray(label)
        image.putpalette(self._palette)
        return _png(image)


def _confidence_png(identifier: str, confidence: NDArray[Any], shape: tuple[int, ...]) -> bytes:
    if confidence.shape != shape:
        raise DataError(f"confidence of '{identifier}': shape {confidence.shape}, but its label is {shape}")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise DataError(f"confidence of '{identifier}': not within [0, 1]")
    return _png(Image.fromarray(np.rint(confidence * 255.0).astype(np.uint8)))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _decode(data: bytes) -> NDArray[np.uint8]:
    """Pixel values of a PNG whose checksum was right."""
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image, dtype=np.uint8)


def _read_meta(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path.parent}: not a pseudo-label store (no {_META}); {_HINT}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    found = meta.get("format") if isinstance(meta, dict) else None
    if found != FORMAT:
        raise DataError(f"{path}: store format {found!r}; this version reads format {FORMAT}")
    return dict(meta)


def _require_empty(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file, where a folder for pseudo-labels is wanted")
    # What a job leaves that was killed while it wrote the very first file.
    strangers = [p.name for p in root.iterdir() if not p.name.startswith(_META)] if root.is_dir() else []
    if strangers:
        raise DataError(
            f"{root}: not empty and no pseudo-label store (holds '{min(strangers)}'); choose another folder"
        )


def _folders(root: Path) -> Iterator[Path]:
    """Folders of a store, which may not be there yet; nothing of a folder that is no store."""
    if (root / _META).exists():
        yield root
        for part in ("labels", "confidence"):
            yield from (Path(folder) for folder, _, _ in os.walk(root / part))


def _encodable(text: str) -> bool:
    """False for file names whose bytes were no valid text: they cannot stand in the index."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return ", ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in keys)
