"""How long the trainings of a comparison will take, from a few steps of each arm."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from semiovs.comparison.arms import Arm
from semiovs.comparison.plan import Cell, Plan
from semiovs.config import LoadedConfig
from semiovs.duration import format_duration
from semiovs.engine.dry_run import dry_run
from semiovs.progress import Progress

#: Seconds for the steps and the evaluation of one arm.
LIMIT = 9.0
#: An arm that needs labels costs a step as much as this one, which can do without.
_UNLABELED = ("ood.mode=naive", "ood.labels=null")


@dataclass(frozen=True)
class Forecast:
    """seconds: of one training of each arm, by its name; trainings: of each arm; is_bound: some steps took so long that
    not two of them were seen.
    """

    seconds: Mapping[str, float]
    trainings: int
    is_bound: bool = False

    @property
    def total(self) -> float:
        """Seconds of all trainings, one after the other."""
        return self.trainings * sum(self.seconds.values())

    def __str__(self) -> str:
        each = ", ".join(f"{name} {format_duration(seconds)}" for name, seconds in self.seconds.items())
        about = "at least" if self.is_bound else "about"
        return f"{about} {format_duration(self.total)} of training here, one at a time (each: {each})"


def forecast(plan: Plan, base: LoadedConfig, *, labels_follow: bool, progress: Progress) -> Forecast:
    """Take a few steps of each arm, in memory.

    base: the configuration that all arms share; labels_follow: the OOD images have no labels yet. Of folds, the
    evaluation is not in it.

    Raises:
        SemiovsError: as `dry_run`.
    """
    found, few = {}, False
    with tempfile.TemporaryDirectory() as scratch, quietly():
        here = replace(plan, root=Path(scratch), lists={})
        here.write(base)
        for done, arm in enumerate(plan.trained, start=1):
            further = _UNLABELED if labels_follow and _learns_from_labels(arm) else ()
            config = here.load(Cell(arm, plan.seeds[0]), further).config
            seen = dry_run(config, check=False, limit=LIMIT)
            found[arm.name], few = float(seen["seconds_in_all"]), few or not seen["timed_steps"]
            progress(done, len(plan.trained))
    return Forecast(found, len(plan.cells()) // len(plan.trained), few)


@contextmanager
def quietly() -> Iterator[None]:
    """What every arm would say alike stays unsaid."""
    logger = logging.getLogger("semiovs")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _learns_from_labels(arm: Arm) -> bool:
    return any(setting.startswith("ood.mode=") for setting in arm.settings)
