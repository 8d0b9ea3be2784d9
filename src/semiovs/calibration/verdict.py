"""Whether a teacher is of any use: better than an answer that ignores the image, and believed somewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.calibration.calibration import Calibration
from semiovs.calibration.counts import ScoreCounts
from semiovs.calibration.fit import compute_miou

#: A useful teacher goes at least this part of the way from chance to a perfect answer.
LEAST_GAIN = 0.05
#: A calibration that keeps a smaller share of the pixels keeps nothing.
LEAST_KEPT = 0.005


@dataclass(frozen=True)
class Verdict:
    """Use of a teacher on the labelled images.

    miou: of its raw labels; chance: of the best answer that ignores the images (`compute_chance`); kept: share of the
    labelled pixels that the calibration keeps; unusable: whether it leaves classes out although there are enough
    images.
    """

    images: int
    miou: float
    chance: float
    kept: float
    risk: float
    unusable: bool

    @classmethod
    def of(cls, tally: ScoreCounts, calibration: Calibration) -> Verdict:
        """Judge the answers that a calibration was fitted on."""
        table = tally.table
        judged = (table.label < table.classes) & (table.truth < table.classes)
        kept = int(table.count[judged & calibration.keep_rows(table)].sum())
        confusion = table.confusion()
        return cls(
            len(tally),
            compute_miou(confusion),
            compute_chance(confusion),
            kept / max(int(table.count[judged].sum()), 1),
            calibration.risk,
            any(rule.status == "unusable" for rule in calibration.classes),
        )

    @property
    def near_chance(self) -> bool:
        """Whether the labels are hardly better than an answer that ignores the images."""
        return self.miou < self.chance + LEAST_GAIN * (100 - self.chance)

    @property
    def useless(self) -> bool:
        """Whether the teacher should not be used: near chance, or nothing is kept though there are enough images."""
        return self.near_chance or (self.unusable and self.kept < LEAST_KEPT)

    @property
    def line(self) -> str:
        """What it is worth, for a teacher that is useless."""
        floor = f" (an answer that ignores the images has {self.chance:.1f})" if self.near_chance else ""
        return (
            f"Do not use it: {self.miou:.1f} mIoU on the {self.images} labelled images{floor}, "
            f"{100 * self.kept:.0f} % kept at a risk of {self.risk:g}."
        )

    def as_json(self) -> dict[str, Any]:
        """Plain data; mIoU in percent."""
        return {"useless": self.useless, "chance": round(self.chance, 4), "kept": round(self.kept, 5)}


def compute_chance(confusion: NDArray[np.int64]) -> float:
    """The higher mIoU, in percent, of two answers that ignore the images: always the most frequent class, and every
    class at random as often as it is there.

    confusion: (K, K + 1), rows: true classes. A class of share p, answered at random with p, has the IoU p / (2 - p).
    """
    truth = confusion.sum(axis=1)
    shares = truth[truth > 0] / max(int(truth.sum()), 1)
    if not len(shares):
        return 0.0
    return float(100 * max(shares.max() / len(shares), (shares / (2 - shares)).mean()))
