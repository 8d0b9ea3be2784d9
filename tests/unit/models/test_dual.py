"""The segmenter with two BatchNorms: its verbs, sizes, conversion to SyncBN, and what its importer says of other
files.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from semiovs.errors import UsageError, WeightsError
from semiovs.models import build_segmenter
from semiovs.models.convert import load_reference
from semiovs.models.decoders.dual import DualNorm


def dual(**options):
    torch.manual_seed(0)
    return build_segmenter("deeplabv3plus-dual", num_classes=3, encoder="tiny", channels=16, **options)


def test_decode_is_its_three_verbs():
    model = dual().eval()
    image = torch.randn(2, 3, 37, 50)
    with torch.no_grad():
        g = model.fused(model.encode(image))
        assert g.shape == (2, 48 + 16, 10, 13)
        f = model.perceive(g)
        assert f.shape == (2, 16, 10, 13)
        assert torch.equal(model.score(f, (37, 50)), model(image))
    with pytest.raises(UsageError, match="does not read mood"):
        model.decode(model.encode(image), (37, 50), mood=image)


@pytest.mark.parametrize("side", [32, 33, 64, 65])
def test_sizes(side):
    assert dual().eval()(torch.randn(1, 3, side, side)).shape == (1, 3, side, side)


def test_the_pooling_of_a_resnet_rounds_up_as_published():
    model = build_segmenter("deeplabv3plus-dual", num_classes=2, encoder="resnet18", channels=16).eval()
    assert [module.ceil_mode for module in model.backbone.modules() if isinstance(module, nn.MaxPool2d)] == [True]
    with torch.no_grad():
        assert [model.encode(torch.randn(1, 3, side, side))[0].shape[-1] for side in (64, 65)] == [17, 17]


def test_adverse_images_take_the_second_norm():
    norm = DualNorm("batch", 4).train()
    x = torch.randn(5, 4, 3, 3)
    both = norm(x, 2)
    torch.testing.assert_close(both[:3], nn.BatchNorm2d(4)(x[:3]))
    torch.testing.assert_close(both[3:], nn.BatchNorm2d(4)(x[3:]))
    assert int(norm.main.num_batches_tracked) == int(norm.aux.num_batches_tracked) == 1
    norm(x), norm(x, 5)
    assert int(norm.main.num_batches_tracked) == int(norm.aux.num_batches_tracked) == 2


def test_both_norms_become_synchronised():
    """`torch.nn.SyncBatchNorm.convert_sync_batchnorm` replaces BatchNorms; the pair itself must survive it."""
    model = nn.SyncBatchNorm.convert_sync_batchnorm(dual())
    assert isinstance(model.fuse.norm1, DualNorm)
    assert isinstance(model.fuse.norm1.main, nn.SyncBatchNorm)
    assert isinstance(model.fuse.norm2.aux, nn.SyncBatchNorm)


def test_options_are_checked():
    for options, message in (({"channels": 8}, "must be at least 16"), ({"norm": "layer"}, "one of: batch, group")):
        with pytest.raises(UsageError, match=message):
            build_segmenter("deeplabv3plus-dual", num_classes=3, **{"encoder": "tiny", "channels": 16, **options})
    with pytest.raises(UsageError, match="at least one class"):
        build_segmenter("deeplabv3plus-dual", num_classes=0, encoder="tiny")


def test_other_checkpoints_are_refused_in_words():
    plain = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny", channels=16)
    with pytest.raises(
        WeightsError, match=r"looks like a DeepLabV3\+ checkpoint with 3 classes; the model is a DDFP checkpoint"
    ):
        load_reference(dual(), plain.state_dict(), family="ddfp")
    more = build_segmenter("deeplabv3plus-dual", num_classes=5, encoder="tiny", channels=16)
    with pytest.raises(
        WeightsError, match=r"classifier.weight: 5x16x1x1 instead of 3x16x1x1|with 5 classes; the model"
    ):
        load_reference(dual(), more.state_dict(), family="ddfp")
