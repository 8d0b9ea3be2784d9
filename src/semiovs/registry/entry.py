"""One row of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from semiovs.registry.option import Option
from semiovs.registry.signature import load_target, read_options


@dataclass(frozen=True)
class Entry:
    """A public name, the import path of its class or function (``package.module:Name``), and a summary.

    segmenter: a method's default segmenter; source: the publication; package: name and version of the installed
    package that brings it, "" for semiovs itself.
    """

    name: str
    target: str
    summary: str
    segmenter: str | None = None
    source: str = ""
    package: str = ""

    @property
    def options(self) -> Mapping[str, Option]:
        """The options that users may set, from the signature of the target."""
        return read_options(self.target)

    @property
    def defaults(self) -> dict[str, Any]:
        """Option -> its default."""
        return {name: option.default for name, option in self.options.items()}

    def load(self) -> Any:
        """Import and return the target."""
        return load_target(self.target)

    def as_json(self) -> dict[str, Any]:
        """Row for ``semiovs list … --json``."""
        row: dict[str, Any] = {"name": self.name, "summary": self.summary, "options": self.defaults}
        if self.segmenter is not None:
            row["segmenter"] = self.segmenter
        if self.source:
            row["source"] = self.source
        if self.package:
            row["package"] = self.package
        return row
