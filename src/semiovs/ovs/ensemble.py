"""Teacher `ensemble`: the weighted mean of other teachers' class scores."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiovs.errors import UsageError
from semiovs.ovs import build_ovs
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.labeled_image import LabeledImage
from semiovs.ovs.mapped import MappedModel, require_images
from semiovs.ovs.member_weights import ChosenWeights, choose_weights, take_pixels
from semiovs.ovs.pooling import ConceptPooling
from semiovs.ovs.teacher_rows import AUTO_WEIGHT, read_teacher_rows
from semiovs.vocab.vocabulary import Vocabulary

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class EnsembleMember:
    """A teacher and its say: its share of the sum of all weights; `AUTO_WEIGHT` until it is chosen."""

    name: str
    teacher: OpenVocabModel
    weight: float | Literal["auto"] = 1.0


class Ensemble(OpenVocabModel):
    """members: list of {name, weights, weight, options}, or a YAML file with such a list; all but `name` may be left
    away. With `weight: auto` for all of them the weights are chosen on labelled images that are left out in turn
    (`choose_weights`).

    Scores are averaged at full size, one class at a time. Teachers whose probabilities mean different things (softmax
    over the classes, a sigmoid a concept) are averaged as they are: let the weights, or a calibration, account for it.

    Raises:
        UsageError: no members, or one that cannot be; what a member's own teacher raises.
    """

    chosen: ChosenWeights | None = None

    def __init__(self, members: Sequence[Mapping[str, Any]] | str | Path = ()) -> None:
        rows = read_teacher_rows(members, "teacher 'ensemble': members", weighted=True)
        self.automatic = any(row.weight == AUTO_WEIGHT for row in rows)
        if self.automatic and (len(rows) < 2 or any(row.weight != AUTO_WEIGHT for row in rows)):
            raise UsageError("teacher 'ensemble': weight: auto chooses among two or more members, of all or of none")
        self.members = tuple(
            EnsembleMember(row.name, build_ovs(row.name, weights=row.weights, **row.options), row.weight)
            for row in rows
        )
        self.reads_ids = any(member.teacher.reads_ids for member in self.members)
        self.learns = self.automatic or any(member.teacher.learns for member in self.members)
        self._asked: WeakKeyDictionary[LabeledImage, dict[tuple[str, int], Scores]] = WeakKeyDictionary()

    def learn(self, labeled: Sequence[LabeledImage], vocabulary: Vocabulary) -> Ensemble:
        """The ensemble of the members after each has learnt, with the weights that these images suggest."""
        if not self.learns:
            return self
        taught = copy.copy(self)
        weights: Sequence[float | Literal["auto"]] = [member.weight for member in self.members]
        if self.automatic:
            ask = partial(self._ask_about_pixels, vocabulary)
            taught.chosen = choose_weights([member.teacher for member in self.members], labeled, vocabulary, ask)
            weights = taught.chosen.weights
        taught.members = tuple(
            replace(member, teacher=member.teacher.learn(labeled, vocabulary), weight=weight)
            for member, weight in zip(self.members, weights, strict=True)
        )
        return taught

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Every member's.

        Raises:
            UsageError: weights that are to be chosen, and no labelled images to choose them on.
        """
        self._require_weights()
        for member in self._heard:
            member.teacher.check_vocabulary(vocabulary)

    def describe(self) -> dict[str, Any]:
        """Each member's own description and its weight, and how the weights were chosen."""
        chosen = {} if self.chosen is None else {"chosen": self.chosen.describe()}
        return {
            "members": [{"name": m.name, "weight": m.weight, "options": m.teacher.describe()} for m in self.members],
            **chosen,
        }

    @property
    def _heard(self) -> tuple[EnsembleMember, ...]:
        """Members that have any say."""
        return tuple(member for member in self.members if member.weight != 0)

    def _require_weights(self) -> float:
        """The sum of all weights."""
        weights = [member.weight for member in self.members if member.weight != AUTO_WEIGHT]
        if len(weights) < len(self.members):
            raise UsageError(
                "teacher 'ensemble': weight: auto is chosen on labelled images, and was given none: name a "
                "configuration with data.labeled, or give the weights"
            )
        return float(sum(weights))

    def _ask_about_pixels(
        self,
        vocabulary: Vocabulary,
        number: int,
        member: OpenVocabModel,
        image: LabeledImage,
        places: NDArray[np.int64],
    ) -> Scores:
        """Scores of a member at pixels of a labelled image; one that learns nothing is asked once."""
        known, key = self._asked.setdefault(image, {}), (vocabulary.hash, number)
        if member.learns or key not in known:
            (planes,) = iterate_planes(member, [image.load()[0]], vocabulary, [image.id])
            found = take_pixels(planes, places)
            if member.learns:
                return found
            known[key] = found
        return known[key]

    def look_ahead(self, image: Tensor) -> int:
        """Every member's."""
        return sum(member.teacher.look_ahead(image) for member in self._heard)

    def version(self, identifier: str) -> str:
        """Every member's."""
        return "\0".join(member.teacher.version(identifier) for member in self._heard)

    def exact(self) -> Ensemble | None:
        """Every member's, where one takes a shortcut."""
        inner = [member.teacher.exact() for member in self.members]
        if not any(inner):
            return None
        both = copy.copy(self)
        both.members = tuple(
            replace(m, teacher=own) if own is not None else m for m, own in zip(self.members, inner, strict=True)
        )
        return both

    def scores(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> list[Tensor]:
        """Weighted mean of the members' class scores (K, H, W)."""
        return [torch.stack(list(planes)) for planes in self._iterate_mean_planes(images, vocabulary, ids)]

    def label(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """As `scores` and argmax, one class at a time; 255 where no member gives any class a score."""
        found = [_choose_best(planes) for planes in self._iterate_mean_planes(images, vocabulary, ids)]
        return [label for label, _ in found], [score for _, score in found]

    def _iterate_mean_planes(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, ids: Sequence[str] | None
    ) -> Iterator[Iterator[Tensor]]:
        """For each image the mean scores (H, W), class by class."""
        require_images(images)
        total, heard = self._require_weights(), self._heard
        shares = [float(member.weight) / total for member in heard]
        answers = [iterate_planes(member.teacher, images, vocabulary, ids) for member in heard]
        for own in zip(*answers, strict=True):
            yield (
                sum(
                    (share * plane.float().cpu() for share, plane in zip(shares, parts, strict=True)),
                    torch.zeros(()),
                )
                for parts in zip(*own, strict=True)
            )


def iterate_planes(
    teacher: OpenVocabModel, images: Sequence[Tensor], vocabulary: Vocabulary, ids: Sequence[str] | None
) -> list[Iterator[Tensor]]:
    """For each image a teacher's scores (H, W), class by class, to hold one class at full size at a time."""
    if not isinstance(teacher, MappedModel):
        return [iter(scores) for scores in teacher.scores(images, vocabulary, ids=ids)]
    pairs = zip(images, teacher.maps(images, vocabulary), strict=True)
    pooling = teacher.pooling(vocabulary)
    return [_pool_classes(maps, (image.shape[-2], image.shape[-1]), pooling) for image, maps in pairs]


def _pool_classes(maps: Tensor, size: tuple[int, int], pooling: ConceptPooling) -> Iterator[Tensor]:
    owners = torch.tensor(list(pooling.owners), device=maps.device)
    for k in range(pooling.classes):
        own = maps[owners == k]
        yield ConceptPooling((0,) * len(own), 1, pooling.background if k == 0 else None).scores(own, size)[0]


def _choose_best(planes: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Label (H, W) uint8 and score (H, W); the lowest class wins a tie."""
    best = next(planes)
    label = torch.zeros(best.shape, dtype=torch.uint8)
    for k, plane in enumerate(planes, start=1):
        label[plane > best] = k
        best = torch.maximum(best, plane)
    label[best <= 0] = 255
    return label, best
