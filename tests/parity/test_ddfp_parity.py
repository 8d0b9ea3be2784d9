"""DDFP's flow, perturbation, BatchNorms and a step of both phases against numbers recorded from the published program."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from parity.ddfp_inputs import CLASSES, LAYOUT, batch, flow_, method, recorded
from parity.keyfill import fill_, state_dict_for
from semiovs.config.schema import OptimConfig
from semiovs.engine.lr_schedule import Schedule
from semiovs.methods import Method, Progress, Step, build_method
from semiovs.models import build_segmenter
from semiovs.models.convert import detect_family, load_reference
from semiovs.models.ddfp_layout import to_segmenter
from semiovs.models.decoders.dual import DualNorm
from semiovs.models.flow import ANY, Flow

#: Our name of the start of a published one, where the recorded norms need it.
NAMES = {
    "encoder.": "backbone.", "decoder.head.": "head.project.",
    "decoder.classifier.4.": "fuse.conv2.", "decoder.final.": "classifier.",
    "decoder.classifier.1.aux_bn.": "fuse.norm1.aux.", "decoder.classifier.1.": "fuse.norm1.main.",
    "decoder.classifier.5.aux_bn.": "fuse.norm2.aux.",
}  # fmt: skip


def ours(name: str) -> str:
    start = next(start for start in NAMES if name.startswith(start))
    return NAMES[start] + name.removeprefix(start)


@pytest.fixture(scope="module")
def small() -> Flow:
    flow = Flow(8, 4, hidden=16).double()
    flow_(flow, 8**0.5)
    return flow


def test_flow(small: Flow) -> None:
    golden = recorded("unit_flow.npz")
    x, y = (torch.from_numpy(golden[k]) for k in ("x", "y"))
    x.requires_grad_()
    z, logdet = small.transform(x)
    mixture, labelled = small(x), small(x, y)
    assert (y == ANY).any()
    for name, value in {"z": z, "logdet": logdet}.items():
        np.testing.assert_allclose(value.detach(), golden[name], rtol=1e-12, atol=1e-12, err_msg=name)
    np.testing.assert_allclose((mixture - logdet).detach(), golden["logp_mixture"], rtol=1e-12)
    np.testing.assert_allclose((labelled - logdet).detach(), golden["logp_labelled"], rtol=1e-12)
    np.testing.assert_allclose(-mixture.mean().item(), golden["nll_mixture"], rtol=1e-12)
    np.testing.assert_allclose(-labelled.mean().item(), golden["nll_labelled"], rtol=1e-12)
    (gradient,) = torch.autograd.grad(-mixture.mean(), x)
    np.testing.assert_allclose(gradient, golden["grad_x_of_nll_mixture"], rtol=1e-9, atol=1e-12)
    (-small(x, y).mean()).backward()
    layers = small.inn["module_list"]
    for name, parameter in {
        "grad_means": small.means,
        "grad_subnet1_0": layers[0].subnet1[0].weight,  # type: ignore[index]
        "grad_subnet2_4_bias": layers[2].subnet2[4].bias,  # type: ignore[index]
    }.items():
        np.testing.assert_allclose(parameter.grad, golden[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_flow_s_logdet_is_that_of_its_jacobian(small: Flow) -> None:
    x = torch.from_numpy(recorded("unit_flow.npz")["x"])[:5]
    jacobian = vmap(jacrev(lambda row: small.transform(row[None])[0][0]))(x)
    torch.testing.assert_close(small.transform(x)[1], torch.linalg.slogdet(jacobian).logabsdet)


def test_flow_of_the_published_size() -> None:
    golden, orders = recorded("unit_flow_256.npz"), recorded("permutations_256.npz")
    flow = Flow(256, CLASSES)
    flow_(flow)
    assert {key: list(value.shape) for key, value in flow.state_dict().items()} == LAYOUT["flow"]
    for number in range(2):
        np.testing.assert_array_equal(flow.inn["module_list"][2 * number + 1].perm, orders[f"perm{number}"])  # type: ignore[index]
    x = torch.from_numpy(golden["x"]).double()
    z, logdet = flow.double().transform(x)
    np.testing.assert_allclose(z.detach(), golden["z"], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(logdet.detach(), golden["logdet"], rtol=1e-9)
    np.testing.assert_allclose((flow(x) - logdet).detach(), golden["logp_mixture"], rtol=1e-9)
    single = flow.float()(x.float()).detach()
    np.testing.assert_allclose(single, golden["logp_mixture"] + golden["logdet"], rtol=1e-5)


@pytest.mark.parametrize("status", ["clean", "adv", "warm_up", "mix"])
def test_two_batchnorms(status: str) -> None:
    """Which images take the second one is counted out, not set by a hidden status."""
    golden = recorded("unit_dual_bn.npz")
    norm = DualNorm("batch", 6)
    filled = torch.nn.Module()  # with the names of the published layer
    for name, value in norm.main.state_dict().items():
        filled.register_buffer(name, value.clone())
    filled.aux_bn = copy.deepcopy(norm.aux)
    fill_(filled, 9)
    norm.main.load_state_dict({k: v for k, v in filled.state_dict().items() if "aux" not in k})
    norm.aux.load_state_dict(filled.aux_bn.state_dict())
    x = torch.from_numpy(golden["x"]).double()
    adverse = {"clean": 0, "adv": 6, "warm_up": 3, "mix": 2}[status]
    out = norm.double().train()(x, adverse)
    np.testing.assert_allclose(out.detach(), golden[f"out_{status}"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(norm.main.running_mean, golden[f"rm_{status}"], rtol=1e-9)  # type: ignore[arg-type]
    np.testing.assert_allclose(norm.aux.running_mean, golden[f"aux_rm_{status}"], rtol=1e-9)  # type: ignore[arg-type]


def test_published_layout_loads_strictly() -> None:
    model = build_segmenter("deeplabv3plus-dual", num_classes=CLASSES)
    state = state_dict_for(LAYOUT["student"])
    report = load_reference(model, {"model": {f"module.{key}": value for key, value in state.items()}}, family="ddfp")
    assert report.ok
    assert len(report.loaded) == len(LAYOUT["student"]) == 705
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 62.09
    torch.testing.assert_close(model.head.b4[0].weight, state["decoder.aspp.conv5.0.weight"], rtol=0, atol=0)  # type: ignore[union-attr, index]
    assert detect_family(state) == detect_family(model.state_dict())
    assert "with 21 classes" in str(detect_family(state))


def test_perturbation() -> None:
    """Of the recorded features, by the recorded classifier alone; it was recorded with two more passes, before and after."""
    golden = recorded("unit_perturbation.npz")
    state = to_segmenter(
        state_dict_for({k: v for k, v in LAYOUT["student"].items() if k.startswith("decoder.classifier.")})
    )
    segmenter = build_segmenter("deeplabv3plus-dual", num_classes=CLASSES, encoder="tiny")
    segmenter.fuse.load_state_dict({k.removeprefix("fuse."): v for k, v in state.items()})  # type: ignore[union-attr]
    segmenter.fuse.dropout.p = 0.0  # type: ignore[union-attr]
    g = torch.from_numpy(golden["features"]).double()
    kept = torch.from_numpy(golden["label"]) != 255
    pushed = []
    for parity in (True, False):
        ddfp: Any = build_method("ddfp", copy.deepcopy(segmenter), num_classes=CLASSES, parity=parity)
        flow_(ddfp.flow)
        ddfp.double().train()
        mean = ddfp.student.fuse.norm1.aux.running_mean
        start = mean.clone()
        pushed.append(ddfp.perturbation(g, kept))
        if not parity:
            assert mean.equal(start), "the default leaves no statistics behind"
            continue
        before, after = (
            ddfp.flow(f.movedim(1, -1).flatten(0, 2)).mean()
            for f in map(partial(ddfp.student.perceive, adverse=2), (g, g + pushed[0]))
        )
        assert after < before - 1000
        np.testing.assert_allclose(mean, golden["aux_running_mean_after_1"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(pushed[0], golden["perturbation"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(pushed[0].norm(dim=1), float(golden["eps"]), rtol=1e-12)
    torch.testing.assert_close(pushed[1], pushed[0], rtol=1e-9, atol=1e-12)


#: Recording (of float64) -> epoch.
PHASES = {"epoch2_float64": 2, "epoch1_warmup_float64": 1}


close, near = partial(pytest.approx, rel=1e-8), partial(pytest.approx, rel=1e-6)


class Ran(NamedTuple):
    """One recorded step, replayed: gradients, then the updates of student, flow and teacher."""

    golden: Any
    method: Any
    step: Step
    pushed: list[Tensor]
    norms: dict[str, float]
    logits: Tensor


@pytest.fixture(scope="module")
def before() -> Method:
    torch.set_num_threads(1)  # in float64 their number does not show
    return method()


@pytest.fixture(scope="module", params=PHASES)
def ran(request: pytest.FixtureRequest, before: Method) -> Ran:
    epoch = PHASES[request.param]
    progress, golden = Progress(epoch, 80, epoch, 80), recorded("step_expected.json")[request.param]
    ddfp: Any = copy.deepcopy(before)
    student, flow = ddfp.optimizers(OptimConfig(lr=1e-3, head_lr_multiplier=10))
    Schedule(80, lag=0).apply([student], progress.step)
    assert [group["lr"] for group in student.param_groups] == pytest.approx(golden["lr"], rel=1e-12)
    pushed: list[Tensor] = []
    perturbation = ddfp.perturbation

    def perturb(g: Tensor, kept: Tensor) -> Tensor:
        pushed.append(perturbation(g, kept))
        return pushed[-1]

    scored: list[Tensor] = []
    score = ddfp.student.score

    def scoring(f: Tensor, size: tuple[int, int]) -> Tensor:
        scored.append(score(f, size))
        return scored[-1]

    ddfp.perturbation, ddfp.student.score = perturb, scoring
    step = ddfp(batch(), progress)
    step.terms.objective().backward()
    norms = {name: float(p.grad.norm()) for name, p in ddfp.named_parameters() if p.grad is not None}
    (group,) = flow.param_groups
    torch.nn.utils.clip_grad_norm_(group["params"], group["clip_norm"])
    student.step()
    flow.step()  # recorded without its schedule
    ddfp.after_step(progress)
    return Ran(golden, ddfp, step, pushed, norms, scored[-1])


def test_losses(ran: Ran) -> None:
    golden, terms = ran.golden, ran.step.terms
    names = ["u", "u_pt"][: len(golden["unsup"])]
    assert set(terms) == {"x", *names, "flow"}
    assert terms["x"].value.item() == close(golden["sup_loss"])
    assert [terms[name].value.item() for name in names] == close(golden["unsup"])
    assert terms.total().item() == close(golden["total"])
    assert terms["flow"].value.item() == close(golden["flow_calls"][-1][0])


def test_gradients(ran: Ran) -> None:
    golden, norms = ran.golden, ran.norms
    for name, norm in golden["grad_norm"].items():
        assert norms[f"student.{ours(name)}"] == near(norm), name
    assert np.linalg.norm([n for name, n in norms.items() if name.startswith("student.")]) == near(
        golden["grad_norm_all"]
    )
    flow = {f"flow.{name}": norm for name, norm in golden["flow_grad_norm_before_clip"].items()}
    assert np.linalg.norm([n for name, n in norms.items() if name.startswith("flow.")]) == near(
        flow.pop("flow.__total__")
    )
    for name, norm in flow.items():
        assert norms[name] == near(norm), name


def test_after_the_updates(ran: Ran) -> None:
    golden, ddfp = ran.golden, ran.method
    student, teacher, flow = ddfp.student.state_dict(), ddfp.ema.state_dict(), ddfp.flow.state_dict()
    for state, key in (
        (student, "student_param_norm_after"),
        (teacher, "teacher_param_norm_after"),
        (student, "bn_after"),
    ):
        for name, norm in golden[key].items():
            assert float(state[ours(name)].norm()) == close(norm), (key, name)
    for name, norm in golden["flow_param_norm_after"].items():
        assert float(flow[name].norm()) == pytest.approx(norm, rel=1e-6), name
    shared = {p.data_ptr() for p in ddfp.student.parameters()} & {p.data_ptr() for p in ddfp.ema.parameters()}
    assert not shared, "the teacher is no alias of the student"


def test_maps(ran: Ran) -> None:
    if len(ran.golden["unsup"]) == 1:
        assert not ran.pushed, "nothing is perturbed before epoch 2"
        return
    golden, y = recorded("step_maps.npz"), ran.step.pseudo["u"]
    (pt,) = ran.pushed
    np.testing.assert_array_equal(y.label.where((y.confidence > 0.5) & y.valid, 255), golden["label_u_aug"])
    np.testing.assert_allclose(pt.norm(dim=1), golden["pt_pixel_norm"], rtol=1e-9)
    np.testing.assert_allclose(pt[:, ::19][:, :16], golden["pt_channels_0_16"], rtol=1e-4, atol=1e-6)
    for (start, stop), name in {(0, 2): "pred_l_s4", (2, 4): "pred_u_s4", (4, 6): "pred_u_pt_s4"}.items():
        np.testing.assert_allclose(
            ran.logits.detach()[start:stop, :, ::4, ::4], golden[name], rtol=1e-4, atol=1e-5, err_msg=name
        )
