"""TensorFlow's padding in whole numbers. timm's encoders of TensorFlow's weights divide to find it, and with free sizes
torch takes many minutes to follow such fractions from layer to layer.
"""

from __future__ import annotations

import copy
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SamePaddedConv(nn.Module):
    """A convolution (B, C, H, W) -> (B, D, ⌈H/s⌉, ⌈W/s⌉), padded with zeros, the odd one at the end."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, image: Tensor) -> Tensor:
        """The map."""
        conv = self.conv
        pads: list[Any] = []  # whole numbers, or torch's symbols of them
        spans = zip(conv.kernel_size, conv.stride, conv.dilation, image.shape[-2:], strict=True)
        for kernel, stride, dilation, side in reversed(list(spans)):
            rest, spare = -side % stride, (kernel - 1) * dilation + 1 - stride
            total = rest + spare if spare >= 0 else torch.sym_max(rest + spare, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(image, pads), conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)


def replace_same_padding(model: nn.Module) -> nn.Module:
    """The model, or a copy of it in which timm's convolutions with such padding are `SamePaddedConv`s."""
    if not any(map(_pads_like_tensorflow, model.modules())):
        return model
    copied = copy.deepcopy(model)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if _pads_like_tensorflow(child):
                setattr(module, name, SamePaddedConv(child))
    return copied


def _pads_like_tensorflow(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(module).__name__ == "Conv2dSame" and type(module).__module__.startswith("timm.")
