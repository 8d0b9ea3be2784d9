"""PrevMatch: UniMatch, and pseudo-labels of an ensemble of earlier snapshots of the student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from semiovs.data import Batch
from semiovs.errors import UsageError, did_you_mean
from semiovs.methods.maths import Target, Threshold
from semiovs.methods.previous import PreviousModels
from semiovs.methods.step import Passes, Progress
from semiovs.methods.unimatch import UniMatch
from semiovs.methods.weighting import build_weighting
from semiovs.models.segmenter import Segmenter
from semiovs.vocab.vocabulary import Vocabulary

#: When a snapshot is taken, and the images whose score decides.
SNAPSHOTS = {"paper": "val", "held-out": "held_out", "schedule": None}
#: Their names among the metrics of `after_evaluate`, the first that is there.
_SCORES = {"val": ("miou/student", "miou"), "held_out": ("held_out",), None: ()}
#: `schedule` without `prev_every`: snapshots in the whole run.
_SNAPSHOTS_A_RUN = 20


class PrevMatch(UniMatch):
    """L = (L_x + L_u + λ(t) L_prev) / (2 + λ(t)), L_u and L_prev = ¼ s1 + ¼ s2 + ½ fp.

    Shin et al. 2024; deeplab_methods spec, section 4.

    L_prev takes the same logits, and pseudo-labels of an ensemble of previous models, k of them in each step. Before
    there are any, the step is UniMatch's.

    prev_list_max: models that are kept; prev_models_max: used in a step, at most; random_select: their number is drawn,
    else it is always that; prev_conf_thresh: τ of their labels; prev_weighting: `pixelwise`, `pixelratio` or
    `pixelavg`, with `parity` as published (`methods.weighting`); prev_storage: `device`, `half` (16 bit) or `cpu`
    (`methods.previous`). prev_snapshot: `paper`, a model is kept when its score on the evaluation images is a new best;
    `held-out`, the same on labels that are kept aside (data.held_out); `schedule`, every `prev_every` steps (None: a
    twentieth of the run). base_only_epoch: none is kept before the end of that many epochs (an epoch that is under way
    counts as ended).
    """

    def __init__(
        self,
        segmenter: Segmenter,
        *,
        num_classes: int,
        prev_list_max: int = 8,
        prev_models_max: int = 3,
        prev_conf_thresh: float = 0.9,
        random_select: bool = True,
        base_only_epoch: int = 0,
        prev_weighting: str = "pixelwise",
        parity: bool = False,
        prev_snapshot: str = "paper",
        prev_every: int | None = None,
        prev_storage: str = "device",
        **options: Any,
    ) -> None:
        super().__init__(segmenter, num_classes=num_classes, **options)
        for option, value, least in (
            ("prev_models_max", prev_models_max, 1),
            ("base_only_epoch", base_only_epoch, 0),
            ("prev_every", 1 if prev_every is None else prev_every, 1),
        ):
            if value < least:
                raise UsageError(f"method.{option}: {value} must be at least {least}")
        if not 0 <= prev_conf_thresh <= 1:
            raise UsageError(f"method.prev_conf_thresh: {prev_conf_thresh} must be from 0 to 1")
        if prev_snapshot not in SNAPSHOTS:
            raise UsageError(
                f"method.prev_snapshot: '{prev_snapshot}' is not known{did_you_mean(prev_snapshot, SNAPSHOTS)}"
            )
        self.previous = PreviousModels(segmenter, slots=prev_list_max, storage=prev_storage)
        self.prev_loss = build_weighting(prev_weighting, published=parity)
        self.prev_threshold = Threshold(prev_conf_thresh, self.pooled)
        self.prev_models_max, self.random_select = prev_models_max, random_select
        self.base_only_epoch, self.prev_every = base_only_epoch, prev_every
        self.steered_by, self.scheduled = SNAPSHOTS[prev_snapshot], prev_snapshot == "schedule"
        self.epoch = 0

    def step(self, batch: Batch, progress: Progress, ood_images: Sequence[Tensor] = ()) -> Passes:
        """UniMatch's passes, whose logits learn the confident labels of an ensemble of previous models too."""
        passes = self.unimatch(batch, ood_images)
        weak, (p_fp,) = next(passes)
        if len(self.previous) == 0:
            yield weak
            return next(passes)[0]
        (u, m), λ, τ, loss = batch.pair(), ramp(progress), self.prev_threshold, self.prev_loss
        box1, box2 = u.boxes

        d = self.draws.ensemble(len(self.previous), self.prev_models_max, vary=self.random_select, seed=progress.seed)
        p_w, p_m = self.previous.logits(d, u.weak, m.weak)
        y_w, y_m = Target.from_logits(p_w, u.valid), Target.from_logits(p_m, m.valid)
        yield replace(
            weak,
            terms=weak.terms.plus({"fp_prev": (λ * 0.50, loss(y_w, p_fp, τ))}, λ),
            pseudo={**weak.pseudo, "w_prev": y_w, "w_mix_prev": y_m},
            log={**weak.log, "mask_ratio_prev": y_w.ratio(τ)},
        )

        strong, (p_s1, p_s2) = next(passes)
        y_s1, y_s2 = y_w.mix(y_m, box1), y_w.mix(y_m, box2)
        terms = {
            "s1_prev": (λ * 0.25, loss(y_s1, p_s1, τ)),
            "s2_prev": (λ * 0.25, loss(y_s2, p_s2, τ)),
        }
        pseudo = {**strong.pseudo, "s1_prev": y_s1, "s2_prev": y_s2}
        return replace(strong, terms=strong.terms.plus(terms, λ), pseudo=pseudo)

    def prompt(self, vocabulary: Vocabulary) -> None:
        """Set the class names in the previous models too."""
        super().prompt(vocabulary)
        self.previous.prompt(vocabulary)

    def after_step(self, progress: Progress) -> None:
        """`schedule`: keep a snapshot when one is due."""
        super().after_step(progress)
        self.epoch = progress.epoch
        every = self.prev_every or max(1, progress.total_steps // _SNAPSHOTS_A_RUN)
        if self.scheduled and (progress.step + 1) % every == 0:
            self._keep()

    def after_evaluate(self, metrics: Mapping[str, float]) -> None:
        """`paper` and `held-out`: keep a snapshot if the student's score is strictly higher than all before."""
        super().after_evaluate(metrics)
        score = next((metrics[name] for name in _SCORES[self.steered_by] if name in metrics), None)
        if score is not None and self.previous.improves(score):
            self._keep()

    def _keep(self) -> None:
        if self.epoch + 1 >= self.base_only_epoch:
            self.previous.remember(self.student)


def ramp(progress: Progress) -> float:
    """λ(t) by the epoch t of E: up from 0 to 1 in the first E // 2, then down towards 0 (deeplab_methods spec, 4)."""
    t, total = progress.epoch, progress.total_epochs
    warm = total // 2
    return t / warm if t < warm else 1 - (t - warm) / (total - warm)
