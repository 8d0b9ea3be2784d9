"""Which classes an image shows according to a teacher, and thresholds for that.

The presence of a class is the highest score that a given share of the image's pixels reach among those labelled as the
class: one number for size and certainty. Thresholds are fitted on labelled images, such that a wanted share (recall) of
the images that show a class stay above its threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semiovs.calibration.counts import quantize_scores
from semiovs.errors import DataError, is_out_of_memory
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.batch_size import release_memory
from semiovs.vocab.vocabulary import Vocabulary

#: Share of an image's pixels that a class must have.
SHARE = 0.01
#: With fewer labelled images of a class, it gets the threshold fitted on all classes together.
FEW = 5
#: Threshold level without labelled images.
DEFAULT = 128
#: A higher threshold must gain this much precision to be preferred.
_GAIN = 0.01


@dataclass(frozen=True)
class ClassPresence:
    """One image. level: (K,) uint8, 255 times the score; seen: (K,) bool, whether any pixel is the class's."""

    level: NDArray[np.uint8]
    seen: NDArray[np.bool_]


def measure_presence(
    label: NDArray[np.uint8], confidence: NDArray[Any] | None, classes: int, share: float = SHARE
) -> ClassPresence:
    """Presence from labels (H, W), 255 = ignore, and confidences (H, W) in [0, 1] or uint8 levels (None: 1)."""
    graded = np.full(label.shape, 255, np.uint8) if confidence is None else quantize_scores(confidence)
    known = label < classes
    keys = label[known].astype(np.int32) * 256 + graded[known]
    counts = np.bincount(keys, minlength=classes * 256).reshape(classes, 256)
    reached = counts[:, ::-1].cumsum(axis=1)[:, ::-1] >= max(1, int(np.ceil(share * label.size)))
    level = np.where(reached.any(axis=1), 255 - reached[:, ::-1].argmax(axis=1), 0)
    return ClassPresence(level.astype(np.uint8), np.asarray(counts.any(axis=1)))


def ask_teacher(
    teacher: OpenVocabModel, images: Sequence[Tensor], vocabulary: Vocabulary, ids: Sequence[str], share: float = SHARE
) -> list[ClassPresence | DataError]:
    """Presence in each image, uint8 RGB (3, H, W), or the error where the teacher cannot answer.

    A batch that does not fit into memory, or that holds a bad image, is split in halves.
    """
    try:
        labels, confidences = teacher.label(images, vocabulary, ids=ids)
    except DataError as error:
        if len(images) == 1:
            return [error]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(images) == 1:
            return [DataError(f"{ids[0]}: {images[0].shape[2]}x{images[0].shape[1]} pixels do not fit the memory")]
    else:
        answers = zip(ids, labels, confidences, strict=True)
        return [
            _try_measure_presence(name, label, confidence, len(vocabulary), share)
            for name, label, confidence in answers
        ]
    release_memory()
    middle = len(images) // 2
    halves = ((images[:middle], ids[:middle]), (images[middle:], ids[middle:]))
    return [found for part, names in halves for found in ask_teacher(teacher, part, vocabulary, names, share)]


def _try_measure_presence(
    name: str, label: Tensor, confidence: Tensor, classes: int, share: float
) -> ClassPresence | DataError:
    try:
        graded = quantize_scores(confidence.float().cpu().numpy(), name)
        return measure_presence(label.cpu().numpy().astype(np.uint8), graded, classes, share)
    except DataError as error:
        return error


@dataclass(frozen=True)
class PresenceThreshold:
    """The level from which on a class counts as present.

    images: labelled images that show it; recall: share of these above the level; precision: share of the labelled
    images above it that show the class; source: ``class``, ``all classes`` (too few images of its own) or ``default``
    (nothing to calibrate on).
    """

    name: str
    level: int
    images: int
    recall: float
    precision: float
    source: str

    def as_json(self) -> dict[str, Any]:
        """Plain data, the level as a score in [0, 1]."""
        data = asdict(self) | {"level": self.level / 255}
        return {key: _round_share(value) if isinstance(value, float) else value for key, value in data.items()}


def _round_share(share: float) -> float | None:
    return None if np.isnan(share) else round(share, 4)


def fit_thresholds(
    names: Sequence[str], found: NDArray[np.uint8], truth: NDArray[np.bool_], recall: float
) -> list[PresenceThreshold]:
    """Thresholds by presence (N, K) in labelled images and whether they truly show the class (N, K).

    Of all levels that keep the recall: the lowest that no other beats in precision by more than a percent.
    """
    if not len(found):
        return [PresenceThreshold(name, DEFAULT, 0, np.nan, np.nan, "default") for name in names]
    together = _fit_level(found.ravel(), truth.ravel(), recall)
    made = []
    for k, name in enumerate(names):
        images = int(truth[:, k].sum())
        level = _fit_level(found[:, k], truth[:, k], recall) if images >= FEW else together
        above = found[:, k] >= level
        right = int((above & truth[:, k]).sum())
        kept, true = (right / count if count else np.nan for count in (images, int(above.sum())))
        made.append(PresenceThreshold(name, level, images, kept, true, "class" if images >= FEW else "all classes"))
    return made


def _fit_level(found: NDArray[np.uint8], truth: NDArray[np.bool_], recall: float) -> int:
    shown = _count_at_least(found[truth])
    every = _count_at_least(found)
    allowed = np.flatnonzero(shown >= recall * max(int(truth.sum()), 1))
    allowed = allowed[allowed >= 1]
    if not len(allowed):
        return 1  # the teacher's own recall is lower: accept everything that it sees
    precision = shown[allowed] / np.maximum(every[allowed], 1)
    return int(allowed[np.argmax(precision >= precision.max() - _GAIN)])


def _count_at_least(found: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(256,) number of values at or above each level."""
    return np.bincount(found, minlength=256)[::-1].cumsum()[::-1]
