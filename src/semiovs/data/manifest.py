"""Manifests: which images there are, with or without masks; every mistake is named by file and line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from semiovs.data.image import IMAGE_SUFFIXES
from semiovs.data.listing import image_files, mask_files
from semiovs.errors import DataError
from semiovs.files import write_text

_KEYS = {"id", "image", "mask", "source"}
_COLUMN_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
_LONGEST = 8192


@dataclass(frozen=True, slots=True)
class Record:
    """One image. id: unique in its manifest, a relative path without suffix (stores name their files after it)."""

    id: str
    image: Path
    mask: Path | None = None
    source: str = ""


class Manifest(Sequence[Record]):
    """Records in order.

    root: what relative paths start from; it decides the paths that are written and hashed, so that a moved data set keeps
    its hash.

    Raises:
        DataError: two records with one id.
    """

    def __init__(self, records: Iterable[Record], root: Path | str = ".") -> None:
        self._records = tuple(records)
        self.root = Path(root)
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
            return Manifest(self._records[index], self.root)
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
            digest.update(json.dumps(self._row(record), sort_keys=True).encode() + b"\n")
        return digest.hexdigest()[:16]

    @classmethod
    def read(cls, path: Path | str, root: Path | str) -> Manifest:
        """Read JSONL (one ``{"id", "image", "mask"?, "source"?}`` a line) or a text list (``image mask`` or ``image`` a line).

        Paths are relative to `root` or absolute. In a text list the columns are separated by a space; a path may itself hold
        spaces as long as only one way of splitting gives two image files; ``None`` as mask means there is none; the id is the
        image path without suffix.

        Raises:
            DataError: unreadable, or a line that does not hold (``file:line: …``).
        """
        path, root = Path(path), Path(root)
        records: list[Record] = []
        lines_of: dict[str, int] = {}
        for number, line in _lines(path):
            try:
                record = _from_json(line, root) if line.startswith("{") else _from_text(line, root)
                if record.id in lines_of:
                    raise DataError(f"id '{_brief(record.id)}' is already in line {lines_of[record.id]}")
            except DataError as error:
                raise DataError(f"{path}:{number}: {error}") from None
            lines_of[record.id] = number
            records.append(record)
        return cls(records, root)

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

    def without_masks(self) -> Manifest:
        """The same images as bare images."""
        return Manifest((replace(record, mask=None) for record in self._records), self.root)

    def aside(self, count: int) -> Manifest:
        """`count` of the records, in their order: those whose ids have the smallest hashes, so that a longer list keeps most."""
        ranked = sorted(self._records, key=lambda record: hashlib.sha256(record.id.encode()).digest())
        chosen = {record.id for record in ranked[:count]}
        return Manifest((record for record in self._records if record.id in chosen), self.root)

    def without(self, other: Iterable[Record]) -> Manifest:
        """The records whose image is none of those of `other`."""
        images = {record.image for record in other}
        return Manifest((record for record in self._records if record.image not in images), self.root)

    def write_jsonl(self, path: Path | str) -> None:
        """Write the records as JSONL, paths relative to the root where they lie in it."""
        text = "".join(json.dumps(self._row(record), ensure_ascii=False) + "\n" for record in self._records)
        write_text(Path(path), text)

    def write_list(self, path: Path | str, root: Path | str) -> None:
        """Write an ``image mask`` text list with paths relative to `root`; ids and sources are not kept.

        Raises:
            DataError: a path that such a list cannot hold.
        """
        root, lines = Path(root), []
        for record in self._records:
            columns: list[str | None] = [_relative(p, root) for p in (record.image, record.mask) if p is not None]
            line = " ".join(filter(None, columns))
            if _columns(line) != (*columns, None)[:2] or not line.isprintable():
                raise DataError(f"{record.image}: the path cannot stand in a text list; use write_jsonl")
            lines.append(line + "\n")
        write_text(Path(path), "".join(lines))

    def _row(self, record: Record) -> dict[str, str]:
        row = {"id": record.id, "image": _relative(record.image, self.root)}
        if record.mask is not None:
            row["mask"] = _relative(record.mask, self.root)
        if record.source:
            row["source"] = record.source
        return row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a list of images: {getattr(error, 'strerror', error)}") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{bad}: not UTF-8 text; is this a list of images?") from None
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if line.strip():
            yield number, line.strip()


def _from_json(line: str, root: Path) -> Record:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON: {error}") from None
    if unknown := sorted(set(row) - _KEYS):
        raise DataError(f"unknown key '{_brief(unknown[0])}' (known: id, image, mask, source)")
    mask, source = row.get("mask"), row.get("source") or ""
    if not isinstance(row.get("image"), str) or not isinstance(mask, str | None) or not isinstance(source, str):
        raise DataError("'image' must be a path, 'mask' a path or null, 'source' a text")
    image = _inside(row["image"], root)
    name = row.get("id", _id_of(image, root))
    if not isinstance(name, str) or not _is_id(name):
        raise DataError("'id' must be a relative path without '..', like 'train/0001'")
    _storable(source)
    return Record(name, image, None if mask is None else _inside(mask, root), source)


def _from_text(line: str, root: Path) -> Record:
    image, mask = _columns(line)
    path = _inside(image, root)
    name = _id_of(path, root)
    if not _is_id(name):
        raise DataError(f"no id can be made of '{_brief(image)}'; use JSONL with an 'id'")
    return Record(name, path, None if mask is None else _inside(mask, root))


def _columns(line: str) -> tuple[str, str | None]:
    """(image, mask or None) of one line of a text list."""
    if len(line) > _LONGEST:
        raise DataError(f"{len(line):,} characters in one line; is this a list of images?")
    first, space, second = line.partition(" ")
    if space and " " not in second and "\t" not in line and _is_image(first) and _is_image(second):
        return first, second
    splits = {(line[:i].rstrip(), line[i:].strip()) for i, char in enumerate(line) if char in " \t"}
    pairs = [(a, b) for a, b in splits if _is_image(a) and (_is_image(b) or b == "None")]
    if len(pairs) > 1:
        raise DataError(f"'{_brief(line)}' can be split in {len(pairs)} ways; use JSONL for paths with spaces")
    if pairs:
        image, mask = pairs[0]
        return image, None if mask == "None" else mask
    if not _is_image(line):
        raise DataError(f"expected 'image mask' or 'image', got '{_brief(line)}' (images: {', '.join(IMAGE_SUFFIXES)})")
    return line, None


def _is_image(text: str) -> bool:
    dot = text.rfind(".")
    return dot > 0 and text[dot:].lower() in _COLUMN_SUFFIXES


def _storable(text: str) -> None:
    if text.isascii() and text.isprintable():
        return
    if "\0" in text or "\n" in text:
        raise DataError("a path holds a NUL or a line break")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError("a path holds half a character (a lone surrogate)") from None


def _inside(text: str, root: Path) -> Path:
    """Path of `text`, which may be absolute; a relative one must not climb out of `root`."""
    _storable(text)
    if not text.strip():
        raise DataError("an empty path")
    if ".." in text and not Path(text).is_absolute() and Path(os.path.normpath(text)).parts[:1] == (os.pardir,):
        raise DataError(f"'{_brief(text)}' leads out of the root folder {root}; give an absolute path if that is meant")
    return root / text


def _id_of(image: Path, root: Path) -> str:
    name = _relative(image, root)
    stem, dot, suffix = name.rpartition(".")
    return (stem if dot and stem and not stem.endswith("/") and "/" not in suffix else name).lstrip("/")


def _is_id(name: str) -> bool:
    _storable(name)
    parts = name.split("/")
    return bool(name.strip()) and not name.startswith("/") and not {"", ".", ".."} & set(parts)


def _relative(path: Path, root: Path) -> str:
    """POSIX path from `root` if `path` lies in it, else as it is."""
    text, base_text = path.as_posix(), root.as_posix()
    prefix = "" if base_text == "." else f"{base_text}/"
    if text.startswith(prefix) and ".." not in text and not (prefix == "" and text.startswith("/")):
        return text[len(prefix) :]
    whole, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 (symlinks stay)
    return (whole.relative_to(base) if whole.is_relative_to(base) else whole).as_posix()


def _brief(text: str) -> str:
    return text if len(text) <= 120 else text[:117] + "…"
