"""A linear classifier on a frozen encoder."""

import pytest
import torch
from torch import nn

from semiovs.models import build_segmenter


@pytest.mark.parametrize("encoder", ["tiny", "small", "vit_tiny_patch16_224"])
def test_only_one_layer_is_trained_and_images_have_any_size(encoder):
    model = build_segmenter("linear-probe", num_classes=3, encoder=encoder)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.1.weight", "head.1.bias"]
    images = torch.randn(2, 3, 37, 50)
    assert model(images).shape == (2, 3, 37, 50)
    model.train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(images).square().mean().backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    after = model.backbone.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(module.training for module in model.backbone.modules())
    assert isinstance(model.head[0], nn.BatchNorm2d)
    assert model.head[0].training
