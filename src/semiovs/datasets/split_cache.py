"""The user's cache of published lists: one small file per family, verified whenever it is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.datasets.split_index import decode, encode
from semiovs.datasets.splits import LABELED, Catalogue, PublishedList, load_catalogue
from semiovs.env import cache_dir
from semiovs.errors import DataError
from semiovs.files import write_bytes


@dataclass(frozen=True)
class ListCheck:
    """Result of checking a cached list.

    exact: byte for byte as published (else the same lines, sorted); problem: what is wrong, "" if nothing.
    """

    one: PublishedList
    ok: bool
    exact: bool = False
    problem: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data; `get` is the command that fetches the list."""
        row: dict[str, Any] = {"name": self.one.name, "count": self.one.count, "ok": self.ok, "exact": self.exact}
        return row if self.ok else {**row, "problem": self.problem, "get": f"semiovs splits fetch {self.one.dataset}"}


class SplitCache:
    """Published lists on this machine: ``splits/<family>.json.xz`` in the cache directory."""

    def __init__(self, known: Catalogue | None = None, folder: Path | None = None) -> None:
        self.known = known or load_catalogue()
        self.folder = folder or cache_dir() / "splits"
        self._read: dict[str, Mapping[str, Sequence[str]]] = {}

    def path(self, family: str) -> Path:
        """File of a family."""
        return self.folder / f"{family}.json.xz"

    def lines(self, one: PublishedList) -> list[str]:
        """The lines of a list, verified against its published checksum.

        Raises:
            DataError: not in the cache, or damaged; the message names the command that fetches it.
        """
        found = self._read_family(one).get(one.name)
        if found is None:
            raise DataError(f"the published list {one.name} is not here; next: semiovs splits fetch {one.dataset}")
        self._verify(one, found)
        return list(found)

    def text(self, one: PublishedList) -> tuple[bytes, bool]:
        """The file of a list, and whether it is the published one byte for byte.

        Raises:
            DataError: as `lines`.
        """
        return self._verify(one, self.lines(one))

    def check(self, one: PublishedList) -> ListCheck:
        """Check whether a list is in the cache and undamaged."""
        try:
            return ListCheck(one, True, self.text(one)[1])
        except DataError as error:
            return ListCheck(one, False, problem=str(error).partition("; next")[0])

    def add(self, lists: Mapping[str, Sequence[str]]) -> None:
        """Add lists (name -> lines), which the caller has verified, to the cache."""
        for family in dict.fromkeys(self.known.datasets[self.known.lists[name].dataset].family for name in lists):
            members = self.known.family(family)
            merged = {one.name: list(lists[one.name]) for one in members if one.name in lists}
            merged |= {one.name: self.lines(one) for one in members if one.name not in lists and self.check(one).ok}
            write_bytes(self.path(family), encode(merged))
            self._read.pop(family, None)

    def missing(self, lists: Iterable[PublishedList]) -> list[PublishedList]:
        """Lists that are not in the cache, or damaged."""
        return [one for one in lists if not self.check(one).ok]

    def nested_in(self, one: PublishedList) -> list[str]:
        """The labelled splits that are here and hold all images of a labelled list."""
        own = set(self.lines(one))
        return [other.split for other in self._other_labeled(one) if own <= set(self.lines(other))]

    def contains(self, one: PublishedList) -> list[str]:
        """The labelled splits that are here and of whose images a labelled list holds all."""
        own = set(self.lines(one))
        return [other.split for other in self._other_labeled(one) if own >= set(self.lines(other))]

    def _other_labeled(self, one: PublishedList) -> list[PublishedList]:
        """The other labelled lists of its data set that are here, for a labelled list."""
        if not one.name.endswith(f"/{LABELED}"):
            return []
        others = (other for other in self.known.lists.values() if other.dataset == one.dataset and other is not one)
        return [other for other in others if other.name.endswith(f"/{LABELED}") and self.check(other).ok]

    def _read_family(self, one: PublishedList) -> Mapping[str, Sequence[str]]:
        family = self.known.datasets[one.dataset].family
        path = self.path(family)
        if family not in self._read:
            if not path.is_file():
                return {}
            try:
                self._read[family] = decode(path.read_bytes())
            except (DataError, OSError) as error:
                raise DataError(f"{path}: {error}; next: semiovs splits fetch {one.dataset}") from None
        return self._read[family]

    def _verify(self, one: PublishedList, lines: Sequence[str]) -> tuple[bytes, bool]:
        try:
            return one.text(lines)
        except DataError as error:
            path = self.path(self.known.datasets[one.dataset].family)
            raise DataError(f"{path}: damaged ({error}); next: semiovs splits fetch {one.dataset}") from None
