"""`python -m benchmarks growth`: how time and memory grow with the size of images, the number of concepts, the batch,
loader processes, ranks and lists; each with the exponent of a power law, and where it bends.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks import machine
from benchmarks.growing import CASES, Case, Point, points
from benchmarks.measure import Size

OUT = Path("docs/results/bench-growth.json")
#: Two parts of a curve are told apart where their exponents differ by so much.
_BEND = 0.25

Pairs = Sequence[tuple[float, float]]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="part of a name", help="cases whose name has it; none: all")
    parser.add_argument("--out", type=Path, help=f"JSON file to write; {OUT} when all cases are measured")
    parser.add_argument("--runs", type=int, default=2, help="runs of each point, of which the quickest counts")
    parser.add_argument(
        "--tiny", action="store_true", help="seconds, to see that everything runs; numbers mean nothing"
    )
    given = parser.parse_args(arguments)
    if given.runs < 1:
        parser.error("--runs must be at least 1")
    chosen = [case for case in CASES if not given.cases or any(part in case.name for part in given.cases)]
    if not chosen:
        parser.error(f"no case has '{given.cases[0]}' in its name; there are: {'; '.join(c.name for c in CASES)}")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    out: Path | None = given.out or (None if given.cases or given.tiny else OUT)
    result = run(chosen, Size(given.runs, given.tiny))
    machine.write(result, out)
    return 0


def run(cases: Sequence[Case], size: Size) -> dict[str, Any]:
    before, curves = machine.load(), list[dict[str, Any]]()
    for case in cases:
        curves += curves_of(case, points(case, size))
        print("\n".join(line(curve) for curve in curves[-2 if case.memory else -1 :]), flush=True)
    return {**machine.described(before, tiny=size.tiny), "curves": curves}


def curves_of(case: Case, found: Sequence[Point]) -> list[dict[str, Any]]:
    """Time, and memory where it is told."""
    clock = "wall time" if case.wall else "CPU time"
    curves = [_curve(case, clock, "s", [(point.value, point.seconds) for point in found])]
    if case.memory:
        told = [(point.value, point.megabytes) for point in found if point.megabytes is not None]
        curves.append(_curve(case, "extra memory", "MB", told))
    return curves


def _curve(case: Case, what: str, unit: str, pairs: Pairs) -> dict[str, Any]:
    rounded = [[x, float(f"{y:.4g}")] for x, y in pairs]
    bent = bend(pairs)
    return {
        "name": case.name,
        "axis": case.axis,
        "what": what,
        "unit": unit,
        "points": rounded,
        "exponent": round(exponent(pairs), 2),
        "bend": None if bent is None else {"at": bent[0], "before": round(bent[1], 2), "after": round(bent[2], 2)},
    }


def exponent(pairs: Pairs) -> float:
    """The slope of the line through the logarithms that fits best."""
    x, y = np.log(np.asarray(pairs, float).T)
    return float(np.polyfit(x, y, 1)[0])


def bend(pairs: Pairs) -> tuple[float, float, float] | None:
    """The inner point at which two lines through the logarithms fit best, and their exponents; None where these are
    much alike, or too few points for two lines.
    """
    if len(pairs) < 4:
        return None
    found = min((_misfit(pairs[: at + 1]) + _misfit(pairs[at:]), at) for at in range(1, len(pairs) - 1))[1]
    before, after = exponent(pairs[: found + 1]), exponent(pairs[found:])
    return (pairs[found][0], before, after) if abs(after - before) >= _BEND else None


def _misfit(pairs: Pairs) -> float:
    x, y = np.log(np.asarray(pairs, float).T)
    return float(((np.polyval(np.polyfit(x, y, 1), x) - y) ** 2).sum())


def line(curve: Mapping[str, Any]) -> str:
    """A row of the table."""
    (first, least), (last, most) = curve["points"][0], curve["points"][-1]
    bent = curve["bend"]
    told = "" if bent is None else f"at {bent['at']:g}: {bent['before']:g} before, {bent['after']:g} after"
    return (
        f"| {curve['name']} | {curve['axis']}, {first:,g} to {last:,g} | {curve['what']} | "
        f"{least:.3g} to {most:.3g} {curve['unit']} | {curve['exponent']:g} | {told} |"
    )


def table(result: Mapping[str, Any] | None) -> list[str]:
    """For docs/performance.md."""
    if result is None:
        cases = [f"| {case.name} | {case.axis}, {case.values[0]:,} to {case.values[-1]:,} |" for case in CASES]
        head = ["| what | against | time, memory, exponent, bend |", "|---|---|---|"]
        return [*head, *(f"{case} *not yet run* |" for case in cases)]
    head = ["| what | against | | from, to | exponent | bends |", "|---|---|---|---|---:|---|"]
    load = result["load"]
    busy = " to ".join(f"{value:g}" for value in (*load["before"][:1], *load["after"][:1]))
    hardware = result["hardware"]
    told = f"Measured on {result['date']}: {hardware['cpu']}, {hardware['cores']} cores (load average {busy})."
    return [told, "", "![Growth](results/bench-growth.svg)", "", *head, *(line(curve) for curve in result["curves"])]


def chart(result: Mapping[str, Any], path: Path) -> None:
    """A panel a curve, logarithmic both ways, with its power law."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "semiovs", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot as plt

    curves = result["curves"]
    rows = -(-len(curves) // 4)
    figure, panels = plt.subplots(rows, 4, figsize=(12, 2.4 * rows), layout="constrained", squeeze=False)
    for axes in panels.flat[len(curves) :]:
        axes.set_visible(False)
    for axes, curve in zip(panels.flat, curves, strict=False):
        x, y = np.asarray(curve["points"], float).T
        middle = np.exp(np.log(y).mean() + curve["exponent"] * (np.log(x) - np.log(x).mean()))
        axes.loglog(x, middle, color="#999999", linewidth=0.8)
        axes.loglog(x, y, "o-", color="#3b6ea5", markersize=3)
        if curve["bend"] is not None:
            axes.axvline(curve["bend"]["at"], color="#c0504d", linewidth=0.8, linestyle=":")
        axes.minorticks_off()
        axes.set_xticks(x, [f"{value:,g}" for value in x])
        ends = (y.min(), y.max())
        axes.set_yticks(ends, [f"{value:.3g}" for value in ends])
        axes.set_title(f"{curve['name']}: {curve['exponent']:g}", fontsize=8)
        axes.set_xlabel(curve["axis"])
        axes.set_ylabel(f"{curve['what']}, {curve['unit']}")
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)
