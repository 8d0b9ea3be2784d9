"""The published PIL operations against torchvision's, which the published pipelines call."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional as tv

from semiovs.data.reference import make_strong
from semiovs.data.transforms import StrongLook


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("amount", [0.5, 0.731, 1.0, 1.5])
def test_factors_are_torchvisions(picture, name, amount):
    ours = make_strong(picture, StrongLook(jitter=((name, amount),)))
    assert np.array_equal(ours, getattr(tv, f"adjust_{name}")(picture, amount))


@pytest.mark.parametrize("amount", [-0.25, -0.1013, -0.001, 0.0, 0.003, 0.1999, 0.25])
def test_hue_is_torchvisions(picture, amount):
    ours = make_strong(picture, StrongLook(jitter=(("hue", amount),)))
    assert np.array_equal(ours, tv.adjust_hue(picture, amount))


def test_gray_is_torchvisions(picture):
    ours = make_strong(picture, StrongLook(gray=True))
    assert ours.mode == "RGB"
    assert np.array_equal(ours, tv.rgb_to_grayscale(picture, num_output_channels=3))
