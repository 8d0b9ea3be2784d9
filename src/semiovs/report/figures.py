"""Figures for HTML pages, as inline SVG."""

from __future__ import annotations

import io
import warnings
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from semiovs.control_characters import escape_lines


def simplify_axes(axes: Any) -> None:
    """Remove frame and ticks from axes, and draw a light grid."""
    axes.grid(color="#eceef1", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#c9ccd2")


def escape_math(text: str) -> str:
    """Escape a text for a figure: its dollar signs are no formula, its control characters are spelled out."""
    return escape_lines(text).replace("$", r"\$")


def render_svg(figure: Figure) -> str:
    """Inline SVG that takes the font of the page."""
    out = io.StringIO()
    with warnings.catch_warnings(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "semiovs", "font.size": 10}):
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the reader's browser brings the letters
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]
