"""Carry out a comparison that was prepared: ask the teacher, train the cells, write what they found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from semiovs.calibration.calibration import identify_teacher
from semiovs.calibration.learning import find_units, list_labeled, teach
from semiovs.comparison.arms import TEACHER
from semiovs.comparison.difference import GROUPS_NEEDED
from semiovs.comparison.files import write_files
from semiovs.comparison.handed_in.reading import ImagesAsked, read_runs
from semiovs.comparison.ood_labels import find_images_to_label, label_ood_images
from semiovs.comparison.prepare import FOLDS, Prepared, Request, prepare
from semiovs.comparison.results import Answer, ArmResult, Results, read_results
from semiovs.comparison.tables import list_arms, list_differences
from semiovs.comparison.teacher_scores import score_teacher
from semiovs.comparison.tuned_settings import parse_tune
from semiovs.comparison.tuning import PARTS, tune_arms
from semiovs.comparison.uncertainty import SEEDS_NEEDED
from semiovs.comparison.workers import Machine, Outcome, train_cells
from semiovs.config import LoadedConfig
from semiovs.duration import format_duration
from semiovs.engine.teacher_choice import Agree, TeacherChoice
from semiovs.progress import Say, ShowProgress
from semiovs.report.table import Table, render_lines, render_table


@dataclass(frozen=True)
class ComparisonReport:
    """What a comparison found, and its files: kind -> path, none as long as no arm has a finished seed.

    left: trainings that are not finished; diverged: training -> why it cannot be.
    """

    results: Results
    files: Mapping[str, Path]
    left: Sequence[str] = ()
    diverged: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str | None:
        """helped, hurt, cannot tell, or descriptive (too few seeds), for the first question; None without two arms."""
        return self.results.answers[0].comparison.verdict if self.results.answers else None

    @property
    def says(self) -> tuple[str, ...]:
        """Sentences: the verdict, how certain it is, what limits it, the classes, and what the trainings cost."""
        if not self.results.answers:
            return ()
        return (*self.results.says, *self.results.answers[0].cost)

    @property
    def page(self) -> Path | None:
        """The page with figures, one file."""
        return self.files.get("page")

    def table(self) -> Table:
        """One row an arm: mIoU in percent at the last step, mean and standard deviation over seeds."""
        return Table(map(_describe_arm, self.results.arms))

    def differences(self) -> Table:
        """One row a difference of two arms, in points of mIoU, with its interval (low, high)."""
        return Table(map(_describe_difference, self.results.answers))

    def _repr_html_(self) -> str:
        open_ = [f"{len(self.left)} trainings are left"] if self.left else []
        open_ += [f"{name} diverged: {reason}" for name, reason in self.diverged.items()]
        tables = [list_arms(self.results), list_differences(self.results)]
        return render_lines([*self.says, *open_]) + "".join(render_table(*each) for each in tables if each[1])


def plan_comparison(
    loaded: LoadedConfig,
    request: Request,
    out: Path | None,
    *,
    teacher: TeacherChoice | None = None,
    agree: Agree,
    write: bool = True,
    show: ShowProgress,
    say: Say,
) -> Prepared:
    """Check and plan (`prepare`) in the folder `out`, by default ``comparison`` beside the runs; say what is planned.
    OOD images that have no labels yet are labelled by the teacher, once the rest holds and unless `write` is off.

    Raises:
        SemiovsError: as `prepare`, `find_images_to_label` and `label_ood_images`.
    """
    root = out or Path("runs") / (loaded.config.run.name or "run") / "comparison"

    def check(*, write: bool, labels_follow: bool) -> Prepared:
        with show("reading masks") as progress:
            return prepare(loaded, request, root, write=write, labels_follow=labels_follow, progress=progress)

    waiting = find_images_to_label(loaded.config, teacher=teacher is not None, say=say)
    if waiting is not None and teacher is not None:
        prepared = check(write=False, labels_follow=True)
        if not write:
            say(f"OOD images have no labels in {waiting.out} yet: teacher {teacher.name} labels {len(waiting.images)}")
        else:
            label_ood_images(waiting, loaded.config, teacher, agree=agree, show=show, say=say)
    if waiting is None or write:
        prepared = check(write=write, labels_follow=False)
    _tell_plan(prepared, say)
    return prepared


def carry_out(
    prepared: Prepared,
    machine: Machine,
    shard: tuple[int, int] = (0, 1),
    *,
    teacher: TeacherChoice | None = None,
    agree: Agree,
    show: ShowProgress,
    say: Say,
) -> tuple[Prepared, Outcome]:
    """Ask the teacher, where one is named, tune the arms, where that is asked for, and train.

    shard: (i, n), every n-th training from the i-th on; everybody tunes. Returns the comparison with its tuned
    settings as well.

    Raises:
        SemiovsError: as `score_teacher`, `tune_arms` and `train_cells`.
    """
    if teacher is not None and any(arm.name == TEACHER for arm in prepared.plan.arms):
        _ask_teacher(prepared, teacher, agree, show, say)
    if prepared.plan.tune:
        with show("tuning", unit="steps") as progress:
            plan, stopped = tune_arms(prepared.plan, prepared.images, machine, progress, say)
        if stopped is not None:
            say(f"tuning is not finished: {len(stopped.left)} trainings of the values that it stopped at are left")
            return prepared, Outcome(left=[*plan.cells()])
        plan.write(plan.base)
        prepared = replace(prepared, plan=plan)
    begin = time.monotonic()
    with show("training", unit="steps") as progress:
        outcome = train_cells(prepared.plan, prepared.plan.cells()[shard[0] :: shard[1]], machine, progress)
    say(f"{len(outcome.done)} trainings are finished, after {format_duration(time.monotonic() - begin)}")
    return prepared, outcome


def collect(prepared: Prepared, outcome: Outcome, say: Say) -> ComparisonReport:
    """What is finished, written into the folder of the comparison.

    say: told which trainings diverged.
    """
    results = read_results(prepared.plan, prepared.images.vocabulary.names)
    for cell, reason in outcome.diverged.items():
        say(f"warning: {cell}: {reason}")
    files = write_files(results, prepared.plan.root) if results.arms else {}
    return ComparisonReport(results, files, [cell.name for cell in outcome.left], outcome.diverged)


def compare_runs(
    runs: Sequence[Path],
    group: str | None,
    out: Path | None,
    images: ImagesAsked | None = None,
    *,
    show: ShowProgress,
    say: Say,
) -> ComparisonReport:
    """Compare runs that were made earlier and exported files (`read_runs`), and write the files into `out`, by default
    ``runs/comparison``.

    images: whose evaluation images exported files are measured on.
    """
    root = out or Path("runs") / "comparison"
    results = read_runs(runs, group, images=images, root=root, show=show, say=say)
    return ComparisonReport(results, write_files(results, root))


def _tell_plan(prepared: Prepared, say: Say) -> None:
    plan, images, labelled = prepared.plan, len(prepared.evaluated), len(prepared.images.labeled)
    cells = len(plan.cells())
    where = f"{images} labelled images, in {plan.folds} folds" if plan.folds else f"{images} evaluation images"
    say(
        f"{', '.join(arm.name for arm in plan.arms)}; {len(plan.seeds)} seed(s): {cells} trainings of {plan.steps} "
        f"steps, measured on {where}; in {plan.root}"
    )
    if tries := len(parse_tune(plan.tune)):
        say(
            f"before that, at most {tries * len(plan.trained) * PARTS} trainings on parts of the labelled images choose"
            f" among {' '.join(plan.tune)}"
        )
    if len(plan.seeds) < SEEDS_NEEDED:
        say(f"note: {len(plan.seeds)} seed(s) describe; a verdict needs {SEEDS_NEEDED} (--seeds {SEEDS_NEEDED})")
    if images < GROUPS_NEEDED:
        way = (
            f"--folds {FOLDS} evaluates on the {labelled} labelled ones" if labelled >= GROUPS_NEEDED else "label more"
        )
        say(f"note: {images} images to evaluate on are too few for any verdict, which needs {GROUPS_NEEDED}: {way}")


def _ask_teacher(prepared: Prepared, choice: TeacherChoice, agree: Agree, show: ShowProgress, say: Say) -> None:
    ids = (record.id for record in prepared.evaluated)
    choice = choice.resolve(prepared.images.vocabulary, ids=ids, agree=agree, say=say)
    plan, images = prepared.plan, prepared.images
    asked = choice.build()
    who = identify_teacher(choice.name, asked)
    if asked.learns and plan.folds:  # it is asked about the images that it learns from
        taught = teach(asked, images, images.vocabulary, folds=plan.folds, group=plan.group)
        asked, who = taught.measured, {**identify_teacher(choice.name, taught.whole), "cross_fitted": plan.folds}
    elif asked.learns:
        asked = asked.learn(list_labeled(images, find_units(images, copies=True)), images.vocabulary)
        who = identify_teacher(choice.name, asked)
    with show("asking the teacher") as progress:
        score_teacher(
            plan.root,
            asked,
            who,
            images,
            prepared.evaluated,
            batch_size=1,
            progress=progress,
        )


def _describe_arm(result: ArmResult) -> dict[str, Any]:
    trained = result.arm.is_trained
    return {
        "arm": result.arm.name,
        "miou": result.score.mean,
        "sd": result.score.sd if trained else None,
        "best": result.best,
        "seeds": len(result.seeds) if trained else None,
        "learns_from": result.arm.learns_from,
    }


def _describe_difference(answer: Answer) -> dict[str, Any]:
    found = answer.comparison
    low, high = found.difference.interval or (None, None)
    return {
        "arm": answer.question.other,
        "base": answer.question.base,
        "points": found.difference.mean,
        "low": low,
        "high": high,
        "better": found.difference.better,
        "seeds": found.seeds,
        "p": found.p if found.seeds > 1 else None,
        "verdict": answer.verdict,
    }
