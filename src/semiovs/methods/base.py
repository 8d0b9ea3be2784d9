"""Base class of the methods: a module that turns a batch into the terms of its loss, and owns all the state for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from semiovs.config.schema import OptimConfig
from semiovs.data import Batch, ViewRequest
from semiovs.errors import UsageError, did_you_mean
from semiovs.methods.class_thresholds import ClassThresholds
from semiovs.methods.criterion import build_criterion, per_class
from semiovs.methods.draws import Draws
from semiovs.methods.maths import Target, Threshold
from semiovs.methods.ood import OodStream
from semiovs.methods.ood_weight import OodWeight
from semiovs.methods.parameter_groups import encoder_groups
from semiovs.methods.step import Learn, Passes, Progress, Step, gather, iterate
from semiovs.methods.student import Logits, no_gradient, segment
from semiovs.methods.teacher import frozen_copy, update_average
from semiovs.models.segmenter import Segmenter
from semiovs.vocab.vocabulary import Vocabulary

#: Losses are means over the pixels of each rank (as in the references), or of all ranks.
NORMALISE = ("rank", "global")


class Method(nn.Module, ABC):
    """Base of all learners. A method writes `step`; with an OOD stream `forward` calls `step_with_ood` in its place.

    consistency: names and weights of the method's terms on unlabelled images; the OOD terms mirror them. strong: strong
    views of each unlabelled (and OOD) image. shares_pass: whether OOD images may share the first gradient pass of
    `step`. ood_weight: λ by default.
    """

    consistency: ClassVar[Mapping[str, float]]
    strong: ClassVar[int]
    reads_unlabeled: ClassVar[bool] = True
    shares_pass: ClassVar[bool] = True
    ood_weight: ClassVar[float] = 1.0

    #: Images whose scores steer the training itself (`after_evaluate`): "val", "held_out", or None for none.
    steered_by: str | None = None

    threshold_per_class: Tensor | None

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        num_classes: int,
        ood: OodStream | None = None,
        conf_thresh: float | Sequence[float] = 0.95,
        thresh_quantile: float | None = None,
        thresh_floor: float | None = None,
        loss: str = "ce",
        label_smoothing: float | None = None,
        class_weights: Literal["auto"] | Sequence[float] | None = None,
        ohem_thresh: float = 0.7,
        ohem_min_kept: int = 200_000,
        ema_decay: float | None = None,
        normalise: str = "rank",
    ) -> None:
        super().__init__()
        if segmenter.num_classes != num_classes:
            raise UsageError(f"the segmenter has {segmenter.num_classes} classes, the method {num_classes}")
        _check_choices(normalise, ema_decay)
        self.student = segmenter
        self.ema = frozen_copy(segmenter) if ema_decay is not None else None
        self.ema_decay = ema_decay
        self.pooled = normalise == "global"
        self.criterion = build_criterion(
            loss,
            num_classes,
            class_weights,
            ohem_thresh=ohem_thresh,
            ohem_min_kept=ohem_min_kept,
            pooled=self.pooled,
            label_smoothing=label_smoothing or 0.0,
        )
        self.conf_thresh = conf_thresh
        per = per_class("conf_thresh", conf_thresh, num_classes) if isinstance(conf_thresh, Sequence) else None
        self.register_buffer("threshold_per_class", per, persistent=False)
        self.class_thresholds: ClassThresholds | None = None
        if thresh_quantile is not None:
            ceiling = torch.full((num_classes,), float(conf_thresh)) if per is None else per.clone()  # type: ignore[arg-type]
            self.class_thresholds = ClassThresholds(ceiling, thresh_quantile, thresh_floor)
        self.ood = ood and ood.with_default_weight(self.ood_weight)
        self.moving_ood_weight = OodWeight(self.ood_weight) if ood is not None and ood.weight == "auto" else None
        self.draws = Draws()

    @property
    def views(self) -> ViewRequest:
        """Streams and views that the loader must deliver."""
        return ViewRequest(
            unlabeled=self.strong if self.reads_unlabeled else None,
            mixing=self.reads_unlabeled,
            ood=self.strong if self.ood is not None else None,
        )

    @property
    def watches_held_out(self) -> bool:
        """Whether scores on labels that are kept aside steer the training."""
        return self.steered_by == "held_out" or self.moving_ood_weight is not None

    @property
    def threshold(self) -> Threshold:
        """τ, one number or one a class, as it stands."""
        if self.class_thresholds is not None:
            return Threshold(self.class_thresholds.values, self.pooled)
        per_class = self.threshold_per_class
        value = float(self.conf_thresh) if per_class is None else per_class  # type: ignore[arg-type]
        return Threshold(value, self.pooled)

    @abstractmethod
    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Passes:
        """The paper's step: what it has after its only gradient pass, or a generator over its passes (`Passes`).

        ood_images: none, or one group (B, 3, H, W) that is put into the first gradient pass, so that it shares its
        BatchNorm statistics; what the pass says of them is returned in `Step.shared`.
        """

    def forward(self, batch: Batch, progress: Progress, learn: Learn | None = None) -> Step:
        """Return the step of the method, with the OOD terms where the method has an OOD stream.

        learn: differentiates the objective of each gradient pass but the last; None: the terms of the step hold the
        graphs of all.
        """
        ood, λ = self.ood, self.moving_ood_weight
        if ood is not None and λ is not None:
            ood = replace(ood, weight=λ.value)
        passes = self.step(batch, progress) if ood is None else self.step_with_ood(batch, progress, ood)
        return self._follow(gather(passes, learn))

    def _follow(self, step: Step) -> Step:
        """The step, after which thresholds a class follow the labels of its weak view."""
        thresholds = self.class_thresholds
        if thresholds is None or "w" not in step.pseudo:
            return step
        applied = thresholds.values.clone()
        thresholds.follow(step.pseudo["w"])
        return replace(step, log={**step.log, "threshold": applied.mean(), "threshold_lowest": applied.min()})

    def step_with_ood(self, batch: Batch, progress: Progress, ood: OodStream) -> Passes:
        """The step with the OOD terms; override it where a method learns OOD images differently (DDFP).

        By default the weak OOD images share the first pass (`shares_pass`), and the strong ones get a `strong_pass` of
        their own.
        """
        τ, weak = self.threshold, ood.images(batch).weak
        passes = iterate(self.step(batch, progress, (weak,) if self.shares_pass else ()))
        first = next(passes)
        shared = first.shared
        o = ood.views(batch, self.strong, first.pseudo.get("w"), partial(self.pseudo_label, logits=shared.clean))
        weights = o.share_out(self.consistency)
        yield o.add(first, weights, {name: (o.label, o.label.loss(p, τ)) for name, p in shared.terms.items()})
        for further in passes:
            yield o.add(further, weights, {})

        names = [name for name in self.consistency if name not in shared.terms]
        targets = o.targets * (len(names) // self.strong)  # a view may have several predictions
        predictions = self.strong_pass(*o.images)
        losses = {name: (y, y.loss(p, τ)) for name, y, p in zip(names, targets, predictions, strict=True)}
        return o.log(o.add(Step(first.terms.of_another_pass({})), weights, losses), τ)

    def strong_pass(self, *views: Tensor) -> Logits:
        """The gradient pass over strong views (B, 3, H, W), of the method's own images and of the OOD images alike."""
        return segment(self.student, *views)

    def pseudo_label(self, image: Tensor, valid: Tensor, logits: Tensor | None = None) -> Target:
        """Pseudo-labels of images (B, 3, H, W), without gradient: of the EMA teacher if there is one, or the student.

        logits: (B, K, H, W), what the student said of the images in a training pass; without a teacher these give the
        labels, and the student is not run again in evaluation mode.
        """
        if logits is None or self.ema is not None:
            logits = self.teacher_logits(image)
        return Target.from_logits(logits, valid)

    def teacher_logits(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) in evaluation mode, without gradient: of the EMA teacher, or else the student."""
        teacher = self.student if self.ema is None else self.ema
        with no_gradient(teacher):
            return teacher(image)  # type: ignore[no-any-return]

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Set the class names in every segmenter of the method; called before the first step."""
        for model in self.models().values():
            model.prompt(vocabulary)

    def models(self) -> dict[str, Segmenter]:
        """Segmenters that evaluation and prediction may use, by name."""
        return {"student": self.student} if self.ema is None else {"student": self.student, "ema": self.ema}

    def optimizers(self, config: OptimConfig, *, lr_scale: float = 1.0) -> list[torch.optim.Optimizer]:
        """One optimiser over the method's `parameter_groups`."""
        groups = [g for g in self.parameter_groups(config, lr_scale=lr_scale) if g["params"]]
        # On a GPU one kernel for all parameters, which also knows of overflows without asking the host.
        fused = True if all(p.is_cuda for group in groups for p in group["params"]) else None
        if config.name == "adamw":
            return [torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay, fused=fused)]
        lr, momentum = config.lr * lr_scale, config.momentum
        return [torch.optim.SGD(groups, lr=lr, momentum=momentum, weight_decay=config.weight_decay, fused=fused)]

    def parameter_groups(self, config: OptimConfig, *, lr_scale: float = 1.0) -> list[dict[str, Any]]:
        """The encoder at `lr` (by layers with `layer_decay`), everything else at `lr · head_lr_multiplier`."""
        backbone = {id(p) for p in self.student.backbone.parameters()}
        head = [p for p in self.parameters() if p.requires_grad and id(p) not in backbone]
        lr = config.lr * lr_scale
        groups = [
            *encoder_groups(self.student, lr, config.layer_decay),
            {"params": head, "lr": lr * config.head_lr_multiplier, "name": "head"},
        ]
        return [{**group, "initial_lr": group["lr"]} for group in groups]

    def after_step(self, progress: Progress) -> None:
        """Called after each optimiser step."""
        if self.ema is not None and self.ema_decay is not None:
            update_average(self.ema, self.student, step=progress.step, decay=self.ema_decay)

    def after_evaluate(self, metrics: Mapping[str, float]) -> None:
        """Called after each evaluation on all ranks, with the same numbers.

        metrics: `step`, and in percent `miou`, `miou/<model>` of the evaluation images, or `held_out` of those kept
        aside. A method that overrides it calls it, for ``ood.weight=auto``.
        """
        if self.moving_ood_weight is not None and "held_out" in metrics:
            self.moving_ood_weight.watch(metrics["held_out"])

    def train(self, mode: bool = True) -> Method:
        """Set the training mode; the EMA teacher stays in evaluation mode."""
        super().train(mode)
        if self.ema is not None:
            self.ema.eval()
        return self


def _check_choices(normalise: str, ema_decay: float | None) -> None:
    if normalise not in NORMALISE:
        raise UsageError(f"method.normalise: '{normalise}' is not known{did_you_mean(normalise, NORMALISE)}")
    if ema_decay is not None and not 0 <= ema_decay < 1:
        raise UsageError(f"method.ema_decay: {ema_decay} must be at least 0 and below 1, like 0.996")
