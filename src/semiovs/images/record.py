"""Records: the images of a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Record:
    """One image.

    id: unique in its manifest, a relative path without suffix (stores name their files after it); source: where the
    image is from; license: under which terms; sha256: of the image file, 64 hex digits; line: of the list it was read
    from, 0 if none (no part of what the record is).
    """

    id: str
    image: Path
    mask: Path | None = None
    source: str = ""
    license: str = ""
    sha256: str = ""
    line: int = field(default=0, compare=False, repr=False)


def last_part(identifier: str) -> str:
    """An id without its folders."""
    return identifier.rpartition("/")[2]


def index_by_last_part(ids: Iterable[str]) -> dict[str, str]:
    """Last part of an id -> the id; parts that several ids share are left out."""
    found: dict[str, str] = {}
    shared: set[str] = set()
    for identifier in ids:
        last = last_part(identifier)
        if found.setdefault(last, identifier) != identifier:
            shared.add(last)
    return {last: identifier for last, identifier in found.items() if last not in shared}
