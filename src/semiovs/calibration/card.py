"""The teacher card: quality of a teacher on the labelled images, before any training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semiovs.calibration.calibration import Calibration, ClassRule, Rare, identify_teacher
from semiovs.calibration.counts import ScoreCounts
from semiovs.calibration.fit import Progress, count_answers, fit
from semiovs.calibration.learning import Learning, teach
from semiovs.calibration.reliability import (
    ClassScore,
    PrecisionCoverage,
    TeacherScore,
    compute_precision_coverage,
    find_worst,
    score_teacher,
)
from semiovs.calibration.risk_control import choose_risk
from semiovs.calibration.seen_images import describe_seen_images
from semiovs.calibration.verdict import Verdict
from semiovs.data.collection import Collection
from semiovs.data.items import read_labeled
from semiovs.engine.teacher_choice import TeacherChoice
from semiovs.images.image import read_image
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.image_batches import ReadRgb
from semiovs.ovs.known_training import describe_known_images
from semiovs.progress import ShowProgress
from semiovs.report.table import Table, render_lines
from semiovs.vocab.vocabulary import Vocabulary

#: Names that are listed in a sentence before "and N more".
_NAMED = 3


@dataclass(frozen=True)
class CardExample:
    """A labelled image. pixels (H, W, 3); truth, label, kept (H, W): mask, raw label, calibrated label."""

    name: str
    accuracy: float
    pixels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    label: NDArray[np.uint8]
    kept: NDArray[np.uint8]


@dataclass(frozen=True)
class TeacherCard:
    """Content of the page. calibration: fitted on all images; curves: per class; worst: lowest accuracy first; seen:
    how the teacher has learnt from these very images, in words, or ""; learning: how one that learns from labelled
    images was measured; tally: what it answered; seconds: an image, reading it included.
    """

    score: TeacherScore
    calibration: Calibration
    curves: tuple[PrecisionCoverage, ...]
    worst: tuple[CardExample, ...]
    verdict: Verdict
    seen: str = ""
    learning: Learning | None = None
    tally: ScoreCounts | None = field(default=None, repr=False, compare=False)
    seconds: float = field(default=0.0, compare=False)

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes."""
        return self.calibration.vocabulary

    @property
    def rows(self) -> list[tuple[ClassRule, ClassScore]]:
        """Rule and score of each class."""
        return list(zip(self.calibration.classes, self.score.classes, strict=True))

    @property
    def advice(self) -> str:
        """One sentence; another before it if the teacher is useless, or has learnt from these images."""
        warnings = [self.verdict.line if self.verdict.useless else "", self.seen]
        notes = [] if self.learning is None else [self.learning.line]
        return " ".join(filter(None, [*warnings, self._describe(), *notes]))

    def _describe(self) -> str:
        score, images = self.score, self.calibration.fitted_on["images"]
        parts = [f"the teacher alone already scores {score.miou:.1f} mIoU on the {images} labelled images"]
        bad = "{are} unusable at any threshold and will be ignored"
        if score.reliability.tells_nothing:
            parts.append("it gives no scores, so a calibration keeps or ignores classes as a whole")
            bad = f"{{are}} wrong too often for a risk of {self.calibration.risk:g} and would be ignored"
        for status, words in (
            ("unusable", bad),
            ("few", "{were} found in too few labelled images to be trusted and will be ignored"),
        ):
            names = [rule.name for rule in self.calibration.classes if rule.ignored and rule.status == status]
            if names:
                one = len(names) == 1
                verbs = {"are": "is" if one else "are", "were": "was" if one else "were"}
                parts.append(f"{join_names(names)} {words.format(**verbs)}")
        if score.held is None:
            parts.append("there are too few images to say how well the calibrated labels would do on new ones")
        else:
            kept, right = 100 * score.held.coverage, 100 * score.held.precision
            parts.append(
                f"calibrated, it keeps {kept:.0f} % of the pixels, of which {right:.0f} % are right "
                f"({100 * score.precision:.0f} % before)"
            )
        text = "; ".join(parts)
        return f"{text[0].upper()}{text[1:]}."

    def table(self) -> Table:
        """One row a class, as in `as_json`."""
        return Table(_make_row(rule, score) for rule, score in self.rows)

    def _repr_html_(self) -> str:
        return render_lines([self.advice]) + self.table()._repr_html_()

    def as_json(self) -> dict[str, Any]:
        """Plain data; shares in [0, 1], IoU in percent, thresholds as scores."""
        held = self.score.held
        return {
            "advice": self.advice,
            **self.verdict.as_json(),
            "seen": self.seen or None,
            "learning": None if self.learning is None else self.learning.as_json(),
            "teacher": dict(self.calibration.teacher),
            "vocabulary": self.vocabulary.hash,
            "images": self.calibration.fitted_on["images"],
            "risk": self.calibration.risk,
            "raw": {
                "miou": round(self.score.miou, 4),
                "precision": round(self.score.precision, 5),
                "reliability": self.score.reliability.as_json(),
            },
            "calibrated": None if held is None else held.as_json(),
            "classes": [_make_row(rule, score) for rule, score in self.rows],
            "ignored": self.calibration.ignored,
            "worst": [{"id": example.name, "accuracy": round(example.accuracy, 4)} for example in self.worst],
        }


def measure_teacher(
    choice: TeacherChoice, images: Collection, *, folds: int = 5, group: str | None = None, **how: Any
) -> TeacherCard:
    """The card of a teacher on the labelled images of a configuration; one that learns answers each of them after it
    has learnt from the other folds alone (`teach`).

    folds, group: as in `teach`; how: as `make_card`.

    Raises:
        UsageError, WeightsError: the teacher cannot be made; others as `make_card`.
    """
    taught = teach(choice.build(), images, images.vocabulary, folds=folds, group=group)
    who = identify_teacher(choice.name, taught.whole)
    seen = describe_seen_images(choice.list_places(), images)
    return make_card(
        taught.measured,
        who,
        images.labeled,
        images.masks,
        images.vocabulary,
        read=images.images.read_rgb,
        seen=seen or describe_known_images(who, images.labeled, "labelled images"),
        folds=folds,
        units=taught.units,
        learning=taught.learning,
        **how,
    )


def measure_teachers(
    choices: Sequence[tuple[str, TeacherChoice]],
    images: Collection,
    *,
    group: str | None = None,
    show: ShowProgress,
    **how: Any,
) -> dict[str, tuple[str, TeacherCard]]:
    """The card of each teacher, by its title, with its name; show: shows how far each is; others: as
    `measure_teacher`.
    """
    found = {}
    for title, choice in choices:
        with show(f"asking {title}") as progress:
            found[title] = (choice.name, measure_teacher(choice, images, group=group, progress=progress, **how))
    return found


def make_card(
    teacher: OpenVocabModel,
    who: Mapping[str, Any],
    labeled: Manifest,
    masks: MaskReader,
    vocabulary: Vocabulary,
    *,
    risk: float | None = None,
    rare: Rare = "global",
    folds: int = 5,
    examples: int = 6,
    batch_size: int = 1,
    progress: Progress | None = None,
    read: ReadRgb = read_image,
    seen: str = "",
    units: Mapping[str, str] | None = None,
    learning: Learning | None = None,
) -> TeacherCard:
    """Label the labelled images with the teacher, fit and cross-validate a calibration, and collect the worst images.

    who: as by `identify_teacher`; risk: as in `fit`; None: as by `choose_risk`; folds: of the
    cross-validation; examples: number of worst images; seen, learning: as in `TeacherCard`; units: as `find_units`.

    Raises:
        DataError, UsageError: as `count_answers` and `fit`.
    """
    begin = time.monotonic()
    tally = count_answers(teacher, labeled, masks, vocabulary, batch_size=batch_size, progress=progress, read=read)
    seconds = (time.monotonic() - begin) / len(tally)
    risk = choose_risk(len(tally)) if risk is None else risk
    refit = partial(fit, vocabulary=vocabulary, teacher=who, risk=risk, rare=rare, manifest=labeled.hash)
    calibration = refit(tally)
    score = score_teacher(tally, refit, risk=risk, folds=folds, units=units)
    shown = find_worst(score.image_accuracy, examples)
    return TeacherCard(
        score,
        calibration,
        tuple(compute_precision_coverage(tally, k) for k in range(len(vocabulary))),
        tuple(
            _make_example(teacher, labeled, masks, calibration, i, float(score.image_accuracy[i]), read) for i in shown
        ),
        Verdict.of(tally, calibration),
        seen,
        learning,
        tally,
        seconds,
    )


def join_names(names: Sequence[str]) -> str:
    """Join names as ``a``, ``a and b``, ``a, b and c`` or ``a, b, c and 4 more``."""
    shown = list(names[:_NAMED])
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _make_example(
    teacher: OpenVocabModel,
    labeled: Manifest,
    masks: MaskReader,
    calibration: Calibration,
    index: int,
    accuracy: float,
    read: ReadRgb,
) -> CardExample:
    record = labeled[index]
    image, truth = read_labeled(record, masks, read)
    pixels = np.array(image, np.uint8)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    labels, scores = teacher.label([tensor], calibration.vocabulary, ids=[record.id])
    label = labels[0].cpu().numpy()
    kept, _ = calibration.apply(label, scores[0].float().cpu().numpy(), f"image '{record.id}'")
    return CardExample(record.id, accuracy, pixels, truth, label, kept)


def _make_row(rule: ClassRule, score: ClassScore) -> dict[str, Any]:
    shares = {
        "precision": score.precision,
        "coverage": score.coverage,
        "kept_precision": score.kept_precision,
        "loss": score.loss,
    }
    return {
        "name": rule.name,
        "status": rule.status,
        "ignored": rule.ignored,
        "iou": round(score.iou, 3),
        "images": score.images,
        "threshold": None if rule.ignored else round(rule.threshold / 255, 4),
        "presence": round(rule.presence / 255, 4),
        **{name: None if np.isnan(value) else round(value, 5) for name, value in shares.items()},
    }
