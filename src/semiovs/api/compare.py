"""`semiovs.compare`: whether the images helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semiovs.api.session import session
from semiovs.api.settings import Setting, Source, load
from semiovs.api.teacher import Place, choose_teacher, make_agree, to_path
from semiovs.comparison.execution import ComparisonReport, carry_out, collect, compare_runs, plan_comparison
from semiovs.comparison.prepare import Request
from semiovs.comparison.workers import Machine
from semiovs.errors import DivergedError, UsageError


def compare(
    config: Source | None = None,
    *settings: Setting,
    arms: Sequence[str] | None = None,
    seeds: int = 3,
    folds: int | None = None,
    resplit: int = 0,
    group_by: str | None = None,
    teacher: str | None = None,
    weights: Place | None = None,
    from_: Place | None = None,
    map: Mapping[Any, Any] | None = None,  # noqa: A002 - the option's name
    options: Mapping[str, Any] | None = None,
    runs: Sequence[Place] | None = None,
    jobs: int = 1,
    budget: float | None = None,
    keep_checkpoints: bool = False,
    out: Place | None = None,
    download: bool = False,
    progress: bool = True,
) -> ComparisonReport:
    """Train arms that differ in one thing over several seeds, and say what helped, as ``semiovs compare``.

    config, settings: as `semiovs.train`; arms: of labels, unlabeled, naive, ood, placebo, probe and teacher, by default
    all that the configuration can have but the probe; seeds: trainings of each arm, from 6 on there is a verdict;
    folds, resplit, group_by: how images are shared out and counted; teacher: of the arm teacher, with weights, from_,
    map, options and download as `semiovs.label`; runs: compare these instead; jobs: trainings at a time; budget:
    minutes after which it stops: what is missing is named in `left`, and the same call goes on; out: folder of the
    comparison, by default ``runs/NAME/comparison``.

    Trainings run in processes of their own, which import the main script anew: in a script, call it below
    ``if __name__ == "__main__":`` (a notebook needs nothing).

    Raises:
        UsageError, ConfigError, DataError, WeightsError: what is asked for, the images, or the call in a script without
        that line; DivergedError: trainings that diverged, after all others and the page are made;
        PreemptedError, InterruptedRunError: a signal; what is done is kept.
    """
    if runs is not None:
        _refuse_beside_runs(config=config, settings=settings, arms=arms, folds=folds, resplit=resplit, teacher=teacher)
        return compare_runs([Path(run).expanduser() for run in runs], group_by, to_path(out))
    if config is None and not settings:
        raise UsageError("give a configuration (semiovs init FOLDER writes one), or runs to compare (runs=)")
    loaded = load(config, settings)
    asked = None if teacher is None else choose_teacher(teacher, weights, from_, map, options)
    request = Request(tuple(arms or ()), seeds, folds, resplit, group_by, teacher is not None)
    with session(progress=progress) as call:
        prepared = plan_comparison(loaded, request, to_path(out), show=call.show, say=call.say)
        machine = Machine.within(budget, jobs, keep_checkpoints=keep_checkpoints)
        how: dict[str, Any] = {
            "teacher": asked,
            "agree": make_agree(download=download),
            "show": call.show,
            "say": call.say,
        }
        found = collect(prepared, carry_out(prepared, prepared.plan.cells(), machine, **how), call.say)
    if found.diverged:
        raise DivergedError(f"{len(found.diverged)} trainings diverged: {', '.join(found.diverged)}")
    return found


def _refuse_beside_runs(**given: object) -> None:
    if named := [name for name, value in given.items() if value]:
        raise UsageError(f"runs: compares what is there; {', '.join(named)} has no meaning beside it")
