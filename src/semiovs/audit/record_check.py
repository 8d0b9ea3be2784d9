"""Checks of one record, its image and label: quick ones before training, deeper ones for `semiovs data check`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from semiovs.audit.image_facts import ImageFacts, check_png
from semiovs.control_characters import escape_controls
from semiovs.data.collection import Collection, Stream
from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import Finding, Severity
from semiovs.images.image import open_file
from semiovs.images.mask_values import ForeignValuesError, Key
from semiovs.images.record import Record

#: header: an image's header and end; whole: every byte of it decoded.
Depth = Literal["header", "whole"]

#: Sides (pixels), ratio of the sides and number of pixels beyond which an image is unusual.
TINY, LONG, HUGE = 32, 8.0, 50_000_000
#: Pixels up to which OpenCV's histogram, which counts in float32, is exact.
_EXACT = 1 << 24


@dataclass(frozen=True, slots=True)
class MaskFacts:
    """Facts about a mask. counts: (256,) pixels of each id (255: ignore); digest: of size and ids, 8 bytes."""

    size: tuple[int, int]
    counts: NDArray[np.int64]
    digest: bytes = b""


@dataclass
class Inspection:
    """Result of checking one record.

    size: of the image as shown, None if it cannot be read; channels: of its file; appearance: only where it was
    decoded; palette: index -> colour of a palette mask that is read by its indices, those that occur; nodata: value of
    a class that the mask's file declares as no data, if it occurs; foreign: of a mask with values or colours that are
    no classes, which of the two, and all of them with their pixels.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    image: ImageFacts | None = None
    labels: MaskFacts | None = None
    palette: dict[int, Key] = field(default_factory=dict)
    nodata: int | None = None
    foreign: tuple[str, Counter[Key]] | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing about the record is an error."""
        return all(finding.severity != "error" for finding in self.findings)


class Inspector:
    """Checks records of a collection, one per call; safe to call from many threads."""

    def __init__(self, collection: Collection, depth: Depth) -> None:
        self.collection = collection
        self.depth = depth

    def __call__(self, stream: Stream, record: Record) -> Inspection:
        """Check a record of a stream."""
        found = Inspection()
        report = _FindingWriter(stream, record, found.findings)
        self._inspect_image(record, found, report)
        match self.collection.target_of(stream.name):
            case "mask" if record.mask is not None:
                path = record.mask
                self._inspect_mask(record, str(path), lambda: self._read_mask(path, found), found, report)
                if self.depth == "whole":
                    _check_mask_file(path, report)
            case "label":
                self._inspect_ood_label(record, found, report)
        return found

    def _inspect_image(self, record: Record, found: Inspection, report: _FindingWriter) -> None:
        try:
            if self.depth == "header":
                *size, found.channels = self.collection.images.read_header(record.image)
                found.size = (size[0], size[1])
                return
            found.image = ImageFacts.read(record.image, self.collection.images)
        except DataError as error:
            report.error(f"image-{error.kind or 'unreadable'}", str(error), record.image)
            return
        found.size, found.channels = found.image.size, found.image.channels
        if found.image.damage:
            text = f"{record.image}: damaged inside: {found.image.damage}"
            report.error(
                "image-damaged",
                text,
                record.image,
                "look at it; save it again if the picture is whole, else get it again",
            )
        if found.image.pages > 1:
            text = f"{record.image}: has {found.image.pages} pages or frames, and the first is read"
            report.note("image-pages", text, record.image, "save the others as files of their own if they are wanted")
        _check_shape(record, found.image.size, report)

    def _read_mask(self, path: Path, found: Inspection) -> NDArray[np.uint8]:
        ids, stored = self.collection.masks.read(path)
        found.palette = stored.list_used_colors()
        if stored.nodata is not None and self.collection.masks.find_class(stored.nodata) is not None:
            found.nodata = stored.nodata if (stored.values == stored.nodata).any() else None
        return ids

    def _inspect_mask(
        self,
        record: Record,
        what: str,
        read: Callable[[], NDArray[np.uint8]],
        found: Inspection,
        report: _FindingWriter,
    ) -> None:
        try:
            ids = read()
        except DataError as error:
            report.error(f"mask-{error.kind or 'unreadable'}", str(error), record.mask or record.image)
            found.foreign = (error.kind, error.counts) if isinstance(error, ForeignValuesError) else None
            return
        size = (ids.shape[1], ids.shape[0])
        found.labels = MaskFacts(size, _count_ids(ids), _hash_ids(ids) if self.depth == "whole" else b"")
        if found.size is not None and found.size != size:
            report.error(*_describe_size_mismatch(record, what, found.size, size), record.mask or record.image)

    def _inspect_ood_label(self, record: Record, found: Inspection, report: _FindingWriter) -> None:
        source = self.collection.ood_labels
        assert source is not None
        if record.id not in source:
            report.error("label-missing", f"{record.image}: no label for id '{record.id}' in ood.labels", record.image)
            return
        what, classes = f"its OOD label '{record.id}'", len(self.collection.vocabulary)
        self._inspect_mask(record, what, lambda: source.label(record.id), found, report)
        counts = np.zeros(256, np.int64) if found.labels is None else found.labels.counts
        wrong = classes + np.flatnonzero(counts[classes:IGNORE])
        if wrong.size:
            text = f"{record.image}: {what} holds {wrong[0]}, but class ids end at {classes - 1}"
            report.error("mask-values", text, record.image)


class _FindingWriter:
    """Adds findings about one record, with its place in the list."""

    def __init__(self, stream: Stream, record: Record, findings: list[Finding]) -> None:
        self.stream, self.record, self.findings = stream, record, findings

    def error(self, kind: str, text: str, file: Path, fix: str = "") -> None:
        """Add an error: the record cannot be used."""
        self._add(kind, "error", text, file, fix, (self.record.id,))

    def warn(self, kind: str, text: str, file: Path, fix: str = "") -> None:
        """Add a warning: the record is unusual."""
        self._add(kind, "warning", text, file, fix, ())

    def note(self, kind: str, text: str, file: Path, fix: str = "") -> None:
        """Add a note: a fact that may not be known."""
        self._add(kind, "note", text, file, fix, ())

    def _add(self, kind: str, severity: Severity, text: str, file: Path, fix: str, ids: tuple[str, ...]) -> None:
        where = escape_controls(self.stream.manifest.where(self.record))
        self.findings.append(
            Finding(kind, severity, text, self.stream.name, where, escape_controls(str(file)), fix, ids)
        )


def _check_shape(record: Record, size: tuple[int, int], report: _FindingWriter) -> None:
    short, long = sorted(size)
    text = f"{record.image}: is {size[0]}x{size[1]} pixels"
    if short < TINY:
        report.warn("image-tiny", f"{text}, smaller than {TINY}", record.image, "a thumbnail by mistake? take it out")
    elif long > LONG * short:
        report.warn(
            "image-long", f"{text}, more than {LONG:.0f} times as long as wide", record.image, "cut it into tiles"
        )
    if short * long > HUGE:
        report.warn(
            "image-huge",
            f"{text}, {short * long / 1e6:.0f} million",
            record.image,
            "cut it into tiles or make it smaller",
        )


def _describe_size_mismatch(record: Record, what: str, size: tuple[int, int], mask: tuple[int, int]) -> tuple[str, str]:
    """Kind and text of the finding for a mask of another size than its image."""
    text = f"{record.image}: is {size[0]}x{size[1]} pixels but {what} is {mask[0]}x{mask[1]}"
    if size == mask[::-1]:
        return "mask-turned", f"{text} (turned: was the mask drawn without regard to the EXIF orientation?)"
    return "mask-size", text


def _check_mask_file(path: Path, report: _FindingWriter) -> None:
    """Check the checksums of a PNG mask, which not every decoder does."""
    if path.suffix.lower() != ".png" or any(finding.kind.startswith("mask-") for finding in report.findings):
        return
    with open_file(path) as file:
        wrong = check_png(file.read())
    if wrong:
        report.error("mask-damaged", f"{path}: damaged inside: {wrong}", path, "get it again")


def _count_ids(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    if 0 < ids.size < _EXACT:
        return np.asarray(cv2.calcHist([ids], [0], None, [256], [0, 256])).ravel().astype(np.int64)
    return np.bincount(ids.ravel(), minlength=256)


def _hash_ids(ids: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(repr(ids.shape).encode() + np.ascontiguousarray(ids).tobytes()).digest()[:8]
