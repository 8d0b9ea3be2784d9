"""Train or resume a run: set up the loop with its hooks, and write the final evaluation and weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from semiovs.config import LoadedConfig, load_config
from semiovs.config.schema import Config
from semiovs.control_characters import escape_lines
from semiovs.data import LoadingStoppedError
from semiovs.data.collection import Collection
from semiovs.engine.before_training import describe_class_weights, describe_rare_classes
from semiovs.engine.checkpoint import Checkpoints, Retention
from semiovs.engine.checkpoint_state import require_same_run, restore
from semiovs.engine.distributed import World, identify_launch, join_processes
from semiovs.engine.experiment import Experiment
from semiovs.engine.explanations import explain_metrics
from semiovs.engine.hooks import CheckpointHook, EstimateHook, EvaluationHook, HeldOutHook, LogHook, StopHook
from semiovs.engine.host import COMMAND, Host
from semiovs.engine.loop import SCORES, Hook, Learner, fit
from semiovs.engine.rehearsal import FEWEST, Score, Scored, rehearse
from semiovs.engine.run import Run, read_metrics
from semiovs.engine.run_choice import choose_run, find_begun_run
from semiovs.engine.run_data import find_training_size, keep_data, require_root, require_same_data
from semiovs.engine.run_writers import RunWriters, choose_shown, make_writers
from semiovs.engine.signals import StopSignals
from semiovs.errors import ResourcesError, SemiovsError, WeightsError, is_out_of_memory
from semiovs.evaluation import EvaluationStoppedError, evaluate
from semiovs.files import write_json, write_text
from semiovs.images.manifest import Manifest
from semiovs.loggers.choice import choose_loggers
from semiovs.models.weights import load_model, save_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingResult:
    """Result of a run.

    last: mIoU of each model at the end, in percent; best: of the default model, with its step; images: trained with.
    """

    directory: Path
    step: int
    last: Mapping[str, float]
    best: Mapping[str, Any] | None
    images: Collection

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        best = None if self.best is None else dict(self.best)
        return {"run": str(self.directory), "step": self.step, "last": dict(self.last), "best": best}


def train(
    loaded: LoadedConfig,
    command: Sequence[str],
    *,
    overwrite: bool = False,
    go_on: bool = False,
    host: Host = COMMAND,
) -> TrainingResult:
    """Train a configuration in a new run directory, or resume it after `torchrun` restarted the processes.

    go_on: resume what lies in `run.dir` already, whoever began it.

    Raises:
        UsageError: the run directory exists; DataError, WeightsError, ConfigError: problems found before step 0;
        MissingExtraError: a logger that is asked for is not installed.
        DivergedError, PreemptedError, InterruptedRunError: see `semiovs.errors`.
    """
    config = loaded.config
    choose_loggers(config.run)
    with join_processes(config.train.device) as world:
        run = find_begun_run(config, world, go_on=go_on)
        if run is not None:
            with _writing(run, world):
                if go_on and world.is_main:
                    run.note_command(command)
                return _train(_build_continued(config, run, world), run, host)
        run = choose_run(config, world)
        overwrite = overwrite or config.run.overwrite
        if world.is_main:
            run.check_free(overwrite=overwrite)
        experiment = Experiment.build(config, world)
        with run.writing() if world.is_main else nullcontext():
            if world.is_main:
                measured = loaded.replace_measured(experiment.config).dump()
                Run.create(run.directory, measured, command, overwrite=overwrite, launch=identify_launch())
                if config.run.dir is None:
                    run.point_latest()
            world.barrier()
            with _log_to_run(run, world):
                return _train(keep_data(experiment, run), run, host)


def resume(
    directory: Path,
    overrides: Sequence[str],
    command: Sequence[str],
    *,
    changed_data: bool = False,
    host: Host = COMMAND,
) -> TrainingResult:
    """Continue a run from its newest valid checkpoint; `overrides` may change `CHANGEABLE_KEYS`.

    changed_data: go on even if images or masks are not those that the run was started with.

    Raises:
        UsageError: no run there, or another process writes to it; WeightsError: no valid checkpoint, or of other
        classes or another model; ConfigError: a key that affects results differs; DataError: other images or masks.
        Others as `train`.
    """
    run = Run.open(directory)
    if not run.checkpoints.is_dir() or not any(run.checkpoints.glob("step-*.pt")):
        raise WeightsError(f"{directory}: no checkpoint yet; start anew with semiovs train --overwrite")
    loaded = load_config(str(run.config), overrides)
    choose_loggers(loaded.config.run)
    with join_processes(loaded.config.train.device) as world, _writing(run, world):
        experiment = _build_continued(loaded.config, run, world, changed_data=changed_data)
        if world.is_main:
            run.note_command(command)
            if overrides:
                write_text(run.config, loaded.dump())
        return _train(experiment, run, host)


def _build_continued(config: Config, run: Run, world: World, *, changed_data: bool = False) -> Experiment:
    require_root(config, run)
    experiment = Experiment.build(config, world, check=False)
    state = _open_checkpoints(config, run).load_newest()
    if state is None:  # stopped before the first checkpoint
        log.info("no checkpoint yet: the run begins at step 0")
        return keep_data(experiment, run)
    require_same_run(state, experiment.identity)
    experiment = require_same_data(experiment, run, state, changed_data=changed_data)
    if state["world_size"] != world.size:
        log.warning(
            "the run had %d process(es), now it has %d: it goes on, but not bit for bit as before",
            state["world_size"],
            world.size,
        )
    restore(experiment.learner, state, world.device, world.rank)
    log.info("continuing after step %d of %d", experiment.learner.step, experiment.recipe.total_steps)
    return experiment


def _open_checkpoints(config: Config, run: Run) -> Checkpoints:
    train = config.train
    kept = Retention(train.keep_last, train.keep_every, train.keep_best, train.keep_gib)
    return Checkpoints(run.checkpoints, kept)


def _train(experiment: Experiment, run: Run, host: Host) -> TrainingResult:
    world, learner = experiment.world, experiment.learner
    log.info("%s", experiment.summary())
    names = experiment.sources.vocabulary.names
    weights = describe_class_weights(experiment.config, names)
    for line in filter(None, (weights, describe_rare_classes(experiment.stream.augment.rare, names))):
        log.info("%s", line)
    checkpoints = _open_checkpoints(experiment.config, run)
    learner.guard.last_good = lambda: _to_text(checkpoints.newest_path())
    if world.is_main:
        run.sweep()
        checkpoints.sweep()
        checkpoints.continue_from(learner.step, learner.best.step if learner.best else None)
        run.cut_metrics(learner.step, pending=[kind for kind in SCORES if learner.scored.get(kind) != learner.step])
    world.barrier()
    with ExitStack() as stack:
        stack.enter_context(explain_out_of_memory(experiment))
        told = _tell_time(experiment)
        writers = make_writers(experiment, run, stack, host) if world.is_main else RunWriters()
        hooks, stop = _make_hooks(experiment, run, checkpoints, writers, stack.enter_context(StopSignals(host=host)))
        if not told:
            hooks.insert(0, EstimateHook(experiment.recipe, world))
        accumulate = experiment.recipe.accumulate
        batches = experiment.batches(partial(stop.stops_waiting, learner, accumulate))
        try:
            _make_pending_scores(learner, hooks)
            with closing(batches):
                fit(learner, batches, experiment.recipe, world, hooks)
        except EvaluationStoppedError:
            raise stop.stop_scoring(learner) from None
        except LoadingStoppedError as stopped:
            raise stop.make_error(learner, accumulate, stopped.step) from None
    return _finish(experiment, run)


def _tell_time(experiment: Experiment) -> bool:
    """Say how long the training will take, unless it is too short to find that out before."""
    if experiment.recipe.total_steps - experiment.learner.step < FEWEST:
        return False
    log.info("%s", rehearse(experiment, list_scored(experiment), make_score(experiment)))
    return True


def list_scored(experiment: Experiment) -> Scored:
    """What an evaluation of this training scores: images, and a model."""
    method = experiment.learner.method
    models = {HeldOutHook.kind: [method.student], EvaluationHook.kind: [*method.models().values()]}
    return [(images, each) for kind, images in _choose_scored(experiment).items() for each in models[kind]]


def make_score(experiment: Experiment) -> Score:
    """What scores a model on images, as an evaluation of this training does."""
    return partial(_evaluate_model, experiment, lambda: False)


def _choose_scored(experiment: Experiment) -> dict[str, Manifest]:
    """Kind of evaluation -> the images that are scored."""
    sources, found = experiment.sources, dict[str, Manifest]()
    if sources.held_out and experiment.learner.method.watches_held_out:
        found[HeldOutHook.kind] = sources.held_out
    if sources.val:
        found[EvaluationHook.kind] = sources.val[: experiment.config.eval.max_images]
    return found


def _make_pending_scores(learner: Learner, hooks: Sequence[Hook]) -> None:
    """Make the evaluations that the last step of a resumed run lacks, because the run was stopped in them."""
    before = dict(learner.scored)
    for hook in hooks:
        if isinstance(hook, EvaluationHook | HeldOutHook) or (
            isinstance(hook, CheckpointHook) and learner.scored != before
        ):
            hook(learner)


def _make_hooks(
    experiment: Experiment, run: Run, checkpoints: Checkpoints, writers: RunWriters, signals: StopSignals
) -> tuple[list[Hook], StopHook]:
    recipe, world, config, total = experiment.recipe, experiment.world, experiment.config, experiment.recipe.total_steps
    save = CheckpointHook(checkpoints, experiment.identity, world, every=config.train.save_every, total_steps=total)
    stop = StopHook(signals, save, world, total_steps=total)
    log_line = LogHook(
        recipe,
        world,
        writers.rows,
        every=config.train.log_every,
        images=experiment.images_per_step,
        classes=experiment.sources.vocabulary.names,
    )
    hooks: list[Hook] = [log_line]
    often: dict[str, Any] = {"every": experiment.eval_every, "total_steps": total}
    evaluator, images = partial(_evaluate_model, experiment, stop.stops_scoring), _choose_scored(experiment)
    if found := images.get(HeldOutHook.kind):
        hooks.append(HeldOutHook(partial(evaluator, found), writers.rows, **often))
    if found := images.get(EvaluationHook.kind):
        often |= {"default": experiment.default_model, "keep": run.keep_counts if world.is_main else None}
        often["show"] = writers.show_examples
        shown = choose_shown(found, config.run, world)
        hooks.append(EvaluationHook(partial(evaluator, found, shown=shown), writers.rows, **often))
    elif world.is_main:
        log.info("no evaluation images (data.val): the run ends without a score")
    return [*hooks, save, stop], stop


def _evaluate_model(
    experiment: Experiment,
    stopping: Callable[[], bool],
    images: Manifest,
    model: nn.Module,
    *,
    shown: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores of one model on `images` in percent, as the fields of a row; shown: ids of images that become examples."""
    config, world, sources = experiment.config, experiment.world, experiment.sources
    with world.sharing_buffers(model):
        found = evaluate(
            model,
            images,
            masks=sources.masks,
            images=sources.images,
            normalization=experiment.learner.method.student.normalization,
            settings=config.eval,
            crop_size=config.data.crop_size,
            device=world.device,
            rank=world.rank,
            world_size=world.size,
            autocast=experiment.recipe.precision.autocast,
            stopping=stopping,
            shown=shown,
        )
    values = found.as_json(sources.vocabulary.names)
    values["wall/seconds"] = values.pop("seconds")
    assert found.by_image is not None
    predicted = found.by_image.areas()[1].sum(axis=0)
    missed = [name for name, pixels in zip(sources.vocabulary.names, predicted.tolist(), strict=True) if not pixels]
    return {**values, "unpredicted": missed, "by_image": found.by_image, "examples": found.examples}


def _finish(experiment: Experiment, run: Run) -> TrainingResult:
    """Write eval.json and model.safetensors (of the best evaluation, where there was one)."""
    learner = experiment.learner
    metrics = read_metrics(run.metrics)
    rows = [row for row in metrics if row["kind"] == "eval" and {"model", "miou"} <= row.keys()]
    last = {str(row["model"]): row for row in rows if row["step"] == learner.step}
    best = next((row for row in rows if learner.best and row["step"] == learner.best.step and row.get("best")), None)
    if experiment.world.is_main:
        for line in explain_metrics(metrics):
            log.info("%s", line)
        if rows:
            write_json(run.evaluation, {"last": last, "best": best})
        segmenter, card = load_model(run.directory, which=experiment.default_model)
        chosen: dict[str, Any] = {"model": experiment.default_model, "miou": best["miou"] if best else None}
        if size := find_training_size(run.directory):
            chosen["image_size"] = list(size)
        save_model(run.model, segmenter, replace(card, training={**card.training, **chosen}))
    experiment.world.barrier()
    summary = None if best is None else {"model": best["model"], "step": best["step"], "miou": best["miou"]}
    scores = {name: float(row["miou"]) for name, row in last.items()}
    return TrainingResult(run.directory, learner.step, scores, summary, experiment.sources)


@contextmanager
def explain_out_of_memory(experiment: Experiment) -> Iterator[None]:
    """Turn an out-of-memory error, on a GPU or the CPU, into one line of advice."""
    learner, train = experiment.learner, experiment.config.train
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        on_gpu = experiment.world.device.type == "cuda" and not isinstance(error, MemoryError)
        half = ", or take train.precision=bf16" if on_gpu and experiment.recipe.precision.name == "fp32" else ""
        half += "" if train.recompute or train.compile else ", or train.recompute=encoder (slower, same numbers)"
        raise ResourcesError(
            f"out of {'GPU memory' if on_gpu else 'memory'} at step {learner.step} with train.batch_size="
            f"{train.batch_size} and data.crop_size={experiment.config.data.crop_size}: lower one of them "
            f"(train.accumulate keeps the total batch){half}"
        ) from None


def _to_text(path: Path | None) -> str | None:
    return None if path is None else str(path)


@contextmanager
def _writing(run: Run, world: World) -> Iterator[None]:
    """Be the only process (or launch) that writes to the run, with the program's log copied into it."""
    with run.writing() if world.is_main else nullcontext(), _log_to_run(run, world):
        yield


class _LogFormatter(logging.Formatter):
    """Lines for a terminal: names of files and classes must not steer the one that shows the log."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_lines(super().format(record))


@contextmanager
def _log_to_run(run: Run, world: World) -> Iterator[None]:
    """Copy the program's log into the run; other ranks than 0 log errors only."""
    logger = logging.getLogger("semiovs")
    before = logger.level
    if not world.is_main:
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(before)
        return
    handler = logging.FileHandler(run.log, encoding="utf-8")
    handler.setFormatter(_LogFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    except SemiovsError as error:  # the caller prints it; keep it in the run's log too
        handler.emit(logging.LogRecord("semiovs", logging.ERROR, __file__, 0, str(error), None, None))
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()
