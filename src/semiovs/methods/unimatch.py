"""UniMatch: two strong views and a feature perturbation learn the confident pseudo-labels of the weak view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from semiovs.data import Batch
from semiovs.methods.base import Method
from semiovs.methods.maths import paste
from semiovs.methods.step import Passes, Progress, SharedPass, Step
from semiovs.methods.student import Logits, segment, segment_perturbed
from semiovs.methods.terms import Terms


class UniMatch(Method):
    """L = (CE(x) + ¼ L_s1 + ¼ L_s2 + ½ L_fp) / 2 (Yang et al. 2023, eq. 6; deeplab_methods spec, section 4)."""

    consistency = {"s1": 0.25, "s2": 0.25, "fp": 0.5}
    strong = 2

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Passes:
        """Label the CutMix partners, then learn from weak and perturbed views, then from strong ones."""
        passes = self.unimatch(batch, ood_images)
        weak, _ = next(passes)
        yield weak
        strong, _ = next(passes)
        return strong

    def unimatch(self, batch: Batch, ood_images: Sequence[Tensor] = ()) -> Iterator[tuple[Step, Logits]]:
        """Each pass, and the logits that unlabelled images are learnt by in it: of the perturbed w; of s1 and s2."""
        x, (u, m), τ = batch.labeled, batch.pair(), self.threshold
        box1, box2 = u.boxes
        s1, s2 = (paste(s, s_m, box) for s, s_m, box in zip(u.strong, m.strong, u.boxes, strict=True))

        y_m = self.pseudo_label(m.weak, m.valid)
        (p_x, p_w, *p_o), (_, p_fp, *fp_o) = segment_perturbed(self.student, self.draws, x.image, u.weak, *ood_images)
        y_w = self.pseudo_label(u.weak, u.valid, p_w)
        terms = {
            "x": (1.0, self.criterion(p_x, x.mask)),
            "fp": (0.50, y_w.loss(p_fp, τ)),
        }
        yield (
            Step(
                Terms.part(terms, 2.0),
                pseudo={"w": y_w, "w_mix": y_m},
                log={"mask_ratio": y_w.ratio(τ)},
                shared=SharedPass.of(p_o, fp=fp_o),
            ),
            (p_fp,),
        )

        p_s1, p_s2 = segment(self.student, s1, s2)
        y_s1, y_s2 = y_w.mix(y_m, box1), y_w.mix(y_m, box2)
        terms = {
            "s1": (0.25, y_s1.loss(p_s1, τ)),
            "s2": (0.25, y_s2.loss(p_s2, τ)),
        }
        yield Step(Terms.part(terms, 2.0), pseudo={"s1": y_s1, "s2": y_s2}), (p_s1, p_s2)
