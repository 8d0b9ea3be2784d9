"""The HTML page of the demo: table, curves, per-class IoU, predictions side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from semiovs.demo.demo import ARMS, SHORT, DemoExample, DemoResult
from semiovs.demo.image_strips import paint_labels
from semiovs.demo.synthetic import CLASSES, COLORS
from semiovs.report.page import write_page

#: Colour of each arm's line and bar.
_INK = ("#8a8f98", "#3b7dd8", "#d9822b", "#1f9d63")


@dataclass(frozen=True)
class _ArmRow:
    """A table row: an arm, its mIoU, the width of its bar in percent."""

    title: str
    learns_from: str
    miou: float
    ink: str


def write_demo_page(
    path: Path, result: DemoResult, advice: str, target: Sequence[DemoExample], ood: Sequence[DemoExample]
) -> None:
    """Write the page to `path`. advice: of the teacher card; target, ood: example images of both domains."""
    scores = result.miou
    write_page(
        path,
        __package__,
        result=result,
        advice=advice,
        facts=result.as_json(),
        verdict=result.judge(),
        rows=[_ArmRow(arm.title, arm.learns_from, scores[arm.name], ink) for arm, ink in zip(ARMS, _INK, strict=True)],
        best=max(scores.values()),
        curves=_plot_curves(result),
        classes=list(zip(CLASSES, (_format_color(color) for color in COLORS), strict=True)),
        heat={
            arm.name: {name: _format_heat(value) for name, value in result.curves[arm.name].iou.items()} for arm in ARMS
        },
        arms=[(arm.name, SHORT[arm.name]) for arm in ARMS],
        run=result.run(ARMS[-1]).relative_to(result.root).as_posix(),
        target=[_make_strip(example) for example in target],
        ood=[_make_strip(example) for example in ood],
    )


def _plot_curves(result: DemoResult) -> str:
    """Curves of mIoU over steps, as SVG that takes the font of the page."""
    figure = Figure(figsize=(5.2, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for arm, ink in zip(ARMS, _INK, strict=True):
        curve = result.curves[arm.name]
        axes.plot(curve.steps, curve.miou, color=ink, linewidth=2.2, marker="o", markersize=4, label=arm.title)
    axes.set_xlabel("step")
    axes.set_ylabel("mIoU, %")
    axes.set_ylim(bottom=0)
    axes.grid(color="#e4e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.legend(frameon=False, fontsize=10, loc="outside lower center", ncols=2)
    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "semiovs", "font.size": 10}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = out.getvalue()
    return svg[svg.index("<svg") :]


def _make_strip(example: DemoExample) -> list[Mapping[str, Any]]:
    """The pictures of one row with their captions; predictions carry the share of pixels that are right."""
    strip: list[Mapping[str, Any]] = [
        {"caption": "image", "src": _encode_url(example.image), "right": None},
        {"caption": "truth", "src": _encode_url(paint_labels(example.truth)), "right": None},
    ]
    for caption, labels in example.labels.items():
        right = 100 * float((labels == example.truth).mean())
        strip.append({"caption": caption, "src": _encode_url(paint_labels(labels)), "right": right})
    return strip


def _encode_url(pixels: NDArray[np.uint8]) -> str:
    """RGB pixels as a data URL."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _format_color(color: Sequence[int]) -> str:
    return "rgb({}, {}, {})".format(*color)


def _format_heat(percent: float) -> str:
    """Background of a table cell: white at 0, green at 100."""
    share = min(max(percent / 100, 0.0), 1.0)
    return f"rgba(31, 157, 99, {0.75 * share:.2f})"
