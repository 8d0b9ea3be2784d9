"""Labels and confidences inside the tars of a packed store, read by offset; nothing is unpacked.

A packed store is a directory or URL::

    meta.json, index.jsonl  the very bytes of the store of files
    shards.jsonl            one line a tar: size, checksum, where each image lies in it
    000000.tar, …           the labels, in WebDataset's layout
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from semiovs.errors import DataError
from semiovs.object_store import find_url
from semiovs.store.shard_index import PACK_AGAIN, SHARDS, ShardPlaces, parse_shards
from semiovs.store.store_folder import StoreFolder, open_folder


def is_packed(root: Path) -> bool:
    """Whether a store is packed; those by URL all are."""
    return find_url(root) is not None or (root / SHARDS).is_file()


class PackedLabels:
    """The label files of a packed store. Made by `open`; safe in threads, and in forked and spawned processes."""

    def __init__(self, folder: StoreFolder, places: ShardPlaces) -> None:
        self.folder, self.places = folder, places

    @classmethod
    def open(cls, root: Path) -> PackedLabels:
        """Read the index of the shards, and see whether all of them are there in their sizes.

        Raises:
            DataError: no packed store, a damaged line, or a shard that is missing or has another size.
        """
        folder = open_folder(root)
        path = folder.path(SHARDS)
        try:
            places = ShardPlaces(parse_shards(folder.read(SHARDS), path))
            there = folder.sizes()
        except FileNotFoundError:
            raise DataError(
                f"{path}: no such file; a store of files is read from a folder, and by URL once it is packed: "
                "semiovs labels pack STORE URL"
            ) from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}; {PACK_AGAIN}") from None
        problems = [what for name, size in places.shards.items() if (what := _compare(folder, name, size, there))]
        if problems:
            raise DataError.of(problems, f"{root}: {len(problems)} shards are missing or have another size")
        return cls(folder, places)

    def __contains__(self, identifier: object) -> bool:
        return identifier in self.places

    def read(self, part: str, identifier: str, checksum: str) -> bytes:
        """The PNG of a label or confidence.

        Raises:
            DataError: it is not there, cannot be read, or has another checksum.
        """
        place = self.places.find(part, identifier)
        if place is None:
            raise DataError(f"{self.folder.path(SHARDS)}: has no {part} of image '{identifier}'; {PACK_AGAIN}")
        name, start, size = place
        try:
            data = self.folder.read_range(name, start, size)
        except OSError as error:
            raise DataError(
                f"{self.folder.path(name)}: {part} of '{identifier}' cannot be read: {error.strerror or error}"
            ) from None
        if hashlib.sha256(data).hexdigest() != checksum:
            raise DataError(
                f"{self.folder.path(name)}: {part} of '{identifier}' is damaged, or not the one of the index; "
                f"{PACK_AGAIN}"
            )
        return data


def _compare(folder: StoreFolder, name: str, size: int, there: dict[str, int]) -> str | None:
    found = there.get(name)
    if found is None:
        return f"{folder.path(name)}: this shard is missing; {PACK_AGAIN}"
    if found != size:
        return f"{folder.path(name)}: {found:,} bytes, but {size:,} were written; {PACK_AGAIN}"
    return None
