"""AllSpark's step against the numbers recorded from the published program, before and after its memory is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from parity.allspark_inputs import GOLDENS, POINTER, QUEUE, golden, recorded_batch, recorded_method
from semiovs.methods import Progress

EXPECTED = json.loads((GOLDENS / "step_expected.json").read_text("utf-8"))
CASES = {"epoch0_using_smem_False": 0, "epoch5_using_smem_True": 5}


@pytest.fixture(scope="module", params=list(CASES))
def ran(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Run the recorded step once, and keep the logits of every decoding and the channels' classes."""
    torch.set_num_threads(1)  # many small products, in which threads wait for each other
    method, report = recorded_method()
    logits: list[torch.Tensor] = []
    decode, push = method.student.decode, method.memory.push
    classes: list[torch.Tensor] = []
    method.student.decode = lambda f, s: logits.append(decode(f, s)) or logits[-1]  # type: ignore[method-assign, func-returns-value]
    method.memory.push = lambda c, k: classes.append(k) or push(c, k)  # type: ignore[method-assign, func-returns-value]
    step = method(recorded_batch(), Progress(0, 100, CASES[request.param], 80))
    step.terms.total().backward()
    names = dict(line.split(" -> ") for line in report.renamed)
    return {"case": request.param, "method": method, "step": step, "logits": logits, "classes": classes, "names": names}


def test_losses(ran: dict[str, Any]) -> None:
    terms, expected = ran["step"].terms, EXPECTED["float32"][ran["case"]]
    assert terms.total().item() == pytest.approx(expected["loss"], rel=1e-4)
    assert terms["x"].value.item() == pytest.approx(expected["loss_x"], rel=1e-4)
    assert terms["u"].value.item() == pytest.approx(expected["loss_u"], rel=1e-4)
    assert terms.normaliser == 2


def test_gradients(ran: dict[str, Any]) -> None:
    gradients = {name: p.grad for name, p in ran["method"].student.named_parameters() if p.grad is not None}
    expected = EXPECTED["float32"][ran["case"]]
    for name, norm in expected["grad_norm"].items():
        assert gradients[ran["names"].get(name, name)].norm().item() == pytest.approx(norm, rel=1e-4), name
    total = torch.stack([g.norm() for g in gradients.values()]).norm()
    assert total.item() == pytest.approx(expected["grad_norm_all"], rel=1e-4)


def test_memory(ran: dict[str, Any]) -> None:
    expected, memory = EXPECTED["float32"][ran["case"]], ran["method"].memory
    assert memory.pointer.tolist() == expected["queue_ptr_after"]
    norms = torch.tensor(expected["kv_queue_norm_per_class"])
    torch.testing.assert_close(memory.channels.flatten(1).norm(dim=1), norms, rtol=1e-4, atol=0)
    assert ran["classes"][0].equal(golden("step_maps")["channel_cls"].long())
    assert ran["names"][QUEUE] == "memory.channels"
    assert ran["names"][POINTER] == "memory.pointer"


def test_logits_and_pseudo_labels(ran: dict[str, Any]) -> None:
    maps, (z, both) = golden("step_maps"), ran["logits"]
    epoch = CASES[ran["case"]]
    close = {"rtol": 1e-4, "atol": 1e-3}
    torch.testing.assert_close(z[..., ::4, ::4], maps["pseudo_logits_s4"].float(), **close)
    for name, logits in zip(("x", "u"), both.detach().split(2), strict=True):
        torch.testing.assert_close(logits[..., ::4, ::4], maps[f"pred_{name}_s4_ep{epoch}"].float(), **close)
    assert (ran["step"].pseudo["w"].label != maps["pseudo_label"].long()).sum() <= 2


@pytest.mark.parametrize("ran", ["epoch0_using_smem_False"], indirect=True)
def test_prediction_after_the_step(ran: dict[str, Any]) -> None:
    """Published: images of one batch depend on each other. Here a prediction is that of the image alone, unless
    `parity`.
    """
    maps, u = golden("step_maps"), recorded_batch().unlabeled
    model = ran["method"].models()["student"].eval()
    assert u is not None
    close = {"rtol": 1e-4, "atol": 1e-3}

    def seen(image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(image)[:1, :, ::4, ::4]

    together, alone = maps["eval_first_in_batch_s4"].float(), maps["eval_first_alone_s4"].float()
    torch.testing.assert_close(seen(u.weak), together.view_as(seen(u.weak)), **close)
    assert model.neck is not None
    model.neck.couple = False
    torch.testing.assert_close(seen(u.weak), alone.view_as(together), **close)
    torch.testing.assert_close(seen(maps["rect_input"].float()), maps["eval_rect_s4"].float(), **close)
    assert (together - alone).abs().max() > 0.05
