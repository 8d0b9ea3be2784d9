"""FixMatch for segmentation: one strong view learns what the weak view is sure of."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from semiovs.data import Batch
from semiovs.methods.base import Carried, Method, Progress, Step
from semiovs.methods.maths import paste
from semiovs.methods.student import segment
from semiovs.methods.terms import Terms


class FixMatch(Method):
    """L = (CE(x) + L_s) / 2 (Sohn et al. 2020; deeplab_methods spec, section 4)."""

    consistency = {"s": 1.0}
    strong = 1

    def step(self, batch: Batch, progress: Progress, riders: Sequence[Tensor] = ()) -> Step:
        """Label the CutMix partners, then learn from weak and strong views."""
        x, (u, m), τ = batch.labeled, batch.pair(), self.threshold
        (box,), (s,), (s_m,) = u.boxes[:1], u.strong[:1], m.strong[:1]

        y_m = self.judge(m.weak, m.valid)
        p_x, p_w, *p_o = segment(self.student, x.image, u.weak, *riders)
        (p_s,) = segment(self.student, paste(s, s_m, box))

        y_w = self.believe(u.weak, p_w, u.valid)
        y_s = y_w.mix(y_m, box)
        terms = Terms(
            {
                "x": (1.0, self.criterion(p_x, x.mask)),
                "s": (1.0, y_s.loss(p_s, τ)),
            },
            normaliser=2.0,
        )
        return Step(
            terms,
            pseudo={"w": y_w, "w_mix": y_m, "s": y_s},
            log={"mask_ratio": y_w.ratio(τ)},
            carried=Carried(p_o[0], None) if p_o else None,
        )
