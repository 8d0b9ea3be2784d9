"""Tune all arms alike: each tries the same values on parts of the labelled images, and takes the best of them.

The evaluation images are not looked at: a baseline that was tuned less than its rival, or on the images that judge
both, makes the rival look good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semiovs.comparison.arms import Arm
from semiovs.comparison.image_lists import write_folds
from semiovs.comparison.plan import BASE, Plan
from semiovs.comparison.results import read_results
from semiovs.comparison.tuned_settings import Trial, choose_best, format_score, parse_tune, read_tuned, write_tuned
from semiovs.comparison.workers import Machine, Outcome, Progress, train_cells
from semiovs.config import LoadedConfig, load_config
from semiovs.config.load import find_differences
from semiovs.data.collection import Collection
from semiovs.errors import DivergedError
from semiovs.progress import Say

FOLDER = "tuning"
#: Parts of the labelled images: each is evaluated by a training on the others.
PARTS = 3


def tune_arms(
    plan: Plan, images: Collection, machine: Machine, progress: Progress, say: Say
) -> tuple[Plan, Outcome | None]:
    """Try the values of the plan in each arm that was not tuned yet; return the plan with the best of them, or the plan
    as it was and what is left.

    Raises:
        ConfigError: a key or value that does not exist; DivergedError: an arm that diverges with every value; and as
        `train_cells`.
    """
    tuned = read_tuned(plan.root)
    wanted = {arm.name: list_different(plan, arm) for arm in plan.trained if arm.name not in tuned}
    trials = _plan_trials(plan, images, {name: tries for name, tries in wanted.items() if len(tries) > 1})
    total = sum(len(trial.cells()) * trial.steps for trial in trials.values())
    scores: dict[tuple[str, tuple[str, ...]], float] = {}
    before = 0
    for settings, trial in trials.items():
        outcome = train_cells(trial, trial.cells(), machine, _shift(progress, before, total))
        if outcome.left:
            return plan, outcome
        before += len(trial.cells()) * trial.steps
        for result in read_results(trial, images.vocabulary.names).arms:
            scores[result.arm.name, settings] = result.score.mean
    for name, tries in wanted.items():
        tuned[name] = [Trial(each, scores.get((name, each))) for each in tries if len(tries) > 1]
        if tuned[name] and all(trial.miou is None for trial in tuned[name]):
            raise DivergedError(f"--tune: {name} diverges with every one of the values; give others")
        _tell(name, tuned[name], say)
    write_tuned(plan.root, tuned)
    return plan.with_tuned({name: tuned[name] for name in wanted}), None  # the others have theirs


def _shift(progress: Progress, start: int, total: int) -> Progress:
    return lambda done, _: progress(start + done, total)


def _tell(arm: str, trials: Sequence[Trial], say: Say) -> None:
    best = choose_best(trials)
    scores = "; ".join(f"{' '.join(trial.settings)}: {format_score(trial)}" for trial in trials)
    say(f"tuned {arm}: {' '.join(best)} ({scores})" if best else f"tuned {arm}: none of the values makes a difference")


def list_different(plan: Plan, arm: Arm) -> list[tuple[str, ...]]:
    """The combinations that make a difference in the arm: an OOD weight makes none where there are no OOD images."""
    found: list[tuple[tuple[str, ...], LoadedConfig]] = []
    for settings in parse_tune(plan.tune):
        loaded = load_config(str(plan.root / BASE), [*settings, *arm.settings])
        if all(find_differences(loaded, other) for _, other in found):
            found.append((settings, loaded))
    return [settings for settings, _ in found]


def _plan_trials(
    plan: Plan, images: Collection, wanted: Mapping[str, Sequence[tuple[str, ...]]]
) -> dict[tuple[str, ...], Plan]:
    """A comparison with folds for each combination of values, of the arms in which it makes a difference."""
    found: dict[tuple[str, ...], Plan] = {}
    for number, settings in enumerate(parse_tune(plan.tune)):
        arms = tuple(arm for arm in plan.trained if settings in wanted.get(arm.name, ()))
        if not arms:
            continue
        root = plan.root / FOLDER / f"{number:02d}"
        folds = min(PARTS, len(images.labeled))
        trial = Plan(root, arms, plan.seeds[:1], plan.steps, plan.steps, folds, group=plan.group)
        base = load_config(str(plan.root / BASE), settings)
        trial.require_free(base)
        trial.lists.update(write_folds(root, images, folds, group=plan.group))
        trial.write(base)
        found[settings] = trial
    return found
