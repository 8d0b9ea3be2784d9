"""`semiovs.compare`: whether the images helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semiovs.api.session import Session, session
from semiovs.api.settings import Setting, Source, load
from semiovs.api.settings import split as split_settings
from semiovs.api.teacher import Place, choose_teacher, make_agree, to_path
from semiovs.comparison.execution import (
    ComparisonReport,
    carry_out,
    collect,
    compare_runs,
    plan_comparison,
)
from semiovs.comparison.handed_in.reading import ImagesAsked
from semiovs.comparison.prepare import Request
from semiovs.comparison.workers import Machine, require_finished
from semiovs.config import LoadedConfig
from semiovs.config.yaml_reader import format_inline
from semiovs.engine.teacher_choice import TeacherChoice
from semiovs.errors import UsageError


def compare(
    config: Source | None = None,
    *settings: Setting,
    arms: Sequence[str] | str | None = None,
    seeds: int = 3,
    folds: int | None = None,
    resplit: int = 0,
    group_by: str | None = None,
    tune: Mapping[str, Sequence[Any]] | None = None,
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

    config, settings: as `semiovs.train`; arms: of labels, unlabeled, naive, ood, placebo, probe, teacher, by default
    all that there can be but the probe; seeds: from 6 on there is a verdict; folds, resplit, group_by: how images are
    shared out and counted; tune: key -> values that each arm chooses among, on parts of the labelled images; teacher:
    labels OOD images that have no labels yet, and is an arm, with weights, ``from_``, map, options and download as
    `semiovs.label`; runs: compare these instead, run directories and exported files, with these on the images of
    `config` or of the runs; jobs: trainings at a time; budget: minutes after which it stops: what is missing is in
    `left`, and the same call goes on; out: folder, by default ``runs/NAME/comparison``.

    Trainings run in processes that import the main script anew: call it below ``if __name__ == "__main__":`` there (a
    notebook needs nothing).

    Raises:
        UsageError, ConfigError, DataError, WeightsError: what is asked for, the images, or a script without that line;
        DivergedError: trainings that diverged, after all others are done and the page is written; PreemptedError,
        InterruptedRunError: a signal; what is done is kept.
    """
    if runs is not None:
        _refuse_beside_runs(arms=arms, folds=folds, resplit=resplit, tune=tune, teacher=teacher)
        return _compare_runs(runs, config, settings, group_by, to_path(out), progress=progress)
    if config is None and not settings:
        raise UsageError("give a configuration (semiovs init FOLDER writes one), or runs to compare (runs=)")
    loaded, machine = load(config, settings), Machine.within(budget, jobs, keep_checkpoints=keep_checkpoints)
    asked = None if teacher is None else choose_teacher(teacher, weights, from_, map, options)
    request = Request(_split_names(arms), seeds, folds, resplit, group_by, asked, _to_texts(tune or {}))
    with session(progress=progress) as call:
        return _train_arms(loaded, request, to_path(out), machine, call, teacher=asked, download=download)


def _compare_runs(
    runs: Sequence[Place],
    config: Source | None,
    settings: Sequence[Setting],
    group: str | None,
    out: Path | None,
    *,
    progress: bool,
) -> ComparisonReport:
    images = ImagesAsked(*split_settings(config, settings)) if config is not None or settings else None
    paths = [Path(run).expanduser() for run in runs]
    with session(progress=progress) as call:
        return compare_runs(paths, group, out, images, show=call.show, say=call.say)


def _train_arms(
    loaded: LoadedConfig,
    request: Request,
    out: Path | None,
    machine: Machine,
    call: Session,
    *,
    teacher: TeacherChoice | None,
    download: bool,
) -> ComparisonReport:
    shown: dict[str, Any] = {"show": call.show, "say": call.say}
    agree = make_agree(download=download)
    prepared = plan_comparison(loaded, request, out, teacher=teacher, agree=agree, **shown)
    prepared, outcome = carry_out(prepared, machine, teacher=teacher, agree=agree, **shown)
    found = collect(prepared, outcome, call.say)
    if not outcome.left:
        require_finished(prepared.plan, outcome)
    return found


def _split_names(arms: Sequence[str] | str | None) -> Sequence[str]:
    return [name.strip() for name in arms.split(",")] if isinstance(arms, str) else arms or ()


def _to_texts(tune: Mapping[str, Sequence[Any]]) -> list[str]:
    return [f"{key}={','.join(format_inline(value) for value in values)}" for key, values in tune.items()]


def _refuse_beside_runs(**given: object) -> None:
    if named := [name for name, value in given.items() if value]:
        raise UsageError(f"runs: compares what is there; {', '.join(named)} has no meaning beside it")
