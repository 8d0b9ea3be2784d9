"""DDFP: features of strong views, pushed to where a density flow knows few, must keep their labels."""

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
from semiovs.data import Batch, Views, followed
from semiovs.errors import UsageError, did_you_mean
from semiovs.images.conventions import IGNORE
from semiovs.methods.base import Method, Progress, Step
from semiovs.methods.maths import Target, denominator, paste, widened
from semiovs.methods.student import judging, untracked
from semiovs.methods.teacher import follow
from semiovs.methods.terms import Terms
from semiovs.models.decoders.dual import DualDeepLab
from semiovs.models.flow import ANY, Flow
from semiovs.models.segmenter import Segmenter

#: Pixels of a step that the flow learns from, at most, and their share (as large a one as they are of the published batch).
MOST_PIXELS, SHARE = 20_480, 1 / 6
#: Standard deviation of what is added to their features.
NOISE = 0.05
#: Adam of the flow: its rate falls to a hundredth by the end, an epoch at a time (DDFP spec, section 5).
FLOW_OPTIM: dict[str, Any] = {"lr": 1e-3, "betas": (0.5, 0.9)}
FLOW_GROUP: dict[str, Any] = {"name": "flow", "initial_lr": 1e-3, "final_factor": 0.01, "clip_norm": 50.0}

Phase = Literal["supervised", "joint", "perturbed"]


class Ddfp(Method):
    """L = CE(x) + ½ L_u + ½ L_u,pt (Wang et al. 2024; DDFP spec, sections 4 and 5); the flow's likelihood is learnt beside it.

    eps: length of the perturbation of a pixel's features. warmup: epochs on labelled images alone, then epochs without
    perturbation, L = CE(x) + L_u, in which the teacher is the student; a run that would end within them has none. ema_decay: of the
    teacher, which is always there; teacher: `ema`, or `alias`, which follows the student at once (as the published program does,
    by mistake). parity: the published program's other quirks (docs, methods/ddfp).
    """

    consistency = {"s": 0.5, "pt": 0.5}
    strong = 1
    carries = False
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
    def views(self) -> Views:
        """Streams and views that the loader must deliver."""
        return replace(super().views, mixing=False, box="half")

    def phase(self, progress: Progress) -> Phase:
        """What this epoch learns from."""
        supervised, joint = self.warmup
        if not supervised + joint < progress.total_epochs or progress.epoch >= supervised + joint:
            return "perturbed"
        return "supervised" if progress.epoch < supervised else "joint"

    def forward(self, batch: Batch, progress: Progress) -> Step:
        """Return the step; where there are OOD images they share its passes."""
        return self.supervised(batch) if self.phase(progress) == "supervised" else self.step(batch, progress)

    def step(self, batch: Batch, progress: Progress, riders: Sequence[Tensor] = ()) -> Step:
        """The teacher labels the weak view; the student learns the strong view, and its features once more, perturbed."""
        x, (u, m), τ = batch.labeled, batch.pair(followed), self.threshold
        (box,), (s,), (s_m,) = u.boxes[:1], u.strong[:1], m.strong[:1]
        perturb = self.phase(progress) == "perturbed"
        if not perturb:
            follow(self.ema, self.student, step=0, decay=0.0, buffers=not self.parity)

        y_w, f = self.teach(x.image, u.weak, u.valid)
        y_m = y_w.map(followed) if batch.mixing is None else self.judge(m.weak, m.valid)
        s, y_s = paste(s, s_m, box), y_w.mix(y_m, box)
        o_s, y_o, y = self.strangers(batch, y_w)
        p_x, p_u, *p_o = self.learn(x.image, (s, *o_s), (y_s, *y_o), perturb=perturb)

        terms = Terms(
            {"x": (1.0, self.criterion(p_x, x.mask)), **self.agree(("u", "u_pt"), y_s, p_u)},
            apart={"flow": self.surprise(f, x.mask, u.valid)},
        )
        return Step(
            self.with_strangers(terms, y_o, p_o),
            pseudo={"w": y_w, "w_mix": y_m, "u": y_s, **y},
            log={"mask_ratio": y_w.ratio(τ), **({"ood_mask_ratio": y["ood"].ratio(τ)} if y else {})},
        )

    def supervised(self, batch: Batch) -> Step:
        """One pass over the labelled images (and the strong OOD images, without patches)."""
        x = batch.labeled
        o_s, y_o, y = self.strangers(batch, None)
        adverse = len(x.image) // 2 if self.parity and not o_s else 0
        if self.parity:
            with judging(self.ema, training=True):
                self.ema(x.image)
        p_x, *p_o = self.learn(x.image, o_s, y_o, perturb=False, adverse=adverse)
        return Step(self.with_strangers(Terms({"x": (1.0, self.criterion(p_x, x.mask))}), y_o, p_o), pseudo=y)

    def teach(self, x: Tensor, w: Tensor, valid: Tensor) -> tuple[Target, Tensor]:
        """The teacher's labels of the weak views w (B, 3, H, W), and its features (2B, C, h, w) of x and w."""
        teacher = self.ema
        with judging(teacher, training=self.parity):
            f = teacher.perceive(teacher.fused(teacher.encode(torch.cat((x, w)))))
            return Target.of(teacher.score(f[len(x) :], (w.shape[-2], w.shape[-1])), valid), f

    def learn(
        self,
        x: Tensor,
        views: Sequence[Tensor],
        targets: Sequence[Target],
        *,
        perturb: bool,
        adverse: int | None = None,
    ) -> tuple[Any, ...]:
        """One pass over [x | views], with `perturb` over the views' perturbed features too: [x | u | o | u,pt | o,pt].

        Returns logits (B, K, H, W) of x, then for each view a tuple: of the view (and of its perturbed features). The last
        `adverse` images take the second BatchNorm: those perturbed, or, without perturbation, the views.
        """
        student, counts = self.student, [len(view) for view in views]
        g = student.fused(student.encode(torch.cat((x, *views))))
        if perturb:
            g_u = g[len(x) :]
            kept = torch.cat([y.kept(self.threshold) for y in targets])
            g = torch.cat((g, g_u + self.perturbation(g_u.detach(), kept)))
        f = student.perceive(g, sum(counts) if adverse is None else adverse)
        logits = student.score(f, (x.shape[-2], x.shape[-1]))
        p_x, *p = torch.split(logits, [len(x), *counts, *(counts if perturb else ())])
        return p_x, *(p[i :: len(views)] for i in range(len(views)))

    def perturbation(self, g: Tensor, kept: Tensor) -> Tensor:
        """ε ∇/|∇| at each pixel, ∇ the gradient of -log p of the pixels `kept` (B, H, W); g: fused features (B, C, h, w).

        Constant, in fp32 (only the direction counts, so it is a sum), and 0 where no pixel is kept.
        """
        tracking = nullcontext() if self.parity else untracked(self.student.fuse)
        with torch.enable_grad(), torch.autocast(g.device.type, enabled=False), tracking:
            δ = torch.zeros_like(widened(g), requires_grad=True)
            f = self.student.perceive(widened(g) + δ, adverse=len(g))
            counted = F.interpolate(kept[:, None].to(f.dtype), f.shape[-2:], mode="nearest")
            (gradient,) = torch.autograd.grad(-(self.flow(_rows(f)) * _rows(counted)[:, 0]).sum(), δ)
        pt: Tensor = self.eps * F.normalize(gradient, dim=1)
        return pt

    def surprise(self, f: Tensor, mask: Tensor, valid: Tensor) -> Tensor:
        """-log p of the teacher's features f (2B, C, h, w) of x and w, 0-d: labelled pixels under their class, others under any."""
        label = torch.cat((mask, torch.where(valid, ANY, IGNORE)))
        label = _rows(F.interpolate(label[:, None].float(), f.shape[-2:], mode="nearest"))[:, 0].long()
        most = MOST_PIXELS if self.parity else min(MOST_PIXELS, math.ceil(SHARE * len(label)))
        chosen = self.draws.pixels(label != IGNORE, most)
        x, label = _rows(f)[chosen], label[chosen]
        log_p = self.flow(x + self.draws.noise(x, NOISE), label)
        counted = label != IGNORE
        nll: Tensor = -(log_p * counted).sum() / denominator(counted.sum(), self.pooled)
        return nll

    def agree(self, names: Sequence[str], y: Target, passes: Sequence[Tensor], weight: float = 1.0) -> dict[str, Any]:
        """Terms of one set of images: `weight` is shared out to its passes."""
        share = weight / len(passes)
        return {name: (share, y.loss_of_kept(p, self.threshold)) for name, p in zip(names, passes, strict=False)}

    def strangers(self, batch: Batch, y_w: Target | None) -> tuple[tuple[Tensor, ...], list[Target], dict[str, Target]]:
        """The strong OOD view with its target, and what to tell of them; nothing without an OOD stream."""
        if self.ood is None:
            return (), [], {}
        o = self.ood.images(batch)
        y = self.ood.target(self, o, None)
        views, targets = self.ood.pasted(o, batch.unlabeled, y, y_w, self.strong)
        return views, targets, {"ood": y, "ood_s": targets[0]}

    def with_strangers(self, terms: Terms, y_o: Sequence[Target], p_o: Sequence[Sequence[Tensor]]) -> Terms:
        """The terms, and those of the OOD images, whose weights sum to λ."""
        for y, passes in zip(y_o, p_o, strict=True):
            assert self.ood is not None
            terms = terms.plus(self.agree(("ood_s", "ood_pt"), y, passes, sum(self.ood.weights(self).values())))
        return terms

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
        follow(self.ema, self.student, step=max(progress.step - begin, 0), decay=decay, buffers=not self.parity)


def _rows(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B·h·w, C)."""
    return maps.movedim(1, -1).flatten(0, 2)
