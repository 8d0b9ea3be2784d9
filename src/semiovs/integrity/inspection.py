"""What a look at files found: one line a finding, with the file and the next command."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

#: damage: something is lost or wrong; unfinished: it never was there yet; harmless: left behind, or out of date;
#: unchecked: cannot be looked into on this machine.
Harm = Literal["damage", "unfinished", "harmless", "unchecked"]


@dataclass(frozen=True)
class Finding:
    """One finding. what: it is, without the name of the file; next: a command, or after ``#`` what a person has to do;
    "" where nothing is to be done.
    """

    harm: Harm
    file: Path
    what: str
    next: str = ""

    @property
    def line(self) -> str:
        """The finding in one line."""
        return f"{self.file}: {self.what}" + (f"; next: {self.next}" if self.next else "")

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "file": str(self.file)}


@dataclass
class Inspection:
    """A look at one thing. kind: run, store, comparison or export; checked: files that were looked into."""

    path: Path
    kind: str
    findings: list[Finding] = field(default_factory=list)
    checked: int = 0

    def add(self, harm: Harm, file: Path, what: str, next_: str = "") -> None:
        """Note a finding; the name of the file is taken off the beginning of `what`, where messages have it."""
        self.findings.append(Finding(harm, file, what.removeprefix(f"{file}: "), next_))

    def take(self, other: Inspection) -> None:
        """Add what was found in a part of this."""
        self.findings += other.findings
        self.checked += other.checked

    @property
    def damage(self) -> list[Finding]:
        """The findings that are damage."""
        return [finding for finding in self.findings if finding.harm == "damage"]

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged; what is unfinished or left behind is no damage."""
        return not self.damage

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        found = [finding.as_json() for finding in self.findings]
        told = {"path": str(self.path), "kind": self.kind, "ok": self.is_whole, "checked": self.checked}
        return {**told, "findings": found}


def type_command(*words: object) -> str:
    """A command as it is typed."""
    return shlex.join(["semiovs", *map(str, words)])
