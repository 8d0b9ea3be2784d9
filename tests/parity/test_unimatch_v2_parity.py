"""DPT on DINOv2-S computes what the published one computes, from a checkpoint with the published names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from parity.keyfill import state_dict_for
from parity.step_inputs import normal, uniform
from semiovs.errors import WeightsError
from semiovs.methods import build_method
from semiovs.methods.draws import Draws
from semiovs.methods.student import segment_complementary
from semiovs.models import Segmenter, build_segmenter
from semiovs.models.convert import detect_family, load_reference

HERE = Path(__file__).parent
UNUSED = {"backbone.mask_token"} | {
    f"head.scratch.refinenet4.resConfUnit1.conv{n}.{leaf}" for n in (1, 2) for leaf in ("weight", "bias")
}
#: parameters of the whole and of the encoder, without those that are never used
SIZES = {"small": (24_721_397, 22_056_192), "base": (97_232_853, 86_579_712)}


def layout_of(size: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = json.loads((HERE / "layouts" / f"unimatch_v2_{size}.json").read_text("utf-8"))
    return found


def checkpoint(size: str) -> dict[str, Tensor]:
    return state_dict_for({name: tuple(shape) for name, shape in layout_of(size).items()})


@pytest.fixture(scope="module")
def golden() -> Mapping[str, np.ndarray]:
    with np.load(HERE / "goldens" / "unimatch_v2" / "dpt_small.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def network() -> Segmenter:
    model = build_segmenter("dpt", num_classes=21, encoder="vit_small_patch14_dinov2")
    load_reference(model, checkpoint("small"), family="unimatch_v2")
    return model.eval()


def assert_near(logits: Tensor, golden: Mapping[str, np.ndarray], case: str) -> None:
    theirs = golden[f"{case}/logits_s4"]
    np.testing.assert_allclose(logits[:, :, ::4, ::4], theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())
    np.testing.assert_allclose(float(logits.double().norm()), golden[f"{case}/norm"], rtol=1e-4)


@pytest.mark.parametrize("size", [(70, 84), (56, 56)], ids="{0[0]}x{0[1]}".format)
@torch.no_grad()
def test_evaluation_forward(network: Segmenter, golden: Mapping[str, np.ndarray], size: tuple[int, int]) -> None:
    case = f"{size[0]}x{size[1]}"
    assert_near(network(normal(f"v2_in_{case}", (2, 3, *size))), golden, f"eval/{case}")


class RecordedDraws(Draws):
    """The recorded masks in place of drawn ones."""

    def complementary_dropout(self, features: tuple[Tensor, ...], p: float = 0.5) -> tuple[Tensor, ...]:
        m1 = torch.from_numpy(2.0 * (uniform("v2_mask", (2, 384)) < 0.5)).float()
        m1[1] = 1.0
        mask = torch.cat([m1, 2 - m1])[:, :, None, None]
        return tuple(feature * mask for feature in features)


@torch.no_grad()
def test_complementary_dropout(network: Segmenter, golden: Mapping[str, np.ndarray]) -> None:
    s1, s2 = normal("v2_cd", (4, 3, 56, 56)).chunk(2)
    assert_near(torch.cat(segment_complementary(network, RecordedDraws(), s1, s2)), golden, "comp_drop")
    np.testing.assert_array_equal(golden["comp_drop/mask1"], uniform("v2_mask", (2, 384)) < 0.5)
    assert golden["comp_drop/kept"].tolist() == [1]


@torch.no_grad()
def test_complementary_dropout_of_the_method_draws_such_masks(network: Segmenter) -> None:
    """Through the method's own draws: on a grid of ones the four levels show the masks themselves."""
    torch.manual_seed(0)
    levels = Draws().complementary_dropout(tuple(torch.ones(4, 384, 2, 3) for _ in range(4)))
    m1, m2 = levels[0][:, :, 0, 0].chunk(2)
    assert torch.equal(m1 + m2, torch.full((2, 384), 2.0))
    assert sorted((m1 == 1).all(dim=1).tolist()) == [False, True]
    assert all(torch.equal(level, levels[0]) for level in levels)


@pytest.mark.parametrize("size", list(SIZES))
def test_published_layout_loads_strictly(size: str) -> None:
    model = build_segmenter("dpt", num_classes=21, encoder=f"vit_{size}_patch14_dinov2")
    state = checkpoint(size)
    file = {"model": {f"module.{name}": value for name, value in state.items()}, "epoch": 59}
    report = load_reference(model, file, family="unimatch-v2")
    assert report.ok
    assert set(report.loaded) == set(state) - UNUSED == set(model.state_dict())
    assert report.renamed == ()
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    assert (sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.backbone.parameters())) == SIZES[
        size
    ]
    assert detect_family(state) == f"DINOv2-{size[0].upper()} DPT checkpoint with 21 classes"


def test_a_checkpoint_of_another_family_or_size_says_which_it_is(network: Segmenter) -> None:
    deeplab = build_segmenter("deeplabv3plus", num_classes=21, encoder="tiny", channels=16)
    method = build_method("unimatch-v2", network, num_classes=21)
    with pytest.raises(
        WeightsError, match="looks like a DeepLabV3\\+ checkpoint with 21 classes; the model is a DINOv2-S DPT"
    ):
        load_reference(method, deeplab.state_dict(), family="unimatch_v2")
    with pytest.raises(WeightsError, match=r"looks like a DINOv2-S DPT checkpoint .*; the model is a DeepLabV3\+"):
        load_reference(deeplab, checkpoint("small"), family="deeplabv3plus")
    with pytest.raises(
        WeightsError, match="looks like a DINOv2-B DPT checkpoint with 21 classes; the model is a DINOv2-S"
    ):
        load_reference(
            network, {name: torch.empty(shape) for name, shape in layout_of("base").items()}, family="unimatch_v2"
        )
    encoder = {name: value for name, value in checkpoint("small").items() if name.startswith("backbone.")}
    encoder = {name.removeprefix("backbone."): value for name, value in encoder.items()}
    with pytest.raises(WeightsError, match=r"looks like a bare DINOv2-S encoder \(for model.pretrained\)"):
        load_reference(network, encoder, family="unimatch_v2")
