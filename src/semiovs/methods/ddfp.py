"""DDFP: features of strong views must keep their labels when they are perturbed towards low density (of a flow)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.config.schema import OptimConfig
from semiovs.data import Batch, ViewRequest, take_next
from semiovs.errors import UsageError, did_you_mean
from semiovs.images.conventions import IGNORE
from semiovs.methods.base import Method
from semiovs.methods.maths import Target, denominator, paste, to_float32
from semiovs.methods.ood import OodStream, OodViews
from semiovs.methods.step import Progress, Step
from semiovs.methods.student import keep_running_statistics, no_gradient
from semiovs.methods.teacher import update_average
from semiovs.methods.terms import Terms
from semiovs.models.decoders.dual import DualDeepLab
from semiovs.models.flow import ANY, Flow
from semiovs.models.segmenter import Segmenter

#: Pixels of a step that the flow learns from, at most, and their share (that of the published batch).
MOST_PIXELS, SHARE = 20_480, 1 / 6
#: Standard deviation of what is added to their features.
NOISE = 0.05
#: Adam of the flow: its rate falls to a hundredth by the end, an epoch at a time (DDFP spec, section 5).
FLOW_OPTIM: dict[str, Any] = {"lr": 1e-3, "betas": (0.5, 0.9)}
FLOW_GROUP: dict[str, Any] = {"name": "flow", "initial_lr": 1e-3, "final_factor": 0.01, "clip_norm": 50.0}

Phase = Literal["supervised", "joint", "perturbed"]


class Ddfp(Method):
    """L = CE(x) + ½ L_u + ½ L_u,pt (Wang et al. 2024; DDFP spec, sections 4 and 5).

    The flow's likelihood is learnt beside it.

    eps: length of the perturbation of a pixel's features. warmup: epochs on labelled images alone, then epochs without
    perturbation, L = CE(x) + L_u, in which the teacher is the student; a run that would end within them has none.
    ema_decay: of the teacher, which is always there; teacher: `ema`, or `alias`, which follows the student at once (as
    the published program does, by mistake). parity: the published program's other quirks (docs, methods/ddfp).
    """

    consistency = {"s": 0.5, "pt": 0.5}
    strong = 1
    shares_pass = False
    student: DualDeepLab
    ema: DualDeepLab

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        num_classes: int,
        eps: float = 4.0,
        warmup: Sequence[int] = (1, 1),
        teacher: str = "ema",
        parity: bool = False,
        ema_decay: float = 0.999,
        **options: Any,
    ) -> None:
        if not isinstance(segmenter, DualDeepLab):
            raise UsageError("method ddfp needs a student with two BatchNorms: set model.name=deeplabv3plus-dual")
        if ema_decay is None:
            raise UsageError("method.ema_decay: ddfp learns from its EMA teacher; give a number, like 0.999")
        if teacher not in ("ema", "alias"):
            raise UsageError(f"method.teacher: '{teacher}' is not known{did_you_mean(teacher, ('ema', 'alias'))}")
        if eps <= 0:
            raise UsageError(f"method.eps: {eps} must be above 0, like 4.0")
        if len(warmup) != 2 or min(warmup) < 0:
            raise UsageError(f"method.warmup: {list(warmup)} must be two numbers of epochs, like [1, 1]")
        super().__init__(segmenter, num_classes=num_classes, ema_decay=ema_decay, **options)
        self.flow = Flow(segmenter.width, num_classes)
        self.eps, self.warmup, self.alias, self.parity = eps, tuple(warmup), teacher == "alias", parity

    @property
    def views(self) -> ViewRequest:
        """Streams and views that the loader must deliver."""
        return replace(super().views, mixing=False, box="half")

    def phase(self, progress: Progress) -> Phase:
        """The phase of training that this epoch belongs to."""
        supervised, joint = self.warmup
        if not supervised + joint < progress.total_epochs or progress.epoch >= supervised + joint:
            return "perturbed"
        return "supervised" if progress.epoch < supervised else "joint"

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Step:
        """The step of the phase, without OOD terms."""
        return self.step_of_phase(batch, self.phase(progress), None)

    def step_with_ood(self, batch: Batch, progress: Progress, ood: OodStream) -> Step:
        """The step of the phase; the strong OOD images share its one pass instead of having their own."""
        return self.step_of_phase(batch, self.phase(progress), ood)

    def step_of_phase(self, batch: Batch, phase: Phase, ood: OodStream | None) -> Step:
        """The teacher labels the weak view; the student learns the strong view, and its perturbed features."""
        if phase == "supervised":
            return self.supervised_step(batch, ood)
        x, (u, m), τ = batch.labeled, batch.pair(take_next), self.threshold
        (box,), (s,), (s_m,) = u.boxes[:1], u.strong[:1], m.strong[:1]
        if phase == "joint":
            update_average(self.ema, self.student, step=0, decay=0.0, buffers=not self.parity)

        y_w, f = self.label_weak(x.image, u.weak, u.valid)
        y_m = y_w.map(take_next) if batch.mixing is None else self.pseudo_label(m.weak, m.valid)
        s, y_s = paste(s, s_m, box), y_w.mix(y_m, box)
        o = None if ood is None else ood.views(batch, self.strong, y_w, self.pseudo_label)
        views = [(s, y_s), *_strong_views(o)]
        p_x, p_u, *p_o = self.student_pass(x.image, views, perturb=phase == "perturbed")

        terms = Terms(
            {
                "x": (1.0, self.criterion(p_x, x.mask)),
                **{name: (1.0 / len(p_u), y_s.loss_of_kept(p, τ)) for name, p in zip(("u", "u_pt"), p_u, strict=False)},
            },
            apart={"flow": self.flow_loss(f, x.mask, u.valid)},
        )
        step = Step(terms, pseudo={"w": y_w, "w_mix": y_m, "u": y_s}, log={"mask_ratio": y_w.ratio(τ)})
        return self.add_ood(step, o, p_o)

    def supervised_step(self, batch: Batch, ood: OodStream | None) -> Step:
        """One pass over the labelled images (and the strong OOD images, without patches)."""
        x = batch.labeled
        o = None if ood is None else ood.views(batch, self.strong, None, self.pseudo_label)
        adverse = len(x.image) // 2 if self.parity and o is None else 0
        if self.parity:
            with no_gradient(self.ema, training=True):
                self.ema(x.image)
        p_x, *p_o = self.student_pass(x.image, _strong_views(o), perturb=False, adverse=adverse)
        return self.add_ood(Step(Terms({"x": (1.0, self.criterion(p_x, x.mask))})), o, p_o)

    def add_ood(self, step: Step, o: OodViews | None, p_o: Sequence[Sequence[Tensor]]) -> Step:
        """The step with the OOD terms: of the strong view, and of its perturbed features where there are any."""
        if o is None:
            return step
        (y,), (passes,), τ = o.targets, p_o, self.threshold
        losses = {name: (y, y.loss_of_kept(p, τ)) for name, p in zip(self.consistency, passes, strict=False)}
        weights = o.share_out({name: self.consistency[name] for name in losses})
        return o.log(o.add(step, weights, losses), τ)

    def label_weak(self, x: Tensor, w: Tensor, valid: Tensor) -> tuple[Target, Tensor]:
        """The teacher's labels of the weak views w (B, 3, H, W), and its features (2B, C, h, w) of x and w."""
        teacher = self.ema
        with no_gradient(teacher, training=self.parity):
            f = teacher.perceive(teacher.fused(teacher.encode(torch.cat((x, w)))))
            return Target.from_logits(teacher.score(f[len(x) :], (w.shape[-2], w.shape[-1])), valid), f

    def student_pass(
        self, x: Tensor, views: Sequence[tuple[Tensor, Target]], *, perturb: bool, adverse: int | None = None
    ) -> tuple[Any, ...]:
        """One pass over [x | views], with `perturb` over the views' perturbed features too: [x | u | o | u,pt | o,pt].

        views: images (B, 3, H, W) and their targets, whose confident pixels are perturbed. Returns logits (B, K, H, W)
        of x, then for each view a tuple: of the view (and of its perturbed features). The last `adverse` images take
        the second BatchNorm: those perturbed, or, without perturbation, the views.
        """
        student, counts = self.student, [len(image) for image, _ in views]
        g = student.fused(student.encode(torch.cat([x, *(image for image, _ in views)])))
        if perturb:
            g_u = g[len(x) :]
            kept = torch.cat([y.mask(self.threshold) for _, y in views])
            g = torch.cat((g, g_u + self.perturbation(g_u.detach(), kept)))
        f = student.perceive(g, sum(counts) if adverse is None else adverse)
        logits = student.score(f, (x.shape[-2], x.shape[-1]))
        p_x, *p = torch.split(logits, [len(x), *counts, *(counts if perturb else ())])
        return p_x, *(p[i :: len(views)] for i in range(len(views)))

    def perturbation(self, g: Tensor, kept: Tensor) -> Tensor:
        """ε ∇/|∇| at each pixel, ∇ the gradient of -log p of the pixels `kept` (B, H, W).

        g: fused features (B, C, h, w). Constant, in fp32 (only the direction counts, so it is a sum), and 0 where no
        pixel is kept.
        """
        tracking = nullcontext() if self.parity else keep_running_statistics(self.student.fuse)
        with torch.enable_grad(), torch.autocast(g.device.type, enabled=False), tracking:
            δ = torch.zeros_like(to_float32(g), requires_grad=True)
            f = self.student.perceive(to_float32(g) + δ, adverse=len(g))
            counted = F.interpolate(kept[:, None].to(f.dtype), f.shape[-2:], mode="nearest")
            (gradient,) = torch.autograd.grad(-(self.flow(_rows(f)) * _rows(counted)[:, 0]).sum(), δ)
        pt: Tensor = self.eps * F.normalize(gradient, dim=1)
        return pt

    def flow_loss(self, f: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """-log p of the teacher's features f (2B, C, h, w) of x and w, 0-d.

        Labelled pixels are scored under their class, others under any.
        """
        label = torch.cat((mask, torch.where(valid, ANY, IGNORE)))
        label = _rows(F.interpolate(label[:, None].float(), f.shape[-2:], mode="nearest"))[:, 0].long()
        most = MOST_PIXELS if self.parity else min(MOST_PIXELS, math.ceil(SHARE * len(label)))
        chosen = self.draws.pixels(label != IGNORE, most)
        x, label = _rows(f)[chosen], label[chosen]
        log_p = self.flow(x + self.draws.noise(x, NOISE), label)
        counted = label != IGNORE
        nll: Tensor = -(log_p * counted).sum() / denominator(counted.sum(), self.pooled)
        return nll

    def optimizers(self, config: OptimConfig, *, lr_scale: float = 1.0) -> list[torch.optim.Optimizer]:
        """The configured one over the student, and the flow's own."""
        flow = {"params": list(self.flow.parameters()), **FLOW_GROUP}
        return [*super().optimizers(config, lr_scale=lr_scale), torch.optim.Adam([flow], **FLOW_OPTIM)]

    def parameter_groups(self, config: OptimConfig, *, lr_scale: float = 1.0) -> list[dict[str, Any]]:
        """As `Method.parameter_groups`, without the flow."""
        own = {id(p) for p in self.flow.parameters()}
        groups = super().parameter_groups(config, lr_scale=lr_scale)
        return [{**group, "params": [p for p in group["params"] if id(p) not in own]} for group in groups]

    def after_step(self, progress: Progress) -> None:
        """The teacher follows the student: at once on labelled images alone, then as an EMA."""
        epoch = -(-progress.total_steps // progress.total_epochs)
        begin = self.warmup[0] * epoch if sum(self.warmup) < progress.total_epochs else 0
        decay = 0.0 if self.alias or self.ema_decay is None else self.ema_decay
        update_average(self.ema, self.student, step=max(progress.step - begin, 0), decay=decay, buffers=not self.parity)


def _rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B·h·w, C)."""
    return maps.movedim(1, -1).flatten(0, 2)


def _strong_views(o: OodViews | None) -> list[tuple[Tensor, Target]]:
    """The strong OOD views with their targets; none without an OOD stream."""
    return [] if o is None else list(zip(o.images, o.targets, strict=True))
