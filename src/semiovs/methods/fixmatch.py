"""FixMatch for segmentation: one strong view learns the confident pseudo-labels of the weak view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from semiovs.data import Batch
from semiovs.methods.base import Method
from semiovs.methods.maths import paste
from semiovs.methods.step import Passes, Progress, SharedPass, Step
from semiovs.methods.student import segment
from semiovs.methods.terms import Terms
from semiovs.models.segmenter import Segmenter


class FixMatch(Method):
    """L = (CE(x) + L_s) / 2 (Sohn et al. 2020; deeplab_methods spec, section 4).

    one_pass: UniMatch V2's form (section 7): x and s share the one gradient pass, and w is labelled without one, by the
    EMA teacher where there is one (`ema_decay`), else by the student in evaluation mode.
    """

    consistency = {"s": 1.0}
    strong = 1

    def __init__(self, segmenter: Segmenter, *, one_pass: bool = False, **options: Any) -> None:
        super().__init__(segmenter, **options)
        self.one_pass = one_pass

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Passes:
        """Label the CutMix partners, then learn from weak and strong views."""
        x, (u, m), τ = batch.labeled, batch.pair(), self.threshold
        (box,), (s,), (s_m,) = u.boxes[:1], u.strong[:1], m.strong[:1]
        s = paste(s, s_m, box)

        y_m = self.pseudo_label(m.weak, m.valid)
        if self.one_pass:
            y_w = self.pseudo_label(u.weak, u.valid)
            p_x, p_s, *p_o = segment(self.student, x.image, s, *ood_images)
        else:
            p_x, p_w, *p_o = segment(self.student, x.image, u.weak, *ood_images)
            y_w = self.pseudo_label(u.weak, u.valid, p_w)
        weak = Step(
            Terms.part({"x": (1.0, self.criterion(p_x, x.mask))}, 2.0),
            pseudo={"w": y_w, "w_mix": y_m},
            log={"mask_ratio": y_w.ratio(τ)},
            shared=SharedPass.of(p_o),
        )
        if not self.one_pass:
            yield weak
            (p_s,) = self.strong_pass(s)

        y_s = y_w.mix(y_m, box)
        strong = Step(Terms.part({"s": (1.0, y_s.loss(p_s, τ))}, 2.0), pseudo={"s": y_s})
        return weak.join(strong) if self.one_pass else strong
