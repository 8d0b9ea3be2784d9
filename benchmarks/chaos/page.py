"""The tables of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.chaos.joining import each
from benchmarks.chaos.soak import BOUNDS, describe

PAGE = Path("docs/reliability.md")
RESULT = Path("docs/results/chaos.json")
SOAK = Path("docs/results/soak.json")
#: Family -> the beginnings of the names of its kinds.
_FAMILIES = {
    "kills": ("kill-",),
    "several ranks": ("rank-",),
    "damaged files": ("corrupt-",),
    "signals": ("signal-",),
    "two processes": ("double-",),
    "failing machine": ("failing-", "full-", "read-", "limits", "lost-", "taken-", "clock"),
}


def table(result: Mapping[str, Any] | None) -> list[str]:
    """What was measured where, sums a family, and a row a kind."""
    if result is None:
        return ["*not yet run*"]
    hardware, rows = result["hardware"], result["kinds"]
    seeds, seconds = (", ".join(map(str, each(result[key]))) for key in ("seed", "seconds"))
    told = (
        f"Measured on {result['date']} with seeds {seeds}: {hardware['cpu']}, {hardware['cores']} cores, "
        f"{seconds} s (load average {result['load']['before'][0]:g} to {result['load']['after'][0]:g})."
    )
    lines = [
        told,
        "",
        "| family | harms | of these struck | trials | right | wrong |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for family, beginnings in _FAMILIES.items():
        lines.append(_line(family, [row for row in rows if row["kind"].startswith(beginnings)]))
    lines.append(_line("**all**", rows))
    lines += ["", "| kind | what is done | harms | trials | right | wrong | s |", "|---|---|---:|---:|---:|---:|---:|"]
    for row in rows:
        numbers = (row["tried"], row["trials"], row["right"], len(row["wrong"]), round(row["seconds"]))
        lines.append(f"| `{row['kind']}` | {row['harm']} | {' | '.join(map(str, numbers))} |")
    lacking = [f"- `{row['kind']}`: {row['not_covered']}" for row in rows if row["not_covered"]]
    return [*lines, *(["", "Not covered on that machine:", "", *lacking] if lacking else []), *_wrong(rows)]


def soak_table(result: Mapping[str, Any] | None) -> list[str]:
    """What the process that stays held, and what became of those that were killed beside it."""
    if result is None:
        return ["*not yet run*"]
    hardware, rows = result["hardware"], result["kinds"]
    tried, right = (sum(row[name] for row in rows) for name in ("tried", "right"))
    lines = [
        f"Measured on {result['date']}: {result['rounds']} rounds in {result['seconds'] / 60:.0f} minutes, "
        f"{hardware['cpu']}, {hardware['cores']} cores (load average {result['load']['before'][0]:g} to "
        f"{result['load']['after'][0]:g}). Beside it {tried} harms in {sum(row['trials'] for row in rows)} trials, "
        f"of which {right} ended as undisturbed.",
        "",
        "| held | second quarter -> last quarter | may rise by |",
        "|---|---:|---:|",
    ]
    names = {name: name.replace("_mb", ", MB").replace("_", " ") for name in BOUNDS}
    lines += [f"| {names[n]} | {describe(result['samples'], n)} | {bound:g} |" for n, bound in BOUNDS.items()]
    return [*lines, *_wrong(rows)]


def _line(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    tried, late = sum(row["tried"] for row in rows), sum(row["too_late"] for row in rows)
    numbers = (tried, tried - late, sum(row["trials"] for row in rows), sum(row["right"] for row in rows))
    return f"| {name} | {' | '.join(map(str, numbers))} | {sum(len(row['wrong']) for row in rows)} |"


def _wrong(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each wrong trial with its command."""
    found = [(row["kind"], wrong) for row in rows for wrong in row["wrong"]]
    lines = [f"- `{kind}`: {wrong['reason'].splitlines()[0][:200]} (`{wrong['again']}`)" for kind, wrong in found]
    return ["", "Wrong:", "", *lines] if lines else []
