"""The data of a run: a mark for each image and mask, and what is different from the data that a run was started
with.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from semiovs.data.collection import Collection, Stream, Target
from semiovs.data.label_source import LabelSource, MaskFiles, MatchedLabels
from semiovs.errors import DataError
from semiovs.files import write_text
from semiovs.images.containers.container import identify, read_bytes, split_path
from semiovs.images.pixels import read_shape
from semiovs.images.record import Record
from semiovs.models.weights import as_size
from semiovs.read_ahead import read_ahead
from semiovs.store import PseudoLabelStore

#: Format of the file.
_FORMAT = 1
#: Most ids that a line of differences names.
_NAMED = 3
#: Images that a thread looks up at a time.
_CHUNK = 64
#: Most images whose headers are read for the usual size.
SIZED = 200

#: Stream -> id -> mark, in the order of the stream (which decides what each step reads).
Marks = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class DataFingerprint:
    """The data of a run. marks: see `Marks`; a mark is the size of the image file and a checksum of its mask's file.

    size: usual (width, height) of the labelled images. Nothing depends on where the files lie, or when they were
    written.
    """

    marks: Marks
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, sources: Collection, *, threads: int = 8) -> Self:
        """Fingerprint of all streams; files are looked up, and those of masks read, but no image is decoded.

        Raises:
            DataError: a file that is not there.
        """

        def mark(stream: Stream) -> dict[str, str]:
            target = sources.target_of(stream.name)
            labels = sources.ood_labels if target == "label" else None
            records = stream.manifest
            chunks = [records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK)]
            marks = read_ahead(chunks, lambda part: [(r.id, _mark(r, target, labels)) for r in part], threads=threads)
            return dict(pair for part in marks for pair in part)

        return cls(
            {name: mark(stream) for name, stream in sources.streams.items()},
            find_usual_size([record.image for record in sources.labeled]),
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all marks, in their order."""
        plain = [[name, list(marks.items())] for name, marks in sorted(self.marks.items())]
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()

    def differences(self, now: DataFingerprint) -> list[str]:
        """What is different in `now`, one line for each stream and kind of change; empty if it is the same."""
        return [line for name in {**self.marks, **now.marks} for line in _compare(name, self.marks, now.marks)]

    def write(self, path: Path) -> None:
        """Write it as JSON, one line for each stream."""
        rows = [f"  {json.dumps(name)}: {json.dumps(marks)}" for name, marks in self.marks.items()]
        size = json.dumps(self.size)
        write_text(path, f'{{"format": {_FORMAT}, "size": {size}, "streams": {{\n' + ",\n".join(rows) + "\n}}\n")

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Inverse of `write`; None if the file is missing or damaged."""
        try:
            data = json.loads(path.read_text("utf-8"))
            if data["format"] != _FORMAT:
                return None
            streams = {str(name): {str(k): str(v) for k, v in marks.items()} for name, marks in data["streams"].items()}
            return cls(streams, as_size(data.get("size")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def find_usual_size(images: Sequence[Path], *, threads: int = 8) -> tuple[int, int] | None:
    """Median (width, height) of at most `SIZED` of the images, by their headers; None if none can be read."""
    chosen = images[:: -(-len(images) // SIZED) or 1]
    sizes = [size for size in read_ahead(chosen, _look_up_size, threads=threads) if size is not None]
    if not sizes:
        return None
    return int(statistics.median(w for w, _ in sizes)), int(statistics.median(h for _, h in sizes))


def _look_up_size(path: Path) -> tuple[int, int] | None:
    try:
        height, width, _ = read_shape(path)
    except (DataError, OSError):
        return None
    return width, height


def _mark(record: Record, target: Target, labels: LabelSource | None) -> str:
    try:
        image = (
            identify(record.image).rpartition("\0")[2] if split_path(record.image) else str(record.image.stat().st_size)
        )
    except OSError as error:
        raise DataError(f"{record.image}: {error.strerror or error}", kind="missing") from None
    read = record.mask if target == "mask" else None  # a list may name masks that nobody reads
    mask = _mark_label(labels, record.id) if read is None else _checksum(read)
    return f"{image} {mask}" if mask else image


def _mark_label(labels: LabelSource | None, name: str) -> str:
    if isinstance(labels, MatchedLabels):
        return _mark_label(labels.source, labels.names[name]) if name in labels else ""
    if isinstance(labels, MaskFiles):
        return _checksum(labels.paths[name]) if name in labels else ""
    if isinstance(labels, PseudoLabelStore):
        return f"{zlib.crc32(labels.line(name) or b''):08x}"  # the line holds the checksums of label and confidence
    return ""


def _checksum(path: Path) -> str:
    return f"{zlib.crc32(read_bytes(path)):08x}"


def _compare(name: str, before: Marks, now: Marks) -> Iterator[str]:
    old, new = before.get(name, {}), now.get(name, {})
    kinds = {
        "removed": [i for i in old if i not in new],
        "added": [i for i in new if i not in old],
        "changed": [i for i in old if i in new and old[i] != new[i]],
    }
    for kind, ids in kinds.items():
        if ids:
            shown = ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
            yield f"{name}: {len(ids)} of {len(old if kind != 'added' else new)} {kind}: {shown}"
    if old.keys() == new.keys() and list(old) != list(new):
        yield f"{name}: the same images in another order, so each step would read others"
