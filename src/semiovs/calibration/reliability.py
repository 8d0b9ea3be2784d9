"""Score a teacher on labelled images, and its calibration by cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.calibration.calibration import Calibration
from semiovs.calibration.counts import LEVELS, CountTable, ScoreCounts
from semiovs.calibration.fit import compute_miou
from semiovs.calibration.risk_control import FLOOR_OF_CLASS, FLOOR_OF_IMAGE, count_images_needed, count_kept
from semiovs.errors import DataError
from semiovs.similarity.groups import assign_folds

#: Bins of the reliability diagram.
BINS = 10

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """Reliability diagram. confidence, accuracy: (bins,) mean of each bin, NaN where empty; share: of all pixels."""

    confidence: Floats
    accuracy: Floats
    share: Floats

    @classmethod
    def of(cls, right: Counts, total: Counts, bins: int = BINS) -> Reliability:
        """right, total: (256,) pixels by confidence level."""
        bin_of = np.minimum(np.arange(LEVELS) * bins // (LEVELS - 1), bins - 1)
        pixels = np.bincount(bin_of, total, bins)
        said = np.bincount(bin_of, total * np.arange(LEVELS) / (LEVELS - 1), bins)
        held = np.bincount(bin_of, right, bins)
        with np.errstate(invalid="ignore"):
            return cls(said / pixels, held / pixels, pixels / max(pixels.sum(), 1))

    @property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]: Σ share · |accuracy - confidence| (Guo et al. 2017, eq. 3)."""
        return float(np.nansum(self.share * np.abs(self.accuracy - self.confidence)))

    @property
    def tells_nothing(self) -> bool:
        """Whether every pixel is said to be right for certain, as of masks without scores."""
        return bool(self.share[-1] == 1 and self.confidence[-1] == 1)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        parts = {"confidence": self.confidence, "accuracy": self.accuracy, "share": self.share}
        rounded = {name: [_round_or_none(v) for v in values.tolist()] for name, values in parts.items()}
        return {"ece": round(self.ece, 5), **rounded}


@dataclass(frozen=True)
class PrecisionCoverage:
    """Coverage and precision of one class, (257,) by threshold; precision is NaN where nothing is kept."""

    coverage: Floats
    precision: Floats


def compute_precision_coverage(tally: ScoreCounts, k: int) -> PrecisionCoverage:
    """Coverage: kept share of the pixels predicted as class `k`; precision: share of the kept pixels that is right."""
    counts = tally.table.select_class(k)
    right, wrong = count_kept(counts.right.sum(axis=0)), count_kept(counts.wrong.sum(axis=0))
    kept = right + wrong
    with np.errstate(invalid="ignore", divide="ignore"):
        return PrecisionCoverage(kept / max(int(kept[0]), 1), right / kept)


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class; shares in [0, 1], NaN for empty denominators.

    iou: raw, in percent; truth: share of the known pixels that are of the class; images: in which the teacher found it;
    precision: raw; kept_precision, coverage, loss: of the calibrated labels on left-out images, loss as in
    `risk_control` (the calibration bounds its mean over images by the risk).
    """

    iou: float
    truth: float
    images: int
    precision: float
    kept_precision: float = float("nan")
    coverage: float = float("nan")
    loss: float = float("nan")


@dataclass(frozen=True)
class CrossValidatedScore:
    """Scores of the calibrated labels, with each image calibrated by a fit without it.

    miou: over the kept pixels; miou_strict: with the ignored pixels counted as wrong (both percent, over classes in the
    masks); coverage, precision: as shares over all classes; reliability: of the confidences of all pixels, kept or not.
    """

    folds: int
    miou: float
    miou_strict: float
    coverage: float
    precision: float
    reliability: Reliability

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        numbers = {name: round(getattr(self, name), 5) for name in ("miou", "miou_strict", "coverage", "precision")}
        return {"folds": self.folds, **numbers, "reliability": self.reliability.as_json()}


@dataclass(frozen=True)
class TeacherScore:
    """A teacher on the labelled images: raw, and (`held`, None with too few images) calibrated by cross-validation."""

    miou: float
    precision: float
    reliability: Reliability
    held: CrossValidatedScore | None
    classes: tuple[ClassScore, ...]
    image_accuracy: Floats


def score_teacher(
    tally: ScoreCounts,
    refit: Callable[[ScoreCounts], Calibration],
    *,
    risk: float,
    folds: int = 5,
    units: Mapping[str, str] | None = None,
) -> TeacherScore:
    """Score the raw labels, and calibrated ones by cross-validation; refit: fits a calibration to a subset of images;
    units: id -> name of what it shares with copies and frames of one film, which are left out together.
    """
    table = tally.table
    right, total = _count_by_level(table, table.level)
    confusion = table.confusion()
    names = [(units or {}).get(image.id, image.id) for image in tally.images]
    kept = _cross_validate(tally, refit, count_images_needed(risk), folds, names)
    return TeacherScore(
        miou=compute_miou(confusion),
        precision=float(right.sum() / max(total.sum(), 1)),
        reliability=Reliability.of(right, total),
        held=None if kept is None else _score_cross_validated(table, *kept),
        classes=tuple(
            _score_class(tally, k, confusion, None if kept is None else kept[0]) for k in range(tally.classes)
        ),
        image_accuracy=_compute_image_accuracy(table),
    )


def _cross_validate(
    tally: ScoreCounts,
    refit: Callable[[ScoreCounts], Calibration],
    needed: int,
    folds: int,
    names: Sequence[str],
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], int] | None:
    """For each row of the table: whether it is kept, and its confidence, by calibrations of the other folds."""
    n = len(tally)
    if n - -(-n // folds) < needed:
        folds = n  # leave one image out at a time
    fold = assign_folds(names, folds)
    kept, confidence = np.zeros(len(tally.table.count), np.bool_), np.zeros(len(tally.table.count), np.uint8)
    if fold.max(initial=0) == 0:
        return None
    for f in range(fold.max() + 1):
        try:
            calibration = refit(tally.subset(np.flatnonzero(fold != f).tolist()))
        except DataError:
            return None
        rows = np.isin(tally.table.image, np.flatnonzero(fold == f))
        left_out = tally.subset(np.flatnonzero(fold == f).tolist()).table  # its rows stand in the same order
        kept[rows], confidence[rows] = calibration.keep_rows(left_out), calibration.confidences(left_out)
    return kept, confidence, int(fold.max()) + 1


def _score_cross_validated(
    table: CountTable, kept: NDArray[np.bool_], confidence: NDArray[np.uint8], folds: int
) -> CrossValidatedScore:
    strict = table.confusion(kept)
    loose = strict.copy()
    loose[:, -1] = 0
    hit, judged = int(np.diagonal(strict).sum()), int(loose.sum())
    return CrossValidatedScore(
        folds=folds,
        miou=compute_miou(loose),
        miou_strict=compute_miou(strict),
        coverage=judged / max(int(strict.sum()), 1),
        precision=hit / max(judged, 1),
        reliability=Reliability.of(*_count_by_level(table, confidence)),
    )


def _score_class(tally: ScoreCounts, k: int, confusion: Counts, kept: NDArray[np.bool_] | None) -> ClassScore:
    hit, truth, predicted = int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum())
    score = ClassScore(
        iou=100 * hit / max(truth + predicted - hit, 1),
        truth=truth / max(int(confusion.sum()), 1),
        images=len(tally.table.select_class(k).with_truth().images),
        precision=_divide(hit, predicted),
    )
    if kept is None:
        return score
    table = tally.table
    mine = (table.label == k) & (table.truth < tally.classes)
    parts = (mine & kept & (table.truth == k), mine & kept & (table.truth != k), mine)
    good, bad, all_ = (np.bincount(table.image[part], table.count[part], table.images) for part in parts)
    floor = np.maximum(all_ * FLOOR_OF_CLASS, table.area * FLOOR_OF_IMAGE)
    loss = (bad / np.maximum(np.maximum(good + bad, floor), 1e-9))[all_ > 0]
    return ClassScore(
        score.iou,
        score.truth,
        score.images,
        score.precision,
        kept_precision=_divide(good.sum(), good.sum() + bad.sum()),
        coverage=_divide(good.sum() + bad.sum(), all_.sum()),
        loss=float(loss.mean()) if loss.size else float("nan"),
    )


def _count_by_level(table: CountTable, level: NDArray[Any]) -> tuple[Counts, Counts]:
    """Right and all pixels (256,) by `level`, of those with a label and a known truth."""
    judged = (table.label < table.classes) & (table.truth < table.classes)
    right = judged & (table.label == table.truth)
    cells = [np.bincount(level[part], table.count[part], LEVELS).astype(np.int64) for part in (right, judged)]
    return cells[0], cells[1]


def _compute_image_accuracy(table: CountTable) -> Floats:
    """(images,) share of the known pixels that are labelled rightly; NaN where none is known."""
    right = (table.label == table.truth) & (table.truth < table.classes)
    with np.errstate(invalid="ignore"):
        accuracy: Floats = np.bincount(table.image[right], table.count[right], table.images) / table.area
    return accuracy


def _divide(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _round_or_none(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 5)


def find_worst(scores: Floats, count: int) -> Sequence[int]:
    """Indices of the images with the lowest accuracy, lowest first; those without a known pixel left out."""
    order = np.argsort(np.where(np.isnan(scores), np.inf, scores), kind="stable")
    return [int(i) for i in order[:count] if not np.isnan(scores[i])]
