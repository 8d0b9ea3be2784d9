"""Xception-65 as the COCO recipes use it: output stride 16 and no dilation anywhere.

timm's `xception65` is another network (first map taken after a ReLU, dilated exit flow, other epsilon), so its
weights and numbers do not carry over; key names here are those of the published checkpoints.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

#: Momentum of every BatchNorm; the published recipes train with it.
_MOMENTUM = 0.0003


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=_MOMENTUM)


class _Separable(nn.Module):
    """Depthwise 3x3, BN, pointwise 1x1, BN; with `relu_inside` a ReLU follows each BN."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, relu_inside: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        self.bn1 = _norm(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.relu_inside = relu_inside

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.depthwise(x))
        if self.relu_inside:
            x = F.relu(x, inplace=True)
        x = self.bn2(self.pointwise(x))
        return F.relu(x, inplace=True) if self.relu_inside else x


class _Block(nn.Module):
    """Three separable convolutions, each behind a ReLU, and a skip connection; the stride is in the third."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, late_growth: bool = False) -> None:
        super().__init__()
        self.projects = inputs != outputs or stride != 1
        if self.projects:
            self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.skipbn = _norm(outputs)
        middle = inputs if late_growth else outputs
        self.sepconv1 = _Separable(inputs, middle)
        self.sepconv2 = _Separable(middle, outputs)
        self.sepconv3 = _Separable(outputs, outputs, stride=stride)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-> (output, map behind the second convolution, before any ReLU)."""
        active = F.relu(x)
        # The identity skip adds ReLU(x), not x: the published network rectifies its input in place.
        skip = self.skipbn(self.skip(x)) if self.projects else active
        middle = self.sepconv2(F.relu(self.sepconv1(active), inplace=True))
        return self.sepconv3(F.relu(middle)) + skip, middle


class Xception65(nn.Module):
    """(B, 3, H, W) -> maps of 256 channels at stride 4 and 2048 channels at stride 16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 2, padding=1, bias=False)
        self.bn1 = _norm(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn2 = _norm(64)
        self.block1 = _Block(64, 128, stride=2)
        self.block2 = _Block(128, 256, stride=2)
        self.block3 = _Block(256, 728, stride=2)
        for number in range(4, 20):
            self.add_module(f"block{number}", _Block(728, 728))
        self.block20 = _Block(728, 1024, late_growth=True)
        self.conv3 = _Separable(1024, 1536, relu_inside=True)
        self.conv4 = _Separable(1536, 1536, relu_inside=True)
        self.conv5 = _Separable(1536, 2048, relu_inside=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                kernel = module.kernel_size[0] * module.kernel_size[1]
                nn.init.normal_(module.weight, std=math.sqrt(2 / (kernel * module.out_channels)))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Low map (stride 4) and high map (stride 16)."""
        x = F.relu(self.bn1(self.conv1(image)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        x, _ = self.block1(x)
        x, low = self.block2(x)
        for number in range(3, 21):
            x, _ = self.get_submodule(f"block{number}")(x)
        return [low, self.conv5(self.conv4(self.conv3(x)))]
