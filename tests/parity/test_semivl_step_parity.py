"""One optimiser step of SemiVL against the numbers recorded from the reference program."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.semivl_inputs import GOLDENS
from parity.semivl_model import VOCABULARY, embeddings, published, recorded_batch, small_segmenter
from semiovs.config.schema import OptimConfig
from semiovs.engine.lr_schedule import Schedule
from semiovs.methods import Progress, build_method
from semiovs.methods.draws import Draws
from semiovs.models.convert import load_reference


@pytest.fixture(autouse=True, scope="module")
def _one_thread(_threads_of_the_recordings: None) -> None:
    """No BatchNorm here: the last digits of sums do not matter, and a busy machine is three times slower with two."""
    torch.set_num_threads(1)


TERMS = {"x": "loss_x", "s1": "loss_s1", "s2": "loss_s2", "fp": "loss_fp"}
GUIDED = {"mc_s1": "loss_mc_s1", "mc_s2": "loss_mc_s2", "mc_fp": "loss_mc_fp"}
#: The reference's name of a parameter -> ours.
PARAMETERS = {
    "decode_head.head.weight": "decoder.classifier.weight",
    "decode_head.conv1.weight": "decoder.conv1.weight",
    "decode_head.layers.0.transformer.attn.attn.in_proj_weight": "decoder.layers.0.attention.in_proj_weight",
    "decode_head.skip_proj.1.0.weight": "decoder.skips.1.0.weight",
    "decode_head.text_proj.0.weight": "decoder.text_proj.0.weight",
    "backbone.pos_embed": "backbone.clip.tower.positional_embedding",
    "backbone.layers.0.attn.attn.in_proj_weight": "backbone.clip.tower.transformer.resblocks.0.attn.in_proj_weight",
    "backbone.layers.2.attn.attn.in_proj_weight": "backbone.clip.tower.transformer.resblocks.2.attn.in_proj_weight",
    "backbone.layers.2.attn.attn.out_proj.bias": "backbone.clip.tower.transformer.resblocks.2.attn.out_proj.bias",
}


class Recorded(Draws):
    """Drops the recorded channels."""

    def __init__(self, keep: list[Tensor]) -> None:
        self.keep = keep

    def channel_dropout(self, features: tuple[Tensor, ...], p: float = 0.5) -> tuple[Tensor, ...]:
        return tuple(f * keep[:, :, None, None] / p for f, keep in zip(features, self.keep, strict=True))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the recorded step once."""
    folder = tmp_path_factory.mktemp("texts")
    golden = dict(np.load(GOLDENS / "d_step_semivl.npz"))
    facts = json.loads((GOLDENS / "d_step_semivl.json").read_text())
    segmenter = small_segmenter(folder)
    method = build_method("semivl", segmenter, num_classes=21, guide_embeddings=embeddings(folder, "text98", 98))
    load_reference(method, published(segmenter, gain=facts["head_gain"]), family="semivl")
    method.prompt(VOCABULARY)
    keep = [torch.from_numpy(golden[f"keep{k}"]).float() for k in range(3)]
    method.draws = Recorded(keep)
    (optimizer,) = method.train().optimizers(
        OptimConfig(name="adamw", lr=1e-6, head_lr_multiplier=1000, weight_decay=0.01)
    )
    logits, decode = [], segmenter.decode
    segmenter.decode = lambda *given: logits.append(decode(*given)) or logits[-1]
    step = method(recorded_batch()[0], Progress(facts["iters"], facts["total_iters"]))
    step.terms.total().backward()
    before = {name: p.detach().clone() for name, p in segmenter.named_parameters()}
    gradients = {name: p.grad.clone() for name, p in segmenter.named_parameters() if p.grad is not None}
    optimizer.step()
    after = {name: p.detach() for name, p in segmenter.named_parameters()}
    return locals()


def test_losses(ran: Any) -> None:
    recorded, terms = ran["facts"]["loss"], ran["step"].terms
    for ours, theirs in TERMS.items():
        assert terms[ours].value.item() == pytest.approx(recorded[theirs], rel=1e-4), ours
    for ours, theirs in GUIDED.items():
        assert terms.extras[ours].value.item() == pytest.approx(recorded[theirs], rel=1e-4), ours
    assert terms.extras["mc_fp"].weight == pytest.approx(0.5 * recorded["current_mcc_lambda"])
    assert terms.total().item() == pytest.approx(recorded["loss"], rel=1e-5)
    assert terms.normaliser == 2


def test_logits_of_every_pass(ran: Any) -> None:
    """In the order in which they are decoded; strong images were mixed in the published order, or these would differ."""
    strong1, _ = ran["logits"][-1].detach().chunk(2)
    passes = dict(zip(("pred_w_other", "pred_x", "pred_w_fp", "pred_w"), ran["logits"], strict=False)) | {
        "pred_s1": strong1
    }
    for name, ours in passes.items():
        theirs = ran["golden"][name].astype(np.float32)
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(ours.detach()[:, :, ::8, ::8] / scale, theirs / scale, atol=1e-3, err_msg=name)
    assert set(passes) == {name for name in ran["golden"] if name.startswith("pred")}


def test_gradients(ran: Any) -> None:
    assert set(ran["facts"]["grad_norm"]) == set(PARAMETERS)
    for theirs, norm in ran["facts"]["grad_norm"].items():
        assert ran["gradients"][PARAMETERS[theirs]].norm().item() == pytest.approx(norm, rel=1e-3), theirs
    last = ran["gradients"][PARAMETERS["backbone.layers.2.attn.attn.in_proj_weight"]]
    assert last[:128].abs().max() == ran["facts"]["last_block_qk_grad_abs_max"] == 0


def test_the_optimiser_s_step(ran: Any) -> None:
    for theirs, moved in ran["facts"]["adamw_step_delta_absmean"].items():
        name = PARAMETERS[theirs]
        delta = (ran["after"][name] - ran["before"][name]).abs().mean().item()
        assert delta == pytest.approx(moved, rel=2e-3), theirs


def test_pseudo_labels(ran: Any) -> None:
    pseudo, facts = ran["step"].pseudo, ran["facts"]
    for key, ours in {"mask_w": "w", "mask_w_other": "w_mix"}.items():
        assert (pseudo[ours].label.numpy() != ran["golden"][key]).mean() <= 1e-3, key
    for key, ours in {"mclip": "guide_w", "mclip_other": "guide_w_mix"}.items():
        label = pseudo[ours].label.where(pseudo[ours].valid, 255)
        assert (label.numpy() != ran["golden"][key]).mean() <= 1e-3, key
    sure = [(pseudo[name].confidence >= 0.95).float().mean().item() for name in ("w", "w_mix")]
    assert sure == pytest.approx([facts["frac_conf_w"], facts["frac_conf_w_other"]], abs=1e-3)


def test_schedule() -> None:
    rows = json.loads((GOLDENS / "e_schedule.json").read_text())
    schedule = Schedule.of(OptimConfig(name="adamw", lr=1e-6, head_lr_multiplier=1000), 1000)
    for row in rows:
        assert 1e-6 * schedule.factor(row["step"]) == pytest.approx(row["lr_used_backbone"], rel=1e-9)
        assert 1e-6 * 1000 * schedule.factor(row["step"]) == pytest.approx(row["lr_used_decoder"], rel=1e-9)


def test_guidance_fades(ran: Any) -> None:
    for row in json.loads((GOLDENS / "e_schedule.json").read_text()):
        assert ran["method"].guidance_weight(Progress(row["step"], 1000)) == pytest.approx(row["lam"], rel=1e-12)
