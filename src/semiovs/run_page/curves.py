"""Curves of a run over its steps, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from semiovs.calibration.reliability import Reliability
from semiovs.report.figures import escape_math, render_svg, simplify_axes
from semiovs.run_page.run_record import Row, find_number

#: Points of a line: more are averaged.
_POINTS = 300
#: Classes whose IoU is drawn over time: those with the most pixels.
CLASSES = 40
#: Classes that are drawn one by one in the shares of pseudo-labels.
SHARES = 12
#: Colours that people with colour-blindness can tell apart (Okabe and Ito), then grays.
_INKS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a4fa3", "#8a8f98", "#b0a070", "#1d2129")

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


def read_points(rows: Sequence[Row], key: str) -> Points:
    """Steps and values of the rows that have a number called `key`."""
    pairs = [(float(row["step"]), value) for row in rows if (value := find_number(row, key)) is not None]
    steps, values = (np.array(column, np.float64) for column in zip(*pairs, strict=True)) if pairs else ((), ())
    return np.asarray(steps), np.asarray(values)


def _thin(points: Points) -> Points:
    """At most `_POINTS` points: means of as many neighbours as are needed."""
    steps, values = points
    parts = np.array_split(np.arange(len(steps)), min(_POINTS, len(steps)) or 1)
    return np.array([steps[p].mean() for p in parts if p.size]), np.array([values[p].mean() for p in parts if p.size])


def list_keys(rows: Sequence[Row], prefix: str) -> list[str]:
    """Keys that begin with `prefix`, in the order in which they came."""
    return list(dict.fromkeys(key for row in rows for key in row if key.startswith(prefix)))


def plot_losses(rows: Sequence[Row]) -> str:
    """The loss, and each of its terms; empty without rows."""
    lines = {"loss": "loss", **{key: key.removeprefix("term/") for key in list_keys(rows, "term/")}}
    return _plot_lines({name: read_points(rows, key) for key, name in lines.items()}, ylabel="loss", strong="loss")


def plot_scores(scores: Mapping[str, Sequence[Row]]) -> str:
    """MIoU of each evaluation, by the name of the model; empty without any."""
    return _plot_lines({name: read_points(rows, "miou") for name, rows in scores.items()}, ylabel="mIoU, %", marker="o")


def plot_log(rows: Sequence[Row], key: str) -> str:
    """One reading over time, small."""
    return _plot_lines({"": read_points(rows, key)}, size=(2.9, 1.7))


def plot_shares(rows: Sequence[Row], key: str, colors: Mapping[str, str]) -> str:
    """Shares of the classes in pseudo-labels over time, stacked; empty with less than two log lines.

    key: of the shares by class; colors: of the classes, in their order. The `SHARES` classes with the most pixels are
    drawn, and the others as one.
    """
    found = [row for row in rows if isinstance(row.get(key), Mapping)]
    if len(found) < 2:
        return ""
    steps = np.array([row["step"] for row in found], np.float64)
    table = np.array([[find_number(row[key], name) or 0.0 for row in found] for name in colors])
    names, shown = list(colors), sorted(np.argsort(-table.sum(1), kind="stable")[:SHARES].tolist())
    lines = {names[k]: (table[k], colors[names[k]]) for k in shown if table[k].any()}
    if (rest := table.sum(0) - table[shown].sum(0)).max() > 1e-4:
        lines["others"] = (rest, "#c9ccd2")
    if not lines:
        return ""
    thin = {name: _thin((steps, values)) for name, (values, _) in lines.items()}
    figure = Figure(figsize=(7, 3.1), layout="constrained")
    axes = figure.add_subplot()
    axes.stackplot(
        next(iter(thin.values()))[0],
        [100 * values for _, values in thin.values()],
        labels=[escape_math(name) for name in lines],
        colors=[color for _, color in lines.values()],
        linewidth=0.4,
        edgecolor="white",
    )
    axes.set_ylim(0, 100)
    axes.set_xlim(float(steps[0]), float(steps[-1]))
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel("of the kept pixels, %", fontsize=9)
    simplify_axes(axes)
    figure.legend(frameon=False, fontsize=8.5, loc="outside lower center", ncols=5)
    return render_svg(figure)


def _plot_lines(
    lines: Mapping[str, Points], *, ylabel: str = "", strong: str | None = None, marker: str = "", size: Any = (7, 3.1)
) -> str:
    there = {name: _thin(points) for name, points in lines.items() if len(points[0])}
    if not there:
        return ""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    inks = iter(_INKS * (1 + len(there) // len(_INKS)))
    for name, (steps, values) in there.items():
        ink = "#1d2129" if name == strong else next(inks)
        shape = marker or ("o" if len(steps) == 1 else "")
        label = escape_math(name)
        axes.plot(
            steps, values, color=ink, linewidth=2.2 if name == strong else 1.3, marker=shape, markersize=4, label=label
        )
    low = min(float(values.min()) for _, values in there.values())
    axes.set_ylim(bottom=min(0.0, low))
    axes.set_xlim(left=0)
    axes.set_xlabel("step", fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    simplify_axes(axes)
    if len(there) > 1:
        figure.legend(frameon=False, fontsize=8.5, loc="outside lower center", ncols=min(len(there), 5))
    return render_svg(figure)


def plot_classes(rows: Sequence[Row], names: Sequence[str]) -> str:
    """IoU of some classes in each evaluation, as a map of colours with the last number beside it; rows: of one model.

    Empty with less than two evaluations.
    """
    found = [row for row in rows if isinstance(row.get("iou"), Mapping)]
    if len(found) < 2 or not names:
        return ""
    table = np.array([[find_number(row["iou"], name) or 0.0 for row in found] for name in names])
    figure = Figure(figsize=(7, 0.9 + 0.24 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(table, aspect="auto", cmap="viridis", vmin=0, vmax=100, interpolation="nearest")
    axes.set_yticks(range(len(names)), [escape_math(name)[:40] for name in names], fontsize=8.5)
    places = sorted({round(i * (len(found) - 1) / 5) for i in range(6)})
    axes.set_xticks(places, [str(found[i]["step"]) for i in places], fontsize=8)
    axes.set_xlabel("step", fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    beside = axes.secondary_yaxis("right")
    beside.set_yticks(range(len(names)), [f"{value:.1f}" for value in table[:, -1]], fontsize=8.5)
    beside.tick_params(length=0)
    beside.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, label="IoU, %", shrink=min(1.0, 8 / len(names) + 0.2), pad=0.02)
    bar.outline.set_visible(False)
    return render_svg(figure)


def plot_reliability(found: Reliability) -> str:
    """Accuracy against confidence, and below it how many pixels have that confidence."""
    figure = Figure(figsize=(4.6, 4.0), layout="constrained")
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    there, bins = found.share > 0, len(found.share)
    top.plot([0, 100], [0, 100], color="#c9ccd2", linewidth=1, linestyle=(0, (4, 3)))
    top.plot(
        100 * found.confidence[there], 100 * found.accuracy[there], "o-", color=_INKS[0], linewidth=1.8, markersize=4
    )
    low.bar((np.arange(bins) + 0.5) * 100 / bins, 100 * found.share, width=88 / bins, color=_INKS[0])
    top.set_ylabel("of these, right, %", fontsize=9)
    top.set_ylim(0, 103)
    low.set_ylabel("pixels, %", fontsize=9)
    low.set_xlabel("confidence of the prediction, %", fontsize=9)
    low.set_xlim(0, 101)
    for axes in (top, low):
        simplify_axes(axes)
    return render_svg(figure)
