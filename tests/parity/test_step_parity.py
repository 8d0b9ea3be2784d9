"""One optimiser step of each method against the numbers recorded from the reference programs.

Both are in float64: in float32, BatchNorm over batches of two amplifies rounding to 1e-3 of the logits, and rounding is
another on every kind of processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from parity.keyfill import fill_
from parity.step_inputs import GOLDENS, batch, dropout2d
from semiovs.config.schema import OptimConfig
from semiovs.methods import Method, Progress, Step, build_method
from semiovs.methods.draws import Draws
from semiovs.methods.prevmatch import PrevMatch
from semiovs.models import Segmenter, build_segmenter

_UNIMATCH = {"x": "loss_x", "s1": "loss_u_s1", "s2": "loss_u_s2", "fp": "loss_u_w_fp"}
_PREV = {"s1_prev": "loss_u_s1_prev", "s2_prev": "loss_u_s2_prev", "fp_prev": "loss_u_w_fp_prev"}
_OOD = {"ood_s1": "loss_u_s1_ood", "ood_s2": "loss_u_s2_ood", "ood_fp": "loss_u_w_fp_ood"}

CASES: dict[str, tuple[str, int | None, bool, dict[str, str]]] = {
    # golden: method, strong views, OOD stream, our term -> the reference's name of its value
    "supervised": ("supervised", None, False, {"x": "loss"}),
    "fixmatch": ("fixmatch", 1, False, {"x": "loss_x", "s": "loss_u_s"}),
    "unimatch": ("unimatch", 2, False, _UNIMATCH),
    "semiovs_unimatch": ("unimatch", 2, True, {**_UNIMATCH, **_OOD}),
    "prevmatch": ("prevmatch", 2, False, {**_UNIMATCH, **_PREV}),
    "semiovs_prevmatch": ("prevmatch", 2, True, {**_UNIMATCH, **_PREV, **_OOD}),
}

_MIXED = {"mask_u_w": "w", "mask_u_w_mix": "w_mix", "mask_u_w_cutmixed1": "s1", "mask_u_w_cutmixed2": "s2"}
_MIXED_PREV = {"mask_u_w_prev": "w_prev", "mask_u_w_mix_prev": "w_mix_prev", "mask_u_w_cutmixed1_prev": "s1_prev"}
_MIXED_OOD = {"mask_u_w_cutmixed1_ood": "ood_s1", "mask_u_w_cutmixed2_ood": "ood_s2"}
MAPS = {
    "fixmatch": {"mask_u_w": "w", "mask_u_w_mix": "w_mix", "mask_u_w_cutmixed": "s"},
    "unimatch": _MIXED,
    "semiovs_unimatch": {**_MIXED, **_MIXED_OOD},
    "prevmatch": {**_MIXED, **_MIXED_PREV},
    "semiovs_prevmatch": {**_MIXED, **_MIXED_PREV, **_MIXED_OOD},
}

_IGNORES = {"ignore_mask_cutmixed1": "s1", "ignore_mask_cutmixed2": "s2"}
_IGNORES_OOD = {"ignore_mask_cutmixed1_ood": "ood_s1", "ignore_mask_cutmixed2_ood": "ood_s2"}
IGNORES = {
    "fixmatch": {"ignore_mask_cutmixed": "s"},
    "unimatch": _IGNORES,
    "semiovs_unimatch": {**_IGNORES, **_IGNORES_OOD},
    "prevmatch": _IGNORES,
    "semiovs_prevmatch": {**_IGNORES, **_IGNORES_OOD},
}


class RecordedDraws(Draws):
    """PrevMatch's choice in the recording: both models, in their order."""

    def ensemble(self, available: int, most: int, *, vary: bool, seed: int | None = None) -> list[tuple[int, float]]:
        assert (available, most, vary) == (2, 2, False)
        return [(0, 0.3), (1, 0.7)]


def network(seed: int, scale: float) -> Segmenter:
    """The recorded network with weights of `seed`."""
    segmenter = build_segmenter("deeplabv3plus", num_classes=21, encoder="resnet50s")
    fill_(segmenter, seed)
    with torch.no_grad():
        segmenter.classifier.weight *= scale  # type: ignore[operator, union-attr]
    return segmenter.double()


class Recorder:
    """Keeps what enters and leaves the segmenter: the images and the logits of every pass, in order; and the ensemble's
    logits.
    """

    def __init__(self, method: Method) -> None:
        self.images: list[torch.Tensor] = []
        self.logits: list[torch.Tensor] = []
        self.ensemble: tuple[torch.Tensor, ...] = ()
        encode, decode = method.student.encode, method.student.decode

        def encode_(image: torch.Tensor) -> Any:
            self.images.append(image.detach().clone())
            return encode(image)

        def decode_(features: Any, size: tuple[int, int], **context: torch.Tensor) -> torch.Tensor:
            logits = decode(features, size, **context)
            self.logits.append(logits.detach().clone())
            return logits

        method.student.encode = encode_  # type: ignore[method-assign]
        method.student.decode = decode_  # type: ignore[method-assign]
        if isinstance(method, PrevMatch):
            vote = method.previous.logits

            def vote_(*arguments: Any) -> tuple[torch.Tensor, ...]:
                self.ensemble = vote(*arguments)
                return self.ensemble

            method.previous.logits = vote_  # type: ignore[method-assign]


@pytest.fixture(scope="module", params=CASES)
def ran(request: pytest.FixtureRequest) -> tuple[str, Mapping[str, np.ndarray], Method, Step, Recorder]:
    """Run the recorded step once."""
    case = request.param
    name, strong, ood, _ = CASES[case]
    golden = np.load(GOLDENS / f"step_{case}.npz")
    scale = float(golden["cfg/classifier_scale"])
    options: dict[str, Any] = {} if name == "supervised" else {"conf_thresh": float(golden["cfg/conf_thresh"])}
    if name == "prevmatch":
        options |= {
            "prev_conf_thresh": float(golden["cfg/prev_conf_thresh"]),
            "prev_models_max": 2,
            "random_select": False,
        }
    method = build_method(name, network(0, scale), num_classes=21, ood={"weight": 1.0} if ood else None, **options)
    if isinstance(method, PrevMatch):
        for seed in (1, 2):
            method.previous.remember(network(seed, scale))
        method.draws = RecordedDraws()
    recorder = Recorder(method)
    method.train()
    (optimizer,) = method.optimizers(OptimConfig(lr=1e-3, head_lr_multiplier=10.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "dropout2d", dropout2d)
        step = method(batch(unlabeled=strong, ood=ood, dtype=torch.float64), Progress(0, 100, epoch=1, total_epochs=4))
    step.terms.total().backward()
    optimizer.step()
    return case, golden, method, step, recorder


def test_losses(ran: Any) -> None:
    case, golden, _, step, _ = ran
    names = CASES[case][3]
    assert set(step.terms) == set(names)
    for ours, theirs in names.items():
        np.testing.assert_allclose(step.terms[ours].value.item(), golden[f"loss/{theirs}"], rtol=1e-6, err_msg=ours)
    np.testing.assert_allclose(step.terms.total().item(), golden["loss/total_loss"], rtol=1e-6)
    if "loss/mask_ratio" in golden:
        np.testing.assert_allclose(step.log["mask_ratio"].item(), golden["loss/mask_ratio"], atol=1e-7)
    if "loss/mask_ratio_prev" in golden:
        np.testing.assert_allclose(step.log["mask_ratio_prev"].item(), golden["loss/mask_ratio_prev"], atol=1e-7)


def test_weights_and_normaliser(ran: Any) -> None:
    case, golden, _, step, _ = ran
    by_hand = sum(w * float(golden[f"loss/{CASES[case][3][n]}"]) for n, (w, _) in step.terms.items())
    np.testing.assert_allclose(by_hand / step.terms.normaliser, golden["loss/total_loss"], rtol=2e-6)
    base = {"supervised": 1, "fixmatch": 2, "unimatch": 2, "prevmatch": 2.5}[CASES[case][0]]  # λ(1 of 4) = ½
    assert step.terms.normaliser == base + ("semiovs" in case)
    groups = {"loss_ood": lambda n: n.startswith("ood_"), "loss_prev": lambda n: n.endswith("_prev")}
    for theirs, belongs in groups.items():
        ours = [w * v.item() for n, (w, v) in step.terms.items() if belongs(n)]
        assert bool(ours) == (f"loss/{theirs}" in golden)
        if ours:
            np.testing.assert_allclose(sum(ours), golden[f"loss/{theirs}"], rtol=1e-6)


def test_gradients(ran: Any) -> None:
    _, golden, method, _, _ = ran
    gradients = {n: p.grad for n, p in method.student.named_parameters() if p.grad is not None}
    assert "gradnorm/ALL" in golden
    for key in (k for k in golden if k.startswith("gradnorm/")):
        name = key.removeprefix("gradnorm/")
        ours = torch.stack([g.norm() for g in gradients.values()]).norm() if name == "ALL" else gradients[name].norm()
        np.testing.assert_allclose(float(ours), golden[key], rtol=1e-6, err_msg=name)


def test_parameters_and_buffers_after_the_step(ran: Any) -> None:
    _, golden, method, _, _ = ran
    state = method.student.state_dict()
    for key in (k for k in golden if k.startswith("after/norm/")):
        name = key.removeprefix("after/norm/")
        np.testing.assert_allclose(float(state[name].norm()), golden[key], rtol=1e-6, err_msg=name)
    assert state["backbone.bn1.num_batches_tracked"] == golden["after/num_batches_tracked"]
    assert state["fuse.1.num_batches_tracked"] == golden["after/num_batches_tracked_head"]


def test_pseudo_labels(ran: Any) -> None:
    case, golden, _, step, _ = ran
    recorded = {k.removeprefix("map/") for k in golden if k.startswith("map/")}
    assert recorded == set(MAPS.get(case, {})) | set(IGNORES.get(case, {}))
    for theirs, ours in MAPS.get(case, {}).items():
        np.testing.assert_array_equal(step.pseudo[ours].label.numpy(), golden[f"map/{theirs}"], err_msg=theirs)
    for theirs, ours in IGNORES.get(case, {}).items():
        np.testing.assert_array_equal(~step.pseudo[ours].valid.numpy(), golden[f"map/{theirs}"] == 255, err_msg=theirs)
    names = {"conf_u_w": "w", "conf_u_w_mix": "w_mix", "conf_u_w_cutmixed1_ood": "ood_s1", "conf_u_w_prev": "w_prev"}
    assert {k.removeprefix("conf8/") for k in golden if k.startswith("conf8/")} <= set(names)
    for theirs, ours in names.items():
        if f"conf8/{theirs}" in golden:
            confidence = step.pseudo[ours].confidence[:, ::8, ::8]
            np.testing.assert_allclose(confidence, golden[f"conf8/{theirs}"], rtol=1e-6, err_msg=theirs)


def test_logits_of_every_pass(ran: Any) -> None:
    case, golden, _, _, recorder = ran
    passes = [logits.split(2) for logits in recorder.logits]
    ood = "semiovs" in case
    first = {
        "supervised": ["pred"],
        "fixmatch": ["pred_x", "pred_u_w"],
        "unimatch": ["pred_x", "pred_u_w", None, "pred_u_w_fp"],
        "semiovs_unimatch": ["pred_x", "pred_u_w", "pred_u_w_ood", None, "pred_u_w_fp", "pred_u_w_fp_ood"],
    }[case.replace("prevmatch", "unimatch")]
    order = [first] if case == "supervised" else [["pred_u_w_mix"], first]
    if case == "fixmatch":
        order.append(["pred_u_s"])
    elif case != "supervised":
        order.append(["pred_u_s1", "pred_u_s2"])
    if ood:
        order.append(["pred_u_s1_ood", "pred_u_s2_ood"])
    if recorder.ensemble:
        order.append(["pred_u_w_prev", "pred_u_w_mix_prev"])
        passes.append(recorder.ensemble)
    assert [len(p) for p in passes] == [len(names) for names in order]
    compared = 0
    for names, logits in zip(order, passes, strict=True):
        for name, ours in zip(names, logits, strict=True):
            if f"logit16/{name}" in golden:
                theirs = golden[f"logit16/{name}"]
                scale = np.abs(theirs).max()
                np.testing.assert_allclose(ours[:, :, ::16, ::16] / scale, theirs / scale, atol=1e-6, err_msg=name)
                compared += 1
    assert compared == sum(k.startswith("logit16/") for k in golden)


def test_strong_images_are_mixed_in_the_published_order(ran: Any) -> None:
    case, golden, _, _, recorder = ran
    names = {
        "supervised": [],
        "fixmatch": [(2, 0, "img_u_s")],
        "unimatch": [(2, 0, "img_u_s1"), (2, 2, "img_u_s2")],
        "semiovs_unimatch": [(2, 0, "img_u_s1"), (2, 2, "img_u_s2"), (3, 0, "img_u_s1_ood"), (3, 2, "img_u_s2_ood")],
    }[case.replace("prevmatch", "unimatch")]
    for number, start, name in names:
        sums = recorder.images[number][start : start + 2].double().sum(dim=(1, 2, 3))
        np.testing.assert_allclose(sums, golden[f"mixedsum/{name}"], rtol=1e-6, atol=0.05, err_msg=name)
    assert len(names) == sum(k.startswith("mixedsum/") for k in golden)


def test_dropout_masks_are_the_recorded_ones() -> None:
    golden = np.load(GOLDENS / "step_semiovs_unimatch.npz")
    for position, channels in enumerate((256, 2048)):
        ours = dropout2d(torch.ones(6, channels, 1, 1))[:, :, 0, 0] > 0
        np.testing.assert_array_equal(ours.numpy(), golden[f"dropout_mask/{position}_c{channels}"].astype(bool))


def test_learning_rates_of_the_groups() -> None:
    golden = np.load(GOLDENS / "step_unimatch.npz")
    segmenter = build_segmenter("deeplabv3plus", num_classes=21, encoder="resnet50s")
    (optimizer,) = build_method("unimatch", segmenter, num_classes=21).optimizers(OptimConfig(lr=1e-3))
    np.testing.assert_allclose([g["lr"] for g in optimizer.param_groups], golden["lr_after"], rtol=1e-9)
