"""Build everything that training needs from a configuration: images, model, method, optimisers, schedule."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from semiovs.audit.band_statistics import MOST, BandStatistics, list_training_images, measure_bands
from semiovs.audit.check import check_collection, count_pixels
from semiovs.config.schema import Config
from semiovs.data import (
    Batch,
    StepStream,
    choose_workers,
    loader,
    make_missing_views,
    normalize,
    require_shared_memory,
    steps_per_epoch,
)
from semiovs.data.collection import LABELED, Collection
from semiovs.data.label_source import ShuffledLabels
from semiovs.data.rare_classes import RareClasses
from semiovs.engine.before_training import Counts, fill_class_weights, look_ahead
from semiovs.engine.checkpoint_state import CheckpointIdentity, collect_settings
from semiovs.engine.distributed import World, count_local_processes
from semiovs.engine.finite_guard import FiniteGuard
from semiovs.engine.guards import Note
from semiovs.engine.loop import Learner, Recipe
from semiovs.engine.lr_schedule import Schedule, compute_lr_scale
from semiovs.engine.precision import Precision
from semiovs.errors import ConfigError, SemiovsError, WeightsError
from semiovs.images.readers import BandReader
from semiovs.methods import Method, build_method
from semiovs.methods.recompute import recompute_blocks
from semiovs.models import Normalization, Segmenter, build_segmenter
from semiovs.models.tiling import VIEWING
from semiovs.models.weights import ModelCard, find_model, load_model
from semiovs.registry import DATASETS, SEGMENTERS, lookup

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Epochs of a configuration that gives neither epochs nor steps.
DEFAULT_EPOCHS = 20

#: Keys of ``data`` that configure how views are made of images.
_VIEWS = {"crop_size", "scale", "fit", "pipeline", "look", "augment"}

#: Evaluations of a run whose configuration does not say how many.
MOST_EVALUATIONS = 20


@dataclass(frozen=True)
class Experiment:
    """All objects of one training on one process; only `learner` changes while training.

    default_model: the model that decides which evaluation is the best; notes: what the check of the data is to be told
    of, before step 0.
    """

    config: Config
    world: World
    sources: Collection
    stream: StepStream
    learner: Learner
    recipe: Recipe
    identity: CheckpointIdentity
    default_model: str
    notes: tuple[Note, ...] = ()

    @classmethod
    def build(cls, config: Config, world: World, *, check: bool = True) -> Experiment:
        """Check the data (unless `check` is off, as for a resumed run), then build everything.

        Raises:
            DataError, WeightsError, ConfigError: problems found before step 0.
        """
        sources, counts = _load_sources(config, world, check=check)
        notes = tuple(look_ahead(config, sources, counts))
        config = _measure_missing_bands(config, sources, world)
        config = _measure_class_weights(config, sources, counts, world)
        _seed(config, world)
        method = _build_method(config, world, sources)
        _check_steering(method, sources)
        train = config.train
        sizes = {"batch_size": train.batch_size, "unlabeled_batch_size": train.unlabeled_batch_size}
        per_epoch = steps_per_epoch(
            sources,
            method.views,
            world_size=world.size,
            accumulate=train.accumulate,
            **sizes,  # type: ignore[arg-type]
        )
        total = _choose_total_steps(config, per_epoch)
        scale = compute_lr_scale(config.optim, train.batch_size * world.size * train.accumulate)
        if scale != 1:
            log.info("learning rates are scaled by %g (labelled images a step / optim.lr_batch_size)", scale)
        precision = Precision.choose(train.precision, world.device)
        guard = FiniteGuard(world, train.nonfinite, train.max_skipped)
        learner = Learner(method, method.optimizers(config.optim, lr_scale=scale), precision.scaler(), guard)
        schedule = Schedule.of(config.optim, total, per_epoch)
        prepare = _make_prepare(method.student, config, world)
        recipe = Recipe(schedule, precision, prepare, per_epoch, train.accumulate, config.optim.clip_norm, train.seed)
        stream = StepStream(
            _shuffle_labels(sources, config),
            method.views,
            **config.data.model_dump(include=_VIEWS),
            seed=train.seed,
            micro_steps_total=total * train.accumulate,
            ood_batch_size=config.ood.batch_size if config.ood else None,
            confidence=config.ood.confidence if config.ood else "ones",
            rare=_find_rare_classes(config, sources, counts, world),
            rank=world.rank,
            world_size=world.size,
            **sizes,  # type: ignore[arg-type]
        )
        identity = CheckpointIdentity(
            make_model_card(config, sources, method.student).as_json(), collect_settings(config), world.size
        )
        best = _choose_model(config, method)
        return cls(config, world, sources, stream, learner, recipe, identity, best, notes)

    def batches(self, stopping: Callable[[int], bool] = lambda _: False) -> Generator[Batch, None, None]:
        """Batches from the learner's step to the end; stopping: see `loader`.

        Raises:
            ResourcesError: what the loader processes prepare ahead does not fit into shared memory.
        """
        start, workers = self.learner.step * self.recipe.accumulate, self.workers
        if start < len(self.stream):
            require_shared_memory(self.stream.count_bytes(), workers, processes=count_local_processes())
            self.world.barrier()  # no process fills it while another one measures
        return loader(self.stream, start, len(self.stream), workers=workers, stopping=stopping)

    @property
    def workers(self) -> int:
        """Loader processes of this rank."""
        on_gpu, processes = self.world.device.type == "cuda", count_local_processes()
        return choose_workers(self.config.data.workers, self.stream.count_bytes(), processes=processes, on_gpu=on_gpu)

    @property
    def images_per_step(self) -> int:
        """Images of one optimiser step, all streams and ranks together (CutMix partners not counted)."""
        train, views = self.config.train, self.learner.method.views
        bare = train.unlabeled_batch_size or train.batch_size
        images = train.batch_size + (bare if views.unlabeled is not None else 0)
        if views.ood is not None:
            images += (self.config.ood.batch_size if self.config.ood else None) or bare
        return images * train.accumulate * self.world.size

    @property
    def eval_every(self) -> int:
        """Steps between evaluations."""
        if self.config.train.eval_every:
            return self.config.train.eval_every
        epochs = -(-self.recipe.total_epochs // MOST_EVALUATIONS)
        return epochs * self.recipe.steps_per_epoch

    def summary(self) -> str:
        """One line about the training that is about to start."""
        method, recipe, sources = self.learner.method, self.recipe, self.sources
        parts = (
            ("labelled", sources.labeled),
            ("unlabelled", sources.unlabeled),
            ("OOD", sources.ood),
            ("evaluation", sources.val),
            ("kept aside", sources.held_out),
        )
        images = ", ".join(f"{len(manifest)} {name}" for name, manifest in parts if manifest is not None)
        groups = [group for optimizer in self.learner.optimizers for group in optimizer.param_groups]
        rates = ", ".join(
            f"{group.get('name', i)} {group.get('initial_lr', group['lr']):g}" for i, group in enumerate(groups)
        )
        return (
            f"{self.config.method.name} on {self.config.model.name} "
            f"({count_parameters(method.student) / 1e6:.2f} M parameters), {len(sources.vocabulary)} classes; "
            f"images: {images}; {recipe.total_steps} steps in {recipe.total_epochs} epochs; "
            f"learning rates: {rates}; {self.world.size} process(es) on {self.world.device}, {recipe.precision.name}"
        )


def _choose_model(config: Config, method: Method) -> str:
    """The model that decides which evaluation is the best: `eval.model`, else the EMA teacher, else the student.

    Raises:
        ConfigError: the method has no model of that name.
    """
    models = method.models()
    name = config.eval.model or ("ema" if "ema" in models else "student")
    if name not in models:
        raise ConfigError(f"eval.model: '{name}': this method has {', '.join(models)}")
    return name


def count_parameters(module: nn.Module, *, trained: bool = False) -> int:
    """Number of parameters; trained: of those with gradients only."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained)


def make_model_card(config: Config, sources: Collection, segmenter: Segmenter) -> ModelCard:
    """Metadata stored with the weights. Options that are null by default stand there only where they were set, so that
    versions that do not know them read the others' weights.
    """
    usual = lookup(SEGMENTERS, config.model.name, kind="segmenter").defaults
    options = {
        key: value
        for key, value in config.model.options.items()
        if value is not None or usual.get(key, ...) is not None
    }
    evaluation = config.eval.model_dump(include=set(VIEWING))
    if evaluation["window"] is None:
        evaluation["window"] = config.data.crop_size
    return ModelCard(
        segmenter=config.model.name,
        num_classes=len(sources.vocabulary),
        vocabulary=sources.vocabulary,
        options=options,
        normalization=segmenter.normalization,
        evaluation=evaluation,
        training={"method": config.method.name, **segmenter.facts()},
        neck=None if segmenter.neck is None else segmenter.neck.name,
        images=sources.images,
    )


def _ask_main(world: World, ask: Callable[[], T]) -> T:
    """What `ask` returns on the main process, on all ranks, which raise its error too."""
    problem: SemiovsError | None = None
    found: T | None = None
    if world.is_main:
        try:
            found = ask()
        except SemiovsError as error:
            problem = error
    problem, found = world.broadcast((problem, found))
    if problem is not None:
        raise problem
    return found  # type: ignore[return-value]


def _measure_missing_bands(config: Config, sources: Collection, world: World) -> Config:
    """Measure mean and std of the bands if the configuration lacks them; RGB uses those of the encoder."""
    bands = sources.images
    if not isinstance(bands, BandReader) or config.data.mean is not None:
        return config

    def measure() -> tuple[BandStatistics, ...]:
        images = list_training_images(sources)
        log.info("measuring the bands of %d training images", min(len(images), MOST))
        found = measure_bands(images, bands)
        log.info("bands (data.mean, data.std): %s", "; ".join(str(band) for band in found))
        return found

    found = _ask_main(world, measure)
    moments = {"mean": tuple(band.mean for band in found), "std": tuple(band.std for band in found)}
    return config.model_copy(update={"data": config.data.model_copy(update=moments)})


def _measure_class_weights(config: Config, sources: Collection, counts: Counts, world: World) -> Config:
    """Measure `method.class_weights` if the configuration says auto."""
    return fill_class_weights(config, len(sources.vocabulary), lambda: _count_labeled(sources, counts, world))


def _find_rare_classes(config: Config, sources: Collection, counts: Counts, world: World) -> RareClasses | None:
    """What `data.rare_crops` and `data.copy_paste` ask for; None without them."""
    crops, paste = config.data.rare_crops, config.data.copy_paste
    if crops is None and paste is None:
        return None
    pixels = _count_labeled(sources, counts, world)[: len(sources.vocabulary)]
    return RareClasses.of(pixels.tolist(), crops=crops, paste=paste)


def _count_labeled(sources: Collection, counts: Counts, world: World) -> NDArray[np.int64]:
    """Pixels of each id in the labelled masks, (256,); counted where the check of the data did not."""
    return counts[LABELED] if LABELED in counts else _ask_main(world, lambda: count_pixels(sources, LABELED))


def _load_sources(config: Config, world: World, *, check: bool) -> tuple[Collection, Counts]:
    """The images, and what their masks hold, if they were checked."""
    sources: Collection = lookup(DATASETS, config.data.name, kind="data set").load()(config.data, config.ood).read()
    return sources, _ask_main(world, lambda: check_collection(sources)) if check else {}


def _shuffle_labels(sources: Collection, config: Config) -> Collection:
    """With ``ood.mode: placebo`` the images, but with the OOD labels shuffled; else the same."""
    if config.ood is None or config.ood.mode != "placebo" or sources.ood is None or sources.ood_labels is None:
        return sources
    ids = [record.id for record in sources.ood]
    return replace(sources, ood_labels=ShuffledLabels(sources.ood_labels, ids, config.train.seed))


def _check_steering(method: Method, sources: Collection) -> None:
    """Require the images whose scores steer the method; note when evaluation images do, which biases their scores."""
    if method.steered_by == "val" and sources.val is not None:
        log.info("scores on data.val steer this training (method.prev_snapshot=paper), so they are no fair test of it")
    elif method.steered_by is not None and not getattr(sources, method.steered_by):
        raise ConfigError(
            f"method.prev_snapshot: no data.{method.steered_by}, so no model would ever be kept; set it, or take "
            "method.prev_snapshot=schedule"
        )
    if method.moving_ood_weight is not None and not sources.held_out:
        raise ConfigError(
            "ood.weight: auto is lowered by scores on labels that are kept aside, and there are none; give "
            "data.held_out=N, of your labelled images, or a number for ood.weight"
        )


def _seed(config: Config, world: World) -> None:
    torch.manual_seed(config.train.seed)
    if config.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    if world.device.type == "cuda":
        torch.backends.cudnn.benchmark = not config.train.deterministic


def _build_method(config: Config, world: World, sources: Collection) -> Method:
    classes = len(sources.vocabulary)
    model, bands = config.model, sources.images.bands
    segmenter = build_segmenter(
        model.name, num_classes=classes, pretrained=model.pretrained, bands=bands, **model.options
    )
    if config.data.mean is not None and config.data.std is not None:
        segmenter.normalization = Normalization(config.data.mean, config.data.std)
    if config.model.init_from:
        _load_initial_weights(segmenter, config.model.init_from)
    ood = None if config.ood is None else config.ood.model_dump(include={"weight", "mode", "confidence"})
    if ood is not None and ood["mode"] == "placebo":  # other labels, learnt like those of the model
        ood["mode"] = "ovs"
    method = build_method(config.method.name, segmenter, num_classes=classes, ood=ood, **config.method.options)
    if config.train.sync_batchnorm:
        method = world.sync_batchnorm(method)
    method = method.to(world.device)
    if config.train.channels_last:
        method = method.to(memory_format=torch.channels_last)
    method.prompt(sources.vocabulary)
    if config.train.recompute:
        recompute_blocks(method.student.backbone)
    if config.train.compile:
        for part in method.student.children():
            part.compile()
    return method


def _load_initial_weights(segmenter: Segmenter, source: str) -> None:
    file = find_model(source)  # one of weights alone holds a single model
    trained, card = load_model(file, which=None if file.suffix == ".safetensors" else "student")
    segmenter.neck = trained.neck
    try:
        segmenter.load_state_dict(trained.state_dict())
    except RuntimeError:
        raise WeightsError(
            f"model.init_from: {source} holds {card.segmenter} with {card.num_classes} classes "
            f"and options {dict(card.options)}, which is not the model of this configuration"
        ) from None


def _choose_total_steps(config: Config, per_epoch: int) -> int:
    if config.train.steps is not None:
        return config.train.steps
    if config.train.epochs is None:
        log.info("neither train.epochs nor train.steps is given: training for %d epochs", DEFAULT_EPOCHS)
    return (config.train.epochs or DEFAULT_EPOCHS) * per_epoch


def _make_prepare(segmenter: Segmenter, config: Config, world: World) -> Callable[[Batch], Batch]:
    pixels = segmenter.normalization
    kinds: dict[str, Any] = {"memory_format": torch.channels_last} if config.train.channels_last else {}

    def image_like(tensor: Tensor) -> Tensor:
        return tensor.contiguous(**kinds) if tensor.ndim == 4 else tensor

    def prepare(batch: Batch) -> Batch:
        """uint8 from the loader -> normalised images on the device."""
        whole = make_missing_views(batch.to(world.device, non_blocking=True))
        return normalize(whole, pixels.mean, pixels.std).map(image_like)

    return prepare
