"""Dense CLIP features equal those recorded from the published SemiVL program."""

import json

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer

from parity.semivl_inputs import GOLDENS, fill_tower, gauss, image, made_up_text
from semiovs.models.clip_vit import DenseClipViT, as_semivl, resize_positions


def small(prefix, taps=()):
    tower = VisionTransformer(128, 16, width=64, layers=3, heads=4, mlp_ratio=4, output_dim=512)
    fill_tower(tower, prefix)
    return DenseClipViT(as_semivl(tower), taps).eval()


@pytest.fixture(scope="module")
def recorded():
    with np.load(GOLDENS / "a_backbone_small.npz") as file:
        return {name: torch.from_numpy(array) for name, array in file.items()}


@pytest.mark.parametrize(("tag", "size"), [("sq", (128, 128)), ("rect", (96, 160)), ("pad", (100, 90))])
@torch.no_grad()
def test_features(recorded, tag, size):
    skip0, skip1, dense = small("backbone", (0, 1))(image(f"a.{tag}", 1, *size))
    torch.testing.assert_close(skip0, recorded[f"{tag}.skip0"], rtol=0, atol=1e-4)
    torch.testing.assert_close(skip1, recorded[f"{tag}.skip1"], rtol=0, atol=1e-4)
    torch.testing.assert_close(dense, recorded[f"{tag}.dense"], rtol=0, atol=1e-5)


def test_positions():
    with np.load(GOLDENS / "a_pos_resize.npz") as file:
        expected = torch.from_numpy(file["out"])
    resized = resize_positions(gauss("a.pos197", (1, 197, 768)), (14, 14), (32, 32))
    assert resized.shape == (1, 1025, 768)
    torch.testing.assert_close(resized[:, ::5, ::16], expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_similarity_to_concepts():
    """What the frozen guide says of each class: the best of its concepts, before anything is resized."""
    with np.load(GOLDENS / "c_maskclip.npz") as file:
        expected = torch.from_numpy(file["agg_lowres"])
    (dense,) = small("clip_encoder")(image("c.img", 2, 128, 128))
    similarity = torch.einsum("bchw,tc->bthw", dense, made_up_text("text98", 98))
    rows = json.loads((GOLDENS / "concept_index.json").read_text())
    best = torch.stack([similarity[:, rows[str(k)]].amax(dim=1) for k in range(21)], dim=1)
    torch.testing.assert_close(best, expected, rtol=0, atol=1e-5)
