"""UniMatch V2: two strong views with complementary channel dropout learn the confident labels of an EMA teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from semiovs.data import Batch, ViewRequest, take_mirrored
from semiovs.errors import UsageError
from semiovs.methods.base import Method
from semiovs.methods.maths import paste
from semiovs.methods.step import Passes, Progress, Step
from semiovs.methods.student import Logits, segment, segment_complementary
from semiovs.methods.terms import Terms
from semiovs.models.segmenter import Segmenter


class UniMatchV2(Method):
    """L = (CE(x) + (L_s1 + L_s2) / 2) / 2 (Yang et al. 2025; deeplab_methods spec, section 7).

    ema_decay: of the teacher, which is always there. The CutMix partners are the batch itself, flipped, so there is no
    mixing stream. The teacher alone sees the weak views, so OOD images have no pass to share.
    """

    consistency = {"s1": 0.5, "s2": 0.5}
    strong = 2
    shares_pass = False

    def __init__(self, segmenter: Segmenter, *, ema_decay: float = 0.996, **options: Any) -> None:
        if ema_decay is None:
            raise UsageError("method.ema_decay: unimatch-v2 learns from its EMA teacher; give a number, like 0.996")
        super().__init__(segmenter, ema_decay=ema_decay, **options)

    @property
    def views(self) -> ViewRequest:
        """Streams and views that the loader must deliver."""
        return replace(super().views, mixing=False)

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Passes:
        """The teacher labels the weak views; labelled images and strong views are learnt in a pass each."""
        x, (u, m), τ = batch.labeled, batch.pair(take_mirrored), self.threshold
        box1, box2 = u.boxes
        s1, s2 = (paste(s, s_m, box) for s, s_m, box in zip(u.strong, m.strong, u.boxes, strict=True))

        y_w = self.pseudo_label(u.weak, u.valid)
        y_m = y_w.map(take_mirrored) if batch.mixing is None else self.pseudo_label(m.weak, m.valid)
        (p_x,) = segment(self.student, x.image)
        yield Step(
            Terms.part({"x": (1.0, self.criterion(p_x, x.mask))}, 2.0),
            pseudo={"w": y_w, "w_mix": y_m},
            log={"mask_ratio": y_w.ratio(τ)},
        )

        p_s1, p_s2 = self.strong_pass(s1, s2)
        y_s1, y_s2 = y_w.mix(y_m, box1), y_w.mix(y_m, box2)
        terms = {
            "s1": (0.5, y_s1.loss(p_s1, τ)),
            "s2": (0.5, y_s2.loss(p_s2, τ)),
        }
        return Step(Terms.part(terms, 2.0), pseudo={"s1": y_s1, "s2": y_s2})

    def strong_pass(self, *views: Tensor) -> Logits:
        """Both views in one pass with complementary channel dropout; OOD images are learnt in the same way."""
        s1, s2 = views
        return segment_complementary(self.student, self.draws, s1, s2)
