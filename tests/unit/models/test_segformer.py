"""SegFormer's head on MiT and on timm's pyramids: any size, weights, a saved model with its neck, one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from semiovs.errors import UsageError, WeightsError
from semiovs.models import build_segmenter
from semiovs.models.pyramid import build_pyramid, mit_names
from semiovs.models.weights import ModelCard, load_model, save_model
from semiovs.vocab import Vocabulary


@pytest.mark.parametrize("size", [(65, 97), (64, 32), (33, 33)])
def test_maps_and_logits_of_any_size(size: tuple[int, int]) -> None:
    model = build_segmenter("segformer", num_classes=5, encoder="mit_b0", channels=16).eval()
    with torch.no_grad():
        maps = model.encode(torch.randn(1, 3, *size))
        assert [m.shape[-2:] for m in maps] == [tuple(-(-side // stride) for side in size) for stride in (4, 8, 16, 32)]
        assert [m.shape[1] for m in maps] == list(model.channels)
        assert model(torch.randn(2, 3, *size)).shape == (2, 5, *size)


def test_a_timm_pyramid() -> None:
    model = build_segmenter("segformer", num_classes=5, encoder="resnet18", channels=16).eval()
    assert model.channels == (64, 128, 256, 512)
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 5, 64, 64)


@pytest.mark.parametrize("encoder", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_an_encoder_without_the_four_maps_is_refused(encoder: str) -> None:
    with pytest.raises(UsageError, match="does not give maps at strides 4, 8, 16 and 32; use mit_b0"):
        build_pyramid(encoder)
    with pytest.raises(UsageError, match="encoder 'mit_b6' is not known"):
        build_pyramid("mit_b6")


def test_weights_by_published_and_by_own_names(tmp_path: Path) -> None:
    """A classifier that is left over is dropped; a file of another size is refused in one line."""
    own = build_pyramid("mit_b0").module.state_dict()
    published = {**{_published(name): value for name, value in own.items()}, "head.weight": torch.zeros(1000, 256)}
    assert set(mit_names(published)) - {"head.weight"} == set(own)
    for name, state in (("published", published), ("own", own)):
        save_file(state, tmp_path / f"{name}.safetensors")
        loaded = build_pyramid("mit_b0", pretrained=str(tmp_path / f"{name}.safetensors")).module.state_dict()
        assert all(value.equal(own[key]) for key, value in loaded.items())
    with pytest.raises(WeightsError, match="does not fit encoder 'mit_b1'"):
        build_pyramid("mit_b1", pretrained=str(tmp_path / "own.safetensors"))


def test_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", _unreachable)
    with pytest.raises(
        WeightsError, match=r"could not be had: no network; download huggingface.co/smp-hub/mit_b0.imagenet"
    ):
        build_pyramid("mit_b0", pretrained=True)
    state = build_pyramid("mit_b0").module.state_dict()
    save_file(state, tmp_path / "mit_b0.safetensors")
    loaded = build_pyramid("mit_b0", pretrained=True).module.state_dict()
    assert all(value.equal(state[key]) for key, value in loaded.items())


def _unreachable(*_: object) -> str:
    raise OSError("no network")


def test_a_saved_model_has_its_neck_back(tmp_path: Path) -> None:
    model = build_segmenter("segformer", num_classes=2, encoder="mit_b0", channels=16, neck="allspark").eval()
    options = {"encoder": "mit_b0", "channels": 16}
    card = ModelCard("segformer", 2, Vocabulary.of(("ground", "car")), options, neck="allspark")
    save_model(tmp_path / "model.safetensors", model, card)
    loaded, read = load_model(tmp_path / "model.safetensors")
    assert read.neck == "allspark"
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert loaded(image).equal(model(image))
        model.neck = None
        assert not loaded(image).equal(model(image))


def _published(name: str) -> str:
    name = name.replace("patch_embed.", "patch_embed1.").replace("mlp.dwconv.", "mlp.dwconv.dwconv.")
    for stage in range(4):
        for inner, outer in (("downsample", "patch_embed"), ("blocks", "block"), ("norm", "norm")):
            name = name.replace(f"stages.{stage}.{inner}.", f"{outer}{stage + 1}.")
    return name
