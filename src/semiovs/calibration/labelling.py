"""Label images with a teacher, calibrated or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from semiovs.calibration.calibration import Calibration
from semiovs.calibration.learning import find_units, list_labeled
from semiovs.config import Config
from semiovs.data.collection import Collection
from semiovs.engine.labelling import LabellingReport, LabellingTask, resolve_teacher, run_labelling
from semiovs.engine.teacher_choice import Agree, TeacherChoice
from semiovs.errors import DataError, UsageError
from semiovs.ovs.base import OpenVocabModel
from semiovs.progress import Say
from semiovs.registry import DATASETS, TEACHERS, lookup

#: Asks a teacher about a task, as `run_labelling`.
Run = Callable[..., LabellingReport | None]


def label_with(
    asked: TeacherChoice,
    task: LabellingTask,
    config: Config,
    *,
    calibration: Path | None = None,
    agree: Agree,
    say: Say,
    run: Run = run_labelling,
    **how: Any,
) -> LabellingReport | None:
    """Ask a teacher about the images of a task; None on all processes but the main one.

    calibration: file of `semiovs calibrate`; agree, say: as `TeacherChoice.resolve`; run: what asks it, `run_labelling`
    or one with the same arguments on another engine; how: as `run`.

    Raises:
        DataError: the calibration is of another teacher or of other classes; others as `TeacherChoice.resolve`,
        `TeacherChoice.build` and `run_labelling`.
    """
    fitted = None if calibration is None else Calibration.load(calibration)
    if fitted is not None:
        with _name_file(calibration):  # the concepts that it was fitted with
            task = replace(task, vocabulary=fitted.vocabulary_for(task.vocabulary))
    choice = resolve_teacher(asked, task, config, agree=agree, say=say)

    def build() -> tuple[OpenVocabModel, dict[str, Any]]:
        if task.alone and choice.name in TEACHERS and getattr(TEACHERS[choice.name].load(), "learns", False) is True:
            raise _refuse_alone(choice.name)  # before any weights are asked for
        model = choice.build()
        if model.learns:
            model = _teach(model, choice.name, task, config)
        if fitted is not None:
            with _name_file(calibration):
                model = fitted.applied_to(choice.name, model)
        return model, {"name": choice.name, **model.describe()}

    return run(task, build, say=say, **how)


def _teach(model: OpenVocabModel, name: str, task: LabellingTask, config: Config) -> OpenVocabModel:
    """A teacher that has learnt from the labelled images of the configuration."""
    if task.alone:
        raise _refuse_alone(name)
    found: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data).labeled()
    return model.learn(list_labeled(found, find_units(found, copies=True)), task.vocabulary)


def _refuse_alone(name: str) -> UsageError:
    return UsageError(
        f"teacher '{name}' learns from labelled images: name a configuration with data.labeled (semiovs label "
        f"CONFIG --images DIR --out DIR --teacher {name}); `semiovs init FOLDER` writes one"
    )


@contextmanager
def _name_file(path: Path | None) -> Iterator[None]:
    """Put the name of the file before the errors raised inside."""
    try:
        yield
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from None
