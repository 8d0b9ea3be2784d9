"""The HTML page of `data check` and `data stats`: findings with advice, and statistics of images and masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from semiovs.audit.audit import Audit
from semiovs.audit.stream_statistics import StreamStatistics
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import Finding, count_severities, group_by_kind
from semiovs.images.palette import build_palette
from semiovs.report.figures import escape_math, render_svg, simplify_axes
from semiovs.report.page import write_page

#: Findings of one kind on the page, and classes and sizes in the pictures.
_SHOWN, _CLASSES, _DOTS = 200, 40, 2000
_INKS = ("#1f6f9d", "#1f9d63", "#8a8f98", "#d9822b", "#7a4fa3")


def write_audit_page(path: Path, audit: Audit, *, source: str, facts: bool = False) -> None:
    """Write the page to `path`; facts: the numbers alone, without findings."""
    accounts = audit.count_records()
    masked = {name: tally for name, tally in audit.statistics.items() if tally.masks}
    write_page(
        path,
        __package__,
        source=source,
        facts=facts,
        numbers=count_severities(audit.findings),
        listed=sum(account["listed"] for account in accounts.values()),
        good=sum(account["good"] for account in accounts.values()),
        groups=[_make_group(kind, group) for kind, group in group_by_kind(audit.findings)],
        streams=[_make_stream_row(name, accounts[name], tally) for name, tally in audit.statistics.items()],
        classes=_make_class_rows(audit, masked),
        masked=list(masked),
        ignored=[f"{100 * int(t.counts[IGNORE]) / max(int(t.counts.sum()), 1):.1f}" for t in masked.values()],
        sizes=_plot_image_sizes(audit.statistics),
        shares=_plot_class_shares(audit, masked),
    )


def _make_group(kind: str, group: list[Finding]) -> dict[str, Any]:
    return {
        "kind": kind,
        "severity": group[0].severity,
        "count": len(group),
        "rows": [{"where": f.where, "text": f.text, "fix": f.fix} for f in group[:_SHOWN]],
        "left": max(0, len(group) - _SHOWN),
    }


def _make_stream_row(name: str, account: Mapping[str, int], tally: StreamStatistics) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        **account,
        "size": "-",
        "formats": "-",
        "megabytes": "-",
        "mean": "-",
        "std": "-",
    }
    found = tally.mean_std
    if found is not None:
        widths, heights = (np.frombuffer(v, np.int32) for v in (tally.widths, tally.heights))
        row |= {
            "size": f"{np.median(widths):.0f}x{np.median(heights):.0f}",
            "formats": ", ".join(f"{kind} {number}" for kind, number in tally.formats.most_common()),
            "megabytes": f"{tally.bytes / 2**20:.1f}",
            "mean": " ".join(f"{value:.3f}" for value in found[0]),
            "std": " ".join(f"{value:.3f}" for value in found[1]),
        }
    return row


def _make_class_rows(audit: Audit, masked: Mapping[str, StreamStatistics]) -> list[dict[str, Any]]:
    """Rows of the class table; ids without a name only where they occur."""
    vocabulary = audit.collection.vocabulary
    colors = build_palette(vocabulary.shown_colors)
    every = len(vocabulary) < IGNORE
    rows = []
    for i, name in enumerate(vocabulary.names):
        cells = []
        for tally in masked.values():
            total = max(int(tally.counts[:IGNORE].sum()), 1)
            cells += [f"{100 * int(tally.counts[i]) / total:.2f}", int(tally.images_with[i])]
        if every or any(tally.images_with[i] for tally in masked.values()):
            css = "rgb({}, {}, {})".format(*(int(c) for c in colors[i]))
            rows.append({"name": name, "css": css, "cells": cells, "absent": not all(cells[1::2])})
    return rows


def _plot_class_shares(audit: Audit, masked: Mapping[str, StreamStatistics]) -> str:
    """Bar chart of the share of each class in the labelled pixels, on a logarithmic scale."""
    names = audit.collection.vocabulary.names
    total = sum((tally.counts[:IGNORE] for tally in masked.values()), np.zeros(IGNORE, np.int64))
    order = [int(i) for i in np.argsort(-total[: len(names)], kind="stable") if total[i]][:_CLASSES]
    if not order:
        return ""
    figure = Figure(figsize=(7.2, 0.9 + 0.22 * len(order)), layout="constrained")
    axes = figure.add_subplot()
    height = 0.8 / len(masked)
    for k, (name, tally) in enumerate(masked.items()):
        share = 100 * tally.counts[order] / max(int(tally.counts[:IGNORE].sum()), 1)
        axes.barh(
            np.arange(len(order)) + (k - (len(masked) - 1) / 2) * height, share, height, color=_INKS[k], label=name
        )
    axes.set_yticks(range(len(order)), [escape_math(names[i]) for i in order])
    axes.set_xscale("log")
    axes.set_xlim(0.001, 100)
    axes.set_xlabel("share of the labelled pixels, %", fontsize=9)
    axes.invert_yaxis()
    simplify_axes(axes)
    if len(masked) > 1:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    return render_svg(figure)


def _plot_image_sizes(tallies: Mapping[str, StreamStatistics]) -> str:
    """Scatter plot of widths and heights; the area of a dot grows with the number of images."""
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    shown, sizes = 0, set[tuple[int, int]]()
    for ink, (name, tally) in zip(_INKS, tallies.items(), strict=False):
        if tally.read:
            pairs = np.stack([np.frombuffer(tally.widths, np.int32), np.frombuffer(tally.heights, np.int32)])
            places, number = np.unique(pairs, axis=1, return_counts=True)
            kept = np.argsort(-number, kind="stable")[:_DOTS]
            area, label = 12 + 160 * np.sqrt(number[kept] / number.max()), f"{name} ({tally.read})"
            axes.scatter(places[0, kept], places[1, kept], area, color=ink, alpha=0.5, linewidths=0, label=label)
            shown += 1
            sizes.update(zip(*places.tolist(), strict=True))
    if not shown or len(sizes) < 2:
        return ""
    axes.set_xlabel("width, pixels", fontsize=9)
    axes.set_ylabel("height, pixels", fontsize=9)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    simplify_axes(axes)
    legend: Any = axes.legend(frameon=False, fontsize=8)
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    return render_svg(figure)
