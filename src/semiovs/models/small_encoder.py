"""`small`: a residual encoder of 0.7 M parameters for pictures of 64 to 128 pixels on a CPU, with weights in the
package.

The weights were learnt on the textures `OTHER` of the synthetic world, which no demo class is made of;
`examples/pretrain_small.py` makes them again.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

#: File with the shipped weights (fp16), inside the package.
WEIGHTS = "data/small.safetensors"


class SmallEncoder(nn.Module):
    """(B, 3, H, W) -> maps of 48 channels at stride 4 and 128 channels at `output_stride` (8 or 16)."""

    channels = (48, 128)
    #: Channels of the finest map of `pyramid`.
    fine = 24

    def __init__(self, *, output_stride: int = 16) -> None:
        super().__init__()
        dilation = 16 // output_stride
        self.stem = nn.Sequential(*_conv(3, self.fine, stride=2), *_conv(self.fine, self.fine))
        self.layer1 = nn.Sequential(_Residual(24, 48, stride=2), _Residual(48, 48))
        self.layer2 = nn.Sequential(_Residual(48, 96, stride=2), _Residual(96, 96))
        self.layer3 = nn.Sequential(_Residual(96, 128, stride=2 // dilation), _Residual(128, 128, dilation=dilation))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Low and high map."""
        return self.pyramid(image)[1:]

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Maps at strides 2 and 4, and the high one."""
        fine = self.stem(image)
        low = self.layer1(fine)
        return [fine, low, self.layer3(self.layer2(low))]


def shipped_weights() -> Path:
    """Where the weights of the package lie."""
    return Path(str(resources.files("semiovs.models") / WEIGHTS))


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.skip(x), inplace=True)


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
