"""Without the extra `clip`: one line for everything that needs CLIP, and all else as before."""

from __future__ import annotations

import sys

import pytest
import torch

from semiovs.errors import MissingExtraError
from semiovs.models import build_segmenter
from semiovs.models.sed.dense_encoder import build_clip
from semiovs.models.text import build_text, imagenet_templates
from semiovs.ovs import build_ovs
from semiovs.vocab import Vocabulary


@pytest.fixture(autouse=True)
def _without_clip(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_segmenter("semivl", num_classes=2, encoder="tiny", image_size=32),
        lambda: build_segmenter("semivl", num_classes=2, encoder="ViT-B-16", pretrained=True),
        lambda: build_ovs("clip-dense", device="cpu"),
        lambda: build_clip("convnext_base_w_320"),
        lambda: build_text("clip", model="ViT-B-16", weights="openai"),
        imagenet_templates.__wrapped__,
    ],
    ids=["semivl", "semivl-pretrained", "clip-dense", "sed", "clip-text", "templates"],
)
def test_what_needs_clip_says_what_to_install(build):
    with pytest.raises(MissingExtraError, match=r"^CLIP models need open_clip; pip install 'semiovs\[clip\]'$"):
        build()


def test_the_teacher_of_the_demo_needs_no_clip():
    picture = torch.zeros(3, 32, 32, dtype=torch.uint8)
    (label,), _ = build_ovs("small", device="cpu").label([picture], Vocabulary.of(["ground", "stripes"]))
    assert label.shape == (32, 32)
