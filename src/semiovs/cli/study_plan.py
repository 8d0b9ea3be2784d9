"""What ``semiovs study --dry-run`` prints: the trainings, what they cost, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semiovs.cli.console import format_table, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.duration import format_duration
from semiovs.errors import DataError, WeightsError

if TYPE_CHECKING:
    from semiovs.engine.teacher_choice import TeacherChoice
    from semiovs.study.cost import StudyCost, TrainingCost
    from semiovs.study.needs import Need
    from semiovs.study.plan import StudyPlan


def report_plan(plan: StudyPlan, choice: TeacherChoice, jobs: int, again: str, *, as_json: bool) -> None:
    """Measure what a study costs, look for what it needs, and print both.

    again: the command that trains.

    Raises:
        DataError, WeightsError: something is missing that no training fetches itself; told once all is printed.
    """
    from semiovs.study.cost import measure_cost
    from semiovs.study.needs import find_needs

    needs = find_needs(plan, choice)
    with progress("timing a few steps of each learner", unit="learners") as show:
        cost = measure_cost(plan, choice, show)
    steps = _list_next_steps(needs, again)
    data = {
        **plan.as_json(),
        "cost": {**cost.as_json(), "disk_bytes": cost.disk(jobs)},
        "missing": [need.as_json() for need in needs],
        "next": steps,
    }
    text = [_format_plan(plan), *_format_cost(plan, cost, jobs), *_format_needs(needs), format_next(steps)]
    report(data, as_json=as_json, text="\n".join(text))
    if waited := [need for need in needs if not need.automatic]:
        problem = DataError if any(need.kind == "data" for need in waited) else WeightsError
        raise problem(f"{len(waited)} things are missing that the trainings cannot fetch themselves")


def _list_next_steps(needs: Sequence[Need], again: str) -> list[str]:
    """Commands that fetch, what a person has to fetch (a line a source), and the command that trains."""
    fetched = dict.fromkeys(need.command for need in needs if need.command)
    places: dict[str, list[str]] = {}
    for need in needs:
        if not need.command:
            places.setdefault(need.source, []).append(need.place)
    byhand = [f"# get {source}: it belongs to {', '.join(found)}" for source, found in places.items()]
    return [*fetched, *byhand, f"# when that is done: {again}" if byhand else again]


def _format_plan(plan: StudyPlan) -> str:
    counts = {"learners": plan.learners, "splits": plan.splits, "arms": plan.arms, "seeds": plan.seeds}
    product = " x ".join(f"{len(names)} {what}" for what, names in counts.items())
    return f"{len(plan.cells())} trainings ({product}), in {plan.root}"


def _format_cost(plan: StudyPlan, cost: StudyCost, jobs: int) -> list[str]:
    head = ("learner", "arm", "trainings", "steps of each", "evaluations", "the longest", "all, one at a time")
    about = "at least" if cost.is_bound else "about"
    return [
        format_table(head, [_format_training(plan, one) for one in cost.trainings]),
        f"time: {about} {format_duration(cost.seconds)} here ({cost.device or 'nothing was measured'}), one training "
        "at a time: a few steps of each learner were taken now, on made-up pictures of 500 x 375 pixels and without "
        "pretrained weights; reading your disk is not in it",
        *_format_labelling(cost),
        f"disk: about {cost.disk(jobs) / 1e9:.1f} GB of labels, weights, and checkpoints of {jobs} training(s); not in "
        "it: the images (archives: VOC 2 GB, COCO train2017 18 GB)",
    ]


def _format_training(plan: StudyPlan, cost: TrainingCost) -> list[str]:
    lengths = [plan.lengths[cost.learner, split] for split in plan.splits]
    steps = sorted({length.steps for length in lengths})
    span = "–".join(f"{count:,}" for count in dict.fromkeys((steps[0], steps[-1])))
    least = "at least " if cost.at_least else ""
    longest = f"{least}{format_duration(max(cost.seconds.values()))}" if cost.seconds else ""
    whole = f"not measured: {cost.problem}" if cost.problem else f"{least}{format_duration(cost.total)}"
    return [cost.learner, cost.arm, str(cost.trainings), span, str(lengths[0].evaluations), longest, whole]


def _format_labelling(cost: StudyCost) -> list[str]:
    labels = cost.labels
    if labels is None or not labels.images:
        return []
    took = "not measured: " + labels.problem if labels.seconds is None else f"about {format_duration(labels.seconds)}"
    return [f"labels of {labels.images:,} OOD images, once for all trainings: {took}"]


def _format_needs(needs: Sequence[Need]) -> list[str]:
    if not needs:
        return ["missing: nothing"]
    lines = ["missing:"]
    for need in needs:
        own = " (the training fetches it itself, too)" if need.automatic else ""
        lines += [f"  {need.what}{own}", f"    belongs to {need.place}", f"    from {need.source}"]
    return lines
