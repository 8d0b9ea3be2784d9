"""Statistics of the images and masks of one stream: sizes, formats, colours, classes."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.audit.record_check import Inspection
from semiovs.data.collection import MASKED, VAL, Stream
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import Finding
from semiovs.images.record import Record
from semiovs.vocab.vocabulary import Vocabulary

_AS_READ = {
    "RGB": "",
    "L": "gray",
    "1": "black and white",
    "P": "palette",
    "CMYK": "CMYK",
    "RGBA": "RGB with transparency",
}


@dataclass
class StreamStatistics:
    """Statistics of one stream.

    read: images that could be decoded; masks: masks that could be read; counts: (256,) pixels of each class id;
    images_with: (256,) masks in which an id occurs; examples: one file for each kind of note.
    """

    stream: Stream
    read: int = 0
    masks: int = 0
    bytes: int = 0
    widths: array[int] = field(default_factory=lambda: array("i"))
    heights: array[int] = field(default_factory=lambda: array("i"))
    formats: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    turned: int = 0
    transparent: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    images_with: NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    of_one_class: int = 0
    _weight: float = 0.0
    _sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 3)))

    def add(self, record: Record, found: Inspection) -> None:
        """Count a record."""
        if found.image is not None:
            self._add_image(record, found)
        if found.labels is not None:
            there = found.labels.counts > 0
            self.masks += 1
            self.counts += found.labels.counts
            self.images_with += there
            if np.count_nonzero(there[:IGNORE]) == 1 and not there[IGNORE]:
                self.of_one_class += 1
                self.examples.setdefault("one class", str(record.mask or record.image))

    def _add_image(self, record: Record, found: Inspection) -> None:
        picture = found.image
        assert picture is not None
        self.read += 1
        self.bytes += picture.length
        width, height = picture.size
        self.widths.append(width)
        self.heights.append(height)
        self.formats[picture.format] += 1
        self.modes[picture.mode] += 1
        self.examples.setdefault(picture.mode, str(record.image))
        if picture.orientation > 1:
            self.turned += 1
            self.examples.setdefault("turned", str(record.image))
        if not picture.opaque:
            self.transparent += 1
            self.examples.setdefault("transparent", str(record.image))
        mean, std = np.array(picture.mean), np.array(picture.std)
        self._weight += width * height
        self._sums += np.stack([mean, std**2 + mean**2]) * (width * height)

    @property
    def mean_std(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of R, G, B over all pixels, in [0, 1]; None without images."""
        if not self._weight:
            return None
        mean, square = self._sums / self._weight
        std = np.sqrt(np.maximum(square - mean**2, 0))
        return [round(float(v) / 255, 4) for v in mean], [round(float(v) / 255, 4) for v in std]

    def class_shares(self, vocabulary: Vocabulary) -> dict[str, dict[str, Any]]:
        """Class -> its share of the labelled pixels, and in how many images it is; empty without masks."""
        if not self.masks:
            return {}
        total = max(int(self.counts[:IGNORE].sum()), 1)
        return {
            name: {"pixels": round(int(self.counts[i]) / total, 6), "images": int(self.images_with[i])}
            for i, name in enumerate(vocabulary.names)
        }

    def as_json(self, vocabulary: Vocabulary) -> dict[str, Any]:
        """Plain data."""
        facts: dict[str, Any] = {"images": self.read, "bytes": self.bytes}
        if self.read:
            facts |= {
                "formats": dict(self.formats.most_common()),
                "modes": dict(self.modes.most_common()),
                "turned_by_exif": self.turned,
                "width": _summarize(self.widths),
                "height": _summarize(self.heights),
                "sizes": len(set(zip(self.widths, self.heights, strict=True))),
            }
        if (found := self.mean_std) is not None:
            facts |= {"mean": found[0], "std": found[1]}
        if self.masks:
            pixels = int(self.counts.sum())
            facts |= {
                "masks": self.masks,
                "ignored": round(int(self.counts[IGNORE]) / max(pixels, 1), 6),
                "classes": self.class_shares(vocabulary),
            }
        return facts

    def findings(self, vocabulary: Vocabulary, *, named: bool) -> Iterator[Finding]:
        """Yield findings about the stream as a whole. named: whether the user has named the classes."""
        yield from self._find_mode_notes()
        if self.stream.named_masks:
            text = f"{self.stream.named_masks} {self.stream.name} lines name masks; they are never opened"
            yield Finding("masks-unused", "note", text, self.stream.name, str(self.stream.manifest.origin or ""))
        if not self.masks:
            return
        if self.of_one_class:
            shown = f"(like {self.examples['one class']})"
            text = f"{self.of_one_class} of {self.masks} {self.stream.name} masks are of one class alone {shown}"
            yield Finding("mask-one-class", "note", text, self.stream.name)
        if named and self.stream.name in MASKED:
            absent = [name for i, name in enumerate(vocabulary.names) if not self.images_with[i]]
            if absent:
                yield _report_absent_classes(absent, len(vocabulary), self.stream.name)

    def _find_mode_notes(self) -> Iterator[Finding]:
        for mode, number in self.modes.most_common():
            if mode != "RGB" and not mode.endswith(" channels"):
                said = _AS_READ.get(mode, f"mode {mode}")
                yield self._make_note("image-mode", number, f"are {said}; they are read as RGB", mode)
        if self.transparent:
            yield self._make_note(
                "image-transparent", self.transparent, "have transparent pixels; transparency is dropped", "transparent"
            )
        if self.turned:
            yield self._make_note(
                "image-turned", self.turned, "are turned by EXIF; masks have to fit them as shown", "turned"
            )

    def _make_note(self, kind: str, number: int, what: str, example: str) -> Finding:
        text = f"{number} of {self.read} {self.stream.name} images {what} (like {self.examples[example]})"
        return Finding(kind, "note", text, self.stream.name)


def _report_absent_classes(names: list[str], classes: int, stream: str) -> Finding:
    text = f"{len(names)} of {classes} classes never occur in the {stream} masks: {', '.join(names)}"
    means = "their IoU there says nothing" if stream == VAL else "nothing can be learned of them there"
    return Finding("class-absent", "warning", text, stream, fix=f"{means}; check the class list, or label some")


def _summarize(values: array[int]) -> dict[str, float]:
    found = np.frombuffer(values, np.int32)
    return {"min": int(found.min()), "median": float(np.median(found)), "max": int(found.max())}
