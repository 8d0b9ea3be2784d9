"""The HTML page of the teacher card: advice, classes, precision-coverage curves, reliability, worst images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from semiovs.calibration.calibration import ClassRule
from semiovs.calibration.card import CardExample, TeacherCard
from semiovs.calibration.reliability import PrecisionCoverage, Reliability
from semiovs.calibration.teacher_comparison import ComparedTeacher, TeacherComparison
from semiovs.files import write_json
from semiovs.images.palette import build_palette
from semiovs.report.figures import escape_math, render_svg, simplify_axes
from semiovs.report.page import write_page
from semiovs.report.pictures import encode_url

#: Classes whose curves are drawn: those with the most pixels in the masks.
_DRAWN = 24
#: Long side of the pictures, pixels.
_SIDE = 360
_RAW, _CALIBRATED, _BAD = "#8a8f98", "#1f9d63", "#d9822b"

_MEANING = {
    "controlled": "",
    "global": "few images: threshold of all classes",
    "few": "few images: ignored",
    "unusable": "unusable: ignored",
}


def write_card(folder: Path, card: TeacherCard) -> Path:
    """Write card.html and card.json into `folder`; returns the page."""
    page = folder / "card.html"
    write_card_page(page, card)
    write_json(folder / "card.json", card.as_json())
    return page


def write_comparison(folder: Path, comparison: TeacherComparison) -> Path:
    """Write card.html and card.json into `folder`: the comparison, and the card of the teacher that it proposes (of the
    best one, if it proposes none); returns the page.
    """
    page, card = folder / "card.html", comparison.shown.card
    write_card_page(page, card, comparison)
    write_json(folder / "card.json", {**comparison.as_json(), "card": card.as_json()})
    return page


def write_card_page(path: Path, card: TeacherCard, comparison: TeacherComparison | None = None) -> None:
    """Write the page to `path`; comparison: with other teachers, above it."""
    colors = build_palette(card.vocabulary.shown_colors)
    drawn = sorted(range(len(card.rows)), key=lambda k: -card.rows[k][1].truth)[:_DRAWN]
    drawn = sorted(k for k in drawn if card.rows[k][1].images)
    held = card.score.held
    write_page(
        path,
        __package__,
        card=card,
        comparison=comparison,
        compared=[] if comparison is None else list(map(_make_teacher_row, comparison.teachers)),
        held=held,
        images=card.calibration.fitted_on["images"],
        risk=card.calibration.risk,
        rows=[_make_class_row(rule, score, colors[k]) for k, (rule, score) in enumerate(card.rows)],
        curves=[_plot_curve(card.rows[k][0], card.curves[k], card.calibration.risk) for k in drawn],
        left_out=sum(1 for _, score in card.rows if score.images) - len(drawn),
        reliability=_plot_reliability(card.score.reliability, None if held is None else held.reliability),
        strips=[_make_strip(example, colors) for example in card.worst],
        legend=[(name, _format_color(colors[k])) for k, name in enumerate(card.vocabulary.names) if _is_shown(card, k)],
    )


def _make_class_row(rule: ClassRule, score: Any, color: NDArray[np.uint8]) -> dict[str, Any]:
    threshold = "-" if rule.ignored else f"{rule.threshold / 255:.2f}"
    return {
        "name": rule.name,
        "css": _format_color(color),
        "iou": f"{score.iou:.0f}",
        "images": score.images,
        "precision": _format_percent(score.precision),
        "kept_precision": _format_percent(score.kept_precision),
        "coverage": _format_percent(score.coverage),
        "threshold": threshold + (f" (presence {rule.presence / 255:.2f})" if rule.presence else ""),
        "rule": _MEANING[rule.status],
        "ignored": rule.ignored,
    }


def _make_teacher_row(one: ComparedTeacher) -> dict[str, Any]:
    held = one.card.score.held
    return {
        "title": one.title,
        "miou": f"{one.miou:.1f}",
        "behind": f"{one.behind:.1f}",
        "noise": "-" if one.noise is None else f"{one.noise:.1f}",
        "coverage": "-" if held is None else _format_percent(held.coverage),
        "precision": "-" if held is None else _format_percent(held.precision),
        "seconds": f"{one.card.seconds:.2g}",
        "useless": one.card.verdict.useless,
    }


def _plot_curve(rule: ClassRule, curve: PrecisionCoverage, risk: float) -> str:
    """Precision against coverage of one class, the threshold as a dot."""
    figure = Figure(figsize=(2.5, 1.9), layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(100 * (1 - risk), color="#c9ccd2", linewidth=1, linestyle=(0, (4, 3)))
    axes.plot(100 * curve.coverage, 100 * curve.precision, color=_CALIBRATED, linewidth=1.8)
    if rule.ignored:
        axes.text(50, 8, "ignored", color=_BAD, ha="center", fontsize=9)
    else:
        at = rule.threshold
        axes.plot(100 * curve.coverage[at], 100 * curve.precision[at], "o", color=_BAD, markersize=5, clip_on=False)
    axes.set_title(escape_math(rule.name), fontsize=9.5, loc="left", pad=4)
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 103)
    axes.set_xticks([0, 50, 100])
    axes.set_yticks([0, 50, 100])
    simplify_axes(axes)
    return render_svg(figure)


def _plot_reliability(raw: Reliability, held: Reliability | None) -> str:
    """Reliability diagram: accuracy against confidence, and a histogram of confidences."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.plot([0, 100], [0, 100], color="#c9ccd2", linewidth=1, linestyle=(0, (4, 3)))
    shown = [("raw score", raw, _RAW), *([] if held is None else [("calibrated, left-out images", held, _CALIBRATED)])]
    for i, (name, found, ink) in enumerate(shown):
        there = found.share > 0
        top.plot(
            100 * found.confidence[there],
            100 * found.accuracy[there],
            "o-",
            color=ink,
            linewidth=1.8,
            markersize=4,
            label=f"{name} (error {100 * found.ece:.1f})",
        )
        bins = len(found.share)
        low.bar((np.arange(bins) + 0.3 + 0.4 * i) * 100 / bins, 100 * found.share, width=36 / bins, color=ink)
    top.set_ylabel("of these, right, %")
    top.set_ylim(0, 103)
    low.set_ylabel("pixels, %")
    low.set_xlabel("the label is said to be right with, %")
    low.set_xlim(0, 101)
    for axes in (top, low):
        simplify_axes(axes)
    figure.legend(frameon=False, fontsize=9, loc="outside lower center")
    return render_svg(figure)


def _make_strip(example: CardExample, colors: NDArray[np.uint8]) -> dict[str, Any]:
    """The pictures of one image."""
    height, width = example.truth.shape
    every = max(1, -(-max(height, width) // _SIDE))
    white = colors.copy()
    white[255] = 255
    maps = (("truth", example.truth), ("teacher", example.label), ("kept", example.kept))
    cells = [{"caption": "image", "src": _encode(example.pixels[::every, ::every], "JPEG")}]
    cells += [{"caption": name, "src": _encode(white[ids[::every, ::every]], "PNG")} for name, ids in maps]
    return {"name": example.name, "accuracy": f"{100 * example.accuracy:.0f}", "cells": cells}


def _encode(pixels: NDArray[np.uint8], kind: Literal["JPEG", "PNG"]) -> str:
    return encode_url(Image.fromarray(np.ascontiguousarray(pixels)), kind)


def _is_shown(card: TeacherCard, k: int) -> bool:
    return any((ids == k).any() for example in card.worst for ids in (example.truth, example.label))


def _format_percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.0f}"


def _format_color(color: Sequence[int] | NDArray[np.uint8]) -> str:
    return "rgb({}, {}, {})".format(*(int(c) for c in color))
