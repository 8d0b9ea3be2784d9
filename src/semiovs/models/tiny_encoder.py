"""A very small encoder for tests, examples and laptops without a GPU."""

from __future__ import annotations

from torch import Tensor, nn

from semiovs.models.norms import norm_layer


class TinyEncoder(nn.Module):
    """(B, 3, H, W) -> maps of 24 channels at stride 4 and 64 channels at `output_stride` (8 or 16); 29 k parameters."""

    channels = (24, 64)

    def __init__(self, *, output_stride: int = 16, norm: str = "batch") -> None:
        super().__init__()
        dilation = 16 // output_stride
        self.stem = nn.Sequential(*_stage(3, 16, norm), *_stage(16, 24, norm))
        self.body = nn.Sequential(*_stage(24, 32, norm), *_stage(32, 64, norm, stride=2 // dilation, dilation=dilation))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Low and high map."""
        low = self.stem(image)
        return [low, self.body(low)]


def _stage(inputs: int, outputs: int, norm: str, *, stride: int = 2, dilation: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return [conv, norm_layer(norm, outputs), nn.ReLU()]
