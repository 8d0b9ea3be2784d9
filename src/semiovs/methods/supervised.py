"""Supervised: labelled images only, the baseline."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from semiovs.data import Batch
from semiovs.methods.base import Method
from semiovs.methods.step import Progress, SharedPass, Step
from semiovs.methods.student import segment, segment_perturbed
from semiovs.methods.terms import Terms


class Supervised(Method):
    """L = CE(x). With an OOD stream L = (CE(x) + λ L_ood) / (1 + λ), without patches from unlabelled images."""

    consistency = {"s1": 0.25, "s2": 0.25, "fp": 0.5}  # of the OOD stream alone
    strong = 2
    reads_unlabeled = False

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Step:
        """One pass over the labelled images."""
        x = batch.labeled
        if not ood_images:
            (p_x,), shared = segment(self.student, x.image), SharedPass()
        else:
            (p_x, *p_o), (_, *fp_o) = segment_perturbed(self.student, self.draws, x.image, *ood_images)
            shared = SharedPass.of(p_o, fp=fp_o)
        return Step(Terms({"x": (1.0, self.criterion(p_x, x.mask))}), shared=shared)
