"""A PNG of images side by side with their truth and the predictions of each model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from semiovs.demo.demo import DemoExample
from semiovs.demo.synthetic import CLASSES, COLORS
from semiovs.files import write_bytes
from semiovs.vocab.colors import hex_of

#: Inches of one picture, and pixels an inch.
_SIDE, _DPI = 1.35, 110


def paint_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class ids (H, W) -> colours (H, W, 3); white where there is no class."""
    table = np.array([*COLORS, *[(255, 255, 255)] * (256 - len(COLORS))], dtype=np.uint8)
    return table[labels]


def write_strips(path: Path, examples: Sequence[DemoExample]) -> None:
    """Write one row per example: image, truth, and each prediction with its pixel accuracy.

    All examples carry the same captions.
    """
    captions = ["image", "truth", *examples[0].labels]
    figure = Figure(figsize=(_SIDE * len(captions), (_SIDE + 0.22) * len(examples) + 0.45), layout="constrained")
    axes = figure.subplots(len(examples), len(captions), squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        pictures = [
            example.image,
            paint_labels(example.truth),
            *(paint_labels(labels) for labels in example.labels.values()),
        ]
        shares = [None, None, *(100 * float((labels == example.truth).mean()) for labels in example.labels.values())]
        for axis, picture, share in zip(row, pictures, shares, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.set_xlabel("" if share is None else f"{share:.0f} %", fontsize=8, color="#5c6470", labelpad=2)
    for axis, caption in zip(axes[0], captions, strict=True):
        axis.set_title(caption, fontsize=9, fontweight="bold")
    patches = [Patch(color=hex_of(color), label=name) for name, color in zip(CLASSES, COLORS, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(CLASSES), fontsize=7.5, frameon=False,
                  handlelength=0.9, handletextpad=0.4, columnspacing=1.1)  # fmt: skip
    write_bytes(path, _encode_png(figure))


def _encode_png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, facecolor="white", metadata={"Software": None})
    return out.getvalue()
