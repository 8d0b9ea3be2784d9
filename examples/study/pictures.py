"""Draw where the OOD images helped and where they failed: predicted labels of three arms, wrong pixels darkened.

    python examples/study/pictures.py WORK COMPARISON PNG [--photographs]

WORK holds the finished comparison. Rows: the evaluation images that gained most from the teacher's OOD labels, and those
that lost most, in mIoU over the classes of the image, one of each ten frames that follow one another. Without --photographs
the picture holds nothing but predictions, so that it may be shown where the photographs may not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from semiovs.evaluation import ConfusionMatrix
from semiovs.images.palette import build_palette
from semiovs.inference import Predictor

ARMS = {"labels": "labels alone", "unlabeled": "+ unlabelled", "ood": "+ OOD, teacher's labels"}
#: Rows of each kind, frames of one stretch of a drive, and how bright a wrong pixel is.
ROWS, STRETCH, DARK = 3, 10, 0.25
VOID = 255


@dataclass(frozen=True)
class Example:
    """An evaluation image. photograph: (H, W, 3) uint8; truth and labels: (H, W) uint8; miou: arm -> percent over the
    classes of the truth.
    """

    photograph: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    labels: Mapping[str, NDArray[np.uint8]]
    miou: Mapping[str, float]

    @property
    def gain(self) -> float:
        """Points of mIoU that the OOD images brought over the unlabelled ones."""
        return self.miou["ood"] - self.miou["unlabeled"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("comparison")
    parser.add_argument("png", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--photographs", action="store_true", help="show photographs and truth too: for yourself alone")
    given = parser.parse_args(arguments)
    data = given.work / "data"
    names = [line for line in (data / "classes.txt").read_text(encoding="utf-8").splitlines() if line]
    runs = given.work / "comparisons" / given.comparison / "runs"
    predictors = {arm: Predictor.load(runs / arm / f"seed-{given.seed}", device="cpu") for arm in ARMS}
    pairs = [line.split() for line in (data / "val.txt").read_text(encoding="utf-8").splitlines()]
    examples = [predict(data / image, data / mask, predictors, len(names)) for image, mask in pairs]
    draw(choose(examples), names, given.png, photographs=given.photographs)
    return 0


def predict(image: Path, mask: Path, predictors: Mapping[str, Predictor], num_classes: int) -> Example:
    """What each arm says of an image."""
    with Image.open(image) as opened:
        photograph = np.asarray(opened.convert("RGB"))
    with Image.open(mask) as opened:
        truth = np.asarray(opened)
    labels = {arm: predictor(image).labels for arm, predictor in predictors.items()}
    return Example(photograph, truth, labels, {arm: score(one, truth, num_classes) for arm, one in labels.items()})


def score(labels: NDArray[np.uint8], truth: NDArray[np.uint8], num_classes: int) -> float:
    """mIoU in percent over the classes of the truth."""
    confusion = ConfusionMatrix(num_classes)
    confusion.update(labels, truth)
    return confusion.miou(present_only=True)


def choose(examples: Sequence[Example]) -> list[Example]:
    """Those with the greatest gains, then those with the greatest losses, each from a stretch of its own."""
    chosen = []
    for sign in (-1, 1):
        order = sorted(range(len(examples)), key=lambda place: sign * examples[place].gain)
        stretches = dict.fromkeys(place // STRETCH for place in order)
        best = [next(place for place in order if place // STRETCH == stretch) for stretch in stretches]
        chosen += best[:ROWS] if sign < 0 else best[:ROWS][::-1]
    return [examples[place] for place in chosen]


def draw(examples: Sequence[Example], names: Sequence[str], path: Path, *, photographs: bool) -> None:
    """Write the PNG."""
    palette = build_palette()
    titles = (["photograph", "truth"] if photographs else []) + list(ARMS.values())
    figure = Figure(figsize=(2.2 * len(titles), 1.85 * len(examples) + 0.9), layout="constrained")
    axes = figure.subplots(len(examples), len(titles), squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        left = [example.photograph, paint(example.truth, example.truth, palette)] if photographs else []
        pictures = left + [paint(example.labels[arm], example.truth, palette) for arm in ARMS]
        notes = [""] * len(left) + [f"{example.miou[arm]:.0f}" for arm in ARMS]
        notes[-1] += f" ({example.gain:+.0f})"
        for axis, picture, note in zip(row, pictures, notes, strict=True):
            axis.imshow(picture, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.set_xlabel(note, fontsize=9, color="#5c6470", labelpad=2)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10, fontweight="bold")
    patches = [Patch(color=palette[number] / 255, label=name) for number, name in enumerate(names)]
    figure.legend(handles=patches, loc="outside lower center", ncols=6, fontsize=8, frameon=False, handlelength=0.9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=100, facecolor="white", metadata={"Software": None})


def paint(labels: NDArray[np.uint8], truth: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class ids (H, W) -> colours (H, W, 3): wrong pixels darkened, white where the truth names no class."""
    bright = np.where(labels == truth, 1.0, DARK)[..., None]
    return np.where((truth == VOID)[..., None], 255, palette[labels] * bright).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
