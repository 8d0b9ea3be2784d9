"""Calibrate a teacher on labelled images: count once, then fit thresholds, confidences and presence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semiovs.calibration.calibration import Calibration, ClassRule, Rare, Status
from semiovs.calibration.counts import ClassCounts, ScoreCounts
from semiovs.calibration.isotonic import fit_probabilities, pool_curves
from semiovs.calibration.risk_control import (
    NEVER,
    compute_losses,
    control_risk,
    count_images_needed,
    count_kept,
    find_least_risk,
)
from semiovs.data.items import read_labeled
from semiovs.errors import DataError, ResourcesError, UsageError, is_out_of_memory
from semiovs.images.image import read_image
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.batch_size import release_memory
from semiovs.ovs.image_batches import ReadRgb
from semiovs.similarity.groups import assign_folds
from semiovs.vocab.vocabulary import Vocabulary

#: A class of which less than this share of pixels would be kept is unusable.
LEAST_COVERAGE = 0.05
#: A presence threshold must clear at least this many labelled images.
LEAST_ABSENT = 3

#: Called after each image with how many are done and how many there are.
Progress = Callable[[int, int], None]
Floats = NDArray[np.float64]


def count_answers(
    teacher: OpenVocabModel,
    labeled: Manifest,
    masks: MaskReader,
    vocabulary: Vocabulary,
    *,
    batch_size: int = 1,
    progress: Progress | None = None,
    read: ReadRgb = read_image,
) -> ScoreCounts:
    """Label every labelled image with the teacher and count its answers; read: path -> RGB image.

    Raises:
        DataError: no labelled images; an image, mask or answer that cannot be read; scores outside [0, 1].
        ConfigError: classes that the teacher cannot look for.
    """
    if not labeled:
        raise DataError(
            "no labelled images to calibrate on; set data.labeled, or put images in images/ and masks in masks/"
        )
    teacher.check_vocabulary(vocabulary)
    tally = ScoreCounts(len(vocabulary))
    for first in range(0, len(labeled), batch_size):
        _count_batch(teacher, labeled[first : first + batch_size], masks, vocabulary, tally, read)
        if progress is not None:
            progress(len(tally), len(labeled))
    return tally


def _count_batch(
    teacher: OpenVocabModel,
    records: Sequence[Record],
    masks: MaskReader,
    vocabulary: Vocabulary,
    tally: ScoreCounts,
    read: ReadRgb,
) -> None:
    """Count one batch; a batch that does not fit into memory is split in halves."""
    pairs = [read_labeled(record, masks, read) for record in records]
    images = [torch.from_numpy(np.array(image, np.uint8)).permute(2, 0, 1).contiguous() for image, _ in pairs]
    answers = None
    try:
        answers = teacher.label(images, vocabulary, ids=[record.id for record in records])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(records) == 1:
            raise ResourcesError(
                f"{records[0].image}: {images[0].shape[2]}x{images[0].shape[1]} pixels do not fit the memory, even as "
                "a batch of one; use a smaller teacher or tiles"
            ) from None
    if answers is None:  # behind the except block, which kept all tensors alive
        release_memory()
        middle = len(records) // 2
        for part in (records[:middle], records[middle:]):
            _count_batch(teacher, part, masks, vocabulary, tally, read)
        return
    for record, (_, truth), label, score in zip(records, pairs, *answers, strict=True):
        tally.add(record.id, label.cpu().numpy(), score.float().cpu().numpy(), truth)


def fit(
    tally: ScoreCounts,
    vocabulary: Vocabulary,
    teacher: Mapping[str, Any],
    *,
    risk: float = 0.1,
    rare: Rare = "global",
    manifest: str | None = None,
    choice: Mapping[str, Any] | None = None,
) -> Calibration:
    """Fit thresholds by conformal risk control, confidences by isotonic regression, presence by majority.

    teacher: as by `identify_teacher`; risk: bound on the share of wrong pixels among the kept ones of a class (see
    `risk_control`); rare: rule for classes with too few images, the threshold of all classes together ("global") or
    "ignore"; manifest, choice: recorded as given.

    Raises:
        UsageError: a risk outside (0, 1); DataError: too few labelled images for the risk, or no pixel with a known
        truth.
    """
    if not 0 < risk < 1:
        raise UsageError(f"--risk {risk}: must lie between 0 and 1, like 0.1")
    everyone = tally.table.select_all_classes().with_truth()
    curve = fit_probabilities(everyone)
    if curve is None:
        raise DataError("the teacher labelled no pixel whose truth is known: there is nothing to calibrate on")
    needed = count_images_needed(risk)
    if len(everyone.images) < needed:
        n = len(everyone.images)
        raise DataError(
            f"{n} labelled images cannot support a risk of {risk:g}: that takes {needed}; label more, or take "
            f"--risk {find_least_risk(n):g}"
        )
    fallback = control_risk(compute_losses(everyone), risk) if rare == "global" else NEVER
    rules = [_fit_rule(name, tally, k, curve, risk, fallback) for k, name in enumerate(vocabulary.names)]
    data = {"images": len(tally), "counts": tally.digest, **({} if manifest is None else {"manifest": manifest})}
    return Calibration(vocabulary, teacher, risk, rare, tuple(rules), data, choice)


def _fit_rule(name: str, tally: ScoreCounts, k: int, everyone: Floats, risk: float, fallback: int) -> ClassRule:
    counts = tally.table.select_class(k).with_truth()
    images = len(counts.images)
    loss = compute_losses(counts)
    right, wrong = count_kept(counts.right), count_kept(counts.wrong)
    status: Status = "controlled"
    threshold = max(control_risk(loss, risk), _find_precise_threshold(right.sum(axis=0), wrong.sum(axis=0), risk))
    if images < count_images_needed(risk):
        status = "few" if fallback == NEVER else "global"
        own = int(np.argmax(loss.sum(axis=0) <= risk * images))  # from its few images, without guarantee
        threshold = max(fallback, own, _find_precise_threshold(right.sum(axis=0), wrong.sum(axis=0), risk))
    total = int(right[:, 0].sum() + wrong[:, 0].sum())
    coverage = float((right + wrong)[:, threshold].sum() / max(total, 1))
    if images and coverage < LEAST_COVERAGE and status != "few":
        status, threshold, coverage = "unusable", NEVER, 0.0
    presence = _fit_presence(counts, right[:, threshold], wrong[:, threshold])
    there = counts.presence >= presence
    kept_right, kept_wrong = int(right[there, threshold].sum()), int(wrong[there, threshold].sum())
    curve = pool_curves(fit_probabilities(counts), images, everyone)
    return ClassRule(
        name,
        threshold,
        presence,
        tuple(int(v) for v in np.rint(curve * 255)),
        status,
        images,
        round((kept_right + kept_wrong) / max(total, 1), 6),
        round(kept_right / max(kept_right + kept_wrong, 1), 6),
    )


def _find_precise_threshold(right: NDArray[np.int64], wrong: NDArray[np.int64], risk: float) -> int:
    """The lowest threshold at which at most `risk` of the kept pixels of all images together are wrong; (257,) each.

    Conformal risk control weighs all images equally and is lenient where little is kept, so both thresholds apply; a
    threshold above the controlled one keeps the guarantee.
    """
    return int(np.argmax(wrong <= risk * (right + wrong)))


def _fit_presence(counts: ClassCounts, right: NDArray[np.int64], wrong: NDArray[np.int64]) -> int:
    """The lowest presence threshold that clears most wrong minus right pixels; 0 = clear nothing.

    right, wrong: (n,) kept pixels of each image. The guarantee of the threshold holds for any value, since the loss of
    a cleared image is 0.
    """
    order = np.argsort(counts.presence, kind="stable")
    seen = counts.presence[order]
    gain = np.cumsum((wrong - right)[order])
    some = (wrong + right)[order] > 0
    last_of_its_level = np.append(seen[1:] != seen[:-1], True) if len(seen) else np.zeros(0, np.bool_)
    usable = last_of_its_level & (np.cumsum(some) >= LEAST_ABSENT) & (seen < 255)
    if not usable.any() or gain[usable].max() <= 0:
        return 0
    best = int(np.argmax(np.where(usable, gain, np.iinfo(np.int64).min)))
    return int(seen[best]) + 1


@dataclass(frozen=True)
class CandidateChoice:
    """Result of `choose_candidate`.

    scores: mIoU (percent, classes in the masks) of each on all labelled images; winners: the best candidate without
    each fold; estimate: mIoU on the left-out folds of the respective winners, free of selection bias.
    """

    name: str
    scores: Mapping[str, float]
    winners: tuple[str, ...]
    estimate: float

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        rounded = {name: round(score, 3) for name, score in self.scores.items()}
        return {
            "name": self.name,
            "scores": rounded,
            "winners": list(self.winners),
            "estimate": round(self.estimate, 3),
        }


def choose_candidate(
    tallies: Mapping[str, ScoreCounts], *, folds: int = 5, units: Mapping[str, str] | None = None
) -> CandidateChoice:
    """Choose among candidates (prompt sets, concept subsets) by cross-validation, from the counts of each on the same
    images.

    The first candidate stays unless another wins in most folds and over all images. units: as `score_teacher`.
    """
    names = list(tallies)
    fold = assign_folds([(units or {}).get(image.id, image.id) for image in tallies[names[0]].images], folds)
    confusions: dict[str, list[NDArray[np.int64]]] = {}
    for name, tally in tallies.items():
        parts = [tally.subset(np.flatnonzero(fold == f).tolist()) for f in range(fold.max() + 1)]
        confusions[name] = [part.table.confusion() for part in parts]
    whole = {name: compute_miou(sum(parts[1:], parts[0])) for name, parts in confusions.items()}
    winners, held_out = [], []
    for f in range(fold.max() + 1):
        rest = {
            name: compute_miou(sum(parts[:f] + parts[f + 1 :], np.zeros_like(parts[f])))
            for name, parts in confusions.items()
        }
        winners.append(max(names, key=rest.__getitem__) if fold.max() else names[0])
        held_out.append(confusions[winners[-1]][f])
    best = max(names, key=whole.__getitem__)
    name = best if 2 * winners.count(best) > len(winners) else names[0]
    return CandidateChoice(name, whole, tuple(winners), compute_miou(sum(held_out[1:], held_out[0])))


def compute_miou(confusion: NDArray[np.int64]) -> float:
    """Mean IoU in percent over the classes that occur; confusion: (K, K + 1), last column: no prediction."""
    hit = np.diagonal(confusion)
    truth, predicted = confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)
    there = truth > 0
    return float(100 * (hit / np.maximum(truth + predicted - hit, 1))[there].mean()) if there.any() else 0.0
