"""Weights of classes in the supervised loss: how they are made, what they do to gradients, and that null is off."""

import math

import pytest
import torch

from semiovs.methods import Progress
from semiovs.methods.criterion import balance_classes, build_criterion
from semiovs.testing.toy import K, ToyMethod, toy_batch

OHEM = {"ohem_thresh": 0.7, "ohem_min_kept": 10, "pooled": False}


def test_rare_classes_weigh_more_and_the_mean_is_one():
    common, middle, rare, absent = balance_classes([9000, 900, 100, 0])
    assert common < middle < rare
    assert absent == 1.0
    assert common + middle + rare == pytest.approx(3.0, rel=1e-3)
    # below the median class by the inverse of the share, above it hardly less
    assert rare / middle == pytest.approx(6.0, rel=0.02)
    assert middle / common == pytest.approx(1 / (1 - math.exp(-1)), rel=0.01)


def test_the_formula_is_that_of_the_effective_number():
    pixels = [60, 30, 10]
    beta = 1 - 1 / 30
    raw = [(1 - beta) / (1 - beta**n) for n in pixels]
    mean = sum(raw) / 3
    assert balance_classes(pixels) == pytest.approx([w / mean for w in raw], rel=1e-3)


@pytest.mark.parametrize("pixels", [[7, 7, 7], [1, 1], [0, 5], [0, 0], [10**12, 10**12]])
def test_equal_classes_weigh_the_same(pixels):
    assert balance_classes(pixels) == [1.0] * len(pixels)


def test_weights_depend_on_shares_alone_and_stay_finite():
    few, many = balance_classes([1000, 100, 10]), balance_classes([10**9, 10**8, 10**7])
    assert few == pytest.approx(many, rel=1e-2)
    assert all(0 < w < 3.1 for w in balance_classes([10**12, 1, 1]))


@pytest.mark.parametrize("loss", ["ce", "ohem"])
def test_a_class_of_weight_two_pulls_twice_as_hard(loss):
    mask = torch.tensor([[[0, 1]]])

    def gradient(weights):
        logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
        build_criterion(loss, 2, weights, **OHEM)(logits, mask).backward()
        return logits.grad[0, :, 0].abs().sum(0)

    plain, weighted = gradient(None), gradient([1.0, 2.0])
    assert (plain[1] / plain[0]).item() == pytest.approx(1.0)
    assert (weighted[1] / weighted[0]).item() == pytest.approx(2.0)
    assert torch.equal(plain, gradient([1.0, 1.0]))


@pytest.mark.parametrize("name", ["supervised", "fixmatch", "unimatch", "corrmatch", "ddfp"])
def test_only_the_supervised_terms_are_weighted(name):
    def terms(weights):
        torch.manual_seed(0)
        method = ToyMethod(name)(class_weights=weights)
        torch.manual_seed(1)
        step = method(toy_batch(method), Progress(5, 10))
        return {key: term.value.item() for key, term in step.terms.items()}

    plain, weighted = terms(None), terms([5.0] + [1.0] * (K - 1))
    changed = {key for key in plain if plain[key] != weighted[key]}
    assert changed == {key for key in plain if key.startswith("x")}
