"""Pack a store of files into tars; packing twice gives the same bytes, and a killed job goes on at the next shard."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import DataError, UsageError
from semiovs.images.containers.container import split_path
from semiovs.images.manifest import Manifest
from semiovs.object_store import show_path
from semiovs.read_ahead import read_ahead
from semiovs.store.meta import INDEX, META
from semiovs.store.pseudo_labels import PseudoLabelStore, StorePart, StoreWriteError
from semiovs.store.shard_index import SHARDS, Place, Shard, ShardItem
from semiovs.store.shard_tar import FIELDS, ShardWriter
from semiovs.store.store_folder import StoreFolder, open_folder

#: Folder of what is known of a job that is not done: what it packs, and the line of each finished shard.
PACKING = "packing"
#: File that is there until a job is done.
JOB = f"{PACKING}/job"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class ShardPlan:
    """What is to lie in one tar. items: id and key (sample) of each image, in order of the keys."""

    name: str
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PackReport:
    """Result of packing. shards: tars in all; kept: of an earlier job; bytes: of all tars."""

    images: int
    shards: int
    kept: int
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def plan_by_number(ids: Sequence[str], size: int) -> list[ShardPlan]:
    """Tars ``000000.tar``, … of `size` images each, in order by id; the key is the id."""
    ids = sorted(ids)
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]
    return [ShardPlan(f"{number:06d}.tar", tuple((name, name) for name in part)) for number, part in enumerate(parts)]


def plan_beside(ids: Sequence[str], images: Manifest) -> list[ShardPlan]:
    """One tar for each tar of images, of the same name and keys; names start at the folder that all tars share.

    Raises:
        DataError: an image that is not in a tar, or one that has a label and is not listed.
    """
    found: dict[str, tuple[str, str]] = {}
    for record in images:
        parts = split_path(record.image)
        if parts is None or not parts[0].endswith(".tar"):
            raise DataError(f"--images: '{record.id}' lies in no tar ({record.image}); leave --images away")
        found[record.id] = (Path(parts[0]).absolute().as_posix(), posixpath.splitext(parts[1])[0])
    if missing := [name for name in ids if name not in found]:
        raise DataError(f"--images: no image '{missing[0]}' ({len(missing)} of {len(ids)} labels); name all tars")
    tars: dict[str, list[tuple[str, str]]] = {}
    for name in ids:
        tars.setdefault(found[name][0], []).append((found[name][1], name))
    shared = posixpath.commonpath([posixpath.dirname(tar) for tar in tars]) if tars else ""
    names = {tar: posixpath.relpath(tar, shared or ".") for tar in tars}
    return [
        ShardPlan(names[tar], tuple((name, key) for key, name in sorted(tars[tar])))
        for tar in sorted(tars, key=lambda tar: names[tar])
    ]


def pack_store(
    root: Path,
    out: Path,
    *,
    size: int = 10_000,
    images: Manifest | None = None,
    threads: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> PackReport:
    """Pack the store `root` into `out`, a new folder or URL, or one in which the same job was stopped.

    size: images a tar; images: those that were labelled, in tars: then one tar of labels beside each, with its keys.

    Raises:
        UsageError: `root` is packed; DataError: it is damaged, or `out` holds anything else; StoreWriteError: `out`
        cannot be written.
    """
    store = PseudoLabelStore.open(root)
    if store.shards is not None:
        raise UsageError(f"{root}: is packed already; copy it as it is")
    plans = plan_by_number(store.ids(), size) if images is None else plan_beside(store.ids(), images)
    folder = open_folder(out)
    try:
        return _PackJob(store, folder, plans, threads).run(progress)
    except OSError as error:
        raise StoreWriteError(f"{show_path(out)}: cannot be written: {error.strerror or error}") from None


class _PackJob:
    def __init__(self, store: PseudoLabelStore, folder: StoreFolder, plans: Sequence[ShardPlan], threads: int) -> None:
        self.store, self.folder, self.plans, self.threads = store, folder, plans, threads
        self.files = folder.sizes()
        self.kept = 0

    def run(self, progress: Callable[[int, int], None] | None) -> PackReport:
        self._begin()
        lines, done = [], 0
        for plan in self.plans:
            lines.append(self._find_finished(plan) or self._write_shard(plan))
            done += len(plan.items)
            if progress is not None:
                progress(done, len(self.store))
        self._put(SHARDS, (line for line in lines))
        self._put(INDEX, _sorted_lines(self.store))
        self._put(META, [self.store.meta.data])
        for name in [*(_note(plan.name) for plan in self.plans), JOB]:
            self.folder.remove(name)
        sizes = [Shard.from_line(line).size for line in lines]
        return PackReport(len(self.store), len(lines), self.kept, sum(sizes))

    def _begin(self) -> None:
        """Write what is packed here, or see that a job of the very same was stopped."""
        job = self._describe()
        if JOB in self.files:
            if self.folder.read(JOB) != job:
                raise DataError(
                    f"{self.folder.path(JOB)}: another store, or the same in other shards, was being packed here; "
                    "remove the folder, or choose another one"
                )
            for place in {PACKING, *(posixpath.dirname(plan.name) for plan in self.plans)}:
                self.folder.sweep(place)
        elif self.files:
            what = "a packed store already" if SHARDS in self.files else f"not empty (holds '{min(self.files)}')"
            raise DataError(f"{self.folder.path('')}: {what}; choose another folder, nothing is replaced")
        else:
            self._put(JOB, [job])

    def _describe(self) -> bytes:
        """Checksums of all that decides about the bytes of the result."""
        found = hashlib.sha256(self.store.meta.data)
        for line in _sorted_lines(self.store):
            found.update(line)
        for plan in self.plans:
            found.update(repr(plan).encode())
        return found.hexdigest().encode() + b"\n"

    def _find_finished(self, plan: ShardPlan) -> bytes | None:
        """The line of a shard that a stopped job has finished, if its checksum is right."""
        if not {plan.name, _note(plan.name)} <= self.files.keys():
            return None
        try:
            line = self.folder.read(_note(plan.name))
            shard = Shard.from_line(line)
        except ValueError:
            return None
        with self.folder.open(plan.name) as file:
            found = hashlib.sha256()
            while data := file.read(_CHUNK):
                found.update(data)
        if shard.name != plan.name or found.hexdigest() != shard.sha256:
            return None
        self.kept += 1
        return line

    def _write_shard(self, plan: ShardPlan) -> bytes:
        items = []
        with self.folder.write(plan.name) as file:
            writer = ShardWriter(file)
            for identifier, key, members in read_ahead(plan.items, self._read, threads=self.threads):
                places = {part: writer.add(key + FIELDS[part], data) for part, data in members}
                items.append(_make_item(identifier, key, places))
            size, checksum = writer.finish()
        line = Shard(plan.name, size, checksum, tuple(items)).to_line()
        self._put(_note(plan.name), [line])
        return line

    def _read(self, item: tuple[str, str]) -> tuple[str, str, list[tuple[str, bytes]]]:
        """Members of an image, in order of their names."""
        identifier, key = item
        row, line = self.store.row(identifier), self.store.line(identifier)
        parts: list[StorePart] = ["labels"] if row.confidence is None else ["confidence", "labels"]
        members: list[tuple[str, bytes]] = [(part, self.store.read(part, row)) for part in parts]
        return identifier, key, sorted([*members, ("line", line or b"")], key=lambda member: FIELDS[member[0]])

    def _put(self, name: str, lines: Iterable[bytes]) -> None:
        with self.folder.write(name) as file:
            file.writelines(lines)


def _note(shard: str) -> str:
    return f"{PACKING}/{shard.replace('/', '%2F')}.json"


def _make_item(identifier: str, key: str, places: dict[str, Place]) -> ShardItem:
    return ShardItem(identifier, key, places["labels"], places.get("confidence"))


def _sorted_lines(store: PseudoLabelStore) -> Iterator[bytes]:
    """Lines of the index as `settle` leaves them."""
    return (store.line(identifier) or b"" for identifier in sorted(store))
