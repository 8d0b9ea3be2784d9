"""The schema of a configuration: every key with its type, default and meaning; frozen after loading.

The sections `model` and `method` also take the options of the segmenter's and method's signature.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from semiovs.config.ood_section import OodConfig, expand_images
from semiovs.config.run_section import RunSection
from semiovs.config.section import Float, Int, Section
from semiovs.registry import DATASETS, METHODS, SEGMENTERS, check_options, lookup

Span = tuple[Float, Float]


def _check_spans(value: Any) -> Any:
    """Refuse values that are neither one pair of numbers nor a list of pairs, with a clearer message than
    pydantic's.
    """
    pairs = (
        [value] if isinstance(value, list | tuple) and not any(isinstance(v, list | tuple) for v in value) else value
    )
    if value is not None and not (
        isinstance(pairs, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs)
    ):
        raise ValueError("expected [lo, hi], or a list of such pairs, one a band")
    return value


#: Hyperspectral cameras have a few hundred channels.
MOST_BANDS = 1024


class MaskConfig(Section):
    """How mask files are read."""

    encoding: Literal["auto", "id", "rgb"] = Field(
        "auto",
        description="id: palette, gray or 16-bit values are class ids; rgb: colours, named in `map`; auto: by "
        "file mode",
    )
    map: dict[str, Int | str] | None = Field(
        None,
        description="value in the file ('7' or '128,64,0') -> class id, class name or 'ignore'; null: values are "
        "class ids",
    )
    reduce_zero_label: bool = Field(False, description="value 0 becomes ignore, all others move down by one (ADE20K)")


class CacheConfig(Section):
    """Decoded images kept on a fast disk, so that each is decoded once."""

    dir: str | None = Field(None, description="folder, shared by runs; null: `decoded` in the program's cache")
    budget_gb: Float = Field(
        0.0,
        ge=0,
        description="size limit, in 10^9 bytes; once it is reached, nothing more is stored; 0: no cache",
    )


class DataConfig(Section):
    """Labelled, unlabelled and evaluation images."""

    name: str = Field("folder", description="data set type (semiovs list datasets)")
    root: str = Field(".", description="directory that relative paths below start from")
    classes: list[str] | str | None = Field(
        None, description="class names in the order of their ids, or a text/YAML file that lists them"
    )
    labeled: str | None = Field(None, description="list or manifest of labelled images; null: images/ with masks/")
    unlabeled: str | None = Field(
        None,
        description="list, manifest, folder, tars or hf:NAME of unlabelled images; null: unlabeled/ if it is there",
    )
    val: str | None = Field(
        None,
        description="list or manifest of evaluation images; null: val/images with val/masks if they are there",
    )
    held_out: Int | str | None = Field(
        None,
        description="labelled images kept aside for decisions while training (method.prev_snapshot=held-out), never "
        "trained on: "
        "how many of data.labeled (a pure choice by id), or a list or manifest",
    )
    outside: bool = Field(
        False, description="lists may name files outside of `root` (absolute paths, links that lead out of it)"
    )
    masks: MaskConfig = MaskConfig()
    cache: CacheConfig = CacheConfig()
    bands: tuple[Int, ...] | None = Field(
        None,
        min_length=1,
        description="channels of the files that the model is given, from 1: [1] gray, [1, 2, 3, 4], [8, 4, 3]; null: "
        "RGB of 8 bits",
    )
    range: Annotated[Span | tuple[Span, ...] | None, BeforeValidator(_check_spans)] = Field(
        None,
        description="`bands`: values of the files that are mapped to 0 and 1: [lo, hi], or one pair per band; null: "
        "those of 8- or "
        "16-bit pixels ([0, 255], [0, 65535])",
    )
    mean: tuple[Float, ...] | None = Field(
        None, description="`bands`: mean of each, of values in [0, 1]; null: measured on the training images"
    )
    std: tuple[Annotated[Float, Field(gt=0)], ...] | None = Field(
        None, description="`bands`: standard deviation of each, of values in [0, 1]; null: measured with `mean`"
    )
    rgb: tuple[Int, Int, Int] | None = Field(
        None,
        description="`bands`: the channels that teachers and people see as red, green and blue; null: a single "
        "band is shown as gray; several bands need it for a teacher",
    )
    crop_size: Int = Field(321, ge=16, description="side of the training crops, pixels")
    scale: tuple[Float, Float] = Field((0.5, 2.0), description="range of the random resize of the long side")
    fit: tuple[Int, Int] | None = Field(
        None,
        description="sides (long, short) that images are made to fit, times a factor in `scale`, as SemiVL: [2048, "
        "512]; null: "
        "`scale` times their own size",
    )
    pipeline: Literal["reference", "fast"] = Field(
        "fast",
        description="reference: PIL operations and draws as published, as all published recipes say; fast: same draws "
        "by OpenCV, pixels within a few levels",
    )
    augment: Literal["workers", "device"] | None = Field(
        None,
        description="where strong views get their colours and blur: workers, the loader processes; device, the "
        "training's device, for a batch at once, with the same draws (RGB alone); null: workers",
    )
    rare_crops: Float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the labelled images whose crop is placed on a pixel of a rare class, drawn by inverse "
        "frequency among those in its mask (rare: fewer labelled pixels than the mean of the classes); null: none, as "
        "published",
    )
    copy_paste: Float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the labelled images on which the pixels of a rare class (drawn as by `rare_crops`) of "
        "another labelled image of the batch are pasted, with their labels; null: none",
    )
    look: Literal["color", "tone", "blur", "none"] = Field(
        "color",
        description="strong views: color, as published (with `bands`: tone, and each band by itself); tone: "
        "brightness, contrast, "
        "blur; blur; none: the weak view",
    )
    workers: Int | None = Field(
        None,
        ge=0,
        le=128,
        description="loader processes per rank; null: 2 on a CPU; on a GPU all cores of the rank but one, at most 8; "
        "fewer where /dev/shm is small",
    )

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        lookup(DATASETS, self.name, kind="data set")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("scale: the range must be positive and ordered, like [0.5, 2.0]")
        if self.fit is not None and not 16 <= self.fit[1] <= self.fit[0]:
            raise ValueError("fit: the long side comes first, and no side is below 16, like [2048, 512]")
        self._check_bands()
        return self

    def _check_bands(self) -> None:
        given = {key: getattr(self, key) for key in ("range", "mean", "std", "rgb") if getattr(self, key) is not None}
        if self.bands is None:
            for key in given:
                raise ValueError(f"{key}: needs bands, the channels of the files, like [1, 2, 3, 4]")
            return
        if self.augment == "device":
            raise ValueError("augment: device is for RGB images, and bands names channels; take workers")
        for key in ("bands", "rgb"):
            if any(not 1 <= band <= MOST_BANDS for band in getattr(self, key) or ()):
                raise ValueError(f"{key}: channels are counted from 1, and end at {MOST_BANDS}")
        for key in ("mean", "std"):
            if key in given and len(given[key]) != len(self.bands):
                raise ValueError(f"{key}: {len(given[key])} values for {len(self.bands)} bands")
        if ("mean" in given) != ("std" in given):
            raise ValueError("mean: give mean and std together, or neither")
        spans = self.spans
        if spans is not None and (len(spans) != len(self.bands) or any(low >= high for low, high in spans)):
            raise ValueError("range: one pair [lo, hi] for all bands, or one for each; lo comes first")

    @property
    def spans(self) -> tuple[Span, ...] | None:
        """`range` as one pair a band."""
        if self.range is None or self.bands is None:
            return None
        return tuple(span for span in self.range if isinstance(span, tuple)) or (self.range,) * len(self.bands)  # type: ignore[return-value]


class NamedSection(BaseModel):
    """A registered component: its name and the options of its signature."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """Options that were set, without those still at null."""
        return dict(self.__pydantic_extra__ or {})


class ModelConfig(NamedSection):
    """The segmenter."""

    name: str = Field("deeplabv3plus", description="segmenter (semiovs list segmenters); its options stand beside it")
    pretrained: bool | str = Field(
        False, description="encoder weights: false, true (timm's own, needs the hub or a cache) or a file"
    )
    init_from: str | None = Field(
        None, description="run directory, checkpoint or model on the hub (hf:USER/NAME) that the training starts from"
    )

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        check_options(lookup(SEGMENTERS, self.name, kind="segmenter"), self.options, kind="segmenter")
        return self


class MethodConfig(NamedSection):
    """The method: how the student learns."""

    name: str = Field("unimatch", description="method (semiovs list methods); its options stand beside it")

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        check_options(lookup(METHODS, self.name, kind="method"), self.options, kind="method")
        return self


class OptimConfig(Section):
    """Optimiser and schedule."""

    name: Literal["sgd", "adamw"] = "sgd"
    lr: Float = Field(0.001, gt=0, description="learning rate of the encoder, for a total batch of `lr_batch_size`")
    head_lr_multiplier: Float = Field(
        10.0, gt=0, description="learning rate of everything but the encoder, as a multiple of `lr`"
    )
    layer_decay: Float | None = Field(
        None,
        gt=0,
        le=1,
        description="each layer of the encoder learns at this times the rate of the next one; null: all at `lr`",
    )
    lr_batch_size: Int | None = Field(
        None,
        ge=1,
        description="labelled images a step that `lr` was chosen for; the rate is scaled linearly; null: never scaled",
    )
    momentum: Float = Field(0.9, ge=0, lt=1)
    betas: tuple[Float, Float] = (0.9, 0.999)
    weight_decay: Float = Field(1e-4, ge=0)
    schedule: Literal["poly", "cosine", "constant"] = Field(
        "poly", description="poly: (1 - t/T)^poly_power; cosine: half a wave, down to 0; constant"
    )
    poly_power: Float = Field(0.9, gt=0)
    lag: Int = Field(1, ge=0, le=1, description="1: step k uses the rate of step k - 1, as published")
    clip_norm: Float | None = Field(None, gt=0, description="clip the global gradient norm")


class TrainConfig(Section):
    """The loop."""

    epochs: Int | None = Field(
        None, ge=1, description="passes over the unlabelled images (labelled ones for supervised)"
    )
    steps: Int | None = Field(None, ge=1, description="optimiser steps; give either epochs or steps")
    batch_size: Int = Field(8, ge=1, description="labelled (and as many unlabelled) images a micro-step and rank")
    unlabeled_batch_size: Int | None = Field(None, ge=1, description="null: as `batch_size`")
    accumulate: Int = Field(1, ge=1, description="micro-steps an optimiser step")
    seed: Int = Field(0, ge=0, lt=2**31)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="auto: bf16 where the hardware has it, else fp32; fp16 with a gradient scaler as published",
    )
    channels_last: bool = True
    compile: bool = Field(False, description="torch.compile the student")
    recompute: Literal["encoder"] | None = Field(
        None,
        description="encoder: its blocks keep their inputs alone and are computed again in the backward pass: less "
        "memory, more time, same numbers; null: everything is kept",
    )
    sync_batchnorm: bool = Field(True, description="SyncBN on more than one GPU")
    deterministic: bool = Field(False, description="deterministic kernels only (GPU)")
    device: str = Field("auto", description="auto (a GPU where there is one), cpu, cuda, cuda:1, mps, xpu")
    log_every: Int = Field(10, ge=1, description="steps between two lines of metrics.jsonl")
    eval_every: Int | None = Field(
        None, ge=1, description="steps between evaluations; null: every epoch, at most 20 times"
    )
    save_every: Int = Field(500, ge=1, description="steps between checkpoints")
    keep_every: Int | None = Field(None, ge=1, description="checkpoints at multiples of this are never removed")
    keep_last: Int = Field(2, ge=1, description="newest checkpoints that are kept")
    keep_best: Int | None = Field(
        None, ge=1, description="checkpoints that were the best when they were scored: the last so many are kept too"
    )
    keep_gib: float | None = Field(
        None,
        gt=0,
        description="GiB that the checkpoints may take, best.pt and one that is being written not counted: older ones "
        "are removed, whatever else keeps them, but never the newest",
    )
    nonfinite: Literal["raise", "skip"] = Field("raise", description="what to do when the loss is not finite")
    max_skipped: Int = Field(20, ge=0, description="skip: give up after this many in a row")

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("train: give either epochs or steps, not both")
        if self.compile and self.recompute:
            raise ValueError("train: compile or recompute, not both")
        return self


class EvalConfig(Section):
    """Evaluation and prediction."""

    mode: Literal["whole", "sliding", "center_crop", "resize"] = Field(
        "whole", description="whole image; sliding windows; centre crop; resized to a multiple"
    )
    window: Int | None = Field(None, ge=16, description="side of window or centre crop; null: data.crop_size")
    stride: Int | None = Field(None, ge=1, description="step of the windows; null: two thirds of the window")
    average: Literal["probabilities", "logits"] = Field(
        "probabilities", description="sliding: what is averaged where windows overlap; logits as SemiVL"
    )
    short_side: Int | None = Field(
        None,
        ge=16,
        description="images are first resized to this short side, pixels, and predictions resized back; null: not",
    )
    multiple: Int = Field(32, ge=1, description="resize: image sides become the nearest multiple of this")
    scales: tuple[Float, ...] = Field(
        (1.0,), min_length=1, description="scales at which the image is evaluated; probabilities are averaged"
    )
    flip: bool = Field(False, description="evaluate the mirrored image too")
    batch_size: Int | None = Field(None, ge=1, description="images of one size that are evaluated together; null: 1")
    model: str | None = Field(None, description="student or ema; null: ema where the method has one")
    max_images: Int | None = Field(None, ge=1, description="evaluate only the first N images during training")

    @model_validator(mode="after")
    def _check_views(self) -> Self:
        if wrong := [scale for scale in self.scales if not 0.1 <= scale <= 10]:
            raise ValueError(f"scales: {wrong[0]:g} is not between 0.1 and 10")
        if self.mode == "center_crop" and self.short_side is not None:
            raise ValueError("short_side: a centre crop is looked at as it is")
        if self.mode == "center_crop" and (self.flip or self.scales != (1.0,)):
            raise ValueError("scales, flip: a centre crop is looked at once")
        return self


def _expand_name(value: Any) -> Any:
    """Let ``method=unimatch`` stand for ``method.name=unimatch``."""
    return {"name": value} if isinstance(value, str) else value


class Config(Section):
    """A whole run."""

    data: DataConfig = DataConfig()
    ood: Annotated[OodConfig | None, BeforeValidator(expand_images)] = None
    model: Annotated[ModelConfig, BeforeValidator(_expand_name)] = ModelConfig()
    method: Annotated[MethodConfig, BeforeValidator(_expand_name)] = MethodConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    run: RunSection = RunSection()

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        window = self.eval.window or self.data.crop_size
        if self.eval.mode == "sliding" and (self.eval.stride or 1) > window:
            raise ValueError(f"eval.stride: must be at most the window, {window}, got {self.eval.stride}")
        if self.data.copy_paste is not None and self.train.batch_size < 2:
            raise ValueError(
                "data.copy_paste: regions come from another labelled image of the batch, which needs "
                f"train.batch_size=2 or more, got {self.train.batch_size}"
            )
        return self
