"""What a study costs: hours and disk, measured on this machine by a few steps of each learner."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semiovs.comparison.forecast import LIMIT, quietly
from semiovs.engine.dry_run import dry_run
from semiovs.engine.teacher_choice import TeacherChoice
from semiovs.errors import DataError, SemiovsError
from semiovs.images.readers import RGB
from semiovs.ovs.base import OpenVocabModel
from semiovs.progress import Progress
from semiovs.study.learners import OOD
from semiovs.study.needs import is_labelled, make_labelling_task
from semiovs.study.plan import StudyCell, StudyPlan
from semiovs.study.stand_in import VAL, point_at, write_stand_in
from semiovs.vocab.vocabulary import Vocabulary

#: Images of COCO's train2017, where they are not here to be counted.
_COCO = 118_287
#: Bytes of a label with its confidence: 34 KB of these are a smooth confidence of 500 x 375 pixels (docs/labelling.md).
_LABEL = 40_000
#: Bytes of a weight.
_FLOAT = 4
#: Seconds that the first picture may take a teacher, for a second one that counts.
_PATIENCE = 20.0


@dataclass(frozen=True)
class TrainingCost:
    """Of the trainings of one learner, with or without OOD images.

    trainings: how many; step: seconds; image: seconds to evaluate one, None: not measured; seconds: of one training,
    by split; at_least: no step was finished, or no image evaluated, in the time for it; weights: bytes of a finished
    training; checkpoints: bytes while it trains; problem: why nothing was measured.
    """

    learner: str
    arm: str
    trainings: int
    step: float | None = None
    image: float | None = None
    seconds: Mapping[str, float] | None = None
    at_least: bool = False
    weights: int = 0
    checkpoints: int = 0
    problem: str = ""

    @property
    def total(self) -> float:
        """Seconds of all its trainings, one after the other."""
        seconds = self.seconds or {}
        return sum(seconds.values()) * self.trainings / max(len(seconds), 1)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "total_seconds": self.total}


@dataclass(frozen=True)
class LabellingCost:
    """Of the labels of the OOD images. images: without a label; image: seconds of one, None: not measured, and why."""

    images: int
    image: float | None = None
    problem: str = ""

    @property
    def seconds(self) -> float | None:
        """Of all images."""
        return None if self.image is None else self.images * self.image

    @property
    def bytes(self) -> int:
        """Of the store."""
        return self.images * _LABEL

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "seconds": self.seconds, "bytes": self.bytes}


@dataclass(frozen=True)
class StudyCost:
    """Of all trainings and of the labels. device: that it was measured on, empty if nothing was."""

    trainings: Sequence[TrainingCost]
    labels: LabellingCost | None
    device: str = ""

    @property
    def seconds(self) -> float:
        """Of all that was measured, one training after the other."""
        return sum(cost.total for cost in self.trainings) + ((self.labels and self.labels.seconds) or 0.0)

    @property
    def is_bound(self) -> bool:
        """Whether it takes longer than that: steps that were not finished, or parts that were not measured."""
        unknown = self.labels is not None and self.labels.image is None
        return unknown or any(cost.at_least or cost.problem for cost in self.trainings)

    def disk(self, jobs: int) -> int:
        """Bytes that the study writes: finished trainings, labels, and the largest checkpoints, `jobs` at a time."""
        kept = sum(cost.weights * cost.trainings for cost in self.trainings)
        running = jobs * max((cost.checkpoints for cost in self.trainings), default=0)
        return kept + running + (self.labels.bytes if self.labels else 0)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "device": self.device,
            "seconds": self.seconds,
            "at_least": self.is_bound,
            "trainings": [cost.as_json() for cost in self.trainings],
            "labels": None if self.labels is None else self.labels.as_json(),
        }


def measure_cost(plan: StudyPlan, teacher: TeacherChoice, progress: Progress) -> StudyCost:
    """Take a few steps of each learner on made-up pictures of the usual size, with untrained weights; the teacher
    labels one of them, if its weights are here.

    So the numbers are there before any image is, and the reading of large folders is not in them.
    """
    rows = [(learner.name, arm) for learner in plan.learners for arm in plan.arms]
    found, device = [], ""
    with tempfile.TemporaryDirectory() as scratch, quietly():
        write_stand_in(Path(scratch))
        for done, (learner, arm) in enumerate(rows, start=1):
            cost, here = _time_training(plan, StudyCell(learner, plan.splits[0], arm, plan.seeds[0]), Path(scratch))
            found.append(cost)
            device = device or here
            progress(done, len(rows) + 1)
        labels = _time_labelling(plan, teacher, Path(scratch)) if OOD in plan.arms else None
        progress(len(rows) + 1, len(rows) + 1)
    return StudyCost(found, labels, device)


def _time_training(plan: StudyPlan, cell: StudyCell, root: Path) -> tuple[TrainingCost, str]:
    trainings = len(plan.splits) * len(plan.seeds)
    try:
        config = plan.load(cell, [*point_at(root, plan.load(cell).config)]).config
        seen = dry_run(config, check=False, limit=LIMIT)
    except SemiovsError as problem:
        return TrainingCost(cell.learner, cell.arm, trainings, problem=str(problem).splitlines()[0]), ""
    step, evaluation = float(seen["seconds_per_step"]), seen["seconds_per_evaluation"]
    image = None if evaluation is None else float(evaluation) / VAL
    seconds = {}
    for split in plan.splits:
        length = plan.lengths[cell.learner, split]
        seconds[split] = length.steps * step + length.evaluations * length.val * (image or 0.0)
    cost = TrainingCost(
        cell.learner, cell.arm, trainings, step, image, seconds, not seen["finished_steps"] or image is None,
        seen["parameters"] * _FLOAT, round(seen["disk_gib"] * 2**30),
    )  # fmt: skip
    return cost, str(seen["device"])


def _time_labelling(plan: StudyPlan, choice: TeacherChoice, root: Path) -> LabellingCost:
    try:
        task = make_labelling_task(plan)
    except DataError:
        images, vocabulary = _COCO, Vocabulary.load(str(plan.load_labelling().config.data.classes))
    else:
        images, vocabulary = 0 if is_labelled(task) else len(task.images), task.vocabulary
    if not images or choice.name == "masks":
        return LabellingCost(images, 0.0)
    try:
        teacher = choice.build()
        if teacher.learns:
            return LabellingCost(images, problem=f"teacher '{choice.name}' learns first")
        return LabellingCost(images, _time_label(teacher, root / "val" / "0.jpg", vocabulary))
    except SemiovsError as problem:
        return LabellingCost(images, problem=str(problem).splitlines()[0])


def _time_label(teacher: OpenVocabModel, picture: Path, vocabulary: Vocabulary) -> float:
    """Seconds of a picture; of the first one if that takes long."""
    image = torch.from_numpy(np.array(RGB.read_rgb(picture))).permute(2, 0, 1)
    for _ in range(2):
        begin = time.perf_counter()
        teacher.label([image], vocabulary, ids=["picture"])
        seconds = time.perf_counter() - begin
        if seconds > _PATIENCE:
            break
    return seconds
