"""CorrMatch: similar pixels get their pseudo-labels together; the threshold follows the student's own confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F

from semiovs.data import Batch
from semiovs.errors import UsageError
from semiovs.methods.base import Method
from semiovs.methods.correlation import Affinity, Correlation
from semiovs.methods.maths import Target, Threshold, box_mask, denominator, paste, to_float32
from semiovs.methods.propagation import propagate
from semiovs.methods.step import Passes, Progress, SharedPass, Step
from semiovs.methods.student import Logits, decode_perturbed
from semiovs.methods.terms import Terms
from semiovs.models.decoders.deeplabv3plus import resize
from semiovs.models.norms import norm_layer
from semiovs.models.segmenter import Segmenter

#: Channels of the map that is correlated, the dropout on it, and how many of its positions draw a shape a step.
CHANNELS, DROPOUT, SHAPES = 256, 0.1, 128


class WeakPass(NamedTuple):
    """Outputs of the pass over weak views.

    Logits (B, K, H, W) of x, of w and of w with channels dropped; of x and w by correlation; shapes of w; those of the
    OOD images.
    """

    x: Tensor
    w: Tensor
    fp: Tensor
    x_corr: Tensor
    w_corr: Tensor
    shapes: Tensor
    shared: SharedPass


class CorrMatch(Method):
    """L = (½ CE(x) + ½ CE(x_corr) + ¼ L_s + ¼ L_kl + ¼ L_fp + ⅛ L_s_corr + ⅛ L_w_corr) / 2.

    Sun et al. 2024; corrmatch spec, section 4.

    conf_thresh: τ at the first step; it then moves with `thresh_momentum` towards the student's confidence. parity: as
    the published program computes, where that differs (docs/methods/corrmatch.md, Quirks).
    """

    #: Of the OOD stream. Given labels have no distribution to diverge from, so `s` takes the weight of `kl` too.
    consistency = {"s": 0.5, "fp": 0.25, "s_corr": 0.125, "w_corr": 0.125}
    strong = 1

    moving_threshold: Tensor

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        num_classes: int,
        conf_thresh: float = 0.85,
        thresh_momentum: float = 0.999,
        parity: bool = False,
        **options: Any,
    ) -> None:
        if isinstance(conf_thresh, Sequence):
            raise UsageError(
                "method.conf_thresh: corrmatch moves one threshold for all classes; give a number, like 0.85"
            )
        if options.get("thresh_quantile") is not None:
            raise UsageError(
                "method.thresh_quantile: corrmatch moves its threshold itself (method.thresh_momentum); set it to null"
            )
        if not 0 <= thresh_momentum <= 1:
            raise UsageError(f"method.thresh_momentum: {thresh_momentum} must be from 0 to 1, like 0.999")
        if not segmenter.channels:
            raise UsageError("corrmatch correlates the encoder's last map; use model.name=deeplabv3plus or dpt")
        super().__init__(segmenter, num_classes=num_classes, conf_thresh=conf_thresh, **options)
        self.thresh_momentum, self.parity = thresh_momentum, parity
        self.register_buffer("moving_threshold", torch.tensor(float(conf_thresh)))
        conv = nn.Conv2d(segmenter.channels[-1], CHANNELS, 3, padding=1)
        self.proj = nn.Sequential(conv, norm_layer(segmenter.norm, CHANNELS), nn.ReLU())
        self.corr = Correlation(CHANNELS, num_classes)

    @property
    def threshold(self) -> Threshold:
        """τ as it stands."""
        return Threshold(self.moving_threshold, self.pooled)

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Passes:
        """Label the CutMix partners, then learn from weak, perturbed and strong views, directly and by correlation."""
        x, (u, m), parity = batch.labeled, batch.pair(), self.parity
        (box,), (s,), (s_m,) = u.boxes[:1], u.strong[:1], m.strong[:1]

        p_m = self.teacher_logits(m.weak)
        p = self.weak_pass(x.image, u.weak, *ood_images)
        y_w, y_m = self.pseudo_label(u.weak, u.valid, p.w), Target.from_logits(p_m, m.valid)
        y_mix = y_w.mix(y_m, box)
        self.update_threshold(y_w, y_mix.valid if parity else y_w.valid)
        τ = self.threshold
        terms = {
            "x": (0.5, self.criterion(p.x, x.mask)),
            "x_corr": (0.5, self.criterion(p.x_corr, x.mask)),
            "fp": (0.25, y_w.loss(p.fp, τ)),
            "w_corr": (0.125, y_w.loss(p.w_corr, τ)),
        }
        log = {"mask_ratio": y_w.ratio(τ), "threshold": self.moving_threshold.clone()}
        yield Step(Terms.part(terms, 2.0), pseudo={"w": y_w, "w_mix": y_m, "mix": y_mix}, log=log, shared=p.shared)

        p_s, q_s = self.strong_pass(paste(s, s_m, box))
        own = y_mix.valid & ~box_mask(box, *y_mix.label.shape[-2:])
        y_s = propagate(y_mix, p.shapes * own[..., None], τ, self.student.num_classes)

        π = to_float32(p.w.detach()).softmax(1)
        π = π if parity else paste(π, to_float32(p_m).softmax(1), box)
        terms = {
            "s": (0.25, y_s.loss(p_s, τ)),
            "kl": (0.25, divergence(π, p_s, y_mix, τ)),
            "s_corr": (0.125, y_s.loss(q_s, τ)),
        }
        return Step(Terms.part(terms, 2.0), pseudo={"s": y_s}, log={"spread_ratio": y_s.ratio(τ)})

    def weak_pass(self, *groups: Tensor) -> WeakPass:
        """One pass over x, w and the OOD images, if any.

        The decoder reads clean and perturbed features together, correlation reads the clean ones.
        """
        sizes, size = [len(group) for group in groups], (groups[1].shape[-2], groups[1].shape[-1])
        features = self.student.encode(torch.cat(groups))
        p, fp = decode_perturbed(self.student, self.draws, features, groups)
        alike = self.correlate(features[-1])
        q = torch.split(resize(alike.spread(torch.cat(p)), size), sizes)

        total = alike.matrix.shape[-1]
        positions = self.draws.positions(SHAPES, max(total - self.parity, 1), p[1].device)
        shapes = alike.of(slice(sizes[0], sizes[0] + sizes[1])).shapes(positions, size)
        shared = SharedPass.of(p[2:], fp=fp[2:], w_corr=q[2:])
        return WeakPass(p[0], p[1], fp[1], q[0], q[1], shapes, shared)

    def strong_pass(self, *views: Tensor) -> Logits:
        """The strong view -> its logits, and those by correlation; OOD images are learnt in the same way."""
        (s,) = views
        size, features = (s.shape[-2], s.shape[-1]), self.student.encode(s)
        p_s = self.student.decode(features, size)
        return p_s, resize(self.correlate(features[-1]).spread(p_s), size)

    def correlate(self, feature: Tensor) -> Affinity:
        """The encoder's last map, projected, every position with every other."""
        (projected,) = self.draws.channel_dropout((self.proj(feature),), DROPOUT)
        alike: Affinity = self.corr(projected)
        return alike

    @torch.no_grad()
    def update_threshold(self, y: Target, valid: Tensor) -> None:
        """τ <- m τ + (1 - m) mean over the classes of the largest confidence in each, on all ranks (corrmatch spec, 4).

        Classes that no valid pixel of any rank is labelled with do not count; without any τ stays.
        """
        highest = y.confidence.new_zeros(self.student.num_classes)
        highest.scatter_reduce_(0, y.label.flatten(), (y.confidence * valid).flatten(), "amax")
        highest = max_over_ranks(highest)
        present = highest > 0
        mean = highest.sum() / present.sum().clamp(min=1)
        τ = self.moving_threshold
        τ.copy_(torch.where(present.any(), self.thresh_momentum * τ + (1 - self.thresh_momentum) * mean, τ))


def divergence(probabilities: Tensor, logits: Tensor, target: Target, threshold: Threshold) -> Tensor:
    """Σ [kept] KL(π ‖ softmax(p)) / Σ [valid], 0-d; probabilities π and logits p are (B, K, H, W)."""
    divergence = F.kl_div(to_float32(logits).log_softmax(1), probabilities, reduction="none").sum(1)
    return (divergence * target.mask(threshold)).sum() / denominator(target.valid.sum(), threshold.pooled)


def max_over_ranks(values: Tensor) -> Tensor:
    """The elementwise maximum over all ranks."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values
