"""OHEM and the confidence-weighted loss against recorded numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity.step_inputs import GOLDENS
from semiovs.methods import Progress
from semiovs.methods.criterion import CrossEntropy, OhemCrossEntropy
from semiovs.methods.maths import Target, Threshold
from semiovs.methods.prevmatch import ramp
from semiovs.methods.weighting import build_weighting

FUNCTIONS = np.load(GOLDENS / "functions.npz")
OHEM = sorted(k for k in FUNCTIONS if k.startswith("ohem/thresh"))
WEIGHTED = sorted(k for k in FUNCTIONS if k.startswith("cwl/pixel"))


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


def recorded() -> tuple[Target, torch.Tensor]:
    """The recorded losses as logits of a two-class problem whose cross-entropy they are, and the target."""
    loss = torch.from_numpy(FUNCTIONS["cwl/loss"].astype(np.float64))
    confidence = torch.from_numpy(FUNCTIONS["cwl/conf"].astype(np.float64))
    valid = torch.from_numpy(FUNCTIONS["cwl/ignore"].astype(np.int64)) != 255
    other = torch.log(torch.expm1(loss))  # log(1 + e^other) = loss
    logits = torch.stack([torch.zeros_like(other), other], dim=1)
    return Target(torch.zeros_like(valid, dtype=torch.int64), confidence, valid), logits


@pytest.mark.parametrize("key", WEIGHTED)
def test_confidence_weighted_loss(key: str) -> None:
    mode, threshold = key.removeprefix("cwl/").split("_thr")
    ours = build_weighting(mode, published=True)(*recorded(), Threshold(float(threshold)))
    np.testing.assert_allclose(ours.item(), float(FUNCTIONS[key]), rtol=1e-5)


@pytest.mark.parametrize("mode", ["pixelwise", "pixelratio", "pixelavg"])
def test_corrected_weighting(mode: str) -> None:
    """Where nothing is known about single pixels (all confidences of an image equal), the modes are what they say."""
    target, logits = recorded()
    loss = torch.from_numpy(FUNCTIONS["cwl/loss"].astype(np.float64))
    confidence = torch.tensor([0.2, 0.6, 0.9], dtype=torch.float64)[:, None, None].expand_as(target.confidence)
    even = Target(target.label, confidence, target.valid)
    share = confidence if mode == "pixelavg" else (confidence >= 0.5).double()
    wanted = (share * loss)[target.valid].sum() / target.valid.sum()
    ours = build_weighting(mode, published=False)(even, logits, Threshold(0.5))
    torch.testing.assert_close(ours, wanted)
    garbage = torch.where(target.valid, target.confidence, 0.99)
    changed = [logits.where(target.valid[:, None], 7.0), logits]
    values = [
        build_weighting(mode, published=False)(Target(target.label, c, target.valid), z, Threshold(0.5))
        for c, z in zip((garbage, target.confidence), changed, strict=True)
    ]
    assert values[0].equal(values[1])  # pixels that are not valid have no say


@pytest.mark.parametrize("epochs", [5, 80])
def test_schedule_of_previous_models(epochs: int) -> None:
    ours = [ramp(Progress(step=0, total_steps=1, epoch=e, total_epochs=epochs)) for e in range(epochs)]
    np.testing.assert_allclose(ours, FUNCTIONS[f"lambda_schedule/total{epochs}"], rtol=1e-6)


def test_there_are_goldens() -> None:
    assert len(OHEM) >= 3
    assert len(WEIGHTED) == 9


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
    target = Target.from_logits(logits, torch.zeros(1, 4, 4, dtype=torch.bool))
    assert target.loss(logits, Threshold(0.0)).item() == 0
    assert target.ratio(Threshold(0.0)).item() == 0
