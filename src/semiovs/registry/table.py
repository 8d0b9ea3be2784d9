"""A table of the registry: the rows of the package, then the plug-ins of its entry point group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from semiovs.errors import UsageError
from semiovs.registry.entry import Entry
from semiovs.registry.plug_ins import describe_package, find_plug_ins, load_plug_in, warn_of_taken_name


class RegistryTable(Mapping[str, Entry]):
    """Name -> row. The names of plug-ins are known without importing them; their rows are not.

    kind: what a row is, for messages; group: where plug-ins are looked for, None for a table without.

    Raises:
        UsageError: a plug-in whose row is asked for cannot be imported, or two packages offer it.
    """

    def __init__(self, kind: str, group: str | None, *entries: Entry) -> None:
        self.kind, self.group = kind, group
        self._own = {entry.name: entry for entry in entries}
        self._warned: set[str] = set()

    def __getitem__(self, name: str) -> Entry:
        plug_ins = self._find_plug_ins()
        return self._own[name] if name in self._own else load_plug_in(self.kind, plug_ins[name])

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._find_plug_ins()

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from self._find_plug_ins()

    def __len__(self) -> int:
        return len(self._own) + len(self._find_plug_ins())

    def as_json(self) -> list[dict[str, Any]]:
        """Rows for ``semiovs list … --json``; that of a plug-in that cannot be used says why under ``problem``."""
        return [self._describe_row(name) for name in self]

    def _describe_row(self, name: str) -> dict[str, Any]:
        try:
            return self[name].as_json()
        except UsageError as error:
            packages = ", ".join(describe_package(point) for point in self._find_plug_ins()[name])
            return {
                "name": name,
                "summary": "cannot be used",
                "options": {},
                "package": packages,
                "problem": str(error),
            }

    def _find_plug_ins(self) -> Mapping[str, tuple[EntryPoint, ...]]:
        """Plug-ins by name; a name of the package's own is refused, with one warning."""
        found = {} if self.group is None else find_plug_ins(self.group)
        for name in found.keys() & self._own.keys() - self._warned:
            self._warned.add(name)
            for point in found[name]:
                warn_of_taken_name(self.kind, point)
        return {name: points for name, points in found.items() if name not in self._own}
