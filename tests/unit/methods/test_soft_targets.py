"""`ood.confidence=soft` and `label_smoothing`: losses by hand, mixing, and that without them nothing changes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from contract.toy import K, toy_batch, toy_method
from semiovs.errors import UsageError
from semiovs.images.conventions import IGNORE
from semiovs.methods import Progress, Target
from semiovs.methods.criterion import build_criterion
from semiovs.methods.maths import Threshold

PROGRESS = Progress(step=3, total_steps=10, epoch=1, total_epochs=4)
OHEM = {"ohem_thresh": 0.7, "ohem_min_kept": 3, "pooled": False}


def pixel(probability: float | None) -> Target:
    label = torch.tensor([[[1]]])
    share = None if probability is None else torch.full((1, 1, 1), probability)
    return Target.from_labels(label, torch.ones(1, 1, 1), label > 0, probability=share)


def test_a_pixel_by_hand() -> None:
    """Three classes, p = (1/2, 3/10, 1/5), label 1 with q = 0.8: 0.8 · -ln 0.3 + 0.1 · -ln 0.5 + 0.1 · -ln 0.2."""
    logits = torch.tensor([0.5, 0.3, 0.2]).log().view(1, 3, 1, 1)
    wanted = -0.8 * math.log(0.3) - 0.1 * math.log(0.5) - 0.1 * math.log(0.2)
    assert wanted == pytest.approx(1.193437, abs=1e-6)
    assert pixel(0.8).loss(logits, Threshold(0.9)).item() == pytest.approx(wanted, abs=1e-6)
    assert pixel(1.0).loss(logits, Threshold(0.9)).item() == pytest.approx(-math.log(0.3), abs=1e-6)
    assert pixel(None).loss(logits, Threshold(0.9)).item() == pytest.approx(-math.log(0.3), abs=1e-6)


def test_it_is_the_cross_entropy_with_the_distribution() -> None:
    g = torch.Generator().manual_seed(0)
    logits, label = torch.randn(2, K, 5, 6, generator=g), torch.randint(0, K, (2, 5, 6), generator=g)
    q = torch.rand(2, 5, 6, generator=g)
    distribution = ((1 - q) / (K - 1))[:, None].repeat(1, K, 1, 1).scatter(1, label[:, None], q[:, None])
    assert distribution.sum(1).allclose(torch.ones(2, 5, 6))
    target = Target.from_labels(label, torch.ones_like(q), torch.ones_like(label, dtype=torch.bool), probability=q)
    assert target.cross_entropy(logits).allclose(F.cross_entropy(logits, distribution, reduction="none"), atol=1e-6)


def test_the_gradient_vanishes_where_the_student_says_the_distribution() -> None:
    logits = torch.tensor([0.1, 0.8, 0.1]).log().view(1, 3, 1, 1).requires_grad_()
    pixel(0.8).loss(logits, Threshold(0.9)).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6
    pixel(None).loss(logits, Threshold(0.9)).backward()
    assert logits.grad.abs().max() > 0.1


def test_probabilities_are_pasted_and_mapped() -> None:
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    ones, valid = torch.ones(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    soft, hard = Target(label, ones, valid, probability=0.6 * ones), Target(label, ones, valid)
    box = torch.tensor([[1, 0, 3, 4]])
    mixed = soft.mix(hard, box)
    assert mixed.probability is not None
    assert mixed.probability[0, 0].tolist() == pytest.approx([0.6, 1.0, 1.0, 0.6])
    assert mixed.weight is None
    assert hard.mix(hard, box).probability is None
    turned = mixed.map(lambda t: t.roll(1, -1)).probability
    assert turned is not None
    assert turned[0, 0].tolist() == pytest.approx([0.6, 0.6, 1.0, 1.0])


@pytest.mark.parametrize("name", ["supervised", "unimatch", "corrmatch", "ddfp"])
def test_a_sure_store_is_that_of_ones_and_an_unsure_one_is_another_loss(name: str) -> None:
    def terms(confidence: str, value: float) -> dict[str, float]:
        method = toy_method(name, {"weight": 1.0, "confidence": confidence})
        batch = toy_batch(method)
        assert batch.ood is not None
        batch = replace(batch, ood=replace(batch.ood, confidence=torch.full_like(batch.ood.confidence, value)))
        torch.manual_seed(5)
        return {key: term.value.item() for key, term in method(batch, PROGRESS).terms.items()}

    sure, ones, unsure = terms("soft", 1.0), terms("ones", 0.5), terms("soft", 0.5)
    assert sure == pytest.approx(ones, rel=1e-5)
    changed = {key for key in sure if unsure[key] != sure[key]}
    assert changed == {key for key in sure if key.startswith("ood_")}


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5, 1.0]])
def test_label_smoothing_is_torch_s(weights: list[float] | None) -> None:
    g = torch.Generator().manual_seed(0)
    logits, mask = torch.randn(2, K, 5, 6, generator=g), torch.randint(0, K, (2, 5, 6), generator=g)
    mask[:, 0] = IGNORE
    given = None if weights is None else torch.tensor(weights)
    found = build_criterion("ce", K, weights, **OHEM, label_smoothing=0.1)(logits, mask)
    wanted = F.cross_entropy(logits, mask, given, ignore_index=IGNORE, label_smoothing=0.1)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-5)
    plain = build_criterion("ce", K, weights, **OHEM)(logits, mask)
    assert build_criterion("ce", K, weights, **OHEM, label_smoothing=0.0)(logits, mask).equal(plain)
    assert found.item() != pytest.approx(plain.item(), rel=1e-3)


def test_hard_pixels_are_smoothed_too() -> None:
    logits = torch.tensor([0.6, 0.4]).log().view(1, 2, 1, 1)
    mask = torch.zeros(1, 1, 1, dtype=torch.int64)
    found = build_criterion("ohem", 2, None, **OHEM, label_smoothing=0.2)(logits, mask)
    assert found.item() == pytest.approx(-0.9 * math.log(0.6) - 0.1 * math.log(0.4), rel=1e-5)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_smoothing_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"label_smoothing: .* at least 0 and below 1"):
        toy_method("unimatch", label_smoothing=value)


def test_only_the_terms_on_labels_are_smoothed() -> None:
    def terms(smoothing: float | None) -> dict[str, float]:
        method = toy_method("unimatch", {"weight": 1.0}, label_smoothing=smoothing)
        torch.manual_seed(5)
        return {key: term.value.item() for key, term in method(toy_batch(method), PROGRESS).terms.items()}

    plain, smooth = terms(None), terms(0.2)
    assert {key for key in plain if plain[key] != smooth[key]} == {"x"}
