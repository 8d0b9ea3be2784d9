"""Everything that takes the rows and pictures of a run: its files, the console, loggers, and the guards."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from PIL import Image

from semiovs.config.load import flatten
from semiovs.config.run_section import RunSection
from semiovs.data.collection import Collection
from semiovs.engine.distributed import World
from semiovs.engine.experiment import Experiment
from semiovs.engine.guards import Guards, NoteWriter, Watched
from semiovs.engine.host import Host
from semiovs.engine.run import Run, read_metrics
from semiovs.engine.writers import ConsoleWriter, JsonLinesWriter, RowWriter
from semiovs.errors import SemiovsError
from semiovs.evaluation import Example
from semiovs.images.manifest import Manifest
from semiovs.loggers.choice import Loggers, choose_loggers
from semiovs.loggers.logger import LoggedRun
from semiovs.loggers.pictures import draw_ood_images, draw_pair, spread

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunWriters:
    """What a rank writes: by default, and on all ranks but 0, nothing.

    rows: writers of rows; loggers: those of them that take pictures too, of images in `images`.
    """

    rows: Sequence[RowWriter] = ()
    loggers: Loggers | None = None
    images: Collection | None = None

    def show_examples(self, step: int, examples: Sequence[Example]) -> None:
        """Log evaluation images, each with its prediction (left) and its truth (right)."""
        if self.loggers is None or self.images is None:
            return
        pictures: dict[str, Image.Image] = {}
        for example in examples:
            try:
                photo = self.images.images.read_preview(example.record.image)
            except SemiovsError as error:  # it was read a moment ago: a disk that comes and goes
                log.warning("no picture of an evaluation image: %s", error)
                continue
            colors = self.images.vocabulary.colors
            pictures[f"evaluation/{example.record.id}"] = draw_pair(photo, example.predicted, example.truth, colors)
        self.loggers.write_images(step, pictures)


def make_writers(experiment: Experiment, run: Run, stack: ExitStack, host: Host) -> RunWriters:
    """Writers of rank 0, which `stack` closes; a new run begins with its OOD images and the notes on its data."""
    config, step = experiment.config, experiment.learner.step
    rows: list[RowWriter] = [JsonLinesWriter(run.metrics)]
    if host.shows:
        rows.append(stack.enter_context(ConsoleWriter(experiment.recipe.total_steps)))
    logged = LoggedRun(run.directory, step, flatten(config))
    loggers = stack.enter_context(Loggers(choose_loggers(config.run), logged))
    notes = NoteWriter(Guards(_watch(experiment)), rows[0], read_metrics(run.metrics))
    if step == 0:
        for note in experiment.notes:
            notes.tell(note, 0, on="data")
        loggers.write_images(0, _draw_ood(experiment))
    return RunWriters([*rows, loggers, notes], loggers, experiment.sources)


def choose_shown(images: Manifest, config: RunSection, world: World) -> list[str]:
    """Ids of the evaluation images that loggers show, evenly spread over those that rank 0 evaluates; none without
    loggers.
    """
    if not choose_loggers(config):
        return []
    return [record.id for record in spread(images[:: world.size], config.log_images)]


def _draw_ood(experiment: Experiment) -> Mapping[str, Image.Image]:
    config = experiment.config
    most = config.run.log_images if choose_loggers(config.run) else 0
    return {f"ood/{name}": picture for name, picture in draw_ood_images(experiment.sources, config, most)}


def _watch(experiment: Experiment) -> Watched:
    method, config, sources = experiment.learner.method, experiment.config, experiment.sources
    arms = ["labels"]
    arms += ["unlabeled"] if method.reads_unlabeled and sources.unlabeled else []
    arms += ["ood"] if config.ood is not None else []
    options = config.method.options
    return Watched(
        experiment.recipe.total_steps,
        experiment.default_model,
        threshold=options.get("conf_thresh") != 0,
        unweighted=options.get("class_weights", ()) is None,
        arms=arms,
    )
