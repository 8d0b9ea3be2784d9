"""DPT on plain vision transformers: any image size, levels, locked encoders, layers, weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from semiovs.config.schema import OptimConfig
from semiovs.errors import DataError, UsageError, WeightsError
from semiovs.methods import build_method
from semiovs.models import Normalization, Segmenter, build_segmenter
from semiovs.models.vit import levels_of, resize_positions

DINOV3 = "vit_small_patch16_dinov3_qkvb"


def dpt(encoder: str = "test_vit", classes: int = 3, **options: object) -> Segmenter:
    torch.manual_seed(0)
    return build_segmenter("dpt", num_classes=classes, encoder=encoder, **options).eval()


#: The smallest of each family that docs/reference/encoders.md names and that has one below 30 million parameters.
FAMILIES = [
    "vit_small_patch14_reg4_dinov2",
    "eva02_tiny_patch14_224",
    "vit_pe_core_tiny_patch16_384",
    "vit_pe_spatial_tiny_patch16_512",
    "vit_small_patch16_lingbot",
]


@pytest.mark.parametrize("encoder", ["test_vit", DINOV3, *FAMILIES])
@torch.no_grad()
def test_any_image_size(encoder: str) -> None:
    model = dpt(encoder, channels=8)
    side = model.patches.side
    for size in ((side, side), (3 * side, 2 * side), (2 * side + 1, 3 * side - 1)):
        image = torch.randn(1, 3, *size)
        features = model.encode(image)
        grid = tuple(-(-length // side) for length in size)
        assert [tuple(f.shape) for f in features] == [(1, model.patches.width, *grid)] * 4
        assert model(image).shape == (1, 3, *size)


@torch.no_grad()
def test_an_image_that_is_no_multiple_of_the_patch_is_padded_and_cut_back() -> None:
    model, image = dpt(), torch.randn(2, 3, 33, 47)
    padded = F.pad(image, (0, 1, 0, 15))
    assert model(image).equal(model(padded)[..., :33, :47])


@torch.no_grad()
def test_decoding_to_another_size() -> None:
    model, image = dpt(), torch.randn(1, 3, 32, 48)
    features = model.encode(image)
    assert model.decode(features, (10, 70)).shape == (1, 3, 10, 70)
    torch.testing.assert_close(model.decode(features, (32, 48)), model(image))


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"an image of 40 x 15 pixels is smaller than a patch of the encoder, 16 x 16"
    ) as e:
        dpt()(torch.zeros(1, 3, 15, 40))
    assert "\n" not in str(e.value)


def test_the_image_is_named(tmp_path: Path) -> None:
    from PIL import Image

    from semiovs.inference import Predictor
    from semiovs.vocab import Vocabulary

    Image.new("RGB", (9, 40)).save(tmp_path / "thin.png")
    with pytest.raises(DataError, match=r"thin\.png: an image of 9 x 40 pixels is smaller"):
        Predictor(dpt(), Vocabulary.of(("a", "b", "c")))(tmp_path / "thin.png")


def test_levels_by_depth() -> None:
    published = {12: (2, 5, 8, 11), 24: (4, 11, 17, 23), 40: (9, 19, 29, 39)}
    assert {depth: levels_of(depth) for depth in published} == published
    assert levels_of(6) == (0, 2, 3, 5)


def test_dinov2_s_position_table_is_resized_by_its_own_rule() -> None:
    """Against a plain bicubic kernel (a = -0.75) that samples at (i + ½) · old / (new + 0.1) - ½, borders repeated."""
    table = torch.randn(1, 1 + 5 * 5, 2)
    grid = table[0, 1:].reshape(5, 5, 2)

    def weight(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.25 * x**3 - 2.25 * x**2 + 1
        return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    def row(new: int) -> torch.Tensor:
        matrix = torch.zeros(new, 5)
        for i in range(new):
            at = (i + 0.5) * 5 / (new + 0.1) - 0.5
            start = int(torch.tensor(at).floor())
            for k in range(start - 1, start + 3):
                matrix[i, min(max(k, 0), 4)] += weight(at - k)
        return matrix

    expected = torch.einsum("yh,hwc,xw->yxc", row(3), grid, row(8))
    ours = resize_positions(table, (5, 5), (3, 8))
    torch.testing.assert_close(ours[0, 1:].reshape(3, 8, 2), expected, rtol=1e-4, atol=1e-4)
    assert ours[:, 0].equal(table[:, 0])
    assert resize_positions(table, (5, 5), (5, 5)) is table


def test_dinov2_s_rule_is_for_its_weights_without_registers_alone() -> None:
    assert dpt("vit_small_patch14_dinov2").patches.dinov2
    assert not dpt("vit_small_patch14_reg4_dinov2").patches.dinov2
    assert not dpt().patches.dinov2


@torch.no_grad()
def test_the_tokens_are_timm_s_own_on_the_table_s_grid() -> None:
    """Where nothing is resized, our reading of DINOv2 is `forward_intermediates`."""
    model = dpt("vit_small_patch14_dinov2")
    model.backbone.pos_embed = torch.nn.Parameter(torch.randn(1, 1 + 3 * 4, 384))
    model.backbone.patch_embed.grid_size = (3, 4)
    image = torch.randn(1, 3, 42, 56)
    theirs = model.backbone.forward_intermediates(image, indices=[2, 5, 8, 11], norm=True, intermediates_only=True)
    for a, b in zip(model.encode(image), theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_locked_encoder_is_not_trained_and_stays_in_evaluation_mode() -> None:
    model = dpt(locked=True)
    method = build_method("supervised", model, num_classes=3).train()
    assert model.head.training
    assert not any(module.training for module in model.backbone.modules())
    assert all(feature.grad_fn is None for feature in model.encode(torch.randn(1, 3, 32, 32)))
    model(torch.randn(1, 3, 32, 32)).sum().backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert all(p.grad is not None for p in model.head.parameters())
    for decay in (None, 0.5):
        (optimizer,) = method.optimizers(OptimConfig(lr=0.1, layer_decay=decay))
        assert [group["name"] for group in optimizer.param_groups] == ["head"]


def test_layer_wise_rates() -> None:
    model = dpt()
    method = build_method("supervised", model, num_classes=3)
    groups = method.parameter_groups(OptimConfig(lr=0.1, head_lr_multiplier=40, layer_decay=0.5))
    assert [group["name"] for group in groups] == [*(f"encoder.{i}" for i in range(7)), "head"]
    assert [group["lr"] for group in groups] == pytest.approx([0.1 * 0.5**i for i in range(6, -1, -1)] + [4.0])
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    vit = model.backbone
    assert rate[id(vit.pos_embed)] == rate[id(vit.patch_embed.proj.weight)] == groups[0]["lr"]
    assert rate[id(vit.blocks[0].attn.qkv.weight)] == groups[1]["lr"]
    assert rate[id(vit.norm.weight)] == rate[id(vit.blocks[5].mlp.fc2.bias)] == 0.1
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in method.parameters()}
    plain = method.parameter_groups(OptimConfig(lr=0.1))
    assert [group["name"] for group in plain] == ["encoder", "head"]


def test_layer_wise_rates_need_layers() -> None:
    tiny = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny", channels=16)
    with pytest.raises(UsageError, match=r"optim\.layer_decay: .* use model\.name=dpt"):
        build_method("supervised", tiny, num_classes=3).optimizers(OptimConfig(layer_decay=0.9))


def test_normalisation_is_that_of_the_weights() -> None:
    assert dpt("vit_small_patch14_dinov2").normalization == Normalization()
    assert dpt().normalization == Normalization((0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "vit_small_patch14_dino2"}, r"did you mean 'vit_small_patch14_dinov2'"),
        ({"encoder": "vit_smal_patch16_dinov3"}, r"did you mean 'vit_small_patch16_dinov3'"),
        ({"encoder": "qqqqqq"}, "is not known; see `semiovs list encoders`"),
        ({"encoder": "resnet18"}, "no plain vision transformer; .* model.name=deeplabv3plus"),
        ({"encoder": "swin_tiny_patch4_window7_224"}, "no plain vision transformer"),
        ({"channels": 2}, "model.channels 2: must be at least 8"),
        ({"loked": True}, "did you mean 'locked'"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        dpt(**{"encoder": "test_vit", **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_encoder_weights_from_a_file(tmp_path: Path) -> None:
    """timm's file with its classifier, and Meta's, which has the token of hidden patches beside."""
    whole = timm.create_model("test_vit")
    state = {name: torch.full_like(value, 0.25) for name, value in whole.state_dict().items()}
    save_file(state, tmp_path / "timm.safetensors")
    del state["head.weight"], state["head.bias"]
    torch.save({**state, "mask_token": torch.zeros(1, 64)}, tmp_path / "meta.pth")
    for file in ("timm.safetensors", "meta.pth"):
        model = build_segmenter("dpt", num_classes=2, encoder="test_vit", pretrained=tmp_path / file)
        assert all((value == 0.25).all() for value in model.backbone.state_dict().values())
    save_file({"blocks.0.attn.qkv.weight": torch.zeros(3, 1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="does not fit encoder 'test_vit'"):
        build_segmenter("dpt", num_classes=2, encoder="test_vit", pretrained=tmp_path / "other.safetensors")


def test_published_weights_offline_say_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(
        WeightsError, match=r"download huggingface\.co/timm/vit_small_patch14_dinov2\.lvd142m .*put it into"
    ):
        dpt("vit_small_patch14_dinov2", pretrained=True)
    vit = timm.create_model("test_vit", num_classes=0)
    save_file({n: torch.full_like(v, 0.5) for n, v in vit.state_dict().items()}, tmp_path / "test_vit.safetensors")
    assert (dpt(pretrained=True).backbone.cls_token == 0.5).all()


def test_decode_reads_no_context() -> None:
    model = dpt()
    features = model.encode(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UsageError, match="dpt does not read text"):
        model.decode(features, (32, 32), text=torch.zeros(1))
