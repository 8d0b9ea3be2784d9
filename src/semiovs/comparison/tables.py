"""A comparison as text: a table for the terminal, Markdown to paste, CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from semiovs.comparison.results import ArmResult, Results
from semiovs.control_characters import escape_controls
from semiovs.report.csv_table import format_csv_rows

_DIFFERENCES = ("difference", "points", "95 % interval", "seeds better", "p", "verdict")


def list_arms(results: Results) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows of the table of arms."""
    last = "what it is" if results.has_files else "learns from"
    best = [] if results.has_files else ["best"]
    head = ("arm", "mIoU %", "± over seeds", *best, "seeds", last)
    return head, [_format_arm(arm, best=bool(best)) for arm in results.arms]


def list_differences(results: Results) -> tuple[Sequence[str], list[list[str]]]:
    """Head and rows of the table of differences."""
    rows = []
    for answer in results.answers:
        found = answer.comparison
        interval = found.difference.interval
        rows.append([
            f"{found.other.name} vs {found.base.name}",
            f"{found.difference.mean:+z.2f}",
            "" if interval is None else f"[{interval[0]:+z.2f}, {interval[1]:+z.2f}]",
            f"{found.difference.better} of {found.seeds}",
            f"{found.p:.3f}" if found.seeds > 1 else "",
            answer.verdict,
        ])  # fmt: skip
    return _DIFFERENCES, rows


def _format_arm(result: ArmResult, *, best: bool) -> list[str]:
    score = result.score
    return [
        result.arm.title,
        f"{score.mean:.2f}",
        "" if score.sd is None or not result.arm.is_trained else f"{score.sd:.2f}",
        *([] if not best else [""] if result.best is None else [f"{result.best:.2f}"]),
        str(len(result.seeds)) if result.arm.is_trained else "",
        result.arm.learns_from,
    ]


def format_markdown(results: Results) -> str:
    """Both tables and the verdict, to paste."""
    parts = [_format_rows(*list_arms(results)), _format_rows(*list_differences(results))]
    said = results.says
    return "\n\n".join([*filter(None, parts), *said]) + "\n"


def _format_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_escape, line)) + " |" for line in lines)


def format_csv(results: Results) -> str:
    """One line an arm and seed: mIoU at the last step and the highest one, and the IoU of each class, in percent.

    Cells that a spreadsheet would take for a formula begin with an apostrophe.
    """
    rows: list[list[Any]] = [["arm", "seed", "miou", "best", *results.classes]]
    for arm in results.arms:
        for seed in arm.seeds:
            numbers: list[Any] = [arm.arm.name, seed.seed if arm.arm.is_trained else ""]
            numbers += [f"{seed.areas.miou(present_only=True):.4f}", "" if seed.best is None else f"{seed.best:.4f}"]
            rows.append([*numbers, *(f"{value:.4f}" for value in seed.areas.iou())])
    return format_csv_rows(rows)


def _escape(cell: str) -> str:
    """A cell that Markdown shows as it is: no end of the cell, no HTML, no control characters."""
    return escape_controls(cell).replace("|", "\\|").replace("<", "&lt;")
