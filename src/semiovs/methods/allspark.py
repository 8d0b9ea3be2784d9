"""AllSpark: labelled features are rebuilt from channels of unlabelled ones, so that few labels do not dominate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from semiovs.data import Batch, ViewRequest
from semiovs.errors import UsageError, did_you_mean
from semiovs.methods.base import Method
from semiovs.methods.maths import Target
from semiovs.methods.memory import Memory
from semiovs.methods.step import Progress, Step
from semiovs.methods.student import Logits
from semiovs.methods.terms import Terms
from semiovs.models.bottleneck import Bottleneck
from semiovs.models.segmenter import Segmenter

#: What the classes of channels are found with.
GROUPINGS = ("logits", "softmax")


class AllSpark(Method):
    """L = (CE(x) + L_u) / 2 (Wang et al. 2024; AllSpark spec, section 4).

    Labelled images alone are seen in strong views.

    warmup_epoch: from this epoch on labelled channels are made of the memory's, before of those of the unlabelled
    images in the batch; grouping: channels find their class by the teacher's `logits`, as published, or its `softmax`;
    parity: as the published program: images that are labelled or predicted together depend on each other, padding is
    learnt as well, and the memory starts as noise. The bottleneck is put into the segmenter, between encoder and
    decoder, and makes its last map anew.
    """

    consistency = {"s": 1.0}  # of the OOD stream alone, whose images are learnt in strong views
    strong = 1
    shares_pass = False

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        num_classes: int,
        conf_thresh: float | Sequence[float] = 0.0,
        warmup_epoch: int = 5,
        grouping: str = "logits",
        parity: bool = False,
        **options: Any,
    ) -> None:
        if not segmenter.channels:
            raise UsageError(
                "allspark makes the last feature map anew, which this model does not show; set model.name=segformer"
            )
        if grouping not in GROUPINGS:
            raise UsageError(f"method.grouping: '{grouping}' is not known{did_you_mean(grouping, GROUPINGS)}")
        channels = segmenter.channels[-1]
        neck = segmenter.neck if isinstance(segmenter.neck, Bottleneck) else Bottleneck(channels)
        neck.couple = parity
        segmenter.neck = neck
        super().__init__(segmenter, num_classes=num_classes, conf_thresh=conf_thresh, **options)
        self.memory = Memory(num_classes, channels, noise=parity)
        self.warmup_epoch, self.grouping, self.parity = warmup_epoch, grouping, parity

    @property
    def views(self) -> ViewRequest:
        """A strong view of labelled and of OOD images, the weak one of unlabelled images."""
        return replace(super().views, labeled=1, unlabeled=0, mixing=False)

    @property
    def neck(self) -> Bottleneck:
        """The student's bottleneck."""
        assert isinstance(self.student.neck, Bottleneck)
        return self.student.neck

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Step:
        """Label the unlabelled images, then learn them beside the labelled ones, which are made of their channels."""
        x, (u, _), τ = batch.labeled, batch.pair(), self.threshold
        (x_s,) = x.strong or (x.image,)
        labeled, size = len(x_s), (x_s.shape[-2], x_s.shape[-1])

        z = self.teacher_logits(u.weak)
        y = Target.from_logits(z, torch.ones_like(u.valid) if self.parity else u.valid)

        *fine, feature = self.student.encode(torch.cat([x_s, u.weak]))
        e, n = self.neck.enter(feature)
        n_x, n_u = n[:labeled], n[labeled:]
        self.memory.remember(n_u, z.softmax(1) if self.grouping == "softmax" else z, feature.shape[-2:])
        sources = self.memory.sources() if progress.epoch >= self.warmup_epoch else (n_u,)
        a = torch.cat([self.neck.attn.cross(n_x, *sources), self.neck.attn.itself(n_u)])
        p = self.student.decode((*fine, self.neck.leave(a + e, feature)), size)

        terms = Terms(
            {
                "x": (1.0, self.criterion(p[:labeled], x.mask)),
                "u": (1.0, y.loss(p[labeled:], τ)),
            },
            normaliser=2.0,
        )
        return Step(terms, pseudo={"w": y}, log={"mask_ratio": y.ratio(τ)})

    def strong_pass(self, *views: Tensor) -> Logits:
        """OOD images are learnt as unlabelled ones are: of their own channels, which the memory does not take."""
        (s,) = views
        *fine, feature = self.student.encode(s)
        e, n = self.neck.enter(feature)
        feature = self.neck.leave(self.neck.attn.itself(n) + e, feature)
        return (self.student.decode((*fine, feature), (s.shape[-2], s.shape[-1])),)
