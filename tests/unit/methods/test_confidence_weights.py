"""`ood.confidence=calibrated`: probabilities weigh the pixels of the OOD term; `ones` stays the paper's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from contract.toy import K, toy_batch, toy_method
from semiovs.methods import Progress, Target
from semiovs.methods.maths import Threshold

PROGRESS = Progress(step=3, total_steps=10, epoch=1, total_epochs=4)
BOXES = torch.tensor([[1, 2, 5, 6], [0, 0, 0, 0]])


def target(seed: int, *, weighted: bool) -> Target:
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, K, (2, 8, 8), generator=g)
    confidence, weight = torch.rand(2, 2, 8, 8, generator=g)
    valid = torch.rand(2, 8, 8, generator=g) > 0.3
    return Target(label, confidence, valid, weight if weighted else None)


def test_loss_by_hand() -> None:
    t = target(0, weighted=True)
    logits = torch.randn(2, K, 8, 8, generator=torch.Generator().manual_seed(1))
    ce = F.cross_entropy(logits, t.label, reduction="none")
    kept = (t.confidence >= 0.4) & t.valid
    assert t.weight is not None
    wanted = (ce * t.weight)[kept].sum() / t.valid.sum()
    assert torch.allclose(t.loss(logits, Threshold(0.4)), wanted)
    assert torch.allclose(t.ratio(Threshold(0.4)), t.weight[kept].sum() / t.valid.sum())


def test_without_weights_nothing_changes() -> None:
    plain, ones = target(0, weighted=False), replace(target(0, weighted=False), weight=torch.ones(2, 8, 8))
    logits = torch.randn(2, K, 8, 8, generator=torch.Generator().manual_seed(1))
    τ = Threshold(0.4)
    assert plain.loss(logits, τ).equal(ones.loss(logits, τ))
    assert plain.mix(target(1, weighted=False), BOXES).weight is None


@pytest.mark.parametrize(("ours", "theirs"), [(True, False), (False, True), (True, True)])
def test_weights_are_pasted(ours: bool, theirs: bool) -> None:
    a, b = target(0, weighted=ours), target(1, weighted=theirs)
    mixed = a.mix(b, BOXES)
    assert mixed.weight is not None
    assert mixed.weight[0, 2:6, 1:5].equal(b.weights()[0, 2:6, 1:5])
    assert mixed.weight[0, 6:].equal(a.weights()[0, 6:])
    assert mixed.weight[1].equal(a.weights()[1])


def terms(confidence: str, change: Any) -> dict[str, float]:
    method = toy_method("unimatch", {"weight": 1.0, "confidence": confidence}, conf_thresh=0.9)
    batch = toy_batch(method)
    assert batch.ood is not None
    batch = replace(batch, ood=replace(batch.ood, confidence=change(batch.ood.confidence)))
    torch.manual_seed(5)
    return {name: value.item() for name, (_, value) in method(batch, PROGRESS).terms.items()}


def test_probabilities_weigh_and_are_not_cut() -> None:
    """At 0.5, under the threshold of 0.9, a pixel counts half instead of not at all; boxes (thresholded) do not
    change.
    """
    full = terms("calibrated", torch.ones_like)
    half = terms("calibrated", lambda c: torch.full_like(c, 0.5))
    none = terms("calibrated", torch.zeros_like)
    assert full == terms("ones", lambda c: c)
    for name in ("ood_s1", "ood_s2", "ood_fp"):
        assert half[name] == pytest.approx((full[name] + none[name]) / 2, rel=1e-5)
        assert half[name] > none[name]
    assert none["ood_fp"] == 0  # no box there
    assert terms("score", lambda c: torch.full_like(c, 0.5))["ood_fp"] == 0
