"""The OOD stream of SemiOVS: images from elsewhere, labelled by an open-vocabulary model, beside any method.

Shin et al. 2025: L = (L_base · n + λ L_ood) / (n + λ), with L_ood of the same form as the base's terms on unlabelled
images (deeplab_methods spec, section 4, SemiOVS).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from semiovs.data import Batch, OpenVocab
from semiovs.errors import UsageError, did_you_mean
from semiovs.methods.maths import Target, Threshold, paste
from semiovs.methods.step import Step

#: Images (B, 3, H, W) and their valid pixels (B, H, W) -> their pseudo-labels.
PseudoLabel = Callable[[Tensor, Tensor], Target]

#: What the confidence of the store is taken for (`OodStream`).
CONFIDENCES = ("ones", "score", "calibrated", "soft")


@dataclass(frozen=True, eq=False)
class OodViews:
    """What a method learns on the OOD images of one step.

    images: strong views (B, 3, H, W), with patches of the unlabelled images where there are any; targets: one for each
    view; label: target of the images themselves, without patches; weight: λ, a 0-d tensor where it moves.
    """

    images: tuple[Tensor, ...]
    targets: tuple[Target, ...]
    label: Target
    weight: float | Tensor

    def share_out(self, weights: Mapping[str, float]) -> dict[str, float | Tensor]:
        """Weights of the OOD terms: those of the method's own terms on unlabelled images, rescaled to sum to λ."""
        total = sum(weights.values())
        return {name: self.weight * weight / total for name, weight in weights.items()}

    def add(
        self, step: Step, weights: Mapping[str, float | Tensor], losses: Mapping[str, tuple[Target, Tensor]]
    ) -> Step:
        """A pass of a step with its OOD terms added to its loss, and λ to its normaliser.

        weights: of all OOD terms of the step (`share_out`); losses: target and loss (0-d) of those of this pass, if
        any.
        """
        terms = {f"ood_{name}": (weights[name], loss) for name, (_, loss) in losses.items()}
        return replace(
            step,
            terms=step.terms.plus(terms, self.weight),
            pseudo={**step.pseudo, **{f"ood_{name}": y for name, (y, _) in losses.items()}},
        )

    def log(self, step: Step, threshold: Threshold) -> Step:
        """A pass with the labels of the OOD images, the share of them that is learnt, and λ where it moves."""
        log = {**step.log, "ood_mask_ratio": self.label.ratio(threshold)}
        if isinstance(self.weight, Tensor):
            log["ood_weight"] = self.weight.clone()
        return replace(step, pseudo={**step.pseudo, "ood": self.label}, log=log)


@dataclass(frozen=True)
class OodStream:
    """Labels and views of the OOD images. It holds no state, so checkpoints with and without it have the same keys.

    It knows nothing of methods: `Method.step_with_ood` takes `views` from it, learns them, and hands the losses to
    `OodViews.add`.

    weight: λ, None: the method's published one; `auto`: the published one, which the method lowers (`OodWeight`; its
    λ now is a 0-d tensor). mode: `ovs`, the labels of the open-vocabulary model; `naive`, the
    method labels these images itself, all else equal (for comparison). confidence: `ones` as published; `score`, what
    the batch brings, against the method's threshold; `calibrated`, what it brings is the probability that the label is
    right, and weighs the pixel; `soft`, that probability is the label's in the target, and the other classes share the
    rest.
    """

    weight: float | Tensor | Literal["auto"] | None = None
    mode: str = "ovs"
    confidence: str = "ones"

    def __post_init__(self) -> None:
        for option, value, known in (
            ("mode", self.mode, ("ovs", "naive")),
            ("confidence", self.confidence, CONFIDENCES),
        ):
            if value not in known:
                raise UsageError(f"ood.{option}: '{value}' is not known{did_you_mean(value, known)}")
        if isinstance(self.weight, str) and self.weight != "auto":
            raise UsageError(f"ood.weight: '{self.weight}' is not known; give a number, or auto")

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> OodStream:
        """Read ``{"weight": λ, "mode": …, "confidence": …}``; a weight of None is the published one.

        Raises:
            UsageError: an unknown option, mode or confidence, or a weight that is no number nor auto.
        """
        for key in options:
            if key not in cls.__dataclass_fields__:
                raise UsageError(f"ood: unknown option '{key}'{did_you_mean(key, cls.__dataclass_fields__)}")
        return cls(**{key: value for key, value in options.items() if value is not None})

    def with_default_weight(self, published: float) -> OodStream:
        """The same stream with λ filled in where it is None."""
        return self if self.weight is not None else replace(self, weight=published)

    def images(self, batch: Batch) -> OpenVocab:
        """The OOD images of a batch.

        Raises:
            UsageError: it brings none.
        """
        if batch.ood is None:
            raise UsageError("the method has an OOD stream but the batch brings no OOD images")
        return batch.ood

    def views(self, batch: Batch, count: int, y_w: Target | None, pseudo_label: PseudoLabel) -> OodViews:
        """The first `count` strong views of the OOD images of a batch, and their targets.

        They take patches of the strong unlabelled views *before* those are mixed themselves. y_w: target of the weak
        unlabelled images, None: no patches. pseudo_label: the method's own labels, from images (B, 3, H, W) and their
        valid pixels (B, H, W); asked for in `naive` mode alone.
        """
        assert self.weight is not None
        assert not isinstance(self.weight, str)
        o, u = self.images(batch), batch.unlabeled
        y = pseudo_label(o.weak, o.valid) if self.mode == "naive" else self.given_labels(o)
        strong, targets = o.strong[:count], (y,) * count
        if u is None or y_w is None or not u.strong:
            return OodViews(strong, targets, y, self.weight)
        partner = torch.arange(len(o.weak), device=o.weak.device) % len(u.weak)
        u, y_w = u.map(lambda t: t[partner]), y_w.map(lambda t: t[partner])
        strong = tuple(paste(s_o, s, box) for s_o, s, box in zip(strong, u.strong, u.boxes, strict=False))
        return OodViews(strong, tuple(y.mix(y_w, box) for box in u.boxes[:count]), y, self.weight)

    def given_labels(self, o: OpenVocab) -> Target:
        """The labels of the open-vocabulary model, with the confidence that the options ask for."""
        if self.confidence == "score":
            return Target.from_labels(o.label, o.confidence, o.valid)
        weight = o.confidence if self.confidence == "calibrated" else None
        probability = o.confidence if self.confidence == "soft" else None
        return Target.from_labels(o.label, torch.ones_like(o.confidence), o.valid, weight, probability)
