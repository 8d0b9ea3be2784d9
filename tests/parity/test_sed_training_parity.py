"""One training step of SED: losses and gradient norms as recorded, through the registered segmenter and method."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

from parity.keyfill import state_dict_for
from semiovs.config.schema import OptimConfig
from semiovs.data import Batch, Labeled
from semiovs.methods import Progress, build_method
from semiovs.models import build_segmenter
from semiovs.vocab import Vocabulary

GOLDENS = Path(__file__).parent / "goldens" / "sed"
CLIP = "sem_seg_head.predictor.clip_model."
TRANSFORMER = "sem_seg_head.predictor.transformer."


def image() -> Tensor:
    """The README's picture: clip(gauss · 50 + 128) as uint8, normalised."""
    draw = np.random.Generator(np.random.PCG64([0, zlib.crc32(b"g/train_img")]))
    noise = draw.standard_normal(3 * 128 * 128).astype(np.float32).reshape(3, 128, 128)
    pixels = torch.from_numpy(np.clip(noise * 50 + 128, 0, 255).astype(np.uint8)).float()
    mean = torch.tensor([122.7709383, 116.7460125, 104.09373615]).view(3, 1, 1)
    std = torch.tensor([68.5005327, 66.6321579, 70.3231630]).view(3, 1, 1)
    return ((pixels - mean) / std)[None]


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((GOLDENS / "tiny_sed.json").read_text())
    return facts


@pytest.fixture(scope="module")
def method(facts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The recorded model: a CLIP of the recorded configuration, its weights read from a file, its tower taken from
    there.
    """
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-sed.json").write_text(json.dumps(facts["clip_config"]))
    open_clip.add_model_config(folder / "tiny-sed.json")
    state = {name: tensor.reshape(facts["layout"][name]) for name, tensor in state_dict_for(facts["layout"]).items()}
    torch.save({k.removeprefix(CLIP): v for k, v in state.items() if k.startswith(CLIP)}, folder / "clip.pt")
    classes = [[name] for name in facts["classes"]]
    names = tuple(f"class {i}" for i in range(len(classes)))
    options = {"encoder": "open_clip/tiny-sed", "text_weights": str(folder / "clip.pt"), "resolution": 128}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMIOVS_CACHE", str(folder))
        segmenter = build_segmenter("sed", num_classes=5, pretrained=True, **options)
        segmenter.prompt(Vocabulary(names, tuple(map(tuple, classes))))
    head = {k.removeprefix(TRANSFORMER): v for k, v in state.items() if k.startswith(TRANSFORMER)}
    segmenter.network.aggregator.load_state_dict(head)  # type: ignore[operator]
    for module in segmenter.modules():
        if type(module).__name__ == "DropPath":
            module.drop_prob = 0.0  # type: ignore[assignment]
    return build_method("sed", segmenter, num_classes=5, ignore="negative").train()


def test_text_features(method: Any) -> None:
    recorded = torch.from_numpy(np.load(GOLDENS / "tiny_sed.npz")["text_features_first3"])
    torch.testing.assert_close(method.student._embedded[:, :3], recorded, atol=2e-6, rtol=1e-5)


def test_losses_and_gradients(method: Any, facts: dict[str, Any]) -> None:
    recorded = np.load(GOLDENS / "tiny_sed.npz")
    target = torch.from_numpy(recorded["target"]).long()[None]
    assert (target == 255).any()
    method.zero_grad()
    step = method(Batch(Labeled(image(), target)), Progress(0, 10))
    losses = [step.terms[name].value.item() for name in ("x", "x0", "x1", "x2")]
    np.testing.assert_allclose(losses, recorded["losses"], rtol=2e-6)
    step.terms.total().backward()
    ours = {f"{TRANSFORMER}{k}": p.grad for k, p in method.student.network.aggregator.named_parameters()}
    ours |= {f"{CLIP}{k}": p.grad for k, p in method.student.network.backbone.named_parameters()}
    assert {name for name, gradient in ours.items() if gradient is not None} == set(facts["trainable"])
    for name, norm in facts["grad_norms"].items():
        if norm is not None:
            assert ours[name].norm().item() == pytest.approx(norm, rel=2e-4, abs=1e-8), name
    total = torch.stack([gradient.norm() for gradient in ours.values()]).norm().item()
    assert total == pytest.approx(facts["total_grad_norm"], rel=1e-5)


def test_masking_leaves_the_ignored_pixels_out(method: Any) -> None:
    """`mask` is the mean over labelled pixels alone: what the ignored pixels look like changes nothing."""
    target = torch.full((1, 8, 8), 255)
    target[:, :4] = 2
    logits = torch.randn(1, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    method.ignore = "mask"
    try:
        masked = method.loss(logits, target)
    finally:
        method.ignore = "negative"
    half = method.loss(logits[:, :, :4], target[:, :4])
    torch.testing.assert_close(masked, half)
    assert not method.loss(logits, target).allclose(half)


def test_groups_of_the_optimiser(method: Any) -> None:
    """Encoder × 0.01; no decay on norms, but on the norm of the aggregator's ConvNeXt blocks (SED spec, section 7)."""
    (optimizer,) = method.optimizers(OptimConfig(name="adamw", lr=2e-6, head_lr_multiplier=100, weight_decay=1e-4))
    found = {}
    names = {id(p): name for name, p in method.student.network.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            found[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    assert set(found) == set(names.values())
    head, tower = pytest.approx(2e-4), pytest.approx(2e-6)
    assert found["aggregator.conv1.weight"] == (head, 1e-4)
    assert found["aggregator.conv1.bias"] == (head, 1e-4)
    assert found["aggregator.decoder1.cnext.norm.weight"] == (head, 1e-4)
    assert found["aggregator.decoder1.cnext.gamma"] == (head, 1e-4)
    assert found["aggregator.decoder1.attention.norm1.weight"] == (head, 0)
    assert found["aggregator.decoder2.conv.double_conv.1.bias"] == (head, 0)
    assert found["backbone.visual.trunk.stem.1.weight"] == (tower, 0)
    assert found["backbone.visual.trunk.head.norm.bias"] == (tower, 0)
    assert found["backbone.visual.trunk.stages.0.blocks.0.gamma"] == (tower, 1e-4)
    assert found["backbone.visual.head.mlp.fc1.weight"] == (tower, 1e-4)
