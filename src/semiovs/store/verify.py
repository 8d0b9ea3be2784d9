"""Verify the files of a store against their checksums, and repair damaged stores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from semiovs.errors import DataError, UsageError
from semiovs.files import open_regular
from semiovs.read_ahead import read_ahead
from semiovs.store.index import IndexRow, StoreIndex, open_index
from semiovs.store.meta import INDEX, StoreMeta, prepare_folder
from semiovs.store.packed_labels import is_packed
from semiovs.store.pseudo_labels import PseudoLabelStore
from semiovs.store.shard_check import check_packed
from semiovs.store.shard_index import PACK_AGAIN


@dataclass(frozen=True)
class StoreReport:
    """Result of `verify`. missing, damaged: ids; lines: numbers of damaged index lines; stray: paths; shards: what is
    wrong with the tars of a packed store, one line each.
    """

    checked: int
    missing: list[str]
    damaged: list[str]
    stray: list[str]
    lines: list[int] = field(default_factory=list)
    shards: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the files of all images exist unchanged (stray files are allowed)."""
        return not (self.missing or self.damaged or self.lines or self.shards)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"ok": self.ok, **asdict(self)}


def inspect(root: Path, *, progress: Callable[[int, int], None] | None = None) -> StoreReport:
    """Damaged lines of the index of a store, else its missing and damaged files; nothing is written.

    The images of damaged lines are unknown, so that the other ones are checked once the lines are repaired.

    Raises:
        DataError: not a store.
    """
    meta, lines = StoreMeta.read(root), list[int]()
    if is_packed(root):
        return _inspect_packed(root, progress)
    index = StoreIndex.open(root / INDEX, damaged=lines, read_only=True)
    if lines:
        return StoreReport(0, [], [], [], lines)
    return verify(PseudoLabelStore(root, meta, index), progress=progress)


def verify(
    store: PseudoLabelStore, *, threads: int = 2, progress: Callable[[int, int], None] | None = None
) -> StoreReport:
    """Compare every file of the store with its checksum in the index."""
    if store.shards is not None:
        return _inspect_packed(store.root, progress)
    missing, damaged = [], []
    expected: set[str] = set()
    found = read_ahead(store.rows(), lambda row: (row, _check_files(store, row)), threads=threads)
    for done, (row, state) in enumerate(found, 1):
        expected.update(str(path) for path, _ in store.files(row))
        if state == "missing":
            missing.append(row.id)
        elif state == "damaged":
            damaged.append(row.id)
        if progress is not None:
            progress(done, len(store))
    stray = sorted(
        str(path.relative_to(store.root)) for path in _iterate_files(store.root) if str(path) not in expected
    )
    return StoreReport(len(store), missing, damaged, stray)


def repair(root: Path) -> StoreReport:
    """Remove images with missing or damaged files, and damaged lines, so that `semiovs label` redoes them.

    Damaged files are removed as well; stray files are kept. Returns the problems found.

    Raises:
        DataError: not a store, or it cannot be written; UsageError: a packed one, in which nothing is replaced.
    """
    if is_packed(root):
        raise UsageError(f"{root}: --fix: a packed store cannot be repaired; {PACK_AGAIN}")
    lines: list[int] = []
    try:
        prepare_folder(root)
        index = StoreIndex.open(root / INDEX, damaged=lines)
        found = list(lines)
        with index.locked():
            index.settle()
        store = PseudoLabelStore.open(root)
        report = verify(store)
        store.remove([*report.missing, *report.damaged])
    except OSError as error:
        raise DataError(f"{root}: cannot be repaired: {error}") from None
    return StoreReport(report.checked, report.missing, report.damaged, report.stray, found)


def _inspect_packed(root: Path, progress: Callable[[int, int], None] | None) -> StoreReport:
    lines: list[int] = []
    index = open_index(root, damaged=lines)
    if lines:
        return StoreReport(0, [], [], [], lines)
    found = check_packed(root, index, progress=progress)
    return StoreReport(found.checked, found.missing, found.damaged, found.stray, [], found.shards)


def _check_files(store: PseudoLabelStore, row: IndexRow) -> str:
    state = "good"
    for path, checksum in store.files(row):
        try:
            with open_regular(path) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != checksum:
                    state = "damaged"
        except FileNotFoundError:
            return "missing"
        except OSError:  # unreadable
            state = "damaged"
    return state


def _iterate_files(root: Path) -> Iterator[Path]:
    for part in ("labels", "confidence", "incoming"):
        with suppress(FileNotFoundError):
            yield from (path for path in (root / part).rglob("*") if path.is_file())
