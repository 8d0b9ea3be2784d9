"""The OOD stream of SemiOVS: images from elsewhere, labelled by an open-vocabulary model, beside any method.

Shin et al. 2025: L = (L_base · n + λ L_ood) / (n + λ), with L_ood of the same form as the base's terms on unlabelled images
(deeplab_methods spec, section 4, SemiOVS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semiovs.data import Batch, OpenVocab, Unlabeled
from semiovs.errors import UsageError, did_you_mean
from semiovs.methods.maths import Target, paste

if TYPE_CHECKING:
    from semiovs.methods.base import Carried, Method, Progress, Step


@dataclass(frozen=True)
class OodStream:
    """Composes with a method; holds no state, so checkpoints with and without it have the same keys.

    weight: λ, None: the method's published one. mode: `ovs`, the labels of the open-vocabulary model; `naive`, the student labels
    these images itself, all else equal (for comparison). confidence: `ones` as published; `score`, what the batch brings, against
    the method's threshold; `calibrated`, what it brings is the probability that the label is right, and weighs the pixel.
    """

    weight: float | None = None
    mode: str = "ovs"
    confidence: str = "ones"

    def __post_init__(self) -> None:
        for option, value, known in (
            ("mode", self.mode, ("ovs", "naive")),
            ("confidence", self.confidence, ("ones", "score", "calibrated")),
        ):
            if value not in known:
                raise UsageError(f"ood.{option}: '{value}' is not known{did_you_mean(value, known)}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> OodStream:
        """Read ``{"weight": λ, "mode": …, "confidence": …}``; a weight of None is the published one."""
        for key in options:
            if key not in cls.__dataclass_fields__:
                raise UsageError(f"ood: unknown option '{key}'{did_you_mean(key, cls.__dataclass_fields__)}")
        return cls(**{key: value for key, value in options.items() if value is not None})

    def weighted(self, published: float) -> OodStream:
        """The same stream with λ filled in where it is None."""
        return self if self.weight is not None else replace(self, weight=published)

    def step(self, method: Method, batch: Batch, progress: Progress) -> Step:
        """The method's step with the OOD terms added to its loss and λ to its normaliser."""
        o, τ = self.images(batch), method.threshold
        base = method.step(batch, progress, riders=(o.weak,) if method.carries else ())
        y = self.target(method, o, base.carried)
        u = batch.unlabeled if method.reads_unlabeled else None
        strong, targets = self.pasted(o, u, y, base.pseudo.get("w"), method.strong)
        weak = {} if base.carried is None else base.carried.learnt()
        views = [name for name in method.consistency if name not in weak]
        logits = method.strong_pass(*strong)
        targets *= len(views) // method.strong  # a view may have several predictions
        losses = {name: y_s.loss(p, τ) for name, y_s, p in zip(views, targets, logits, strict=True)}
        losses |= {name: y.loss(p, τ) for name, p in weak.items()}

        pseudo = {"ood": y, **{f"ood_{name}": y_s for name, y_s in zip(views, targets, strict=True)}}
        return replace(
            base,
            terms=base.terms.plus({f"ood_{name}": (w, losses[name]) for name, w in self.weights(method).items()}),
            pseudo={**base.pseudo, **pseudo},
            log={**base.log, "ood_mask_ratio": y.ratio(τ)},
        )

    def images(self, batch: Batch) -> OpenVocab:
        """The OOD images of a batch.

        Raises:
            UsageError: it brings none.
        """
        if batch.ood is None:
            raise UsageError("the method has an OOD stream but the batch brings no OOD images")
        return batch.ood

    def pasted(
        self, o: OpenVocab, u: Unlabeled | None, y: Target, y_w: Target | None, count: int
    ) -> tuple[tuple[Tensor, ...], list[Target]]:
        """The first `count` strong OOD views and their targets, with patches of the unlabelled views (labelled y_w), if there are.

        OOD images take patches of the in-distribution views *before* those are mixed themselves.
        """
        strong, targets = o.strong[:count], [y] * count
        if u is None or y_w is None or not u.strong:
            return strong, targets
        partner = torch.arange(len(o.weak), device=o.weak.device) % len(u.weak)
        u, y_w = u.map(lambda t: t[partner]), y_w.map(lambda t: t[partner])
        strong = tuple(paste(s_o, s, box) for s_o, s, box in zip(strong, u.strong, u.boxes, strict=False))
        return strong, [y.mix(y_w, box) for box in u.boxes[:count]]

    def target(self, method: Method, o: OpenVocab, carried: Carried | None) -> Target:
        """Labels of the OOD images: given by the open-vocabulary model, or (naive) the student's own."""
        if self.mode == "naive":
            return method.judge(o.weak, o.valid) if carried is None else method.believe(o.weak, carried.clean, o.valid)
        if self.confidence == "score":
            return Target.given(o.label, o.confidence, o.valid)
        weight = o.confidence if self.confidence == "calibrated" else None
        return Target.given(o.label, torch.ones_like(o.confidence), o.valid, weight)

    def weights(self, method: Method) -> dict[str, float]:
        """The method's consistency weights, rescaled so that they sum to λ."""
        assert self.weight is not None
        total = sum(method.consistency.values())
        return {name: self.weight * w / total for name, w in method.consistency.items()}
