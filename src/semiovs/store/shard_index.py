"""Index of a packed store (`shards.jsonl`): one line a tar, with its size, checksum and where each image lies in it."""

from __future__ import annotations

import io
import json
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from semiovs.errors import DataError
from semiovs.files import parse_json
from semiovs.images.containers import TAR
from semiovs.images.containers.tar_index import LARGEST
from semiovs.images.record_lines import is_valid_id

SHARDS = "shards.jsonl"
#: End of messages about a packed store that is damaged.
PACK_AGAIN = "restore it from a copy, or pack the store of files again (`semiovs labels pack`)"

_SHA256 = re.compile("[0-9a-f]{64}")
#: Where a part lies: byte and number of bytes.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ShardItem:
    """One image of a shard. key: its sample, so the names of its members without their fields."""

    id: str
    key: str
    label: Place
    confidence: Place | None


@dataclass(frozen=True)
class Shard:
    """A tar. name: below the store; size: bytes; sha256: of the whole file."""

    name: str
    size: int
    sha256: str
    items: tuple[ShardItem, ...]

    def to_line(self) -> bytes:
        """JSON line, with its newline."""
        items = [
            [item.id, None if item.key == item.id else item.key, *item.label, *(item.confidence or ())]
            for item in self.items
        ]
        data = {"shard": self.name, "bytes": self.size, "sha256": self.sha256, "items": items}
        return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Shard:
        """Inverse of `to_line`.

        Raises:
            ValueError: any other line, or one that points outside of its shard.
        """
        try:
            data = parse_json(line)
            name, size, checksum = data["shard"], data["bytes"], data["sha256"]
            if not (isinstance(name, str) and is_valid_id(name) and name.endswith(TAR)):
                raise ValueError("no name of a tar in this store")
            if not (_is_count(size) and isinstance(checksum, str) and _SHA256.fullmatch(checksum)):
                raise ValueError("no size or checksum")
            return cls(name, size, checksum, tuple(_parse_item(item, name, size) for item in data["items"]))
        except (KeyError, TypeError, AttributeError, DataError) as error:
            raise ValueError(f"not the line of a shard: {error!r}") from None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _parse_item(item: Any, shard: str, size: int) -> ShardItem:
    identifier, key, *numbers = item
    key = identifier if key is None else key
    if not all(isinstance(name, str) and is_valid_id(name) for name in (identifier, key)):
        raise ValueError(f"{shard}: an id that is none")
    if len(numbers) not in (2, 4) or not all(map(_is_count, numbers)):
        raise ValueError(f"{shard}: '{identifier}' has no place")
    places = list(zip(numbers[::2], numbers[1::2], strict=True))
    for start, length in places:
        if start + length > size:
            raise ValueError(f"{shard}: '{identifier}' points outside of the shard")
        if length > LARGEST:
            raise ValueError(f"{shard}: '{identifier}' claims {length:,} bytes; a label has at most {LARGEST:,}")
    return ShardItem(identifier, key, places[0], places[1] if len(places) > 1 else None)


def parse_shards(data: bytes, path: str) -> Iterator[Shard]:
    """Parse the lines of the index one after the other; path: named in messages.

    Raises:
        DataError: a damaged line, a shard or an id that is there twice.
    """
    names, seen = set[str](), set[str]()
    for number, line in enumerate(io.BytesIO(data), 1):
        try:
            shard = Shard.from_line(line)
            if not line.endswith(b"\n"):
                raise ValueError("cut off")
            if shard.name in names:
                raise ValueError(f"{shard.name} is there twice")
            names.add(shard.name)
            for item in shard.items:
                if item.id in seen:
                    raise ValueError(f"{shard.name}: '{item.id}' is there twice")
                seen.add(item.id)
        except ValueError as error:
            raise DataError(f"{path}:{number}: damaged line: {error}; {PACK_AGAIN}") from None
        yield shard


class ShardPlaces:
    """Where the images of all shards lie, in about 0.2 kB an image. shards: name -> bytes."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.shards: dict[str, int] = {}
        self._rows: dict[str, int] = {}
        self._numbers = array("q")
        for shard in shards:
            number = len(self.shards)
            self.shards[shard.name] = shard.size
            for item in shard.items:
                self._rows[item.id] = len(self._rows)
                self._numbers.extend((number, *item.label, *(item.confidence or (0, -1))))
        self._names = list(self.shards)

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, part: str, identifier: str) -> tuple[str, int, int] | None:
        """(shard, byte, number of bytes) of the label or confidence of an image; None if it has none."""
        row = self._rows.get(identifier)
        if row is None:
            return None
        number, *places = self._numbers[5 * row : 5 * row + 5]
        start, length = places[:2] if part == "labels" else places[2:]
        return None if length < 0 else (self._names[number], start, length)
