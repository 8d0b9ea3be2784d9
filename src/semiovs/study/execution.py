"""Carry out a study: label the OOD images once, train what is not finished, write the table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semiovs.calibration.labelling import label_with
from semiovs.comparison.cell_files import is_complete
from semiovs.comparison.workers import Machine, Outcome, train_cells
from semiovs.duration import format_duration
from semiovs.engine.teacher_choice import Agree, TeacherChoice
from semiovs.progress import Say, ShowProgress
from semiovs.study.learners import BASE, OOD
from semiovs.study.needs import find_needs, is_labelled, make_labelling_task, require_nothing
from semiovs.study.plan import StudyPlan
from semiovs.study.table import StudyTable, read_table, write_table


@dataclass(frozen=True)
class StudyReport:
    """What the finished trainings found, and its files: kind -> path, none as long as no training is finished.

    left: trainings that are not finished; diverged: training -> why it cannot be.
    """

    table: StudyTable
    files: Mapping[str, Path]
    left: Sequence[str] = ()
    diverged: Mapping[str, str] = field(default_factory=dict)


def carry_out(
    plan: StudyPlan,
    teacher: TeacherChoice,
    machine: Machine,
    shard: tuple[int, int] = (0, 1),
    *,
    agree: Agree,
    show: ShowProgress,
    say: Say,
) -> Outcome:
    """Label and train what is left of a shard: (i, n), every n-th training (and OOD image) from the i-th on.

    What another process does is left to it. Trainings that need labels which other shards have not written yet are
    left for later.

    Raises:
        SemiovsError: as `require_nothing`, `label_with` and `train_cells`.
    """
    every = plan.cells()
    cells, done = every[shard[0] :: shard[1]], [cell for cell in every if is_complete(plan, cell)]
    asked = any(cell.arm == OOD and cell not in done for cell in every)  # for labels, also by other shards
    if not asked and all(cell in done for cell in cells):
        return Outcome([*cells])
    require_nothing(find_needs(plan, teacher))
    begin = time.monotonic()
    labelled = not asked or _label(plan, teacher, machine, shard, agree=agree, show=show, say=say)
    first = cells if labelled else [cell for cell in cells if cell.arm == BASE]
    with show("training", unit="steps") as progress:
        outcome = train_cells(plan, first, machine, progress)
        waiting = [cell for cell in cells if cell not in first]
        if waiting and is_labelled(make_labelling_task(plan)):
            outcome = train_cells(plan, cells, machine, progress)
        elif waiting:
            say(f"{len(waiting)} trainings wait for labels of OOD images that other shards have not written yet")
            outcome.left += waiting
    say(f"{len(outcome.done)} trainings are finished, after {format_duration(time.monotonic() - begin)}")
    return outcome


def collect(plan: StudyPlan, outcome: Outcome | None, say: Say) -> StudyReport:
    """What is finished, written into the folder of the study.

    outcome: None where nothing was trained now; say: told which trainings diverged.
    """
    outcome = outcome or Outcome()
    table = read_table(plan)
    for cell, reason in outcome.diverged.items():
        say(f"warning: {cell}: {reason}")
    files = write_table(table, plan.root) if table.directories else {}
    return StudyReport(table, files, [cell.name for cell in outcome.left], outcome.diverged)


def _label(
    plan: StudyPlan,
    teacher: TeacherChoice,
    machine: Machine,
    shard: tuple[int, int],
    *,
    agree: Agree,
    show: ShowProgress,
    say: Say,
) -> bool:
    """Label this shard's OOD images, unless all have labels; whether all have them then."""
    task = make_labelling_task(plan)
    if is_labelled(task):
        return True
    say(f"labelling {len(task.images)} OOD images into {task.out}, once for all trainings")
    label_with(
        teacher,
        task,
        plan.load_labelling().config,
        agree=agree,
        say=say,
        shard=shard,
        show=show,
        deadline=machine.deadline,
    )
    return is_labelled(task)
