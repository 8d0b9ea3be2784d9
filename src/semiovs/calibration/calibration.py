"""Calibration of a teacher: rules per class for which pixels to keep, and with which confidence; stored as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiovs.calibration.counts import LEVELS, CountTable, find_percentile, quantize_scores
from semiovs.calibration.risk_control import NEVER
from semiovs.errors import ConfigError, DataError
from semiovs.files import write_json
from semiovs.images.conventions import IGNORE
from semiovs.ovs.base import OpenVocabModel
from semiovs.vocab.vocabulary import Vocabulary

FORMAT = 1

#: controlled: own threshold with controlled risk; global: too few images, threshold of all classes; few: too few
#: images, ignored; unusable: enough images, but too little to keep at the wanted risk.
Status = Literal["controlled", "global", "few", "unusable"]
Rare = Literal["global", "ignore"]
#: What a file that is no calibration raises; OverflowError: 1e999 where a whole number belongs.
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, ConfigError, RecursionError)


@dataclass(frozen=True)
class ClassRule:
    """Rule for the pixels that the teacher labels as one class. Levels are scores times 255.

    threshold: lowest level that is kept, 256 = none; presence: the 99th percentile of the class's levels in an image
    must reach it, else all its pixels there are ignored; curve: (256,) level -> probability times 255 that the label is
    right. images: labelled images in which the teacher found the class; coverage, precision: share of its pixels there
    that are kept, and share of the kept ones that are right (on the images of the fit; the teacher card
    cross-validates).
    """

    name: str
    threshold: int
    presence: int
    curve: tuple[int, ...]
    status: Status
    images: int = 0
    coverage: float = 0.0
    precision: float = 0.0

    def __post_init__(self) -> None:
        rising = all(a <= b for a, b in pairwise(self.curve))
        if len(self.curve) != LEVELS or not rising or not 0 <= min(self.curve) <= max(self.curve) <= 255:
            raise ValueError(f"class '{self.name}': its curve must rise from 0 to 255 over 256 levels")
        if not (0 <= self.threshold <= NEVER and 0 <= self.presence < LEVELS and self.status in get_args(Status)):
            raise ValueError(f"class '{self.name}': threshold, presence or status out of range")

    @property
    def ignored(self) -> bool:
        """Whether all pixels of the class are ignored."""
        return self.threshold == NEVER

    def as_json(self) -> dict[str, Any]:
        """Plain data; the curve as its steps [level, value]."""
        steps = [[i, v] for i, v in enumerate(self.curve) if i == 0 or v != self.curve[i - 1]]
        shown = {"images": self.images, "coverage": self.coverage, "precision": self.precision}
        fixed = {"name": self.name, "status": self.status, "threshold": self.threshold, "presence": self.presence}
        return {**fixed, **shown, "curve": steps}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ClassRule:
        """Inverse of `as_json`."""
        starts = [int(level) for level, _ in data["curve"]]
        if starts[:1] != [0] or any(a >= b for a, b in pairwise([*starts, LEVELS])):
            raise ValueError(f"class '{data['name']}': the steps of its curve must start at 0 and ascend")
        lengths = [b - a for a, b in pairwise([*starts, LEVELS])]
        curve = tuple(int(v) for (_, v), n in zip(data["curve"], lengths, strict=True) for _ in range(n))
        return cls(
            str(data["name"]),
            int(data["threshold"]),
            int(data["presence"]),
            curve,
            data["status"],
            int(data["images"]),
            float(data["coverage"]),
            float(data["precision"]),
        )


@dataclass(frozen=True)
class Calibration:
    """Maps (label, score) to (label with an ignore band, confidence); fitted to labelled images by `fit`.

    vocabulary: the one to ask the teacher with (the chosen candidate); teacher: as by `identify_teacher`; classes: one
    rule each; risk, rare: as given to `fit`; fitted_on: number of images and checksums of the data; choice: scores of
    the candidates, if there were several.
    """

    vocabulary: Vocabulary
    teacher: Mapping[str, Any]
    risk: float
    rare: Rare
    classes: tuple[ClassRule, ...]
    fitted_on: Mapping[str, Any]
    choice: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if [rule.name for rule in self.classes] != list(self.vocabulary.names):
            raise ValueError("the rules are not those of the vocabulary's classes")

    def apply(
        self, label: NDArray[np.uint8], score: NDArray[Any], where: str = "scores"
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Calibrate the label (H, W), 255 = no answer, and the raw score (H, W) in [0, 1] (or uint8 levels) of one
        image.

        Returns the label with 255 where it is ignored, and 255 times the probability that it is right, 0 where ignored.

        Raises:
            DataError: invalid scores or labels.
        """
        if label.shape != score.shape:
            raise DataError(f"{where}: label {label.shape} and score {score.shape} differ in size")
        index = label.astype(np.int32) * LEVELS + quantize_scores(score, where)
        self._require_classes(label, where)
        keep, curve = self._tables
        if self._presence.any():
            counts = np.bincount(index.ravel(), minlength=keep.size).reshape(keep.shape)
            keep = keep & (find_percentile(counts) >= self._presence)[:, None]
        kept = keep.ravel()[index]
        return np.where(kept, label, np.uint8(IGNORE)), np.where(kept, curve.ravel()[index], np.uint8(0))

    def keep_rows(self, table: CountTable) -> NDArray[np.bool_]:
        """(rows,) whether `apply` keeps the pixels of each row of a count table."""
        kept = self._tables[0][np.minimum(table.label, IGNORE), table.level] & (table.label < table.classes)
        for k in np.flatnonzero(self._presence):
            counts = table.select_class(int(k))
            absent = counts.images[counts.presence < self._presence[k]]
            kept &= ~((table.label == k) & np.isin(table.image, absent))
        return kept

    def confidences(self, table: CountTable) -> NDArray[np.uint8]:
        """(rows,) 255 times the probability that a row's label is right, kept or not."""
        return np.asarray(self._tables[1][np.minimum(table.label, IGNORE), table.level])

    @cached_property
    def _tables(self) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
        """(256, 256) by label and level: kept, and confidence."""
        keep, curve = np.zeros((LEVELS, LEVELS), np.bool_), np.zeros((LEVELS, LEVELS), np.uint8)
        for k, rule in enumerate(self.classes):
            keep[k, rule.threshold :] = True
            curve[k] = rule.curve
        return keep, curve

    @cached_property
    def _presence(self) -> NDArray[np.int64]:
        presence = np.zeros(LEVELS, np.int64)
        presence[: len(self.classes)] = [rule.presence for rule in self.classes]
        return presence

    def _require_classes(self, label: NDArray[np.uint8], where: str) -> None:
        strange = label[(label >= len(self.classes)) & (label != IGNORE)]
        if strange.size:
            raise DataError(f"{where}: label {strange[0]} is no class of 0..{len(self.classes) - 1}")

    @property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of its content."""
        text = json.dumps(self._body(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def ignored(self) -> list[str]:
        """Names of the classes whose pixels are all ignored."""
        return [rule.name for rule in self.classes if rule.ignored]

    def require(self, vocabulary: Vocabulary, teacher: Mapping[str, Any]) -> None:
        """Raise DataError unless it was fitted for these classes and this teacher (as by `identify_teacher`)."""
        if difference := self.vocabulary.difference(vocabulary):
            raise DataError(f"the calibration is for other classes: {difference}; run `semiovs calibrate` again")
        given = _to_plain_data(teacher)
        different = sorted(key for key in {*self.teacher, *given} if self.teacher.get(key) != given.get(key))
        if different:
            pairs = ", ".join(f"{key}: {self.teacher.get(key)!r} there, {given.get(key)!r} now" for key in different)
            raise DataError(f"the calibration was fitted for another teacher ({pairs}); run `semiovs calibrate` again")

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "vocabulary": {"hash": self.vocabulary.hash, **self.vocabulary.as_json()},
            "teacher": _to_plain_data(self.teacher),
            "risk": self.risk,
            "rare": self.rare,
            "fitted_on": _to_plain_data(self.fitted_on),
            "choice": None if self.choice is None else _to_plain_data(self.choice),
            "classes": [rule.as_json() for rule in self.classes],
        }

    def as_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back."""
        return {"hash": self.hash, **self._body()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Inverse of `as_json`.

        Raises:
            ValueError, KeyError, TypeError: invalid data, or data changed by hand.
        """
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}; this version reads format {FORMAT}")
        risk, rare = float(data["risk"]), data["rare"]
        if not 0 < risk < 1 or rare not in get_args(Rare):
            raise ValueError("risk must lie between 0 and 1, rare be global or ignore")
        made = cls(
            Vocabulary.from_json(data["vocabulary"]),
            dict(data["teacher"]),
            risk,
            rare,
            tuple(ClassRule.from_json(row) for row in data["classes"]),
            dict(data["fitted_on"]),
            data["choice"],
        )
        if made.hash != data["hash"]:
            raise ValueError("its checksum does not fit; it was changed after it was written")
        return made

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        try:
            write_json(Path(path), self.as_json())
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {error}") from None

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            DataError: missing, not a calibration, or changed by hand.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text("utf-8")))
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{path}: cannot be read ({reason}); `semiovs calibrate` writes calibrations") from None
        except _DAMAGE as error:
            told = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path}: no calibration of `semiovs calibrate`: {told}") from None

    def vocabulary_for(self, wanted: Vocabulary) -> Vocabulary:
        """What the teacher must be asked with, in the colours of the `wanted` classes.

        Raises:
            DataError: it was fitted for other classes.
        """
        if difference := self.vocabulary.difference(wanted):
            raise DataError(f"for other classes: {difference}; run `semiovs calibrate` again")
        return replace(self.vocabulary, colors=wanted.colors)

    def applied_to(self, name: str, teacher: OpenVocabModel) -> CalibratedTeacher:
        """The teacher called `name`, with this calibration on top.

        Raises:
            DataError: it was fitted for another teacher.
        """
        self.require(self.vocabulary, identify_teacher(name, teacher))
        return CalibratedTeacher(teacher, self)


class CalibratedTeacher(OpenVocabModel):
    """A teacher with a calibration: uncertain labels are ignored, confidences are probabilities."""

    def __init__(self, teacher: OpenVocabModel, calibration: Calibration) -> None:
        self.teacher, self.calibration = teacher, calibration
        self.reads_ids, self.device = teacher.reads_ids, teacher.device

    def scores(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> list[Tensor]:
        """(K, H, W): the probability at the label, 0 at the other classes and where the label is ignored."""
        pairs = zip(*self.label(images, vocabulary, ids=ids), strict=True)
        classes = torch.arange(len(vocabulary), dtype=torch.uint8)[:, None, None]
        return [(label.cpu() == classes) * confidence.cpu() for label, confidence in pairs]

    def label(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels (H, W) uint8, 255 = ignored, and the probability that each is right."""
        if vocabulary.hash != self.calibration.vocabulary.hash:
            raise DataError(
                f"asked with vocabulary {vocabulary.hash}, but the calibration was fitted with "
                f"{self.calibration.vocabulary.hash}; use the calibration's own vocabulary"
            )
        labels, confidences = [], []
        names = ids if ids is not None else [f"image {i}" for i in range(len(images))]
        for name, label, score in zip(names, *self.teacher.label(images, vocabulary, ids=ids), strict=True):
            kept, level = self.calibration.apply(label.cpu().numpy(), score.float().cpu().numpy(), f"image '{name}'")
            labels.append(torch.from_numpy(kept))
            confidences.append(torch.from_numpy(level).float() / 255)
        return labels, confidences

    def look_ahead(self, image: Tensor) -> int:
        """The teacher's."""
        return self.teacher.look_ahead(image)

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The teacher's."""
        self.teacher.check_vocabulary(vocabulary)

    def describe(self) -> dict[str, Any]:
        """The teacher's description and the calibration's hash, so that stores do not mix calibrations."""
        note = {"hash": self.calibration.hash, "risk": self.calibration.risk}
        return {**self.teacher.describe(), "calibration": note}

    def version(self, identifier: str) -> str:
        """The teacher's."""
        return self.teacher.version(identifier)

    def exact(self) -> CalibratedTeacher | None:
        """The exact teacher with the same calibration."""
        inner = self.teacher.exact()
        return None if inner is None else CalibratedTeacher(inner, self.calibration)


def identify_teacher(name: str, teacher: OpenVocabModel) -> dict[str, Any]:
    """Plain data that identifies a teacher: name, options, weights.

    The folder of ready-made masks is left out, as labelled and unlabelled images may have different ones.
    """
    facts = _to_plain_data({"name": name, **teacher.describe()})
    found: dict[str, Any] = _remove_root(facts) if teacher.reads_ids else facts
    return found


def _remove_root(data: Any) -> Any:
    """Plain data without the key 'root', also inside an ensemble's members."""
    if isinstance(data, dict):
        return {key: _remove_root(value) for key, value in data.items() if key != "root"}
    return [_remove_root(value) for value in data] if isinstance(data, list) else data


def _to_plain_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Convert to plain data by a round trip through JSON."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(data), default=str))
    return plain
