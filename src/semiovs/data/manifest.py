"""Manifests: which images there are, with or without masks; every mistake is named by file and line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from semiovs.data.listing import image_files, mask_files
from semiovs.data.record import Record
from semiovs.data.record_lines import brief, columns, line_of, lines_of, record_of, relative
from semiovs.errors import DataError
from semiovs.files import write_text


class Manifest(Sequence[Record]):
    """Records in order.

    root: what relative paths start from; it decides the paths that are written and hashed, so that a moved data set keeps
    its hash; origin: the list that the records were read from.

    Raises:
        DataError: two records with one id.
    """

    def __init__(self, records: Iterable[Record], root: Path | str = ".", *, origin: Path | None = None) -> None:
        self._records = tuple(records)
        self.root = Path(root)
        self.origin = origin
        seen: set[str] = set()
        for record in self._records:
            if record.id in seen:
                raise DataError(f"{record.image}: id '{record.id}' is listed twice")
            seen.add(record.id)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Manifest: ...
    def __getitem__(self, index: int | slice) -> Record | Manifest:
        if isinstance(index, slice):
            return self._with(self._records[index])
        return self._records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        return f"Manifest({len(self)} records, root={str(self.root)!r}, hash={self.hash})"

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of all records, with paths relative to the root."""
        digest = hashlib.sha256()
        for record in self._records:
            digest.update(json.dumps(line_of(record, self.root), sort_keys=True).encode() + b"\n")
        return digest.hexdigest()[:16]

    @classmethod
    def read(cls, path: Path | str, root: Path | str) -> Manifest:
        """Read JSONL or a text list (``image mask`` or ``image`` a line).

        A line of JSONL is ``{"id", "image", "mask"?, "source"?, "license"?, "sha256"?}``.

        Paths are relative to `root` or absolute. In a text list the columns are separated by a space; a path may itself hold
        spaces as long as only one way of splitting gives two image files; ``None`` as mask means there is none; the id is the
        image path without suffix.

        Raises:
            DataError: unreadable, or lines that do not hold; all of them are named (``file:line: …``).
        """
        manifest, problems = cls.scan(path, root)
        if problems:
            raise DataError.of(problems, f"{path}: {len(problems)} lines do not hold")
        return manifest

    @classmethod
    def scan(cls, path: Path | str, root: Path | str) -> tuple[Manifest, list[str]]:
        """As `read`, but with the lines that do not hold as one text each (``file:line: …``): good and bad are all lines.

        Raises:
            DataError: the file cannot be read, or is no text.
        """
        path, root = Path(path), Path(root)
        records: list[Record] = []
        problems: list[str] = []
        numbers: dict[str, int] = {}
        for number, line in lines_of(path):
            try:
                if isinstance(line, DataError):
                    raise line
                record = record_of(line, root, number)
                if record.id in numbers:
                    raise DataError(f"id '{brief(record.id)}' is already in line {numbers[record.id]}")
            except DataError as error:
                problems.append(f"{path}:{number}: {error}")
                continue
            numbers[record.id] = number
            records.append(record)
        return cls(records, root, origin=path), problems

    @classmethod
    def from_folder(cls, images: Path | str, masks: Path | str | None = None, *, recursive: bool = True) -> Manifest:
        """All images of a folder, sorted by id (path in the folder without suffix), with ``masks/<id>.png`` if asked for.

        Raises:
            DataError: no folder, no images, two images or masks with one id, or images without mask.
        """
        images = Path(images)
        found = image_files(images, recursive=recursive)
        if masks is None:
            return cls((Record(i, p) for i, p in found.items()), images.parent)
        known = mask_files(Path(masks), recursive=recursive)
        lacking = [i for i in found if i not in known]
        if lacking:
            few = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
            raise DataError(
                f"{images}: {len(lacking)} of {len(found)} images have no mask in {masks} (expected <id>.png): {few}; "
                "move images without masks to the unlabelled folder"
            )
        return cls((Record(i, p, known[i]) for i, p in found.items()), images.parent)

    @classmethod
    def from_source(cls, given: Path | str, root: Path | str = ".", *, key: str = "") -> Manifest:
        """Whatever holds images: a folder, a list, tars, a Hugging Face data set. See `image_source.read_source`.

        Raises:
            DataError, MissingExtraError: as there.
        """
        from semiovs.data.image_source import read_source

        return read_source(given, root, key=key)

    def without_masks(self) -> Manifest:
        """The same images as bare images."""
        return self._with(replace(record, mask=None) for record in self._records)

    def aside(self, count: int) -> Manifest:
        """`count` of the records, in their order: those whose ids have the smallest hashes, so that a longer list keeps most."""
        ranked = sorted(self._records, key=lambda record: hashlib.sha256(record.id.encode()).digest())
        chosen = {record.id for record in ranked[:count]}
        return self._with(record for record in self._records if record.id in chosen)

    def without(self, other: Iterable[Record]) -> Manifest:
        """The records whose image is none of those of `other`."""
        images = {record.image for record in other}
        return self._with(record for record in self._records if record.image not in images)

    def write_jsonl(self, path: Path | str) -> None:
        """Write the records as JSONL, paths relative to the root where they lie in it."""
        text = "".join(json.dumps(line_of(record, self.root), ensure_ascii=False) + "\n" for record in self._records)
        write_text(Path(path), text)

    def write_list(self, path: Path | str, root: Path | str) -> None:
        """Write an ``image mask`` text list with paths relative to `root`; ids and sources are not kept.

        Raises:
            DataError: a path that such a list cannot hold.
        """
        root, lines = Path(root), []
        for record in self._records:
            paths: list[str | None] = [relative(p, root) for p in (record.image, record.mask) if p is not None]
            line = " ".join(filter(None, paths))
            if columns(line) != (*paths, None)[:2] or not line.isprintable():
                raise DataError(f"{record.image}: the path cannot stand in a text list; use write_jsonl")
            lines.append(line + "\n")
        write_text(Path(path), "".join(lines))

    def write(self, stem: Path, root: Path | str) -> Path:
        """Write a text list ``<stem>.txt``, or ``<stem>.jsonl`` if a path cannot stand in one; returns the file."""
        text, lines = stem.with_name(f"{stem.name}.txt"), stem.with_name(f"{stem.name}.jsonl")
        try:
            self.write_list(text, root)
        except DataError:
            Manifest(self._records, root).write_jsonl(lines)
            return lines
        return text

    def where(self, record: Record) -> str:
        """The place to look at when something is wrong with a record: ``list:line``, or its image if there is no list."""
        return f"{self.origin}:{record.line}" if self.origin is not None and record.line else str(record.image)

    def _with(self, records: Iterable[Record]) -> Manifest:
        return Manifest(records, self.root, origin=self.origin)
