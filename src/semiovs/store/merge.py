"""Merge stores, verifying that no image is lost, duplicated or labelled by different teachers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import DataError, UsageError
from semiovs.files import sync_directory
from semiovs.object_store import show_path
from semiovs.store.index import IndexRow
from semiovs.store.pseudo_labels import PseudoLabelStore, StorePart, StoreWriteError

#: Images between two progress reports.
_GROUP = 256


@dataclass(frozen=True)
class MergeReport:
    """Result of a merge. merged: images of each source; added: new ones; equal: duplicates; before, images: totals."""

    merged: dict[str, int]
    added: int
    equal: int
    before: int
    images: int

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def merge_stores(
    out: Path,
    sources: Sequence[Path],
    *,
    copy: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> MergeReport:
    """Add all images of `sources` to the store `out`, which may be new, or a store of the same vocabulary and teacher.

    Every file is verified against its checksum. Files are hard-linked where possible (`copy`: never). The index of
    `out` changes atomically at the end; after an interruption, `out` is unchanged and the same call completes the
    merge. The result has the same bytes as one job over all images. Packed stores may be
    sources: this unpacks them.

    Raises:
        UsageError: no sources; DataError: a source is not a store, or of another vocabulary or teacher, a file is
        missing or damaged, or two stores label an image differently; StoreWriteError: `out` cannot be written.
    """
    if not sources:
        raise UsageError("nothing to merge: name the stores after the folder for the result")
    stores = [PseudoLabelStore.open(source) for source in _drop_repeated(out, sources)]
    for store in stores[1:]:
        store.meta.require_same(store.root, stores[0].meta)
    target = PseudoLabelStore.create_as(out, stores[0].meta) if stores else PseudoLabelStore.open(out)
    with target.merging() as adopt:
        before = len(target)
        owners, equal = _assign_owners(target, stores)
        mover = _FileMover(target, copy)
        for done, (identifier, store) in enumerate(owners.items(), start=1):
            mover.take(store, identifier)
            if progress is not None and (done % _GROUP == 0 or done == len(owners)):
                progress(done, len(owners))
        mover.sync()
        adopt({identifier: _require_line(store, identifier) for identifier, store in owners.items()})
    target.settle()
    lost = [identifier for store in stores for identifier in store if identifier not in target]
    if lost:
        raise DataError(f"{out}: '{lost[0]}' and {len(lost) - 1} others are missing after the merge; merge again")
    return MergeReport({show_path(s.root): len(s) for s in stores}, len(owners), equal, before, len(target))


def _drop_repeated(out: Path, sources: Sequence[Path]) -> list[Path]:
    """Sources without repetitions and without `out` itself."""
    known = {source.resolve(): source for source in reversed(sources)}
    known.pop(out.resolve(), None)
    return list(reversed(known.values()))


def _assign_owners(
    target: PseudoLabelStore, stores: Sequence[PseudoLabelStore]
) -> tuple[dict[str, PseudoLabelStore], int]:
    """The store that provides each image that `target` lacks, and the number of equal duplicates."""
    owners: dict[str, PseudoLabelStore] = {}
    equal = 0
    for store in stores:
        for identifier in store:
            first = target if target.line(identifier) is not None else owners.get(identifier)
            if first is None:
                owners[identifier] = store
            elif first.line(identifier) != store.line(identifier):
                raise DataError(
                    f"'{identifier}' is labelled differently in {first.root} and in {store.root}; "
                    "remove one of the two stores from the list, or label the image again"
                )
            else:
                equal += 1
    return owners, equal


def _require_line(store: PseudoLabelStore, identifier: str) -> bytes:
    line = store.line(identifier)
    if line is None:
        raise DataError(f"{store.root}: '{identifier}' was removed during the merge; merge again")
    return line


class _FileMover:
    """Links or copies files into the target store."""

    def __init__(self, target: PseudoLabelStore, copy: bool) -> None:
        self._target, self._copy = target, copy
        self._touched: set[Path] = set()

    def take(self, store: PseudoLabelStore, identifier: str) -> None:
        """Verify the files of one image, and link or copy them."""
        row = store.row(identifier)
        parts: list[StorePart] = ["labels"] if row.confidence is None else ["labels", "confidence"]
        for part in parts:
            source, path = store.path(part, identifier), self._target.path(part, identifier)
            data = _read_file(store, source, row, part) if store.shards is None else store.read(part, row)
            try:
                self._target.make_folder(path)
                self._link_or_copy(None if store.shards else source, path, data)
            except OSError as error:
                raise StoreWriteError(f"{path}: cannot be written: {error}") from None
            self._touched.add(path.parent)
        if row.confidence is None:
            self._target.path("confidence", identifier).unlink(missing_ok=True)

    def sync(self) -> None:
        """Flush the changed folders to disk."""
        for folder in self._touched:
            sync_directory(folder)

    def _link_or_copy(self, source: Path | None, path: Path, data: bytes) -> None:
        if path.exists():  # left by an interrupted merge, or a stray file
            path.unlink()
        if source is not None and not self._copy:
            with suppress(OSError):  # another file system, or one without links
                os.link(source, path)
                return
        self._target.stage(data).replace(path)


def _read_file(store: PseudoLabelStore, path: Path, row: IndexRow, part: StorePart) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {_make_hint(store)}") from None
    if hashlib.sha256(data).hexdigest() != (row.label if part == "labels" else row.confidence):
        raise DataError(f"{path}: damaged; {_make_hint(store)}")
    return data


def _make_hint(store: PseudoLabelStore) -> str:
    return f"see `semiovs labels verify {store.root}`"
