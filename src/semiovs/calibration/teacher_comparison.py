"""Several teachers on the same labelled images: which one to use, if any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.calibration.card import TeacherCard
from semiovs.calibration.counts import ScoreCounts
from semiovs.calibration.fit import compute_miou
from semiovs.errors import UsageError
from semiovs.report.table import Table, render_lines

#: The teacher that needs the labelled images alone: what another one has to beat.
BASELINE = "prototypes"
#: A teacher is cheaper if it takes less than this part of the time of another one.
_CHEAPER = 0.8
#: Probability with which the interval of a difference holds it.
_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class ComparedTeacher:
    """A teacher and its card. title: tells it from the others; name: as in `list teachers`; behind: points of mIoU
    that it lacks to the best one; noise: half the width of the 95 % interval of that difference, None where there are
    too few images to say.
    """

    title: str
    name: str
    card: TeacherCard
    behind: float = 0.0
    noise: float | None = 0.0

    @property
    def miou(self) -> float:
        """Of its raw labels, in percent."""
        return self.card.score.miou

    @property
    def is_told_apart(self) -> bool:
        """Whether it is worse than the best one beyond the noise of so few images."""
        return self.noise is not None and self.behind > self.noise

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        held, verdict = self.card.score.held, self.card.verdict
        return {
            "title": self.title,
            "teacher": dict(self.card.calibration.teacher),
            "miou": round(self.miou, 4),
            "kept": None if held is None else round(held.coverage, 5),
            "kept_precision": None if held is None else round(held.precision, 5),
            "seconds": round(self.card.seconds, 4),
            "behind": round(self.behind, 4),
            "noise": None if self.noise is None else round(self.noise, 4),
            "learning": None if self.card.learning is None else self.card.learning.as_json(),
            **verdict.as_json(),
        }


@dataclass(frozen=True)
class TeacherComparison:
    """Teachers in the order of their mIoU. chosen: the one to use, None if none is worth it."""

    teachers: tuple[ComparedTeacher, ...]
    chosen: ComparedTeacher | None

    @property
    def shown(self) -> ComparedTeacher:
        """The one whose card is shown: the chosen one, or the best."""
        return self.chosen or self.teachers[0]

    @property
    def images(self) -> int:
        """How many labelled images they were measured on."""
        return int(self.teachers[0].card.calibration.fitted_on["images"])

    @property
    def advice(self) -> str:
        """Which one to use and why."""
        if self.chosen is None:
            lines = (f"{one.title}: {one.card.verdict.line}" for one in self.teachers)
            return f"None of them is worth using. {' '.join(lines)}"
        best, chosen = self.teachers[0], self.chosen
        parts = [f"Use {chosen.title}: {chosen.miou:.1f} mIoU on the {self.images} labelled images"]
        if chosen is not best:
            parts.append(
                f"{best.title} has {best.miou:.1f}, which so few images do not tell apart ({_describe_gap(chosen)}), "
                f"and takes {best.card.seconds:.2g} s an image instead of {chosen.card.seconds:.2g}"
            )
        near = [one for one in self.teachers if one not in (best, chosen) and not (one.is_told_apart or _bad(one))]
        if near:
            parts.append(f"not told apart from the best either: {', '.join(one.title for one in near)}")
        return f"{'; '.join(parts)}.{self._judge_baseline()}"

    def _judge_baseline(self) -> str:
        """Whether the chosen teacher beats the labelled images themselves."""
        known = next((one for one in self.teachers if one.name == BASELINE), None)
        if known is None:
            return f" Not compared with {BASELINE}, which need the labelled images alone: add them to the list."
        if self.chosen is known:
            return " It knows what the labelled images show and nothing else: no other teacher is shown to know more."
        if self.chosen is not self.teachers[0] or not known.is_told_apart:
            return f" That it knows more than the labelled images tell ({BASELINE}: {known.miou:.1f}) is not shown."
        return f" It beats {BASELINE}, which need the labelled images alone, by {_describe_gap(known)} points."

    def table(self) -> Table:
        """One row a teacher."""
        return Table(_make_row(one) for one in self.teachers)

    def _repr_html_(self) -> str:
        return render_lines([self.advice]) + self.table()._repr_html_()

    def as_json(self) -> dict[str, Any]:
        """Plain data; mIoU and differences in percent, shares in [0, 1]."""
        return {
            "advice": self.advice,
            "chosen": None if self.chosen is None else self.chosen.title,
            "images": self.images,
            "useless": self.chosen is None,
            "teachers": [one.as_json() for one in self.teachers],
        }


def compare_teachers(cards: Mapping[str, tuple[str, TeacherCard]], units: Mapping[str, str]) -> TeacherComparison:
    """Which teacher to use: the best by mIoU, unless a cheaper one cannot be told apart from it.

    cards: title -> name and card, all on the same images; units: as by `find_units`; they are left out whole where the
    noise of a difference is measured.
    """
    if len(cards) < 2:
        raise UsageError("--teachers: name two or more")
    order = sorted(cards, key=lambda title: -cards[title][1].score.miou)
    best = _count(cards[order[0]][1].tally, units)
    rows = []
    for title in order:
        name, card = cards[title]
        behind, noise = _measure_difference(best, _count(card.tally, units))
        rows.append(ComparedTeacher(title, name, card, behind, noise))
    return TeacherComparison(tuple(rows), _choose(rows))


def _choose(rows: Sequence[ComparedTeacher]) -> ComparedTeacher | None:
    """Among useful teachers the best one; a cheaper one that is not told apart from it."""
    useful = [one for one in rows if not _bad(one)]
    if not useful:
        return None
    best = useful[0]
    near = [one for one in useful if not one.is_told_apart and one.card.seconds < _CHEAPER * best.card.seconds]
    return min(near, key=lambda one: one.card.seconds, default=best)


def _bad(one: ComparedTeacher) -> bool:
    return one.card.verdict.useless


def _count(tally: ScoreCounts | None, units: Mapping[str, str]) -> NDArray[np.int64]:
    """(U, K, K + 1) confusion of each unit of images, in the order of their names."""
    assert tally is not None  # `make_card` keeps it
    found: dict[str, list[int]] = {}
    for index, image in enumerate(tally.images):
        found.setdefault(units.get(image.id, image.id), []).append(index)
    return np.stack([tally.subset(found[name]).table.confusion() for name in sorted(found)])


def _measure_difference(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[float, float | None]:
    """What `one` has more of mIoU than `other`, and half the 95 % interval of that, by the jackknife over units."""
    from scipy.stats import t

    def without(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        whole = counts.sum(axis=0)
        return np.array([compute_miou(whole - part) for part in counts])

    difference = compute_miou(one.sum(axis=0)) - compute_miou(other.sum(axis=0))
    count = len(one)
    if count < 2:
        return difference, None
    left = without(one) - without(other)
    spread = float(np.sqrt((count - 1) / count * np.square(left - left.mean()).sum()))
    return difference, float(t.ppf((1 + _LEVEL) / 2, count - 1)) * spread


def _describe_gap(one: ComparedTeacher) -> str:
    return f"{one.behind:.1f}" + ("" if one.noise is None else f" ± {one.noise:.1f}")


def _make_row(one: ComparedTeacher) -> dict[str, Any]:
    held = one.card.score.held
    return {
        "teacher": one.title,
        "mIoU": one.miou,
        "behind": one.behind,
        "±": one.noise,
        "kept %": None if held is None else 100 * held.coverage,
        "right of kept %": None if held is None else 100 * held.precision,
        "s/image": one.card.seconds,
        "useless": _bad(one),
    }
