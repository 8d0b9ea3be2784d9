"""CorrMatch's recorded step and its parts, in float64; layout of the published checkpoints."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.corrmatch_inputs import RecordedDraws, box_of, eight_a_byte, expected, golden, step_batch, unpacked
from parity.keyfill import fill_, state_dict_for, tensor_for
from semiovs.errors import WeightsError
from semiovs.methods import Method, Progress, Step, build_method
from semiovs.methods.correlation import Affinity, Correlation
from semiovs.methods.corrmatch import CorrMatch, WeakPass
from semiovs.methods.criterion import OhemCrossEntropy
from semiovs.methods.maths import Target, Threshold, box_mask
from semiovs.methods.propagation import propagate
from semiovs.models import build_segmenter
from semiovs.models.convert import detect_family, load_reference
from semiovs.models.decoders.deeplabv3plus import resize

LAYOUT = json.loads((Path(__file__).parent / "layouts/corrmatch.json").read_text("utf-8"))
RECORDED = expected()
NUMBERS = RECORDED["float64"]
#: our term -> the recorded name of its value
TERMS = {"x": "loss_x", "x_corr": "loss_x_corr", "s": "loss_u_s1", "kl": "loss_u_kl", "fp": "loss_u_w_fp",
         "s_corr": "loss_u_corr_s1", "w_corr": "loss_u_corr_w"}  # fmt: skip


def corrmatch(encoder: str = "resnet101s", **options: Any) -> Method:
    segmenter = build_segmenter(
        "deeplabv3plus", num_classes=21, encoder=encoder, output_stride=8, dilations=[12, 24, 36]
    )
    return build_method("corrmatch", segmenter, num_classes=21, **options)


@pytest.fixture(autouse=True, scope="module")
def _threads_of_the_recordings() -> Iterator[None]:
    """In float64 the order of sums does not show."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def built() -> Method:
    """The published network with the recorded weights, through the importer."""
    method = corrmatch(conf_thresh=RECORDED["thresh_init"], parity=True)
    report = load_reference(method, {"model": state_dict_for(LAYOUT, 0)}, family="corrmatch")
    assert report.ok
    assert len(report.loaded) == 703
    assert report.renamed == ()
    return method


@pytest.fixture(scope="module")
def ran(built: Method) -> tuple[Method, Step, RecordedDraws]:
    method = copy.deepcopy(built)
    with torch.no_grad():
        method.student.classifier.weight *= RECORDED["classifier_weight_multiplier"]  # type: ignore[operator]
    method.double().train()
    method.draws = draws = RecordedDraws()
    weak_pass, correlate = method.weak_pass, method.correlate

    def weak_pass_(*groups: Tensor) -> WeakPass:
        method.seen = weak_pass(*groups)
        return method.seen  # type: ignore[return-value]

    def correlate_(feature: Tensor) -> Affinity:
        alike: Affinity = correlate(feature)
        if len(feature) == 4:  # x and w
            method.alike = alike
        return alike

    method.weak_pass, method.correlate = weak_pass_, correlate_  # type: ignore[assignment]
    step = method(step_batch(), Progress(0, 100))
    step.terms.total().backward()
    return method, step, draws


def test_losses(ran: Any) -> None:
    _, step, _ = ran
    assert set(step.terms) == set(TERMS)
    for ours, theirs in TERMS.items():
        np.testing.assert_allclose(step.terms[ours].value.item(), NUMBERS[theirs], rtol=1e-6, err_msg=ours)
    np.testing.assert_allclose(step.terms.total().item(), NUMBERS["loss"], rtol=1e-6)
    assert step.terms.normaliser == sum(w for w, _ in step.terms.values()) == 2


def test_threshold_of_the_step(ran: Any) -> None:
    method, step, draws = ran
    np.testing.assert_allclose(method.moving_threshold.item(), NUMBERS["thresh_global"], rtol=1e-6)
    assert step.log["threshold"].equal(method.moving_threshold)
    assert draws.total == 80  # of 9 x 9 positions the last is never drawn (parity)


def test_gradients(ran: Any) -> None:
    method, _, _ = ran
    found = dict(method.student.named_parameters()) | dict(method.named_parameters())
    for name, norm in NUMBERS["grad_norm"].items():
        np.testing.assert_allclose(found[name].grad.norm().item(), norm, rtol=1e-6, err_msg=name)
    norms = torch.stack([p.grad.norm() for p in method.parameters()])
    np.testing.assert_allclose(norms.norm().item(), NUMBERS["grad_norm_all"], rtol=1e-6)


def test_batchnorm_after_the_step(ran: Any) -> None:
    method, _, _ = ran
    found = method.student.state_dict() | method.state_dict()
    assert NUMBERS["bn_after"]
    for name, norm in NUMBERS["bn_after"].items():
        np.testing.assert_allclose(found[name].norm().item(), norm, rtol=1e-6, err_msg=name)


def test_labels_before_and_after_propagation(ran: Any) -> None:
    method, step, _ = ran
    maps, pseudo, τ = golden("step_maps"), step.pseudo, method.threshold
    for name, theirs in {"w": "mask_u_w", "w_mix": "mask_u_w_mix", "mix": "mask_cutmixed_before",
                         "s": "mask_cutmixed_after"}.items():  # fmt: skip
        np.testing.assert_array_equal(pseudo[name].label.numpy(), maps[theirs], err_msg=theirs)
    for name, theirs in {"mix": "filter_before", "s": "filter_after"}.items():
        assert torch.equal(pseudo[name].mask(τ), unpacked(maps[theirs], (2, 65, 65))), theirs
    for name, theirs in {"w": "conf_u_w", "w_mix": "conf_u_w_mix"}.items():
        np.testing.assert_allclose(pseudo[name].confidence.numpy(), maps[theirs], rtol=1e-6, err_msg=theirs)
    counts = [int(pseudo[name].mask(τ).sum()) for name in ("mix", "s")]
    assert counts == [NUMBERS["n_confident_before"], NUMBERS["n_confident_after"]]
    assert int((pseudo["mix"].label != pseudo["s"].label).sum()) == NUMBERS["n_relabelled"]


def test_logits_and_shapes(ran: Any) -> None:
    method, _, _ = ran
    p, maps = method.seen, golden("step_maps")
    for ours, theirs in ((p.x, "pred_x_16"), (p.x_corr, "pred_x_corr_16"), (p.fp, "pred_u_w_fp_16")):
        sampled = ours[:, :, ::4, ::4].detach().numpy()
        np.testing.assert_allclose(sampled, maps[theirs], rtol=1e-5, atol=1e-5, err_msg=theirs)
    shapes = unpacked(maps["corr_map_weak"], tuple(maps["corr_map_shape"]))[2:]  # the labelled images' are never used
    rows = method.alike.matrix.detach()[2:4, RecordedDraws().positions(128, 80, p.x.device)].view(2, 128, 9, 9)
    values = resize(rows, (65, 65))
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    midway = ((values - low) / (high - low) - 0.5).abs() < 1e-12  # rounding decides there
    assert midway.sum() <= 3
    midway = eight_a_byte(midway)
    assert torch.equal(p.shapes | midway, eight_a_byte(shapes) | midway)


def test_correlation_head() -> None:
    z = golden("unit_corr_head")
    head = Correlation(256, 21)
    fill_(head, 3)
    head.double()
    feature = torch.from_numpy(z["feature"].astype(np.float64)).requires_grad_()
    logits = torch.from_numpy(4 * z["logits"].astype(np.float64)).requires_grad_()
    alike = head(feature)
    out = alike.spread(logits)
    np.testing.assert_allclose(out.detach().numpy(), z["out"], rtol=1e-6, atol=1e-6)
    shapes = alike.shapes(torch.from_numpy(z["sample_index"]), (25, 33))
    assert torch.equal(shapes, eight_a_byte(unpacked(z["corr_map"], tuple(z["corr_map_shape"]))))

    (out * torch.from_numpy(z["weight_for_grad"].astype(np.float64))).sum().backward()
    np.testing.assert_allclose(
        head.conv1.weight.grad.numpy(), z["grad_conv1"], rtol=1e-5, atol=1e-6
    )  # float32 recording
    np.testing.assert_allclose(head.conv2.weight.grad.norm().item(), z["grad_conv2_norm"], rtol=1e-6)
    np.testing.assert_allclose(feature.grad.norm().item(), z["grad_feature_norm"], rtol=1e-6)  # type: ignore[union-attr]
    assert logits.grad is None


def test_propagation() -> None:
    z = golden("unit_propagation")

    def target(suffix: str) -> Target:
        label, confidence, ignore = (z[f"{name}{suffix}"] for name in ("mask_u_w", "conf_u_w", "ignore_mask"))
        return Target(*map(torch.from_numpy, (label.astype(np.int64), confidence, ignore != 255)))

    box, τ = box_of(z["cutmix_box"]), Threshold(float(z["threshold"]))
    y = target("").mix(target("_mix"), box)
    shapes = unpacked(z["corr_map"], tuple(z["corr_map_shape"])) & (y.valid & ~box_mask(box, 40, 40))[:, None]
    after = propagate(y, eight_a_byte(shapes), τ, 21)
    np.testing.assert_array_equal(y.label.numpy(), z["mask_before"])
    np.testing.assert_array_equal(y.mask(τ).numpy(), z["filter_before"])
    np.testing.assert_array_equal(after.label.numpy(), z["mask_after"])
    np.testing.assert_array_equal(after.mask(τ).numpy(), z["filter_after"])
    np.testing.assert_array_equal(after.valid.numpy(), z["ignore_after"] != 255)
    backwards = propagate(y, eight_a_byte(shapes.flip(1)), τ, 21)
    assert not backwards.label.equal(after.label)  # the recording has shapes that overlap: it can tell the order


def test_threshold_over_four_steps() -> None:
    z = golden("unit_threshold")
    segmenter = build_segmenter("deeplabv3plus", num_classes=21, encoder="tiny", channels=16)
    method = build_method("corrmatch", segmenter, num_classes=21, thresh_momentum=float(z["momentum"])).double()
    assert isinstance(method, CorrMatch)
    assert method.moving_threshold.item() == z["init"]
    for logits, ignore, after in zip(z["logits"], z["ignore"], z["threshold_after"], strict=True):
        y = Target.from_logits(torch.from_numpy(logits), torch.from_numpy(ignore != 255))
        method.update_threshold(y, y.valid)
        np.testing.assert_allclose(method.moving_threshold.item(), after, rtol=1e-9)


def test_ohem() -> None:
    z = golden("unit_ohem")
    logits, labels = (
        torch.from_numpy(5 * z["logits"].astype(np.float64)),
        torch.from_numpy(z["labels"].astype(np.int64)),
    )
    for kept, loss in zip(z["min_kept"], z["loss"], strict=True):
        ours = OhemCrossEntropy(float(z["thresh"]), int(kept))(logits, labels)
        np.testing.assert_allclose(ours.item(), loss, rtol=1e-6)


def test_layout(built: Method) -> None:
    heads = {k: v for k, v in built.state_dict().items() if k.startswith(("corr.", "proj."))}
    ours = {key: list(value.shape) for key, value in (built.student.state_dict() | heads).items()}
    assert ours == LAYOUT
    assert sum(p.numel() for p in built.parameters()) == 64_198_239
    for key in ("proj.0.weight", "corr.conv2.bias"):
        assert built.state_dict()[key].equal(tensor_for(key, tuple(LAYOUT[key])))


def test_a_published_checkpoint_without_its_method(built: Method) -> None:
    """A bare segmenter takes the student alone; another family's name, and missing heads, are told apart."""
    state = state_dict_for(LAYOUT, 1)
    assert detect_family(state) == "CorrMatch's resnet101s DeepLabV3+ checkpoint with 21 classes"
    student = copy.deepcopy(built.student)
    assert load_reference(student, state, family="corrmatch").ok
    assert student.classifier.weight.equal(state["classifier.weight"])  # type: ignore[operator, union-attr]
    with pytest.raises(WeightsError, match="this looks like a CorrMatch's"):
        load_reference(student, state, family="unimatch")
    del state["proj.0.bias"]
    with pytest.raises(WeightsError, match=r"1 missing \(proj.0.bias\)"):
        load_reference(built, state, family="corrmatch")
