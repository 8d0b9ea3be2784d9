"""What a method is: a module that turns a batch into the terms of its loss, and owns all state that needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from semiovs.config.schema import OptimConfig
from semiovs.data import Batch, Views
from semiovs.errors import UsageError, did_you_mean
from semiovs.methods.criterion import build_criterion, per_class
from semiovs.methods.draws import Draws
from semiovs.methods.maths import Target, Threshold
from semiovs.methods.ood import OodStream
from semiovs.methods.rates import encoder_groups
from semiovs.methods.student import Logits, judging, segment
from semiovs.methods.teacher import follow, frozen_copy
from semiovs.methods.terms import Terms
from semiovs.models.segmenter import Segmenter
from semiovs.vocab.vocabulary import Vocabulary

#: Losses are means over the pixels of each rank (as in the references), or of all ranks.
NORMALISE = ("rank", "global")


@dataclass(frozen=True)
class Progress:
    """Where training stands; schedules are functions of it.

    seed: of draws that all ranks share, another one each micro-step; None: such draws come from torch's global generator.
    """

    step: int
    total_steps: int
    epoch: int = 0
    total_epochs: int = 1
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Carried:
    """What became of the riders: their clean logits (B, K, H, W), and where the method has them, those of perturbed features
    and those by correlation (CorrMatch).
    """

    clean: Tensor
    perturbed: Tensor | None
    correlated: Tensor | None = None

    def learnt(self) -> dict[str, Tensor]:
        """The logits that OOD terms are made of, by term."""
        found = {"fp": self.perturbed, "w_corr": self.correlated}
        return {name: logits for name, logits in found.items() if logits is not None}


@dataclass(frozen=True, eq=False)
class Step:
    """Result of one step: the loss by terms, the pseudo-labels behind it, 0-d tensors to log, and the riders' logits."""

    terms: Terms
    pseudo: Mapping[str, Target] = field(default_factory=dict)
    log: Mapping[str, Tensor] = field(default_factory=dict)
    carried: Carried | None = None


class Method(nn.Module, ABC):
    """Base of all learners. A method writes `step`; `forward` adds the OOD stream where there is one.

    consistency: names and weights of the method's terms on unlabelled images; the OOD terms mirror them.
    strong: strong views of each unlabelled (and OOD) image; carries: whether `step` takes riders; ood_weight: λ by default.
    """

    consistency: ClassVar[Mapping[str, float]]
    strong: ClassVar[int]
    reads_unlabeled: ClassVar[bool] = True
    carries: ClassVar[bool] = True
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
        loss: str = "ce",
        class_weights: Sequence[float] | None = None,
        ohem_thresh: float = 0.7,
        ohem_min_kept: int = 200_000,
        ema_decay: float | None = None,
        normalise: str = "rank",
    ) -> None:
        super().__init__()
        if segmenter.num_classes != num_classes:
            raise UsageError(f"the segmenter has {segmenter.num_classes} classes, the method {num_classes}")
        self.student = segmenter
        self.ema = frozen_copy(segmenter) if ema_decay is not None else None
        self.ema_decay = ema_decay
        if normalise not in NORMALISE:
            raise UsageError(f"method.normalise: '{normalise}' is not known{did_you_mean(normalise, NORMALISE)}")
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise UsageError(f"method.ema_decay: {ema_decay} must be at least 0 and below 1, like 0.996")
        self.pooled = normalise == "global"
        self.criterion = build_criterion(
            loss,
            num_classes,
            class_weights,
            ohem_thresh=ohem_thresh,
            ohem_min_kept=ohem_min_kept,
            pooled=self.pooled,
        )
        self.conf_thresh = conf_thresh
        per = per_class("conf_thresh", conf_thresh, num_classes) if isinstance(conf_thresh, Sequence) else None
        self.register_buffer("threshold_per_class", per, persistent=False)
        self.ood = ood and ood.weighted(self.ood_weight)
        self.draws = Draws()

    @property
    def views(self) -> Views:
        """Streams and views that the loader must deliver."""
        return Views(
            unlabeled=self.strong if self.reads_unlabeled else None,
            mixing=self.reads_unlabeled,
            ood=self.strong if self.ood is not None else None,
        )

    @property
    def threshold(self) -> Threshold:
        """τ, one number or one a class."""
        per_class = self.threshold_per_class
        return Threshold(float(self.conf_thresh) if per_class is None else per_class, self.pooled)  # type: ignore[arg-type]

    @abstractmethod
    def step(self, batch: Batch, progress: Progress, riders: Sequence[Tensor] = ()) -> Step:
        """The paper's step. `riders` (at most one group of images) ride in the first gradient pass; see `Step.carried`."""

    def forward(self, batch: Batch, progress: Progress) -> Step:
        """Return the step of the method, with the OOD terms where the method has an OOD stream."""
        if self.ood is None:
            return self.step(batch, progress)
        return self.ood.step(self, batch, progress)

    def strong_pass(self, *views: Tensor) -> Logits:
        """The gradient pass over strong views (B, 3, H, W): of the method's own images, and of the OOD images alike."""
        return segment(self.student, *views)

    def judge(self, image: Tensor, valid: Tensor) -> Target:
        """Pseudo-labels in evaluation mode, without gradient: by the EMA teacher where there is one, else by the student."""
        return Target.of(self.verdict(image), valid)

    def verdict(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) in evaluation mode, without gradient, of whoever judges."""
        judge = self.student if self.ema is None else self.ema
        with judging(judge):
            return judge(image)  # type: ignore[no-any-return]

    def believe(self, image: Tensor, logits: Tensor, valid: Tensor) -> Target:
        """Pseudo-labels of images that the student saw in training mode: its own logits, or the EMA teacher's verdict."""
        return Target.of(logits, valid) if self.ema is None else self.judge(image, valid)

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Let every segmenter of the method hear the names of the classes, before the first step."""
        for model in self.models().values():
            model.prompt(vocabulary)

    def models(self) -> dict[str, Segmenter]:
        """What evaluation and prediction may use, by name."""
        return {"student": self.student} if self.ema is None else {"student": self.student, "ema": self.ema}

    def optimizers(self, config: OptimConfig, *, lr_scale: float = 1.0) -> list[torch.optim.Optimizer]:
        """One optimiser over the method's `parameter_groups`."""
        groups = [g for g in self.parameter_groups(config, lr_scale=lr_scale) if g["params"]]
        if config.name == "adamw":
            return [torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay)]
        lr = config.lr * lr_scale
        return [torch.optim.SGD(groups, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay)]

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
            follow(self.ema, self.student, step=progress.step, decay=self.ema_decay)

    def after_evaluate(self, metrics: Mapping[str, float]) -> None:
        """Called after each evaluation on all ranks, with the same numbers: `step`, and in percent `miou`, `miou/<model>` of
        the evaluation images, or `held_out` of the images that are kept aside.
        """

    def train(self, mode: bool = True) -> Method:
        """Set the training mode; the EMA teacher stays in evaluation mode."""
        super().train(mode)
        if self.ema is not None:
            self.ema.eval()
        return self
