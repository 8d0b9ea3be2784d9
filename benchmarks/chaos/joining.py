"""Campaigns of several seeds on one machine, as one result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_COUNTS = ("trials", "tried", "too_late", "right", "seconds")


def join(files: Sequence[Path]) -> dict[str, Any]:
    """Sum the rows of each kind; seeds and seconds become lists, one entry a campaign.

    Raises:
        SystemExit: measured on other machines or with other versions, or one seed twice.
    """
    first, *others = (json.loads(path.read_text("utf-8")) for path in files)
    rows = {row["kind"]: row for row in first["kinds"]}
    seeds, seconds = each(first["seed"]), each(first["seconds"])
    for path, other in zip(files[1:], others, strict=True):
        if any(other[key] != first[key] for key in ("hardware", "versions")):
            raise SystemExit(f"{path}: measured on another machine or with other versions than {files[0]}")
        if {*seeds} & {*each(other["seed"])}:
            raise SystemExit(f"{path}: has a seed of {files[0]}; the same trials count once")
        seeds += each(other["seed"])
        seconds += each(other["seconds"])
        for row in other["kinds"]:
            _add(rows.setdefault(row["kind"], row), row)
        first["load"]["after"] = other["load"]["after"]
    return {**first, "seed": seeds, "seconds": seconds, "kinds": list(rows.values())}


def each(value: int | list[int]) -> list[int]:
    """Of one campaign or of several."""
    return [*value] if isinstance(value, list) else [value]


def _add(row: dict[str, Any], other: dict[str, Any]) -> None:
    if row is other:
        return
    for name in _COUNTS:
        row[name] = round(row[name] + other[name], 1)
    row["wrong"] += other["wrong"]
    row["not_covered"] = row["not_covered"] or other["not_covered"]
