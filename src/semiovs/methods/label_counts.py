"""What the pseudo-labels of a step say: pixels of each class, and how far student and teacher agree on OOD images.

Counted without gradient, randomness or host synchronisation, beside the step and never in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from semiovs.data import Batch
from semiovs.methods.base import Method
from semiovs.methods.maths import Target, Threshold
from semiovs.methods.step import Step

#: Rows and columns from one pixel that is counted to the next: a 16th of them tells the shares well enough.
EVERY = 4

#: Names of the counts: of the labels of unlabelled and of OOD images, and of the pixels that both label alike.
UNLABELED, OOD, AGREEMENT = "pseudo", "ood_pseudo", "ood_agreement"


@torch.no_grad()
def count_labels(method: Method, batch: Batch, step: Step) -> dict[str, Tensor]:
    """Counts of one step, as float32 vectors by name; empty in a step without pseudo-labels.

    `UNLABELED`, `OOD`: (K,) pixels of each class, of those that are kept (confidence at or above τ, as the step left
    it). `AGREEMENT`: (2,) valid pixels of the weak OOD images where the student says what the open-vocabulary model
    says, and all of them; only of methods whose first pass these images share, which makes it free, and not where the
    method labels them.
    """
    counts: dict[str, Tensor] = {}
    for name, key in ((UNLABELED, "w"), (OOD, "ood")):
        if (target := step.pseudo.get(key)) is not None:
            counts[name] = _count_kept(target, method.threshold, method.student.num_classes)
    said, given = step.shared.clean, batch.ood
    if said is not None and given is not None and method.ood is not None and method.ood.mode == "ovs":
        valid = _thin(given.valid)
        same = (_thin(said).argmax(1) == _thin(given.label)) & valid
        counts[AGREEMENT] = torch.stack((same.sum(), valid.sum())).float()
    return counts


def summarize_counts(readings: Mapping[str, float], names: Sequence[str]) -> dict[str, Any]:
    """Readings with counts among them (``pseudo/0``, ``pseudo/1``, …) -> the readings, with shares in their place.

    names: of the classes. The shares of the kept pixels are a mapping by class, without classes that have none; the
    agreement is one number, where a pixel was valid.
    """
    counted = (UNLABELED, OOD, AGREEMENT)
    shares: dict[str, Any] = {name: v for name, v in readings.items() if name.partition("/")[0] not in counted}
    for kind in (UNLABELED, OOD):
        counts = [readings.get(f"{kind}/{k}", 0.0) for k in range(len(names))]
        if total := sum(counts):
            shares[kind] = {name: round(n / total, 5) for name, n in zip(names, counts, strict=True) if n}
    if total := readings.get(f"{AGREEMENT}/1", 0.0):
        shares[AGREEMENT] = readings[f"{AGREEMENT}/0"] / total
    return shares


def _count_kept(target: Target, threshold: Threshold, classes: int) -> Tensor:
    kept = target.map(_thin)
    index = torch.where(kept.mask(threshold), kept.label, classes).flatten()
    # `bincount` would read its maximum back from the device.
    counts = torch.zeros(classes + 1, dtype=torch.int64, device=index.device)
    return counts.scatter_add_(0, index, torch.ones_like(index))[:classes].float()


def _thin(maps: Tensor) -> Tensor:
    """Every `EVERY`-th row and column of maps (B, …, H, W)."""
    return maps[..., ::EVERY, ::EVERY]
