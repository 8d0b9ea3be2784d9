"""Findings: problems and facts about images, masks and lists, in one form for all checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from semiovs.errors import DataError

#: error: training would fail or give wrong results; warning: probably a mistake; note: a fact worth knowing.
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    kind: a stable word (`list-…`, `line-…`, `image-…`, `mask-…`, …); text: one line; stream: name of the stream; where:
    ``list:line`` where a list names the record, else the file or folder; file: the image or mask; fix: what to do about
    it; ids: the records that are bad because of it (empty if it is about more than single records); setting: YAML keys
    that `--fix` writes.
    """

    kind: str
    severity: Severity
    text: str
    stream: str = ""
    where: str = ""
    file: str = ""
    fix: str = ""
    ids: tuple[str, ...] = ()
    setting: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """The finding in one line, with the place in the list first, if there is one."""
        place = "" if not self.where or self.text.startswith(self.where) else f"{self.where}: "
        return place + self.text + (f"; {self.fix}" if self.fix else "")

    def as_json(self) -> dict[str, Any]:
        """Plain data; empty fields are left out, except for the first four."""
        always = {"kind": self.kind, "severity": self.severity, "text": self.text, "where": self.where}
        rest = {"stream": self.stream, "file": self.file, "fix": self.fix, "ids": list(self.ids)}
        return always | {key: value for key, value in rest.items() if value} | _setting_as_json(self.setting)


def _setting_as_json(setting: Mapping[str, Any]) -> dict[str, Any]:
    return {"setting": dict(setting)} if setting else {}


def list_findings(error: DataError, kind: str, *, stream: str = "", where: str = "") -> list[Finding]:
    """Make one finding for each problem of an error that stopped the reading of a list or folder."""
    return [Finding(error.kind or kind, "error", text, stream, where) for text in error.problems]


def raise_errors(findings: Iterable[Finding], heading: str | None = None) -> None:
    """Raise one DataError for all findings that are errors; do nothing if there are none."""
    lines = [finding.line for finding in findings if finding.severity == "error"]
    if lines:
        raise DataError.of(lines, heading)


def count_severities(findings: Sequence[Finding]) -> dict[Severity, int]:
    """Count the findings of each severity."""
    numbers = Counter(finding.severity for finding in findings)
    return {severity: numbers[severity] for severity in SEVERITIES}


def group_by_kind(findings: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    """Group findings by kind and severity: errors first, then in the order in which the kinds appeared."""
    groups: dict[tuple[Severity, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.severity, finding.kind), []).append(finding)
    ordered = sorted(groups.items(), key=lambda item: SEVERITIES.index(item[0][0]))
    return [(kind, group) for (_, kind), group in ordered]


def join_first(names: Sequence[str], most: int = 5) -> str:
    """Join the first `most` names by commas."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
