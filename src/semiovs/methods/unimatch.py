"""UniMatch: two strong views and a feature perturbation learn the confident pseudo-labels of the weak view."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from semiovs.data import Batch
from semiovs.methods.base import Method
from semiovs.methods.maths import paste
from semiovs.methods.step import Progress, SharedPass, Step
from semiovs.methods.student import Logits, segment, segment_perturbed
from semiovs.methods.terms import Terms


class UniMatch(Method):
    """L = (CE(x) + ¼ L_s1 + ¼ L_s2 + ½ L_fp) / 2 (Yang et al. 2023, eq. 6; deeplab_methods spec, section 4)."""

    consistency = {"s1": 0.25, "s2": 0.25, "fp": 0.5}
    strong = 2

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Step:
        """Label the CutMix partners, then learn from weak, perturbed and strong views."""
        return self.unimatch(batch, ood_images)[0]

    def unimatch(self, batch: Batch, ood_images: Sequence[Tensor] = ()) -> tuple[Step, Logits]:
        """The step, and the logits of s1, s2 and the perturbed w, for methods that learn more from the same passes."""
        x, (u, m), τ = batch.labeled, batch.pair(), self.threshold
        box1, box2 = u.boxes
        s1, s2 = (paste(s, s_m, box) for s, s_m, box in zip(u.strong, m.strong, u.boxes, strict=True))

        y_m = self.pseudo_label(m.weak, m.valid)
        (p_x, p_w, *p_o), (_, p_fp, *fp_o) = segment_perturbed(self.student, self.draws, x.image, u.weak, *ood_images)
        p_s1, p_s2 = segment(self.student, s1, s2)

        y_w = self.pseudo_label(u.weak, u.valid, p_w)
        y_s1, y_s2 = y_w.mix(y_m, box1), y_w.mix(y_m, box2)
        terms = Terms(
            {
                "x": (1.0, self.criterion(p_x, x.mask)),
                "s1": (0.25, y_s1.loss(p_s1, τ)),
                "s2": (0.25, y_s2.loss(p_s2, τ)),
                "fp": (0.50, y_w.loss(p_fp, τ)),
            },
            normaliser=2.0,
        )
        step = Step(
            terms,
            pseudo={"w": y_w, "w_mix": y_m, "s1": y_s1, "s2": y_s2},
            log={"mask_ratio": y_w.ratio(τ)},
            shared=SharedPass.of(p_o, fp=fp_o),
        )
        return step, (p_s1, p_s2, p_fp)
