"""Everything that takes the rows of a run: its files, the console, loggers, and the guards."""

from __future__ import annotations

from contextlib import ExitStack

from semiovs.config.load import flatten
from semiovs.engine.experiment import Experiment
from semiovs.engine.guards import Guards, NoteWriter, Watched
from semiovs.engine.host import Host
from semiovs.engine.run import Run, read_metrics
from semiovs.engine.writers import ConsoleWriter, JsonLinesWriter, RowWriter
from semiovs.loggers.choice import Loggers, choose_loggers
from semiovs.loggers.logger import LoggedRun


def make_writers(experiment: Experiment, run: Run, stack: ExitStack, host: Host) -> list[RowWriter]:
    """Writers of rank 0; stack: closes them."""
    config, step = experiment.config, experiment.learner.step
    writers: list[RowWriter] = [JsonLinesWriter(run.metrics)]
    if host.shows:
        writers.append(stack.enter_context(ConsoleWriter(experiment.recipe.total_steps)))
    logged = LoggedRun(run.directory, step, flatten(config))
    writers.append(stack.enter_context(Loggers(choose_loggers(config.run), logged)))
    notes = NoteWriter(Guards(_watch(experiment)), writers[0], read_metrics(run.metrics))
    if step == 0:
        for note in experiment.notes:
            notes.tell(note, 0, on="data")
    return [*writers, notes]


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
