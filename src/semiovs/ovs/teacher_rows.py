"""A list of teachers with their options, as mappings or in a YAML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from semiovs.config.yaml_reader import read_yaml
from semiovs.errors import UsageError, did_you_mean

_KEYS = ("name", "weights", "weight", "options")
#: A weight that is chosen on the labelled images.
AUTO_WEIGHT: Literal["auto"] = "auto"


@dataclass(frozen=True)
class TeacherRow:
    """A teacher: name, file of its weights, options; weight: its say among others, or `AUTO_WEIGHT`."""

    name: str
    weights: str | None = None
    weight: float | Literal["auto"] = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)


def read_teacher_rows(given: Sequence[Any] | str | Path, where: str, *, weighted: bool) -> list[TeacherRow]:
    """The rows of a list of {name, weights, weight, options}, or of a YAML file with one; all but `name` may be left
    away.

    where: that they stand in, for messages; weighted: whether rows may have a weight.

    Raises:
        UsageError: no rows, or one that does not hold; ConfigError: a file that cannot be read.
    """
    rows = read_yaml(Path(given)) if isinstance(given, str | Path) else given
    if isinstance(rows, Mapping | str) or not isinstance(rows, Sequence) or not rows:
        keys = "{name: …, weight: …}" if weighted else "{name: …, options: …}"
        raise UsageError(f"{where}: needs a list of {keys}, or a YAML file with one")
    return [_parse_row(row, f"{where}: row {number}", weighted=weighted) for number, row in enumerate(rows, start=1)]


def _parse_row(row: Any, where: str, *, weighted: bool) -> TeacherRow:
    keys = _KEYS if weighted else tuple(key for key in _KEYS if key != "weight")
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
        raise UsageError(f"{where}: expected {{name: TEACHER, …}}, got {row!r:.60}")
    if unknown := [key for key in row if key not in keys]:
        raise UsageError(f"{where}: no key '{unknown[0]}'{did_you_mean(str(unknown[0]), keys)}")
    weight, options = row.get("weight", 1.0), row.get("options") or {}
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if weight != AUTO_WEIGHT and not (number and 0 < weight < float("inf")):
        raise UsageError(f"{where}: weight {weight}: must be a number above 0, or auto")
    if not isinstance(options, Mapping):
        raise UsageError(f"{where}: options: expected a mapping of the teacher's options")
    weights = row.get("weights")
    return TeacherRow(row["name"], None if weights is None else str(weights), weight, dict(options))
