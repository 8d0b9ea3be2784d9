"""Teachers that learn from the labelled images: with all of them or, to be measured, with those of other folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semiovs.audit.label_counts import count_labels
from semiovs.audit.split import pairs_by_group
from semiovs.data.collection import Collection
from semiovs.data.items import read_labeled
from semiovs.errors import DataError
from semiovs.images.record import Record
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.labeled_image import LabeledImage
from semiovs.similarity.groups import assign_folds, connected
from semiovs.vocab.vocabulary import Vocabulary


class CrossFittedTeacher(OpenVocabModel):
    """Answers each labelled image by a teacher that has not learnt from it.

    parts: the teacher without each fold; fold: of each image, by id.
    """

    reads_ids = True

    def __init__(self, parts: Sequence[OpenVocabModel], fold: Mapping[str, int]) -> None:
        self.parts, self.fold = tuple(parts), dict(fold)

    def scores(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> list[Tensor]:
        """Of each image those of the teacher that has not learnt from it."""
        pairs = zip(images, ids or (), strict=True)
        return [self._of(name).scores([image], vocabulary, ids=[name])[0] for image, name in pairs]

    def label(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Of each image those of the teacher that has not learnt from it."""
        pairs = zip(images, ids or (), strict=True)
        found = [self._of(name).label([image], vocabulary, ids=[name]) for image, name in pairs]
        return [labels[0] for labels, _ in found], [confidences[0] for _, confidences in found]

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Each part's."""
        for part in self.parts:
            part.check_vocabulary(vocabulary)

    def _of(self, name: str) -> OpenVocabModel:
        return self.parts[self.fold[name]]


@dataclass(frozen=True)
class Learning:
    """How a teacher that learns from the labelled images was measured on them.

    folds: of the cross-fitting; units: that were left out whole; weights: of an ensemble's members, where they were
    chosen: (name, weight, mIoU of the member alone on left-out images).
    """

    folds: int
    units: int
    weights: tuple[tuple[str, float, float], ...] = ()

    @property
    def line(self) -> str:
        """In words."""
        text = (
            f"It learns from the labelled images: each was answered by one that has learnt from the other "
            f"{self.folds - 1} of {self.folds} folds, so that none has seen its mask."
        )
        if not self.weights:
            return text
        shown = ", ".join(f"{name} {weight:g} (alone {alone:.1f})" for name, weight, alone in self.weights)
        return f"{text} Weights that all labelled images suggest, and mIoU on left-out ones: {shown}."

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        weights = [{"name": name, "weight": weight, "alone": alone} for name, weight, alone in self.weights]
        return {"cross_fitted_folds": self.folds, "units": self.units, "weights": weights or None}


@dataclass(frozen=True)
class TaughtTeacher:
    """A teacher, and how it is measured on the labelled images.

    whole: has learnt from all of them, where it learns, and is the one to label with; measured: the one to ask about
    them; units: id -> unit (`LabeledImage`); learning: how it was measured, None for a teacher that learns nothing.
    """

    whole: OpenVocabModel
    measured: OpenVocabModel
    units: Mapping[str, str]
    learning: Learning | None = None


def list_labeled(images: Collection, units: Mapping[str, str] | None = None) -> list[LabeledImage]:
    """The labelled images of a configuration, to learn from; units: as by `find_units`.

    Raises:
        DataError: there are none.
    """
    if not images.labeled:
        raise DataError(
            "no labelled images to learn from; set data.labeled, or put images in images/ and masks in masks/"
        )
    given = units or {}
    return [
        LabeledImage(record.id, given.get(record.id, record.id), partial(_load, images, record))
        for record in images.labeled
    ]


def find_units(images: Collection, group: str | None = None, *, copies: bool) -> dict[str, str]:
    """Id of each labelled image -> the unit that it belongs to, whose images are never on two sides of a measurement.

    group: pattern; ids whose first groups are the same are one unit, such as frames of a film; copies: whether copies
    are looked for in the images, too.

    Raises:
        UsageError, DataError: a pattern that does not hold, or an image that cannot be read.
    """
    ids = [record.id for record in images.labeled]
    pairs = np.zeros((0, 2), np.int64)
    if copies:
        pairs = count_labels(images.labeled, images.masks, read=images.images.read_rgb).copies
    tied = connected(pairs_by_group(pairs, ids, group, "--group-by"))
    return {name: name for name in ids} | {ids[i]: ids[unit[0]] for unit in tied for i in unit}


def teach(
    teacher: OpenVocabModel, images: Collection, vocabulary: Vocabulary, *, folds: int = 5, group: str | None = None
) -> TaughtTeacher:
    """Teach a teacher that learns with all labelled images, and once without each fold; the others stay as they are.

    vocabulary: the words that it is asked with; group: as in `find_units`.

    Raises:
        DataError: fewer than two units to learn from; as `OpenVocabModel.learn`.
    """
    units = find_units(images, group, copies=teacher.learns)
    if not teacher.learns:
        return TaughtTeacher(teacher, teacher, units)
    labeled = list_labeled(images, units)
    fold = assign_folds([one.unit for one in labeled], folds)
    count = int(fold.max()) + 1
    if count < 2:
        raise DataError(
            f"{len(labeled)} labelled image(s), copies or of one group: a teacher that learns from them is measured on "
            "others; label at least two that differ"
        )
    parts = [
        teacher.learn([one for one, at in zip(labeled, fold, strict=True) if at != f], vocabulary) for f in range(count)
    ]
    known = {one.id: int(at) for one, at in zip(labeled, fold, strict=True)}
    whole = teacher.learn(labeled, vocabulary)
    learning = Learning(count, len(set(units.values())), _list_weights(whole))
    return TaughtTeacher(whole, CrossFittedTeacher(parts, known), units, learning)


def _list_weights(teacher: OpenVocabModel) -> tuple[tuple[str, float, float], ...]:
    facts = teacher.describe()
    if "chosen" not in facts:
        return ()
    pairs = zip(facts["members"], facts["chosen"]["alone"], strict=True)
    return tuple((member["name"], member["weight"], alone) for member, alone in pairs)


def _load(images: Collection, record: Record) -> tuple[Tensor, Tensor]:
    image, mask = read_labeled(record, images.masks, images.images.read_rgb)
    pixels: Any = np.array(image, np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), torch.from_numpy(mask.copy())
