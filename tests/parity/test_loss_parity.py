"""OHEM and the confidence-weighted loss against recorded numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity.step_inputs import GOLDENS
from semiovs.methods.criterion import CrossEntropy, OhemCrossEntropy
from semiovs.methods.maths import Target, Threshold

FUNCTIONS = np.load(GOLDENS / "functions.npz")
OHEM = sorted(k for k in FUNCTIONS if k.startswith("ohem/thresh"))
WEIGHTED = sorted(k for k in FUNCTIONS if k.startswith("cwl/pixelwise"))


@pytest.mark.parametrize("key", OHEM)
def test_ohem(key: str) -> None:
    thresh, min_kept = key.removeprefix("ohem/thresh").split("_minkept")
    logits = torch.from_numpy(FUNCTIONS["ohem/logits"].astype(np.float32)).requires_grad_()
    target = torch.from_numpy(FUNCTIONS["ohem/target"].astype(np.int64))
    loss = OhemCrossEntropy(float(thresh), int(min_kept))(logits, target)
    loss.backward()
    assert logits.grad is not None
    pixels = int((logits.grad.abs().sum(dim=1) > 0).sum())
    np.testing.assert_allclose([loss.item(), logits.grad.norm().item(), pixels], FUNCTIONS[key], rtol=1e-5, err_msg=key)


@pytest.mark.parametrize("key", WEIGHTED)
def test_confidence_weighted_loss(key: str) -> None:
    """The recorded losses enter as logits of a two-class problem whose cross-entropy they are."""
    loss = torch.from_numpy(FUNCTIONS["cwl/loss"].astype(np.float64))
    confidence = torch.from_numpy(FUNCTIONS["cwl/conf"].astype(np.float64))
    valid = torch.from_numpy(FUNCTIONS["cwl/ignore"].astype(np.int64)) != 255
    other = torch.log(torch.expm1(loss))  # log(1 + e^other) = loss
    logits = torch.stack([torch.zeros_like(other), other], dim=1)
    target = Target(torch.zeros_like(valid, dtype=torch.int64), confidence, valid)
    ours = target.loss(logits, Threshold(float(key.split("_thr")[1])))
    np.testing.assert_allclose(ours.item(), float(FUNCTIONS[key]), rtol=1e-5)


def test_there_are_goldens() -> None:
    assert len(OHEM) >= 3
    assert len(WEIGHTED) >= 2


def test_cross_entropy_is_torch_s_mean() -> None:
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 5, 9, 7), torch.randint(0, 5, (2, 9, 7))
    mask[0, :4] = 255
    for weights in (None, torch.tensor([0.5, 1.0, 2.0, 0.0, 3.0])):
        theirs = torch.nn.functional.cross_entropy(logits, mask, weights, ignore_index=255)
        torch.testing.assert_close(CrossEntropy(weights)(logits, mask), theirs)


@pytest.mark.parametrize(
    "criterion", [CrossEntropy(), CrossEntropy(torch.ones(5)), OhemCrossEntropy(), OhemCrossEntropy(0.7, 10)]
)
def test_no_labelled_pixel_is_loss_zero(criterion: CrossEntropy) -> None:
    logits = torch.randn(2, 5, 9, 7, requires_grad=True)
    loss = criterion(logits, torch.full((2, 9, 7), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_no_valid_pixel_is_loss_zero() -> None:
    logits = torch.randn(1, 3, 4, 4)
    target = Target.of(logits, torch.zeros(1, 4, 4, dtype=torch.bool))
    assert target.loss(logits, Threshold(0.0)).item() == 0
    assert target.ratio(Threshold(0.0)).item() == 0
