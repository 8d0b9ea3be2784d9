"""CorrMatch: what the recorded step does not tell. Published quirks, propagation by hand, edges, no waiting for the
device.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from contract.toy import ARMS, K, toy_batch, toy_method
from parity.corrmatch_inputs import eight_a_byte
from semiovs.data import Batch
from semiovs.errors import UsageError
from semiovs.methods import Progress, Step, propagation
from semiovs.methods.correlation import Affinity
from semiovs.methods.corrmatch import CorrMatch, divergence
from semiovs.methods.maths import Target, Threshold
from semiovs.methods.propagation import pack_masks, propagate
from semiovs.models import build_segmenter

PROGRESS = Progress(step=3, total_steps=10)
EVERY = pytest.mark.parametrize("arm", list(ARMS))


def built(arm: str = "alone", **options: Any) -> CorrMatch:
    method = toy_method("corrmatch", ARMS[arm], **options)
    assert isinstance(method, CorrMatch)
    return method


def run(method: CorrMatch, batch: Batch, seed: int = 5) -> Step:
    torch.manual_seed(seed)
    return method(batch, PROGRESS)


def one_after_the_other(y: Target, shapes: Tensor, τ: float) -> tuple[Tensor, Tensor]:
    """The published order of things: every image, every map, in Python."""
    label, kept = y.label.clone(), (y.confidence >= τ) & y.valid
    believed = kept.clone()
    for b in range(len(label)):
        for shape in shapes[b]:
            voters = label[b][shape & kept[b]]
            if len(voters) == 0 or len(voters) / int(shape.sum()) < τ:
                continue
            counts = torch.bincount(voters)
            if int(counts.max()) / len(voters) > τ:
                label[b][shape] = counts.argmax()
                believed[b] |= shape
    return label, believed


@pytest.mark.parametrize("τ", [0.3, 0.55, 0.7])
def test_propagation_is_that_of_a_loop(τ: float) -> None:
    g = torch.Generator().manual_seed(int(100 * τ))
    label = torch.randint(0, 3, (3, 4, 5), generator=g).repeat_interleave(4, 1).repeat_interleave(4, 2)
    y = Target(label, torch.rand(3, 16, 20, generator=g) ** 0.3, torch.rand(3, 16, 20, generator=g) > 0.1)
    shapes = torch.zeros(3, 24, 16, 20, dtype=torch.bool)
    for shape in shapes.flatten(0, 1)[:-2]:  # the last two stay empty
        (top, left), (high, wide) = torch.randint(0, 10, (2,), generator=g), torch.randint(1, 9, (2,), generator=g)
        shape[top : top + high, left : left + wide] = True
    shapes &= y.valid[:, None]
    ours, (label, believed) = propagate(y, eight_a_byte(shapes), Threshold(τ), 3), one_after_the_other(y, shapes, τ)
    assert torch.equal(ours.label, label)
    assert torch.equal(ours.mask(Threshold(τ)), believed)
    assert not label.equal(y.label)
    assert not believed.equal(y.mask(Threshold(τ)))


def test_images_with_few_sure_pixels_fare_as_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """All sure, none, a block that shapes lie in, and one that they lie beside."""
    monkeypatch.setattr(propagation, "WORTH", 0)
    g = torch.Generator().manual_seed(3)
    label = torch.randint(0, 3, (4, 4, 5), generator=g).repeat_interleave(4, 1).repeat_interleave(4, 2)
    confidence = torch.full((4, 16, 20), 0.1)
    confidence[0], confidence[2, :6, :9], confidence[3, 12:] = 0.9, 0.9, 0.9
    shapes = torch.zeros(4, 24, 16, 20, dtype=torch.bool)
    for shape in shapes.flatten(0, 1):
        (top, left), (high, wide) = torch.randint(0, 4, (2,), generator=g), torch.randint(1, 6, (2,), generator=g)
        shape[top : top + high, left : left + wide] = True
    y = Target(label, confidence, torch.ones_like(label, dtype=torch.bool))
    before = label.clone()
    ours, (expected, believed) = (
        propagate(y, eight_a_byte(shapes), Threshold(0.6), 3),
        one_after_the_other(y, shapes, 0.6),
    )
    assert torch.equal(ours.label, expected)
    assert torch.equal(ours.mask(Threshold(0.6)), believed)
    assert torch.equal(y.label, before)
    changed = (ours.label != label).flatten(1).any(1).tolist()
    assert changed == [True, False, True, False]


def test_eight_masks_a_byte() -> None:
    masks = torch.rand(5, 7, 24, generator=torch.Generator().manual_seed(0)) < 0.5
    bits = pack_masks(masks)[..., None] >> torch.arange(8, dtype=torch.uint8) & 1
    assert torch.equal(bits.flatten(2).bool(), masks)


def test_without_a_sure_pixel_nothing_is_spread() -> None:
    y = Target(
        torch.zeros(2, 8, 8, dtype=torch.int64), torch.full((2, 8, 8), 0.2), torch.ones(2, 8, 8, dtype=torch.bool)
    )
    for τ in (0.0, 0.5):
        nothing = replace(y, valid=torch.zeros_like(y.valid)) if τ == 0 else y
        after = propagate(nothing, torch.full((2, 8, 8, 2), 255, dtype=torch.uint8), Threshold(τ), K)
        assert after.label.equal(y.label)
        assert after.confidence.equal(y.confidence)


def test_a_constant_map_is_the_empty_shape() -> None:
    flat = Affinity(torch.full((1, 16, 16), 1 / 16), (4, 4))
    assert not flat.shapes(torch.arange(8), (13, 13)).any()


def test_logits_go_where_pixels_are_alike() -> None:
    """Two halves of an image, each like itself alone: spreading makes every position its half's mean times its size."""
    matrix = torch.block_diag(torch.full((4, 4), 0.25), torch.full((4, 4), 0.25))[None]
    logits = torch.randn(1, 3, 2, 4, requires_grad=True)
    out = Affinity(matrix, (2, 4)).spread(logits)
    torch.testing.assert_close(out[0, :, 0], logits[0, :, 0].mean(1, keepdim=True).expand(3, 4).detach())
    assert not out.requires_grad


@EVERY
def test_no_confident_pixel(arm: str) -> None:
    """Nothing reaches τ: the terms of unlabelled images are 0, never NaN, and so are their gradients."""
    method = built(arm, conf_thresh=1.0, thresh_momentum=1.0)
    step = run(method, toy_batch(method))
    for name in ("s", "kl", "fp", "s_corr", "w_corr"):
        assert step.terms[name].value == 0
    assert step.log["mask_ratio"] == 0
    step.terms.total().backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@EVERY
def test_one_class_alone(arm: str) -> None:
    method = built(arm)
    batch = toy_batch(method)
    batch = replace(batch, labeled=replace(batch.labeled, mask=batch.labeled.mask.clamp(min=2, max=2)))
    with torch.no_grad():
        method.student.classifier.bias[1] += 50  # type: ignore[index, operator]
    step = run(method, batch)
    assert (step.pseudo["w"].label == 1).all()
    assert torch.isfinite(step.terms.total())
    assert step.log["threshold"] == pytest.approx(0.999 * 0.3 + 0.001 * 1.0)


@pytest.mark.parametrize("size", [9, 16])
def test_one_position_and_odd_sizes(size: int) -> None:
    """A map of a single position: what is alike is all there is."""
    for parity in (False, True):
        method = built(norm="group", parity=parity)
        assert torch.isfinite(run(method, toy_batch(method, size=size)).terms.total())


def test_threshold_follows_valid_pixels_alone() -> None:
    method = built(conf_thresh=0.5, thresh_momentum=0.9)
    label = torch.tensor([[[0, 0, 2, 3]]])
    confidence = torch.tensor([[[0.6, 0.8, 0.9, 0.99]]])
    valid = torch.tensor([[[True, True, True, False]]])
    method.update_threshold(Target(label, confidence, valid), valid)
    assert method.moving_threshold.item() == pytest.approx(0.9 * 0.5 + 0.1 * (0.8 + 0.9) / 2)
    method.update_threshold(Target(label, confidence, valid), torch.zeros_like(valid))
    assert method.moving_threshold.item() == pytest.approx(0.535)


def test_the_threshold_is_saved() -> None:
    method = built(thresh_momentum=0.5)
    run(method, toy_batch(method))
    other = built(conf_thresh=0.9)
    other.load_state_dict(method.state_dict())
    assert other.threshold.value == method.moving_threshold != 0.3


def test_divergence_by_hand() -> None:
    g = torch.Generator().manual_seed(0)
    π, logits = torch.randn(2, K, 3, 3, generator=g).softmax(1), torch.randn(2, K, 3, 3, generator=g)
    y = Target(π.argmax(1), π.amax(1), torch.rand(2, 3, 3, generator=g) > 0.2)
    kl = (π * (π.log() - logits.softmax(1).log())).sum(1)
    wanted = kl[(π.amax(1) >= 0.5) & y.valid].sum() / y.valid.sum()
    torch.testing.assert_close(divergence(π, logits, y, Threshold(0.5)), wanted)


def test_what_parity_changes() -> None:
    """B1: the divergence inside the box. B2: whose padding the threshold leaves out. Nothing else of the first step."""
    batch = toy_batch(built())
    assert batch.unlabeled is not None
    assert batch.mixing is not None
    ours, theirs = (run(built(parity=parity, conf_thresh=0.0), batch) for parity in (False, True))
    assert not ours.terms["kl"].value.equal(theirs.terms["kl"].value)
    for name in ("x", "x_corr", "fp", "w_corr"):
        assert ours.terms[name].value.equal(theirs.terms[name].value), name
    unmixed = replace(batch.unlabeled, boxes=tuple(torch.zeros_like(b) for b in batch.unlabeled.boxes))
    batch = replace(batch, unlabeled=unmixed)
    ours, theirs = (run(built(parity=parity, conf_thresh=0.0), batch) for parity in (False, True))
    assert ours.terms["kl"].value.equal(theirs.terms["kl"].value)

    everywhere, padded = torch.tensor([[0, 0, 33, 33]] * 2), torch.zeros_like(unmixed.valid)
    partners = replace(batch.mixing, valid=padded)
    batch = replace(batch, unlabeled=replace(unmixed, boxes=(everywhere,)), mixing=partners)
    ours, theirs = (run(built(parity=parity, thresh_momentum=0.5), batch) for parity in (False, True))
    assert theirs.log["threshold"] == pytest.approx(0.3)
    assert ours.log["threshold"] > 0.31


def test_the_ood_stream_is_learnt_but_not_believed_more() -> None:
    """OOD predictions move no threshold, OOD labels are not propagated, and the divergence has no OOD term."""
    alone, ovs = built(), built("ovs")
    batch = toy_batch(ovs)
    assert batch.ood is not None
    step = run(ovs, batch)
    assert {n: w for n, (w, _) in step.terms.items() if n.startswith("ood_")} == {
        "ood_s": 0.5, "ood_fp": 0.25, "ood_s_corr": 0.125, "ood_w_corr": 0.125
    }  # fmt: skip
    assert step.terms.normaliser == 3
    assert all(step.terms[n].value > 0 for n in step.terms if n.startswith("ood_"))
    y = step.pseudo["ood_s"]
    assert batch.unlabeled is not None
    mixed = step.pseudo["ood"].mix(step.pseudo["w"], batch.unlabeled.boxes[0])
    assert y.label.equal(mixed.label)
    assert y.confidence.equal(mixed.confidence)
    quiet = replace(batch, ood=replace(batch.ood, valid=torch.zeros_like(batch.ood.valid)))
    assert run(built("ovs"), quiet).log["threshold"].equal(step.log["threshold"])
    assert alone.state_dict().keys() == ovs.state_dict().keys()


def test_bad_options() -> None:
    with pytest.raises(UsageError, match="one threshold for all classes; give a number"):
        built(conf_thresh=[0.5] * K)
    with pytest.raises(UsageError, match=r"thresh_momentum: 1.5 must be from 0 to 1"):
        built(thresh_momentum=1.5)
    with pytest.raises(UsageError, match=r"use model.name=deeplabv3plus or dpt"):
        CorrMatch(build_blind(), num_classes=K)


def build_blind() -> Any:
    segmenter = build_segmenter("deeplabv3plus", num_classes=K, encoder="tiny", channels=16)
    segmenter.channels = ()
    return segmenter


class Watch(TorchDispatchMode):
    """Counts what would make the host wait for a device."""

    waits = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "bincount", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in func.__name__ for word in self.waits) or (
            func.__name__.startswith("index.") and any(i is not None and i.dtype == torch.bool for i in args[1])
        ):
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


@EVERY
def test_no_step_waits_for_the_device(arm: str) -> None:
    method = built(arm)
    batch = toy_batch(method)
    with Watch() as watch:
        run(method, batch).terms.total().backward()
    assert watch.seen == []
    with Watch() as watch:
        y = Target.from_logits(torch.randn(1, K, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))
        one_after_the_other(y, torch.ones(1, 8, 4, 4, dtype=torch.bool), 0.0)
    assert watch.seen  # the loop is caught
