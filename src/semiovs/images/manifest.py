"""Manifests: lists of images with or without masks, read from files or folders; errors name file and line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from semiovs.errors import DataError
from semiovs.files import write_text
from semiovs.images.allowed_folders import AllowedFolders
from semiovs.images.findings import Finding, raise_errors
from semiovs.images.listing import read_folder
from semiovs.images.record import Record
from semiovs.images.record_lines import format_record, parse_record, read_lines, relative_path, shorten, split_columns


class Manifest(Sequence[Record]):
    """Records in order.

    root: start of relative paths; paths are written and hashed relative to it, so that a moved data set keeps
    its hash; origin: the list file that the records were read from.

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
            return self._replace_records(self._records[index])
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
            digest.update(json.dumps(format_record(record, self.root), sort_keys=True).encode() + b"\n")
        return digest.hexdigest()[:16]

    @classmethod
    def read(cls, path: Path | str, root: Path | str) -> Manifest:
        """Read JSONL or a text list (``image mask`` or ``image`` on each line).

        A line of JSONL is ``{"id", "image", "mask"?, "source"?, "license"?, "sha256"?}``.

        Paths are relative to `root` or absolute. In a text list the columns are separated by a space; a path may itself
        hold spaces as long as only one way of splitting gives two image files; ``None`` as mask means there is none;
        the id is the image path without suffix.

        Raises:
            DataError: unreadable, or lines that do not hold; all of them are named (``file:line: …``).
        """
        manifest, problems = cls.scan(path, root)
        if problems:
            raise DataError.of(problems, f"{path}: {len(problems)} lines do not hold")
        return manifest

    @classmethod
    def scan(cls, path: Path | str, root: Path | str) -> tuple[Manifest, list[str]]:
        """As `read`, but lines with errors are returned as one text each (``file:line: …``).

        Raises:
            DataError: the file cannot be read, or is no text.
        """
        manifest, findings = cls.examine(path, root)
        return manifest, [finding.line for finding in findings]

    @classmethod
    def examine(
        cls, path: Path | str, root: Path | str, *, within: AllowedFolders | None = None
    ) -> tuple[Manifest, list[Finding]]:
        """As `scan`, but with a finding for each line with errors; within: folders that all files must lie in.

        Raises:
            DataError: the file cannot be read, or is no text.
        """
        records, findings = cls.examine_lines(read_lines(Path(path)), root, name=str(path), within=within)
        return cls(records, root, origin=Path(path)), findings

    @classmethod
    def examine_lines(
        cls,
        lines: Iterable[tuple[int, str | DataError]],
        root: Path | str,
        *,
        name: str,
        within: AllowedFolders | None = None,
    ) -> tuple[Manifest, list[Finding]]:
        """As `examine`, for (number, line) pairs; name: of the list, for findings."""
        root = Path(root)
        records: list[Record] = []
        findings: list[Finding] = []
        numbers: dict[str, int] = {}
        for number, line in lines:
            try:
                record = _parse_line(line, root, number, within)
                if record.id in numbers:
                    raise DataError(
                        f"id '{shorten(record.id)}' is already in line {numbers[record.id]}", kind="id-twice"
                    )
            except DataError as error:
                findings.append(_report_line(name, number, error))
                continue
            numbers[record.id] = number
            records.append(record)
        return cls(records, root), findings

    @classmethod
    def from_folder(cls, images: Path | str, masks: Path | str | None = None, *, recursive: bool = True) -> Manifest:
        """List all images of a folder, sorted by id (path without suffix), with ``masks/<id>.png`` if masks are given.

        Raises:
            DataError: no folder, no images, two images or masks with one id, or images without mask.
        """
        manifest, findings = cls.examine_folder(images, masks, recursive=recursive)
        raise_errors(findings)
        return manifest

    @classmethod
    def examine_folder(
        cls,
        images: Path | str,
        masks: Path | str | None = None,
        *,
        recursive: bool = True,
        within: AllowedFolders | None = None,
    ) -> tuple[Manifest, list[Finding]]:
        """As `from_folder`, but errors are returned as findings; within: folders that all files must lie in.

        Raises:
            DataError: no such folder, or no images in it.
        """
        images = Path(images)
        folder = None if masks is None else Path(masks)
        records, findings = read_folder(images, folder, recursive=recursive, within=within)
        return cls(records, images.parent), findings

    def without_masks(self) -> Manifest:
        """The same images without their masks."""
        return self._replace_records(replace(record, mask=None) for record in self._records)

    def choose_by_hash(self, count: int) -> Manifest:
        """Choose `count` records, those whose ids have the smallest hashes; most stay chosen when the list grows."""
        ranked = sorted(self._records, key=lambda record: hashlib.sha256(record.id.encode()).digest())
        chosen = {record.id for record in ranked[:count]}
        return self._replace_records(record for record in self._records if record.id in chosen)

    def keep_if(self, condition: Callable[[Record], bool]) -> Manifest:
        """Return the records for which `condition` is true."""
        return self._replace_records(record for record in self._records if condition(record))

    def exclude(self, other: Iterable[Record]) -> Manifest:
        """Return the records whose images are not among those of `other`."""
        images = {record.image for record in other}
        return self._replace_records(record for record in self._records if record.image not in images)

    def write_jsonl(self, path: Path | str) -> None:
        """Write the records as JSONL, paths relative to the root where they lie in it."""
        text = "".join(
            json.dumps(format_record(record, self.root), ensure_ascii=False) + "\n" for record in self._records
        )
        write_text(Path(path), text)

    def write_list(self, path: Path | str, root: Path | str) -> None:
        """Write an ``image mask`` text list with paths relative to `root`; ids and sources are not kept.

        Raises:
            DataError: a path that such a list cannot hold.
        """
        root, lines = Path(root), []
        for record in self._records:
            paths: list[str | None] = [relative_path(p, root) for p in (record.image, record.mask) if p is not None]
            line = " ".join(filter(None, paths))
            if split_columns(line) != (*paths, None)[:2] or not line.isprintable():
                raise DataError(f"{record.image}: the path cannot stand in a text list; use write_jsonl")
            lines.append(line + "\n")
        write_text(Path(path), "".join(lines))

    def write(self, stem: Path, root: Path | str) -> Path:
        """Write a text list ``<stem>.txt``, or ``<stem>.jsonl`` if a text list cannot hold a path; returns the file."""
        text, lines = stem.with_name(f"{stem.name}.txt"), stem.with_name(f"{stem.name}.jsonl")
        try:
            self.write_list(text, root)
        except DataError:
            Manifest(self._records, root).write_jsonl(lines)
            return lines
        return text

    def where(self, record: Record) -> str:
        """Where a record comes from, for messages: ``list:line``, or its image if there is no list."""
        return f"{self.origin}:{record.line}" if self.origin is not None and record.line else str(record.image)

    def _replace_records(self, records: Iterable[Record]) -> Manifest:
        return Manifest(records, self.root, origin=self.origin)


def _parse_line(line: str | DataError, root: Path, number: int, within: AllowedFolders | None) -> Record:
    """The record of a line."""
    if isinstance(line, DataError):
        raise line
    record = parse_record(line, root, number)
    if within is not None:
        for path in filter(None, (record.image, record.mask)):
            within.check(path)
    return record


def _report_line(name: str, number: int, error: DataError) -> Finding:
    kind = error.kind if error.kind.startswith("id-") else f"line-{error.kind}" if error.kind else "line"
    return Finding(kind, "error", f"{name}:{number}: {error}", where=f"{name}:{number}", ids=(f"line {number}",))
