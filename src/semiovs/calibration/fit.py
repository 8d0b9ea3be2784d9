"""Calibrate a teacher on the labelled images: count once, then fit thresholds, confidences and presence from the counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semiovs.calibration.calibration import Calibration, ClassRule, Rare, Status
from semiovs.calibration.counts import ClassCounts, Tally
from semiovs.calibration.isotonic import pooled, probability
from semiovs.calibration.risk_control import NEVER, controlled, images_needed, kept_from, losses
from semiovs.data.items import read_labeled
from semiovs.errors import DataError, UsageError
from semiovs.images.image import read_image
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.image_batches import ReadRgb
from semiovs.vocab.vocabulary import Vocabulary

#: A threshold that keeps a smaller share of the class's pixels than this is not worth its name.
LEAST_COVERAGE = 0.05
#: Presence is only believed in where it clears at least so many labelled images.
LEAST_ABSENT = 3

#: Called after each image with how many are done and how many there are.
Progress = Callable[[int, int], None]
Floats = NDArray[np.float64]


def measure(
    teacher: OpenVocabModel,
    labeled: Manifest,
    masks: MaskReader,
    vocabulary: Vocabulary,
    *,
    batch_size: int = 1,
    progress: Progress | None = None,
    read: ReadRgb = read_image,
) -> Tally:
    """Ask the teacher about every labelled image and count; images (by `read`, as RGB) and masks are read as they are needed.

    Raises:
        DataError: no labelled images; an image, mask or answer that cannot be read; scores outside [0, 1].
    """
    if not labeled:
        raise DataError(
            "no labelled images to calibrate on; set data.labeled, or put images in images/ and masks in masks/"
        )
    tally = Tally(len(vocabulary))
    for first in range(0, len(labeled), batch_size):
        _measure(teacher, labeled[first : first + batch_size], masks, vocabulary, tally, read)
        if progress is not None:
            progress(len(tally), len(labeled))
    return tally


def _measure(
    teacher: OpenVocabModel,
    records: Sequence[Record],
    masks: MaskReader,
    vocabulary: Vocabulary,
    tally: Tally,
    read: ReadRgb,
) -> None:
    """Count one batch; one that does not fit the memory is asked in halves."""
    pairs = [read_labeled(record, masks, read) for record in records]
    images = [torch.from_numpy(np.array(image, np.uint8)).permute(2, 0, 1).contiguous() for image, _ in pairs]
    try:
        answers = teacher.label(images, vocabulary, ids=[record.id for record in records])
    except torch.OutOfMemoryError:
        if len(records) == 1:
            raise
        middle = len(records) // 2
        for part in (records[:middle], records[middle:]):
            _measure(teacher, part, masks, vocabulary, tally, read)
        return
    for record, (_, truth), label, score in zip(records, pairs, *answers, strict=True):
        tally.add(record.id, label.cpu().numpy(), score.float().cpu().numpy(), truth)


def fit(
    tally: Tally,
    vocabulary: Vocabulary,
    teacher: Mapping[str, Any],
    *,
    risk: float = 0.1,
    rare: Rare = "global",
    manifest: str | None = None,
    choice: Mapping[str, Any] | None = None,
) -> Calibration:
    """Thresholds by conformal risk control, confidences by isotonic regression, presence by majority.

    teacher: as by `identity`; risk: wanted bound of the share of wrong pixels among the kept ones of a class (see `ovs.risk`);
    rare: what becomes of classes with too few images for that, the threshold of all classes together or ignored; manifest, choice:
    kept as they are.

    Raises:
        UsageError: a risk outside (0, 1); DataError: too few labelled images for the risk, or no pixel that can be judged.
    """
    if not 0 < risk < 1:
        raise UsageError(f"--risk {risk}: must lie between 0 and 1, like 0.1")
    everyone = tally.table.all_classes().judged()
    curve = probability(everyone)
    if curve is None:
        raise DataError("the teacher labelled no pixel whose truth is known: there is nothing to calibrate on")
    needed = images_needed(risk)
    if len(everyone.images) < needed:
        n = len(everyone.images)
        raise DataError(
            f"{n} labelled images cannot support a risk of {risk:g}: that takes {needed}; label more, or take "
            f"--risk {np.ceil(1000 / (n + 1)) / 1000:g}"
        )
    fallback = controlled(losses(everyone), risk) if rare == "global" else NEVER
    rules = [_rule(name, tally, k, curve, risk, fallback) for k, name in enumerate(vocabulary.names)]
    data = {"images": len(tally), "counts": tally.digest, **({} if manifest is None else {"manifest": manifest})}
    return Calibration(vocabulary, teacher, risk, rare, tuple(rules), data, choice)


def _rule(name: str, tally: Tally, k: int, everyone: Floats, risk: float, fallback: int) -> ClassRule:
    counts = tally.table.of_class(k).judged()
    images = len(counts.images)
    loss = losses(counts)
    right, wrong = kept_from(counts.right), kept_from(counts.wrong)
    status: Status = "controlled"
    threshold = max(controlled(loss, risk), _precise(right.sum(axis=0), wrong.sum(axis=0), risk))
    if images < images_needed(risk):
        status = "few" if fallback == NEVER else "global"
        own = int(np.argmax(loss.sum(axis=0) <= risk * images))  # what its few images say, without the promise
        threshold = max(fallback, own, _precise(right.sum(axis=0), wrong.sum(axis=0), risk))
    total = int(right[:, 0].sum() + wrong[:, 0].sum())
    coverage = float((right + wrong)[:, threshold].sum() / max(total, 1))
    if images and coverage < LEAST_COVERAGE and status != "few":
        status, threshold, coverage = "unusable", NEVER, 0.0
    presence = _presence(counts, right[:, threshold], wrong[:, threshold])
    there = counts.presence >= presence
    kept_right, kept_wrong = int(right[there, threshold].sum()), int(wrong[there, threshold].sum())
    curve = pooled(probability(counts), images, everyone)
    return ClassRule(
        name, threshold, presence, tuple(int(v) for v in np.rint(curve * 255)), status, images,
        round((kept_right + kept_wrong) / max(total, 1), 6), round(kept_right / max(kept_right + kept_wrong, 1), 6),
    )  # fmt: skip


def _precise(right: NDArray[np.int64], wrong: NDArray[np.int64], risk: float) -> int:
    """The lowest threshold at which the kept pixels of all images together are wrong in no more than `risk`; (257,) each.

    Conformal risk control counts every image alike and is lenient where it keeps little, so both are wanted; a higher threshold
    than the controlled one keeps its promise.
    """
    return int(np.argmax(wrong <= risk * (right + wrong)))


def _presence(counts: ClassCounts, right: NDArray[np.int64], wrong: NDArray[np.int64]) -> int:
    """The lowest presence that clears the most wrong pixels, right ones that go with them set against; 0 = clear nothing.

    right, wrong: (n,) kept pixels of each image. Whatever it is, the promise of the threshold stands: the loss of an image
    whose pixels are cleared is 0.
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


def folds_of(names: Sequence[str], count: int) -> NDArray[np.int64]:
    """(n,) fold of each image, of sizes that differ by at most one; decided by the ids alone."""
    order = sorted(range(len(names)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
    folds = np.empty(len(names), np.int64)
    folds[order] = np.arange(len(names)) % max(1, min(count, len(names)))
    return folds


@dataclass(frozen=True)
class Choice:
    """Which candidate, and why.

    scores: mIoU (percent, classes in the masks) of each on all labelled images; winners: the best one without each fold; estimate:
    mIoU on the left-out folds of what won without them: what choosing is worth, free of the luck of the winner.
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


def choose(tallies: Mapping[str, Tally], *, folds: int = 5) -> Choice:
    """Choose among candidates (prompt sets, concept subsets) by cross-validation, from the counts of each on the same images.

    The first candidate stays unless another wins in most folds and over all images.
    """
    names = list(tallies)
    fold = folds_of([image.id for image in tallies[names[0]].images], folds)
    confusions: dict[str, list[NDArray[np.int64]]] = {}
    for name, tally in tallies.items():
        parts = [tally.subset(np.flatnonzero(fold == f).tolist()) for f in range(fold.max() + 1)]
        confusions[name] = [part.table.confusion() for part in parts]
    whole = {name: miou(sum(parts[1:], parts[0])) for name, parts in confusions.items()}
    winners, held_out = [], []
    for f in range(fold.max() + 1):
        rest = {
            name: miou(sum(parts[:f] + parts[f + 1 :], np.zeros_like(parts[f]))) for name, parts in confusions.items()
        }
        winners.append(max(names, key=rest.__getitem__) if fold.max() else names[0])
        held_out.append(confusions[winners[-1]][f])
    best = max(names, key=whole.__getitem__)
    name = best if 2 * winners.count(best) > len(winners) else names[0]
    return Choice(name, whole, tuple(winners), miou(sum(held_out[1:], held_out[0])))


def miou(confusion: NDArray[np.int64]) -> float:
    """Mean IoU in percent over the classes that occur; confusion (K, K + 1), the last column: no prediction."""
    hit = np.diagonal(confusion)
    truth, predicted = confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)
    there = truth > 0
    return float(100 * (hit / np.maximum(truth + predicted - hit, 1))[there].mean()) if there.any() else 0.0
