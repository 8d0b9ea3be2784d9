"""Teacher `ensemble`: the weighted mean of other teachers' class scores."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semiovs.config.yaml_reader import read_yaml
from semiovs.errors import UsageError, did_you_mean
from semiovs.ovs import build_ovs
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.pooling import ConceptPooling
from semiovs.ovs.prompted import PromptedModel, require_images
from semiovs.vocab.vocabulary import Vocabulary

_KEYS = ("name", "weights", "weight", "options")


@dataclass(frozen=True)
class EnsembleMember:
    """A teacher and its say: its share of the sum of all weights."""

    name: str
    teacher: OpenVocabModel
    weight: float = 1.0


class Ensemble(OpenVocabModel):
    """members: list of {name, weights, weight, options}, or a YAML file with such a list; all but `name` may be left
    away.

    Scores are averaged at full size, one class at a time. Teachers whose probabilities mean different things (softmax
    over the classes, a sigmoid a concept) are averaged as they are: let the weights, or a calibration, account for it.

    Raises:
        UsageError: no members, or one that cannot be; what a member's own teacher raises.
    """

    def __init__(self, members: Sequence[Mapping[str, Any]] | str | Path = ()) -> None:
        rows = read_yaml(Path(members)) if isinstance(members, str | Path) else members
        if isinstance(rows, Mapping) or not isinstance(rows, Sequence) or not rows:
            raise UsageError(
                "teacher 'ensemble' needs members: a list of {name: …, weight: …}, or a YAML file with one"
            )
        self.members = tuple(
            _build_member(row, f"teacher 'ensemble': member {i}") for i, row in enumerate(rows, start=1)
        )
        self.reads_ids = any(member.teacher.reads_ids for member in self.members)

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Every member's."""
        for member in self.members:
            member.teacher.check_vocabulary(vocabulary)

    def describe(self) -> dict[str, Any]:
        """Each member's own description and its weight."""
        return {
            "members": [{"name": m.name, "weight": m.weight, "options": m.teacher.describe()} for m in self.members]
        }

    def look_ahead(self, image: Tensor) -> int:
        """Every member's."""
        return sum(member.teacher.look_ahead(image) for member in self.members)

    def version(self, identifier: str) -> str:
        """Every member's."""
        return "\0".join(member.teacher.version(identifier) for member in self.members)

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
        total = sum(member.weight for member in self.members)
        answers = [iterate_planes(member.teacher, images, vocabulary, ids) for member in self.members]
        for own in zip(*answers, strict=True):
            yield (
                sum(
                    (m.weight / total * plane.float().cpu() for m, plane in zip(self.members, parts, strict=True)),
                    torch.zeros(()),
                )
                for parts in zip(*own, strict=True)
            )


def iterate_planes(
    teacher: OpenVocabModel, images: Sequence[Tensor], vocabulary: Vocabulary, ids: Sequence[str] | None
) -> list[Iterator[Tensor]]:
    """For each image a teacher's scores (H, W), class by class, to hold one class at full size at a time."""
    if not isinstance(teacher, PromptedModel):
        return [iter(scores) for scores in teacher.scores(images, vocabulary, ids=ids)]
    pairs = zip(images, teacher.maps(images, vocabulary), strict=True)
    return [_pool_classes(maps, (image.shape[-2], image.shape[-1]), vocabulary) for image, maps in pairs]


def _pool_classes(maps: Tensor, size: tuple[int, int], vocabulary: Vocabulary) -> Iterator[Tensor]:
    owners = torch.tensor(vocabulary.owners, device=maps.device)
    for k in range(len(vocabulary)):
        own = maps[owners == k]
        yield ConceptPooling((0,) * len(own), 1, vocabulary.background if k == 0 else None).scores(own, size)[0]


def _choose_best(planes: Iterator[Tensor]) -> tuple[Tensor, Tensor]:
    """Label (H, W) uint8 and score (H, W); the lowest class wins a tie."""
    best = next(planes)
    label = torch.zeros(best.shape, dtype=torch.uint8)
    for k, plane in enumerate(planes, start=1):
        label[plane > best] = k
        best = torch.maximum(best, plane)
    label[best <= 0] = 255
    return label, best


def _build_member(row: Any, where: str) -> EnsembleMember:
    if not isinstance(row, Mapping) or not isinstance(row.get("name"), str):
        raise UsageError(f"{where}: expected {{name: TEACHER, …}}, got {row!r:.60}")
    if unknown := [key for key in row if key not in _KEYS]:
        raise UsageError(f"{where}: no key '{unknown[0]}'{did_you_mean(str(unknown[0]), _KEYS)}")
    weight, options = row.get("weight", 1.0), row.get("options") or {}
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise UsageError(f"{where}: weight {weight}: must be a number above 0")
    if not isinstance(options, Mapping):
        raise UsageError(f"{where}: options: expected a mapping of the teacher's options")
    return EnsembleMember(row["name"], build_ovs(row["name"], weights=row.get("weights"), **options), float(weight))
