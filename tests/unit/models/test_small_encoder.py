"""The encoder `small`, its shipped weights and their record."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from semiovs.demo.textures import NAMED, OTHER, Plane
from semiovs.errors import UsageError
from semiovs.files import sha256_of
from semiovs.models import build_segmenter
from semiovs.models.encoders import build_encoder
from semiovs.models.small_encoder import SmallEncoder, shipped_weights


@pytest.mark.parametrize("stride", [8, 16])
def test_maps(stride):
    encoder = build_encoder("small", output_stride=stride)
    low, high = encoder.module(torch.zeros(2, 3, 64, 96))
    assert low.shape == (2, encoder.channels[0], 16, 24)
    assert high.shape == (2, encoder.channels[1], 64 // stride, 96 // stride)


def test_size():
    assert 0.5e6 < sum(p.numel() for p in SmallEncoder().parameters()) < 1.2e6
    assert shipped_weights().stat().st_size < 5 * 2**20


def test_other_strides_are_refused():
    with pytest.raises(UsageError, match="'small' has output stride 8 or 16, not 32"):
        build_encoder("small", output_stride=32)


def test_record_of_the_weights():
    record = json.loads(shipped_weights().with_suffix(".json").read_text())
    assert record["sha256"] == sha256_of(shipped_weights())
    assert record["textures"] == list(OTHER)
    assert record["history"][-1]["step"] == record["settings"]["stop"]
    assert record["history"][-1]["miou"] > 50


def test_pretrained_features_tell_textures_apart():
    """Nearest class mean on textures the encoder never saw: features of the shipped weights beat those of random
    ones.
    """

    def score(pretrained):
        torch.manual_seed(0)
        model = build_segmenter(
            "deeplabv3plus", num_classes=8, encoder="small", pretrained=pretrained, output_stride=8, channels=32
        ).eval()
        features, labels = [], []
        for label, texture in enumerate(NAMED.values()):
            for seed in range(16):
                rng = np.random.default_rng([label, seed])
                pattern = torch.from_numpy(texture(Plane.draw(64, (7, 12), rng)))
                colors = torch.from_numpy(rng.uniform(-2, 2, (2, 3, 1, 1))).float()
                with torch.no_grad():
                    high = model.backbone((colors[0] * pattern + colors[1] * (1 - pattern))[None])[-1]
                features.append(torch.nn.functional.normalize(high.mean((2, 3))[0], dim=0))
                labels.append(label)
        x, y = torch.stack(features), torch.tensor(labels)
        train = torch.arange(len(y)) % 2 == 0
        means = torch.stack([x[train & (y == label)].mean(0) for label in range(len(NAMED))])
        return ((x[~train] @ means.T).argmax(1) == y[~train]).float().mean().item()

    assert score(True) > score(False) + 0.2
