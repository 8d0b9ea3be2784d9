"""Parse and format the lines of image lists: JSON objects, or text ``image mask``; check paths and ids."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from semiovs.control_characters import CONTROL, escape_controls
from semiovs.errors import DataError
from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.record import Record

_TEXTS = ("source", "license", "sha256")  # in the order of Record
_KEYS = ("id", "image", "mask", *_TEXTS)
_SHA256 = re.compile("[0-9a-f]{64}")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_COLUMN_SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
_LONGEST = 8192
#: First bytes of ZIP, Parquet, gzip, PNG and JPEG files.
_NO_TEXT = (b"PK\x03\x04", b"PAR1", b"\x1f\x8b", b"\x89PNG", b"\xff\xd8\xff")
_LONGEST_JSON = 65536


def read_lines(path: Path) -> Iterator[tuple[int, str | DataError]]:
    """Yield (number, text) of the lines of a list that are not blank; lines that are not UTF-8 come as errors.

    Line ends of every system and a byte order mark are understood.

    Raises:
        DataError: the file cannot be read, or is no text at all.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a list of images: {getattr(error, 'strerror', error)}") from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}:1: UTF-16 text; save the list as UTF-8", kind="list-encoding")
    if data.startswith(_NO_TEXT) or data[257:262] == b"ustar":
        raise DataError(f"{path}: an archive or a picture, no list of images", kind="list-encoding")
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            yield number, DataError("not UTF-8 text; is this a list of images?", kind="encoding")
            continue
        if text:
            yield number, text


def parse_record(line: str, root: Path, number: int = 0) -> Record:
    """Parse line `number` of a list; relative paths start from `root`.

    Raises:
        DataError: the line does not hold.
    """
    record = _parse_json(line, root) if line.startswith("{") else _parse_text(line, root)
    return replace(record, line=number)


def format_record(record: Record, root: Path) -> dict[str, str]:
    """Format a record as a JSON object; paths inside `root` are relative to it."""
    row = {"id": record.id, "image": relative_path(record.image, root)}
    if record.mask is not None:
        row["mask"] = relative_path(record.mask, root)
    return row | {key: value for key in _TEXTS if (value := getattr(record, key))}


def _parse_json(line: str, root: Path) -> Record:
    if len(line) > _LONGEST_JSON:
        raise DataError(f"{len(line):,} characters in one line; is this a list of images?", kind="long")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON: {error}", kind="json") from None
    if unknown := sorted(set(row) - set(_KEYS)):
        raise DataError(f"unknown key '{shorten(unknown[0])}' (known: {', '.join(_KEYS)})", kind="json")
    mask = row.get("mask")
    if not isinstance(row.get("image"), str) or not isinstance(mask, str | None):
        raise DataError("'image' must be a path, 'mask' a path or null", kind="json")
    image = resolve_path(row["image"], root)
    name = row.get("id", make_id(image, root))
    if not isinstance(name, str) or not is_valid_id(name):
        raise DataError("'id' must be a relative path without '..', like 'train/0001'", kind="id")
    source, terms, digest = (_require_text(row, key) for key in _TEXTS)
    return Record(name, image, None if mask is None else resolve_path(mask, root), source, terms, digest)


def _require_text(row: Mapping[str, object], key: str) -> str:
    text = row.get(key) or ""
    if not isinstance(text, str):
        raise DataError(f"'{key}' must be a text", kind="json")
    try:
        require_storable(text)
    except DataError as error:
        raise DataError(f"'{key}' holds a line break, a control character or no text", kind=error.kind) from None
    if key == "sha256" and text and not _SHA256.fullmatch(text):
        raise DataError("'sha256' must be 64 hex digits", kind="json")
    return text


def _parse_text(line: str, root: Path) -> Record:
    image, mask = split_columns(line)
    path = resolve_path(image, root)
    name = make_id(path, root)
    if not is_valid_id(name):
        raise DataError(f"no id can be made of '{shorten(image)}'; use JSONL with an 'id'", kind="id")
    return Record(name, path, None if mask is None else resolve_path(mask, root))


def split_columns(line: str) -> tuple[str, str | None]:
    """Split a line of a text list into (image, mask or None)."""
    if len(line) > _LONGEST:
        raise DataError(f"{len(line):,} characters in one line; is this a list of images?", kind="long")
    first, space, second = line.partition(" ")
    if space and " " not in second and "\t" not in line and _is_image(first) and _is_image(second):
        return first, second
    splits = {(line[:i].rstrip(), line[i:].strip()) for i, char in enumerate(line) if char in " \t"}
    pairs = [(a, b) for a, b in splits if _is_image(a) and (_is_image(b) or b == "None")]
    if len(pairs) > 1:
        raise DataError(
            f"'{shorten(line)}' can be split in {len(pairs)} ways; use JSONL for paths with spaces", kind="columns"
        )
    if pairs:
        image, mask = pairs[0]
        return image, None if mask == "None" else mask
    if not _is_image(line):
        known = ", ".join(IMAGE_SUFFIXES)
        raise DataError(f"expected 'image mask' or 'image', got '{shorten(line)}' (images: {known})", kind="columns")
    return line, None


def _is_image(text: str) -> bool:
    dot = text.rfind(".")
    return dot > 0 and text[dot:].lower() in _COLUMN_SUFFIXES


def require_storable(text: str) -> None:
    """Raise DataError for text that a file name or line cannot hold."""
    if text.isascii() and text.isprintable():
        return
    if "\0" in text or "\n" in text:
        raise DataError("a path holds a NUL or a line break", kind="control")
    if control := CONTROL.search(text):
        raise DataError(f"a name holds the control character U+{ord(control[0]):04X}", kind="control")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError("a path holds half a character (a lone surrogate)", kind="encoding") from None


def resolve_path(text: str, root: Path) -> Path:
    """Resolve a path, absolute or relative to `root`; a relative one must not lead out of `root`.

    Backslashes separate folders, as on Windows, unless a file is really called so.
    """
    require_storable(text)
    if _DRIVE.match(text) and not Path(text).is_absolute():
        raise DataError(f"'{shorten(text)}' is a path of another computer; write paths from {root}", kind="outside")
    if "\\" in text and not os.path.lexists(root / text):
        text = text.replace("\\", "/")
    if not text.strip():
        raise DataError("an empty path", kind="columns")
    if ".." in text and not Path(text).is_absolute() and Path(os.path.normpath(text)).parts[:1] == (os.pardir,):
        raise DataError(
            f"'{shorten(text)}' leads out of the root folder {root}; give an absolute path if that is meant",
            kind="outside",
        )
    return root / text


def make_id(image: Path, root: Path) -> str:
    """Make the id of an image: its path from `root` without suffix."""
    name = relative_path(image, root)
    stem, dot, suffix = name.rpartition(".")
    return (stem if dot and stem and not stem.endswith("/") and "/" not in suffix else name).lstrip("/")


def is_valid_id(name: str) -> bool:
    """Whether `name` can be an id: a relative path without ``..``."""
    require_storable(name)
    parts = name.split("/")
    return bool(name.strip()) and not name.startswith("/") and not {"", ".", ".."} & set(parts)


def relative_path(path: Path, root: Path) -> str:
    """POSIX path from `root` if `path` lies in it, else the absolute path."""
    text, base_text = path.as_posix(), root.as_posix()
    prefix = "" if base_text == "." else f"{base_text}/"
    if text.startswith(prefix) and ".." not in text and not (prefix == "" and text.startswith("/")):
        return text[len(prefix) :]
    whole, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 (symlinks stay)
    return (whole.relative_to(base) if whole.is_relative_to(base) else whole).as_posix()


def shorten(text: str) -> str:
    """The text, shortened to 120 characters, as `escape_controls`."""
    return escape_controls(text if len(text) <= 120 else text[:117] + "…")
