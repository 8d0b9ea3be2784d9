from __future__ import annotations

import pytest
import torch
from torch import nn

from semiovs.errors import UsageError
from semiovs.models import Normalization, build_segmenter
from semiovs.models.stem import adapt_stem

SMALL = {"channels": 16, "dilations": (1, 2)}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deeplabv3plus", {"encoder": "tiny", **SMALL}),
        ("deeplabv3plus", {"encoder": "small", **SMALL}),
        ("deeplabv3plus", {"encoder": "xception65", **SMALL}),
        ("deeplabv3plus", {"encoder": "resnet18", **SMALL}),
        ("deeplabv3plus", {"encoder": "tf_efficientnet_lite0", **SMALL}),
        ("deeplabv3plus-dual", {"encoder": "tiny", **SMALL}),
        ("segformer", {"encoder": "mit_b0", "channels": 16}),
        ("segformer", {"encoder": "convnext_atto", "channels": 16}),
        ("dpt", {"encoder": "vit_tiny_patch16_224"}),
    ],
)
@pytest.mark.parametrize("bands", [1, 5])
def test_every_kind_of_encoder_takes_bands(name, options, bands):
    segmenter = build_segmenter(name, num_classes=3, bands=bands, **options).eval()
    with torch.no_grad():
        assert segmenter(torch.randn(2, bands, 64, 64)).shape == (2, 3, 64, 64)
    assert segmenter.normalization == Normalization((0.5,) * bands, (0.25,) * bands)


def test_trained_filters_are_carried_over():
    """What they say about a gray picture in RGB, the adapted ones say about its one band, and about n equal bands."""
    rgb = build_segmenter("deeplabv3plus", num_classes=3, pretrained=True, encoder="small", **SMALL)
    gray = torch.randn(2, 1, 32, 32)
    wanted = rgb.backbone(gray.expand(-1, 3, -1, -1).contiguous())
    for bands in (1, 6):
        adapted = build_segmenter(
            "deeplabv3plus", num_classes=3, pretrained=True, encoder="small", bands=bands, **SMALL
        )
        found = adapted.backbone(gray.expand(-1, bands, -1, -1).contiguous())
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    four = build_segmenter("deeplabv3plus", num_classes=3, pretrained=True, encoder="small", bands=4, **SMALL)
    first = rgb.backbone.stem[0].weight
    torch.testing.assert_close(four.backbone.stem[0].weight, first[:, [0, 1, 2, 0]] * 3 / 4)


def test_false_colours_keep_the_filters():
    rgb, three = (
        build_segmenter("deeplabv3plus", num_classes=3, pretrained=True, encoder="small", bands=b, **SMALL)
        for b in (None, 3)
    )
    assert three.backbone.stem[0].weight.equal(rgb.backbone.stem[0].weight)
    assert rgb.normalization == Normalization()
    assert three.normalization == Normalization((0.5,) * 3, (0.25,) * 3)


def test_fresh_filters_keep_the_size_of_activations_and_a_lock():
    conv = nn.Conv2d(3, 256, 7, bias=False).requires_grad_(False)
    before = float(conv.weight.std())
    adapt_stem(nn.Sequential(conv, nn.Conv2d(256, 4, 1)), 12, trained=False, name="x")
    assert conv.weight.shape == (256, 12, 7, 7)
    assert float(conv.weight.std()) == pytest.approx(before / 2, rel=0.05)
    assert not conv.weight.requires_grad


def test_what_cannot_be_adapted_is_refused():
    with pytest.raises(UsageError, match="has 2 convolutions over RGB"):
        adapt_stem(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 1)), 4, trained=True, name="x")
    for name in ("semivl", "sed"):
        with pytest.raises(UsageError, match=rf"{name} sees RGB alone; leave data\.bands away"):
            build_segmenter(name, num_classes=3, bands=4)
