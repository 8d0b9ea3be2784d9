"""Teachers of the catalogue that are asked with words: those whose weights are here, and one that can be fetched."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from semiovs.models.hub import is_online
from semiovs.models.weight_catalog import Place, Weights, catalogue, locate

#: Weights that anybody may fetch, without accepting terms on a page.
_OPEN = frozenset({"MIT", "Apache-2.0", "BSD-3-Clause"})
#: Packages that a teacher needs beside the core.
_NEEDS = dict.fromkeys(("huggingface", "metaclip2", "siglip2", "tipsv2"), "transformers")


@dataclass(frozen=True)
class KnownTeacher:
    """A row of the catalogue as a teacher: its name, weights and options (``KEY=VALUE``); place: of the copy here."""

    row: Weights
    name: str
    weights: str | None
    pairs: tuple[str, ...] = ()
    place: Place | None = None

    @property
    def facts(self) -> str:
        """What it is, its size and licence, for people."""
        size = f"{self.row.megabytes:g} MB, " if self.row.megabytes else ""
        return f"{self.row.what} ({size}licence {self.row.licence or 'not stated'})"


def find_here() -> KnownTeacher | None:
    """The first teacher whose weights are here (weights directory, package, hub's cache), without any network."""
    return next((known for known in _list_known() if known.place is not None), None)


def find_on_hub() -> KnownTeacher | None:
    """The first teacher that can be fetched from the hub without terms to accept; None without a network."""
    if not is_online():
        return None
    return next((known for known in _list_known() if known.row.hub and known.row.licence in _OPEN), None)


def suggest_download() -> KnownTeacher:
    """The teacher to fetch by hand."""
    return next(known for known in _list_known() if known.row.hub and known.row.licence in _OPEN)


def _list_known() -> Iterator[KnownTeacher]:
    """Teachers that can run here, SED first, then in the order of the catalogue."""
    rows = [row for row in catalogue().values() if row.kind == "teacher"]
    for row in sorted(rows, key=lambda row: "--teacher sed" not in row.use):
        known = _parse_use(row)
        if known.name not in _NEEDS or find_spec(_NEEDS[known.name]) is not None:
            yield known


def _parse_use(row: Weights) -> KnownTeacher:
    """Read the options that the catalogue gives; a directory that is not in the weights directory goes by its name on
    the hub.
    """
    place, words = locate(row), shlex.split(row.use)
    given = list(zip(words[::2], words[1::2], strict=True))
    options = dict(given)
    weights = options.get("--weights")
    if row.hub is not None and row.hub_file is None and (place is None or place.where == "hub cache"):
        weights = row.hub
    pairs = tuple(value for key, value in given if key == "--set")
    return KnownTeacher(row, options["--teacher"], weights, pairs, place)
