"""What the trainings of a comparison found, put together: scores of each arm, differences, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from semiovs.comparison.areas import ImageAreas
from semiovs.comparison.arms import Arm
from semiovs.comparison.cell_files import CellFacts, read_counts, read_facts
from semiovs.comparison.difference import ArmScore, Comparison, compare_arms
from semiovs.comparison.plan import Cell, Plan
from semiovs.comparison.questions import Question, ask
from semiovs.comparison.teacher_scores import read_teacher_scores
from semiovs.comparison.tuned_settings import Trial, Tuned, choose_best, read_tuned
from semiovs.comparison.verdict import describe_comparison, describe_files, name_verdict, state_cost
from semiovs.config.schema import Config
from semiovs.data.collection import Collection
from semiovs.data.label_source import MatchedLabels
from semiovs.errors import SemiovsError, UsageError
from semiovs.evaluation import ImageCounts
from semiovs.ovs.known_training import describe_known_images, has_learnt
from semiovs.registry import DATASETS, lookup
from semiovs.similarity.groups import find_groups
from semiovs.store import PseudoLabelStore


@dataclass(frozen=True)
class SeedResult:
    """One seed of an arm; with folds all of them together.

    facts: of its trainings; none for the teacher and for exported files; file: exported, of the training with this
    seed.
    """

    seed: int
    areas: ImageAreas
    facts: tuple[CellFacts, ...] = ()
    file: Path | None = None

    @property
    def best(self) -> float | None:
        """Mean of the highest mIoU in percent that its trainings ever had; None without trainings."""
        return float(np.mean([facts.best for facts in self.facts])) if self.facts else None


@dataclass(frozen=True)
class ArmResult:
    """The seeds of an arm."""

    arm: Arm
    seeds: tuple[SeedResult, ...]

    @cached_property
    def score(self) -> ArmScore:
        """MIoU over the classes in the masks, at the last step; with exported files, of the weights they hold."""
        return ArmScore(self.arm.name, tuple(seed.areas.miou(present_only=True) for seed in self.seeds))

    @property
    def best(self) -> float | None:
        """Mean over seeds of the highest mIoU."""
        found = [seed.best for seed in self.seeds if seed.best is not None]
        return float(np.mean(found)) if found else None

    @property
    def seconds(self) -> float:
        """Seconds of a training, all folds together; mean over seeds."""
        return float(np.mean([sum(facts.seconds for facts in seed.facts) for seed in self.seeds]))

    @property
    def looks(self) -> int:
        """How often the evaluation images were looked at."""
        return sum(facts.looks for seed in self.seeds for facts in seed.facts)


@dataclass(frozen=True)
class Answer:
    """A question, and what the arms say to it. cost: one sentence on the time, or none; it depends on the machine."""

    question: Question
    comparison: Comparison
    sentences: tuple[str, ...]
    cost: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The verdict in a word or two, for people."""
        return name_verdict(self.comparison, same_weights=self.comparison.same_weights)


@dataclass(frozen=True)
class Results:
    """A comparison, whole or in part.

    classes: names; missing: trainings of the plan that are not finished; folds: 0 without; steps: of each training, 0
    if not known; tuned: what was tried for each arm on held-out labelled images; leak: that the teacher knows the OOD
    images, in words, or "".
    """

    arms: tuple[ArmResult, ...]
    classes: tuple[str, ...]
    steps: int
    folds: int = 0
    missing: tuple[str, ...] = ()
    groups: Mapping[str, str] | None = None
    tuned: Tuned = field(default_factory=dict)
    leak: str = ""

    @property
    def has_files(self) -> bool:
        """Whether exported files are among the arms."""
        return any(result.arm.form for result in self.arms)

    @cached_property
    def answers(self) -> list[Answer]:
        """What may be said, the verdict first."""
        by_name = {result.arm.name: result for result in self.arms}
        return [
            self._answer(question, by_name[question.base], by_name[question.other])
            for question in ask([result.arm for result in self.arms])
        ]

    @property
    def says(self) -> tuple[str, ...]:
        """The verdict in sentences. Where unlabelled images did harm, a gain over them may be a way back to the labels
        alone, and is set beside these. Of exported files, what each costs.
        """
        if not self.answers:
            return ()
        if self.answers[0].question.same_weights:
            return self._describe_files()
        verdict, certainty, *more = self.answers[0].sentences
        means = {result.arm.name: result.score.mean for result in self.arms}
        whole = next((a for a in self.answers if (a.question.base, a.question.other) == ("labels", "ood")), None)
        lost = "unlabeled" in means and means["unlabeled"] < means.get("labels", 0)
        return (verdict, certainty, *([whole.sentences[0]] if whole and lost else []), *more)

    def _describe_files(self) -> tuple[str, ...]:
        """What each file costs, then what is said of all or of single classes."""
        files = [answer for answer in self.answers if answer.question.same_weights]
        further = dict.fromkeys(line for answer in files for line in answer.sentences[1:])
        of_all = sorted(further, key=lambda line: line.startswith("The intervals of classes"))
        return (*(answer.sentences[0] for answer in files), *of_all)

    def _answer(self, question: Question, base: ArmResult, other: ArmResult) -> Answer:
        pairs = pair_seeds(base, other)
        found = compare_arms(
            [one.areas for one, _ in pairs],
            [two.areas for _, two in pairs],
            names=(base.arm.title, other.arm.title),
            classes=self.classes,
            groups=self.groups,
            same_weights=question.same_weights,
        )
        if question.same_weights:
            return Answer(question, found, describe_files(found, question.subject))
        timed = all(result.arm.is_trained and not result.arm.form for result in (base, other))
        said = describe_comparison(found, question.subject, remedy=question.remedy)
        return Answer(question, found, said, (state_cost(base.seconds, other.seconds),) if timed else ())

    @property
    def seconds(self) -> float:
        """Seconds of all trainings."""
        return sum(facts.seconds for arm in self.arms for seed in arm.seeds for facts in seed.facts)

    def as_json(self) -> dict[str, Any]:
        """Plain data; all but `cost`, `seconds` and `seconds_each` is the same however often it was interrupted."""
        return {
            "verdict": self.answers[0].comparison.verdict if self.answers else None,
            "says": list(self.says),
            "cost": list(self.answers[0].cost) if self.answers else [],
            "steps": self.steps,
            "folds": self.folds,
            "missing": list(self.missing),
            "tuned": {name: _describe_trials(trials) for name, trials in self.tuned.items()},
            **({"leak": self.leak} if self.leak else {}),
            "arms": [describe_arm(result, self.classes) for result in self.arms],
            "differences": [
                {
                    "arms": [answer.question.base, answer.question.other],
                    "subject": answer.question.subject,
                    "says": list(answer.sentences),
                    **answer.comparison.as_json(),
                }
                for answer in self.answers
            ],
            "seconds": round(self.seconds, 1),
        }  # fmt: skip


def _describe_trials(trials: Sequence[Trial]) -> dict[str, Any]:
    return {"chosen": list(choose_best(trials)), "tried": [asdict(trial) for trial in trials]}


def describe_arm(result: ArmResult, classes: Sequence[str]) -> dict[str, Any]:
    """What ``results.json`` says of an arm; all but `seconds_each` follows from its trainings' counts of pixels."""
    iou = np.mean([seed.areas.iou() for seed in result.seeds], axis=0)
    return {
        **result.score.as_json(),
        "title": result.arm.title,
        "learns_from": result.arm.learns_from,
        "seeds": [seed.seed for seed in result.seeds],
        "best": None if result.best is None else round(result.best, 4),
        "iou": {name: round(float(value), 4) for name, value in zip(classes, iou, strict=True)},
        "looks": result.looks,
        "seconds_each": round(result.seconds, 1),
        **({"files": [str(seed.file) for seed in result.seeds]} if result.arm.form else {}),
    }


def pair_seeds(base: ArmResult, other: ArmResult) -> list[tuple[SeedResult, SeedResult]]:
    """The seeds that both arms have; the teacher, which has none, goes with each.

    Raises:
        UsageError: no seed in common.
    """
    if not base.arm.is_trained:
        return [(base.seeds[0], two) for two in other.seeds]
    if not other.arm.is_trained:
        return [(one, other.seeds[0]) for one in base.seeds]
    second = {seed.seed: seed for seed in other.seeds}
    found = [(one, second[one.seed]) for one in base.seeds if one.seed in second]
    if not found:
        raise UsageError(f"arms '{base.arm.name}' and '{other.arm.name}' have no seed in common")
    return found


def read_results(plan: Plan, classes: Sequence[str]) -> Results:
    """What is finished in the directory of a plan; arms without a finished seed are left out.

    Raises:
        DataError: a file of a training was changed since.
    """
    arms, missing = read_arms(plan)
    groups = (
        None if plan.group is None or not arms else find_groups(arms[0].seeds[0].areas.ids, plan.group, "--group-by")
    )
    leak = find_leak(plan.base.config, folds=plan.folds) if any(arm.arm.name == "ood" for arm in arms) else ""
    tuned = read_tuned(plan.root) if plan.tune else {}
    return Results(tuple(arms), tuple(classes), plan.steps, plan.folds, tuple(missing), groups, tuned, leak)


def read_arms(plan: Plan) -> tuple[list[ArmResult], list[str]]:
    """Arms with their finished seeds, and the names of trainings that are not finished; as `read_results`."""
    arms: list[ArmResult] = []
    missing: list[str] = []
    for arm in plan.trained:
        seeds = []
        for seed in plan.seeds:
            cells = [cell for cell in plan.cells() if cell.arm == arm and cell.seed == seed]
            there = [(cell, read_facts(plan.directory(cell))) for cell in cells]
            missing += [cell.name for cell, facts in there if facts is None]
            if all(facts is not None for _, facts in there):
                seeds.append(_read_seed(plan, seed, [(cell, facts) for cell, facts in there if facts is not None]))
        if seeds:
            arms.append(ArmResult(arm, tuple(seeds)))
    teacher = next((arm for arm in plan.arms if not arm.is_trained), None)
    if teacher is not None and (counts := read_teacher_scores(plan.root)) is not None:
        arms.append(ArmResult(teacher, (SeedResult(0, to_areas([counts])),)))
    return arms, missing


def find_leak(config: Config, *, folds: int = 0) -> str:
    """One sentence if the teacher of the OOD labels has learnt from these very images, or from the labelled ones that
    `folds` are measured on; "" if not, or not known.
    """
    try:
        images: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data, config.ood).read()
    except SemiovsError:  # they were moved since
        return ""
    labels = images.ood_labels.source if isinstance(images.ood_labels, MatchedLabels) else images.ood_labels
    if images.ood is None or not isinstance(labels, PseudoLabelStore):
        return ""
    if folds and has_learnt(labels.meta.teacher):
        return (
            "The teacher of the OOD labels has learnt from all labelled images, so from the masks that each fold is "
            "measured on: what its labels gain here is too good."
        )
    return describe_known_images(labels.meta.teacher, images.ood, "OOD images")


def _read_seed(plan: Plan, seed: int, cells: Sequence[tuple[Cell, CellFacts]]) -> SeedResult:
    counts = [read_counts(plan.directory(cell), facts) for cell, facts in cells]
    return SeedResult(seed, to_areas(counts), tuple(facts for _, facts in cells))


def to_areas(parts: Sequence[ImageCounts]) -> ImageAreas:
    """The images of several evaluations (folds) together."""
    areas = [part.areas() for part in parts]
    joined = (np.concatenate(columns) for columns in zip(*areas, strict=True))
    return ImageAreas(tuple(name for part in parts for name in part.ids), *joined)
