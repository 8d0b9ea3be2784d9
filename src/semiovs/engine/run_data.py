"""The data of a run are part of the run: kept when it starts, compared when it goes on."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semiovs.config import load_config
from semiovs.config.schema import Config
from semiovs.engine.data_fingerprint import DataFingerprint, find_usual_size
from semiovs.engine.experiment import Experiment
from semiovs.engine.run import Run
from semiovs.engine.writers import JsonLinesWriter
from semiovs.errors import DataError, SemiovsError
from semiovs.registry import DATASETS, lookup
from semiovs.vocab.vocabulary import Vocabulary

log = logging.getLogger(__name__)


def keep_data(experiment: Experiment, run: Run) -> Experiment:
    """Write the fingerprint of the data into the run; return the experiment with its digest."""
    return _with_digest(experiment, _take(experiment, run))


def require_same_data(experiment: Experiment, run: Run, state: Mapping[str, Any], *, changed_data: bool) -> Experiment:
    """Require the images and masks that the run of a checkpoint was started with; return the experiment with their
    digest.

    changed_data: with others, say so in the run's log and metrics, and go on. A run of a version that kept no
    fingerprint goes on with one line.

    Raises:
        DataError: other images or masks; names what is different.
    """
    digest, problem = "", None
    if experiment.world.is_main:
        try:
            digest = _compare(experiment, run, state, changed_data=changed_data)
        except SemiovsError as error:
            problem = error
    digest, problem = experiment.world.broadcast((digest, problem))
    if problem is not None:
        raise problem
    return _with_digest(experiment, digest)


def require_root(config: Config, run: Run) -> None:
    """Raise DataError if the folder of the data is gone."""
    root = Path(config.data.root).expanduser()
    if config.data.name == "folder" and not root.exists():
        raise DataError(
            f"{root}: the data of this run are not there any more; if they were moved: semiovs resume {run.directory} "
            f"data.root=DIR"
        )


def find_training_size(source: Path) -> tuple[int, int] | None:
    """Usual (width, height) of the labelled images of a run: of its directory, or of a file in it; None if it is not
    known.
    """
    for folder in (source, *source.resolve().parents[:2]):
        found = DataFingerprint.read(folder / "data.json")
        if found is not None:
            return found.size
    return None


def describe_other_size(trained: tuple[int, int] | None, images: Sequence[Path]) -> str | None:
    """One line if the usual size of `images` is at least twice or at most half of that of the training images; else
    None.
    """
    now = find_usual_size(images) if trained else None
    if trained is None or now is None:
        return None
    factor = math.sqrt(now[0] * now[1] / (trained[0] * trained[1]))
    if 0.5 < factor < 2:
        return None
    return (
        f"the images are about {now[0]}x{now[1]} pixels, those of the training were about {trained[0]}x{trained[1]}: "
        f"objects "
        f"{factor:.1f} times their size are expected to be found less well (eval.short_side resizes them)"
    )


def describe_other_classes(source: Path, trained: Vocabulary) -> str | None:
    """One line if the data of the run that `source` is, or is a file of, have other classes today than those that its
    weights were trained on; else None.
    """
    folder = next((f for f in (source, *source.resolve().parents[:2]) if (f / "config.yaml").is_file()), None)
    if folder is None:
        return None
    try:
        data = load_config(str(folder)).config.data
        now = lookup(DATASETS, data.name, kind="data set").load()(data).vocabulary()
    except SemiovsError:  # they are not needed to predict
        return None
    if difference := now.difference(trained):
        return (
            f"{folder / 'config.yaml'} has other classes today than the model was trained on: {difference}; the "
            "results have those of the training"
        )
    return None


def _take(experiment: Experiment, run: Run) -> str:
    """The digest of the data, on all ranks, after the main process wrote their fingerprint."""
    digest, problem = "", None
    if experiment.world.is_main:
        try:
            found = DataFingerprint.of(experiment.sources)
            found.write(run.data)
            digest = found.digest
        except SemiovsError as error:
            problem = error
    digest, problem = experiment.world.broadcast((digest, problem))
    if problem is not None:
        raise problem
    return digest


def _compare(experiment: Experiment, run: Run, state: Mapping[str, Any], *, changed_data: bool) -> str:
    now, kept, recorded = DataFingerprint.of(experiment.sources), DataFingerprint.read(run.data), state.get("data")
    if kept is None and not recorded:
        log.info("this run kept no fingerprint of its data: whether they are still the same cannot be told")
    elif now.digest not in {kept.digest if kept else None, recorded}:
        _report_changes(run, int(state["step"]), _tell(kept, now, run), changed_data=changed_data)
    if kept is None or kept.digest != now.digest:
        now.write(run.data)
    return now.digest


def _tell(kept: DataFingerprint | None, now: DataFingerprint, run: Run) -> list[str]:
    if kept is None:
        return [f"what is different cannot be told, because {run.data} is missing or damaged"]
    return kept.differences(now)


def _report_changes(run: Run, step: int, changes: Sequence[str], *, changed_data: bool) -> None:
    if not changed_data:
        raise DataError(
            f"{run.directory}: its data are not those that it was started with: {'; '.join(changes)}; bring them back, "
            f"or name "
            "them with data.root=DIR, or go on with other data, which is not the same run any more: --changed-data"
        )
    run.cut_metrics(step)
    log.warning("from step %d on this is not the same run any more: other data: %s", step, "; ".join(changes))
    JsonLinesWriter(run.metrics).write({"kind": "data", "step": step, "changes": list(changes)})


def _with_digest(experiment: Experiment, digest: str) -> Experiment:
    return replace(experiment, identity=replace(experiment.identity, data=digest))
