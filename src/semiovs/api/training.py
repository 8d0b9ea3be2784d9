"""`semiovs.train` and `semiovs.resume`: trainings, and the run that is their result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import torch

from semiovs.api.evaluate import evaluate
from semiovs.api.session import session
from semiovs.api.settings import Setting, Source, load, split
from semiovs.api.teacher import Place
from semiovs.engine import training
from semiovs.engine.dry_run import dry_run as rehearse
from semiovs.engine.dry_run import format_dry_run
from semiovs.engine.run import Run
from semiovs.engine.run_scores import RunScores
from semiovs.files import parse_json
from semiovs.inference import Predictor
from semiovs.report.table import Table, render_lines


@dataclass(frozen=True)
class TrainedRun:
    """A run that was trained to its end.

    directory: of the run; step: the last one; last: mIoU of each model (student, ema) there, in percent; best: `model`,
    `step` and `miou` of the best evaluation; None without evaluation images.
    """

    directory: Path
    step: int
    last: Mapping[str, float]
    best: Mapping[str, Any] | None

    def table(self) -> Table:
        """IoU of each class in percent, at the best and at the last step; None for a class that is in no mask."""
        if self.best is None:
            return Table()
        scores = parse_json(Run(self.directory).evaluation.read_text("utf-8"))
        best, last = scores["best"], scores["last"][self.best["model"]]
        columns = {"best": best, "last": last}
        return Table(
            {"class": name, **{k: None if name in row["absent"] else row["iou"][name] for k, row in columns.items()}}
            for name in last["iou"]
        )

    def predictor(self, *, which: str | None = None, device: torch.device | str = "auto", **settings: Any) -> Predictor:
        """The best checkpoint as a function that segments images, as `Predictor.load`."""
        return Predictor.load(self.directory, which=which, device=device, **settings)

    def evaluate(self, *settings: Setting, **how: Any) -> RunScores:
        """Score its checkpoints, as `semiovs.evaluate`."""
        return evaluate(self.directory, *settings, **how)

    def __str__(self) -> str:
        lines = [f"{name}: mIoU {miou:.2f} at the end (step {self.step})" for name, miou in self.last.items()]
        if self.best is not None:
            lines.append(f"best: {self.best['model']} mIoU {self.best['miou']:.2f} at step {self.best['step']}")
        return "\n".join([*lines, f"run: {self.directory}"])

    def _repr_html_(self) -> str:
        return render_lines(str(self).splitlines()) + (self.table()._repr_html_() if self.best else "")


@overload
def train(
    config: Source | None = None,
    *settings: Setting,
    dry_run: Literal[False] = False,
    overwrite: bool = False,
    progress: bool = True,
) -> TrainedRun: ...


@overload
def train(
    config: Source | None = None,
    *settings: Setting,
    dry_run: Literal[True],
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]: ...


def train(
    config: Source | None = None,
    *settings: Setting,
    dry_run: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> TrainedRun | dict[str, Any]:
    """Train into a run directory, as ``semiovs train``; a notebook shows the IoU of each class.

    config: preset (``"pascal/92"``), YAML file, folder with a semiovs.yaml, or a mapping of sections or dotted keys;
    settings: ``"train.steps=100"`` or mappings, on top; dry_run: check the data, take three steps and return shapes,
    memory and time instead, writing nothing; overwrite: replace an existing run in `run.dir`; progress: print lines on
    standard error (log.txt of the run has them in any case).

    The stop button of a notebook (SIGINT) ends it with a checkpoint, from which `semiovs.resume` goes on; pressed
    twice, it ends at once with KeyboardInterrupt. Trainings of one process wait for each other.

    Raises:
        ConfigError, UsageError, DataError, WeightsError, MissingExtraError: problems before step 0;
        DivergedError: the loss is not finite any more; PreemptedError, InterruptedRunError: a signal.
    """
    loaded = load(config, settings)
    with session(progress=progress, trains=True) as call:
        if dry_run:
            found = rehearse(loaded.config)
            call.say(format_dry_run(found))
            return found
        command = _describe_call("train", config, settings)
        return _conclude(training.train(loaded, command, overwrite=overwrite, host=call.host))


def resume(run: Place, *settings: Setting, changed_data: bool = False, progress: bool = True) -> TrainedRun:
    """Continue a run that was stopped, as ``semiovs resume``; on a CPU the result is the same bit for bit.

    settings: those that do not affect the result, such as `data.root` or `train.device`; changed_data: go on with other
    images or masks.

    Raises:
        UsageError, WeightsError, ConfigError, DataError: as `semiovs.engine.training.resume`; others as `train`.
    """
    _, overrides = split(None, settings)
    with session(progress=progress, trains=True) as call:
        command, directory = _describe_call("resume", run, settings), Path(run).expanduser()
        return _conclude(training.resume(directory, overrides, command, changed_data=changed_data, host=call.host))


def _conclude(result: training.TrainingResult) -> TrainedRun:
    return TrainedRun(result.directory, result.step, result.last, result.best)


def _describe_call(function: str, first: object, settings: Sequence[Setting]) -> list[str]:
    """For command.txt of the run."""
    given = [repr(each) for each in (first, *settings) if each is not None]
    return [f"semiovs.{function}({', '.join(given)})"]
