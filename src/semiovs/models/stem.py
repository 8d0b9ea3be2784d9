"""Adapts an encoder's first layer to images with another number of bands than RGB."""

from __future__ import annotations

import torch
from torch import nn

from semiovs.errors import UsageError

#: Channels that every encoder starts with.
RGB = 3


def adapt_stem(encoder: nn.Module, bands: int, *, trained: bool, name: str) -> None:
    """Make the first convolution of `encoder`, which reads RGB, read `bands` channels; in place.

    trained: its weights mean something and are carried over as timm does (one band: the sum over RGB; more: red, green,
    blue, red, …, times 3 / bands, so that activations keep their size). Otherwise they are drawn anew, with the same
    size of activations.

    Raises:
        UsageError: there is not exactly one convolution over RGB.
    """
    found = [m for m in encoder.modules() if isinstance(m, nn.Conv2d) and m.in_channels == RGB and m.groups == 1]
    if len(found) != 1:
        raise UsageError(
            f"'{name}' has {len(found)} convolutions over RGB, so its first layer cannot be adapted to {bands} bands "
            "(data.bands); use an encoder such as resnet50, convnext_tiny, vit_small_patch14_dinov2 or mit_b2"
        )
    stem = found[0]
    weight = stem.weight.detach()
    if trained:
        from timm.models import adapt_input_conv

        adapted = adapt_input_conv(bands, weight)
    else:
        adapted = torch.randn(len(weight), bands, *weight.shape[2:]) * weight.std() * (RGB / bands) ** 0.5
    stem.in_channels = bands
    stem.weight = nn.Parameter(adapted.to(weight).contiguous(), requires_grad=stem.weight.requires_grad)
