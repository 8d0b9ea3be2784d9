"""A comparison: its plan, each training that was begun, and results.json beside what the trainings found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semiovs.comparison.cell_files import FACTS, read_facts, require_same_settings
from semiovs.comparison.plan import BASE, PLAN, Cell, Plan
from semiovs.comparison.results import ArmResult, describe_arm, read_arms
from semiovs.comparison.teacher_scores import FOLDER, read_teacher_scores
from semiovs.comparison.tuned_settings import FILE, read_tuned
from semiovs.engine.run import Run
from semiovs.errors import SemiovsError
from semiovs.files import parse_json
from semiovs.integrity.inspection import Inspection, type_command
from semiovs.integrity.label_store import check_store
from semiovs.integrity.leftovers import note_leftovers
from semiovs.integrity.run_directory import check_run

RESULTS = "results.json"
_GO_ON = "# the same `semiovs compare` goes on with it"


def check_comparison(root: Path, *, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Look into a comparison; progress: called with the trainings done and in total."""
    found = Inspection(root, "comparison")
    plan = _read_plan(root, found)
    if plan is None:
        return found
    cells = plan.cells()
    finished = []
    for done, cell in enumerate(cells, 1):
        finished += [cell.name] if _check_cell(plan, cell, found) else []
        if progress is not None:
            progress(done, len(cells))
    _check_further(plan, found)
    if found.is_whole and finished:
        _check_results(plan, found)
    note_leftovers(root, found, deep=False)
    return found


def _read_plan(root: Path, found: Inspection) -> Plan | None:
    """The plan, if it and the shared configuration can be read; else these are findings."""
    file, restore = root / PLAN, "# restore it from a backup; the trainings in runs/ are runs of their own"
    try:
        plan = Plan.read(root)
        file = root / BASE
        _ = plan.base
    except SemiovsError as error:
        found.add("damage", file, str(error).partition("\n")[0], restore)
        return None
    found.checked += 2
    lists = {path for keys in plan.lists.values() for path in keys.values()}
    for path in sorted(root / path for path in lists):
        found.checked += 1
        if not path.is_file():
            found.add("damage", path, f"is not there, but {PLAN} names it", restore)
    return plan


def _check_cell(plan: Plan, cell: Cell, found: Inspection) -> bool:
    """Look into a training; whether it is finished."""
    run = Run(plan.directory(cell))
    if not run.directory.exists() or not any(run.directory.iterdir()):
        found.add("unfinished", run.directory, "was not begun yet", _GO_ON)
        return False
    again = f"# remove {run.directory}, and the same `semiovs compare` trains it again"
    inside = check_run(run.directory, again=again)
    inside.findings = [each for each in inside.findings if each.harm != "unfinished" or each.file == run.lock]
    found.take(inside)
    try:
        require_same_settings(plan, cell)
    except SemiovsError as error:
        if inside.is_whole:  # else the configuration cannot be read, which is said
            found.add("damage", run.config, str(error).partition(f"; remove {run.directory}")[0], again)
        return False
    try:
        facts = read_facts(run.directory)
    except SemiovsError as error:
        found.add("damage", run.directory / FACTS, str(error).partition(f"; remove {run.directory}")[0], again)
        return False
    if facts is None:
        what = "is trained, but not yet counted" if run.model.is_file() else "is not finished"
        found.add("unfinished", run.directory, what, _GO_ON)
        return False
    if not run.model.is_file():
        found.add("damage", run.model, "is not there, but the training is finished", again)
    return True


def _check_further(plan: Plan, found: Inspection) -> None:
    """What was tried for the arms, and what the teacher said of the evaluation images."""
    if (plan.root / FOLDER).is_dir():
        found.take(check_store(plan.root / FOLDER))
    for file, read in ((plan.root / FILE, read_tuned), (plan.root / FOLDER / "counts.npz", read_teacher_scores)):
        if not file.is_file():
            continue
        found.checked += 1
        try:
            read(plan.root)
        except SemiovsError as error:
            found.add("damage", file, str(error).partition("\n")[0], f"# remove {file}, and the same command goes on")


def _check_results(plan: Plan, found: Inspection) -> None:
    """Compare results.json with what the trainings found."""
    path, report = plan.root / RESULTS, type_command("report", plan.root)
    arms, missing = read_arms(plan)
    if not path.is_file():
        if arms:
            found.add("unfinished", path, "is not there, but trainings are finished", report)
        return
    found.checked += 1
    try:
        told = parse_json(path.read_text("utf-8"))
        recorded = {str(arm["name"]): arm for arm in told["arms"]}
        seeds = {name: list(arm["seeds"]) for name, arm in recorded.items()}
        classes = {name: list(arm["iou"]) for name, arm in recorded.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found.add("damage", path, f"cannot be read: {error!r}", report)
        return
    there = {arm.arm.name: arm for arm in arms}
    for name in recorded.keys() - there.keys():
        found.add("damage", path, f"tells of arm '{name}', of which no training is finished", report)
    for name, arm in there.items():
        known = name in recorded and seeds[name] == [seed.seed for seed in arm.seeds]
        if lost := set(seeds.get(name, ())) - {seed.seed for seed in arm.seeds}:
            found.add("damage", path, f"tells of seed {min(lost)} of arm '{name}', which is not finished", report)
        elif not known:
            found.add("harmless", path, f"does not know all finished trainings of arm '{name}' yet", report)
        elif not _agrees(recorded[name], arm, classes[name]):
            found.add("damage", path, f"arm '{name}' is not what its trainings found", report)
    if set(map(str, told.get("missing") or ())) != set(missing) and not found.damage:
        found.add("harmless", path, "names other trainings as missing than are missing now", report)


def _agrees(recorded: Mapping[str, Any], arm: ArmResult, classes: Sequence[str]) -> bool:
    if len(classes) != arm.seeds[0].areas.classes:
        return False
    now = describe_arm(arm, classes)
    return all(recorded.get(key) == value for key, value in now.items() if key != "seconds_each")
