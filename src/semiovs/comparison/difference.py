"""The difference of two arms that differ in one thing, its interval, and what may be said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from semiovs.comparison.areas import Floats, ImageAreas
from semiovs.comparison.pairing import pair_arms
from semiovs.comparison.sign_flips import compute_flip_p, find_smallest_p
from semiovs.comparison.uncertainty import SEEDS_NEEDED, Errors, estimate_errors

Verdict = Literal["helped", "hurt", "cannot tell", "descriptive"]

#: Fewer images (or groups of them) give no verdict: a few of them decide all.
GROUPS_NEEDED = 10

#: Probability that an interval covers the true difference; of all intervals of the classes together.
LEVEL = 0.95


@dataclass(frozen=True)
class ArmScore:
    """mIoU of one arm in percent, for each seed on all images."""

    name: str
    by_seed: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return float(np.mean(self.by_seed))

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "mean": _round(self.mean),
            "sd": _round(self.sd),
            "by_seed": _round_all(self.by_seed),
        }


@dataclass(frozen=True)
class Difference:
    """A difference, other arm minus base, in points of percent.

    mean: over seeds; by_seed: of each pair of trainings; interval: covers the true difference with probability `level`,
    None from one group of images; seed_error, image_error: standard errors over trainings (None for one seed) and over
    evaluation images (None for one group); detectable: the smallest true difference that such a comparison finds in 80
    of 100 cases.
    """

    mean: float
    by_seed: tuple[float, ...]
    interval: tuple[float, float] | None
    level: float
    seed_error: float | None
    image_error: float | None
    detectable: float | None

    @property
    def better(self) -> int:
        """Number of seeds in which the other arm is better."""
        return sum(difference > 0 for difference in self.by_seed)

    @property
    def worse(self) -> int:
        """Number of seeds in which the other arm is worse."""
        return sum(difference < 0 for difference in self.by_seed)

    @property
    def direction(self) -> Literal["better", "worse", "same"]:
        """How the other arm compares on average, whether or not by chance."""
        return "better" if self.mean > 0 else "worse" if self.mean < 0 else "same"

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval, and no difference lies outside it."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "mean": _round(self.mean),
            "by_seed": _round_all(self.by_seed),
            "interval": None if self.interval is None else _round_all(self.interval),
            "level": round(self.level, 6),
            "seed_error": _round(self.seed_error),
            "image_error": _round(self.image_error),
            "detectable": _round(self.detectable),
        }


@dataclass(frozen=True)
class ClassDifference:
    """IoU of one class that occurs in the masks: base and other in percent, means over seeds.

    groups: those that hold the class. The interval is widened (Bonferroni) so that with probability 0.95 those of all
    classes cover their true differences; `verdict` follows from it.
    """

    name: str
    groups: int
    base: float
    other: float
    difference: Difference
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "groups": self.groups,
            "base": _round(self.base),
            "other": _round(self.other),
            "difference": self.difference.as_json(),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Comparison:
    """Two arms on the same images with the same seeds.

    groups: independent samples, images by themselves if not `grouped`; present_only: whether the score is the mean over
    the classes that occur in the masks, else over all; p: of the sign-flip test over seeds; smallest_p: the smallest
    that so many seeds can give; notes: what limits the verdict, in words; absent: classes that occur in no mask;
    same_weights: both arms hold the same weights, seed by seed.
    """

    base: ArmScore
    other: ArmScore
    difference: Difference
    images: int
    groups: int
    grouped: bool
    present_only: bool
    p: float
    smallest_p: float
    verdict: Verdict
    notes: tuple[str, ...]
    classes: tuple[ClassDifference, ...]
    absent: tuple[str, ...]
    same_weights: bool = False

    @property
    def seeds(self) -> int:
        """Seeds of each arm."""
        return len(self.base.by_seed)

    def as_json(self) -> dict[str, Any]:
        """Plain data; percent and points."""
        return {
            "verdict": self.verdict,
            "base": self.base.as_json(),
            "other": self.other.as_json(),
            "difference": self.difference.as_json(),
            "seeds": self.seeds,
            "images": self.images,
            "groups": self.groups,
            "grouped": self.grouped,
            "present_only": self.present_only,
            "p": round(self.p, 6),
            "smallest_p": round(self.smallest_p, 6),
            "notes": list(self.notes),
            "classes": [row.as_json() for row in self.classes],
            "absent": list(self.absent),
            "same_weights": self.same_weights,
        }


def compare_arms(
    base: Sequence[ImageAreas],
    other: Sequence[ImageAreas],
    *,
    names: tuple[str, str] = ("base", "other"),
    classes: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    present_only: bool = True,
    same_weights: bool = False,
) -> Comparison:
    """Compare two arms on the same evaluation images; a pure function, whatever the order of the images.

    base, other: areas of each seed, in the same order of seeds. With folds, those of all folds of a seed together.
    names: of the arms; classes: K names; groups: id -> label of what is one independent sample, such as a film or a
    scene; present_only: average over the classes in the masks (of the whole set, decided once), else over all K.

    "helped" or "hurt" is said from 6 seeds and 10 groups on, if the interval excludes 0 and p <= 0.05. Of two forms of
    the `same_weights`, such as a run and its exported file, it is said of these very weights, of any number of seeds:
    the interval alone decides.

    Raises:
        DataError: the arms do not have the same seeds, images, masks and classes; an image has no group.
    """
    areas = pair_arms(base, other, groups, present_only)
    labels = [f"class {k}" for k in range(base[0].classes)] if classes is None else list(classes)
    if len(labels) != base[0].classes:
        raise ValueError(f"{len(labels)} names for {base[0].classes} classes")
    scores, errors = areas.score(), estimate_errors(areas)
    difference = _describe_column(scores, errors, 0, LEVEL)
    p = compute_flip_p(difference.by_seed)
    nouns = ("image", "images") if groups is None else ("group of images", "groups of images")
    present, least = np.flatnonzero(areas.target.any(axis=0)), 1 if same_weights else SEEDS_NEEDED
    return Comparison(
        base=ArmScore(names[0], _to_floats(scores[0, :, 0])),
        other=ArmScore(names[1], _to_floats(scores[1, :, 0])),
        difference=difference,
        images=len(base[0].ids),
        groups=areas.groups,
        grouped=groups is not None,
        present_only=present_only,
        p=p,
        smallest_p=find_smallest_p(areas.seeds),
        verdict=_judge(difference, areas.seeds, areas.groups, 0.0 if same_weights else p, least),
        notes=_note_limits(areas.seeds, areas.groups, *nouns, same_weights=same_weights),
        classes=tuple(_describe_class(scores, errors, int(k), labels[k], len(present), least) for k in present),
        absent=tuple(label for k, label in enumerate(labels) if k not in present),
        same_weights=same_weights,
    )


def _describe_class(scores: Floats, errors: Errors, k: int, name: str, compared: int, least: int) -> ClassDifference:
    column = k + 1
    difference = _describe_column(scores, errors, column, 1 - (1 - LEVEL) / compared)
    groups = int(errors.groups[column])
    verdict = _judge(difference, errors.seeds, groups, 0.0, least)
    return ClassDifference(
        name, groups, float(scores[0, :, column].mean()), float(scores[1, :, column].mean()), difference, verdict
    )


def _describe_column(scores: Floats, errors: Errors, column: int, level: float) -> Difference:
    by_seed = scores[1, :, column] - scores[0, :, column]
    mean, margin = float(by_seed.mean()), float(errors.margin(level)[column])
    several = errors.groups[column] > 1
    return Difference(
        mean,
        _to_floats(by_seed),
        (max(mean - margin, -100.0), min(mean + margin, 100.0)) if several else None,
        level,
        float(errors.seed[column]) if errors.seeds > 1 else None,
        float(errors.image[column]) if several else None,
        float(errors.detectable()[column]) if several else None,
    )


def _judge(difference: Difference, seeds: int, groups: int, p: float, least: int) -> Verdict:
    if seeds < least:
        return "descriptive"
    if groups < GROUPS_NEEDED or not difference.excludes_zero or p > 0.05:
        return "cannot tell"
    return "helped" if difference.mean > 0 else "hurt"


def _note_limits(seeds: int, groups: int, noun: str, plural: str, *, same_weights: bool) -> tuple[str, ...]:
    notes = []
    if same_weights:
        notes += ["one training was measured; what the same export costs another is not known"] if seeds == 1 else []
    elif seeds == 1:
        notes.append("one seed describes; how far another would differ is not known")
    elif seeds < SEEDS_NEEDED:
        notes.append(f"{seeds} seeds describe; a verdict needs {SEEDS_NEEDED}")
    if groups == 1:
        notes.append(f"one {noun} is too few for any verdict, and no interval can be known from it")
    elif groups < GROUPS_NEEDED:
        notes.append(f"{groups} {plural} are too few for any verdict; it needs {GROUPS_NEEDED}")
    return tuple(notes)


def _to_floats(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4) + 0.0  # no -0.0


def _round_all(values: Sequence[float]) -> list[float]:
    return [round(value, 4) + 0.0 for value in values]
