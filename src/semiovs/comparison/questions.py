"""What may be asked of the arms that are there, the verdict's question first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from semiovs.comparison.arms import ARMS, TEACHER, Arm
from semiovs.comparison.verdict import OOD_REMEDY


@dataclass(frozen=True)
class Question:
    """Two arms, and what the second has and the first has not (a plural), with a remedy for classes that got worse.

    same_weights: the second is an exported file of the weights of the first; the subject is its title.
    """

    base: str
    other: str
    subject: str
    remedy: str | None = None
    same_weights: bool = False


#: What is asked of the arms that are there; the first one whose arms are both there is the verdict of the comparison.
QUESTIONS = (
    Question("unlabeled", "ood", "OOD images with the teacher's labels", OOD_REMEDY),
    Question("labels", "unlabeled", "unlabelled images", "lower the loss weight of unlabelled images"),
    Question("labels", "ood", "unlabelled and OOD images together", OOD_REMEDY),
    Question("naive", "ood", "the teacher's labels, in the place of the student's own,"),
    Question("unlabeled", "naive", "OOD images with the student's own labels"),
    Question("unlabeled", "placebo", "OOD images with shuffled labels"),
    Question("placebo", "ood", "the right labels, in the place of shuffled ones,"),
    Question("probe", "labels", "trained weights, in the place of frozen ones,"),
    Question(TEACHER, "ood", "trainings, in the place of the teacher alone,"),
    Question(TEACHER, "labels", "labels, in the place of the teacher alone,"),
)


def ask(arms: Sequence[Arm]) -> list[Question]:
    """The questions of these arms: what each exported file costs, then what sets apart the trainings, then their files
    of the same form.
    """
    found = [*_ask_of_files(arms)]
    for form in dict.fromkeys(arm.form for arm in arms):
        found += _ask_of_trainings([arm for arm in arms if arm.form == form])
    if not found and any(arm.form for arm in arms):  # a run and a file of another training
        first, *others = arms
        for other in others:
            subject = f"the settings and the format of '{other.name}', in the place of those of '{first.name}',"
            found.append(Question(first.name, other.name, subject))
    return found


def _ask_of_files(arms: Sequence[Arm]) -> Iterator[Question]:
    """Each file against its run, or where that is not there against the first file of the same weights."""
    if not any(arm.form for arm in arms):
        return
    for training in dict.fromkeys(arm.training for arm in arms):
        mine = sorted((arm for arm in arms if arm.training == training), key=lambda arm: arm.form != "")
        for other in mine[1:]:
            yield Question(mine[0].name, other.name, other.title, same_weights=True)


def _ask_of_trainings(arms: Sequence[Arm]) -> Iterator[Question]:
    """Arms of one form, which differ in their settings."""
    by_training = {arm.training or arm.name: arm for arm in arms}
    first, *others = by_training
    if first in {arm.name for arm in ARMS}:
        for question in QUESTIONS:
            if {question.base, question.other} <= by_training.keys():
                yield _of_form(question, by_training[question.base], by_training[question.other])
        return
    for other in others:  # runs that were handed in, which differ in something else
        question = Question(first, other, f"the settings of '{other}', in the place of those of '{first}',")
        yield _of_form(question, by_training[first], by_training[other])


def _of_form(question: Question, base: Arm, other: Arm) -> Question:
    subject = f"{question.subject.rstrip(',')}, as {other.form}," if other.form else question.subject
    return replace(question, base=base.name, other=other.name, subject=subject)
