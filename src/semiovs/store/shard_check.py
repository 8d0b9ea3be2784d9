"""Whether the tars of a packed store are what its indexes say: every header, every member, every byte."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from semiovs.errors import DataError
from semiovs.read_ahead import read_ahead
from semiovs.store.index import IndexRow, StoreIndex
from semiovs.store.meta import INDEX, META
from semiovs.store.shard_index import SHARDS, Place, Shard, parse_shards
from semiovs.store.shard_tar import FIELDS, ShardCheck
from semiovs.store.store_folder import StoreFolder, open_folder

#: Tars that are read at the same time.
_THREADS = 2


@dataclass
class PackedReport:
    """What was found. missing, damaged: ids; shards: one line a problem of a tar; stray: files."""

    checked: int = 0
    missing: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)
    stray: list[str] = field(default_factory=list)


def check_packed(root: Path, index: StoreIndex, *, progress: Callable[[int, int], None] | None = None) -> PackedReport:
    """Read all tars of a packed store once from front to back; nothing is written.

    Raises:
        DataError: the index of tars cannot be read, or the store cannot be reached.
    """
    folder, found = open_folder(root), PackedReport()
    path = folder.path(SHARDS)
    try:
        data, there = folder.read(SHARDS), folder.sizes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    held, names = set[str](), set[str]()

    def look(shard: Shard) -> tuple[Shard, PackedReport]:
        seen = PackedReport()
        _ShardLook(folder, shard, index, seen).run(there.get(shard.name))
        return shard, seen

    for shard, seen in read_ahead(parse_shards(data, path), look, threads=_THREADS):
        found.missing += seen.missing
        found.damaged += seen.damaged
        found.shards += seen.shards
        held.update(item.id for item in shard.items)
        names.add(shard.name)
        if progress is not None:
            progress(len(held), len(index))
    found.checked = len(held)
    found.missing += [identifier for identifier in index if identifier not in held]
    found.shards += [f"{path}: '{identifier}' is not in {INDEX}" for identifier in held if identifier not in index]
    found.stray = sorted(there.keys() - names - {META, INDEX, SHARDS})
    return found


class _ShardLook:
    """A look at one tar. `wanted`: name of a member -> its place, its checksum and its image."""

    def __init__(self, folder: StoreFolder, shard: Shard, index: StoreIndex, found: PackedReport) -> None:
        self.path, self.folder, self.shard, self.found = folder.path(shard.name), folder, shard, found
        self.wanted: dict[str, tuple[Place | None, str | None, str]] = {}
        for item in shard.items:
            row = index.get(item.id)
            if row is not None:
                self._expect(item.key, item.label, item.confidence, row)

    def _expect(self, key: str, label: Place, confidence: Place | None, row: IndexRow) -> None:
        self.wanted[key + FIELDS["labels"]] = (label, row.label, row.id)
        self.wanted[key + FIELDS["line"]] = (None, None, row.id)
        if row.confidence is not None:
            self.wanted[key + FIELDS["confidence"]] = (confidence or (-1, -1), row.confidence, row.id)

    def run(self, size: int | None) -> None:
        """Note what is wrong; size: of the file, None where there is none."""
        if size is None:
            self.found.shards.append(f"{self.path}: this shard is missing")
            self.found.missing += [item.id for item in self.shard.items]
            return
        if size > self.shard.size:
            self.found.shards.append(f"{self.path}: {size:,} bytes, but {self.shard.size:,} were written")
            return
        try:
            with self.folder.open(self.shard.name) as file:
                check = ShardCheck(self.path, file, size)
                bad = self._look(check)
        except OSError as error:
            self.found.shards.append(f"{self.path}: cannot be read: {error.strerror or error}")
            bad = {item.id: None for item in self.shard.items}
        else:
            if (check.size, check.sha256) != (self.shard.size, self.shard.sha256) and not check.problems:
                check.problems.append(f"{self.path}: not the bytes that were written ({check.size:,} of them)")
            self.found.shards += check.problems
        self.found.damaged += bad

    def _look(self, check: ShardCheck) -> dict[str, None]:
        """Compare all members with what is wanted; returns the ids whose parts are not whole."""
        bad: dict[str, None] = {}
        for name, place, checksum in check.members():
            where, wanted, identifier = self.wanted.pop(name, (None, "", ""))
            if not identifier:
                check.add_problem(name, "belongs to no image of the index")
            elif where not in (None, place):
                check.add_problem(name, f"lies at byte {place[0]:,}, not where {SHARDS} says")
                bad[identifier] = None
            elif wanted not in (None, checksum):
                check.add_problem(name, "is not what was written")
                bad[identifier] = None
        for name, (_, _, identifier) in self.wanted.items():
            if identifier not in bad:
                check.add_problem(name, "is missing")
                bad[identifier] = None
        return bad
