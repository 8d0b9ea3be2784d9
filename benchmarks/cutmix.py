"""CutMix of a batch of 8 images of 321x321, and of labels, confidences and validity: where against boolean indices."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.measure import Row, Size, alternately, repeated, row
from semiovs.methods.maths import box_mask, paste


def rows(size: Size) -> list[Row]:
    side, work = size.of(321, 33), size.of(10, 2)
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(8, 3, side, side, generator=generator) for _ in range(2))
    label, other = (torch.randint(0, 21, (8, side, side), generator=generator) for _ in range(2))
    corners = torch.tensor([[i, 2 * i, side // 2 + i, side - i] for i in range(8)])
    boxes = box_mask(corners, side, side).float()
    assert torch.equal(paste(a, b, corners), _images(a, b, boxes))
    assert torch.equal(paste(label, other, corners), _labels(label, other, boxes))
    times = alternately(
        size,
        plain=repeated(lambda: _images(a, b, boxes), work),
        ours=repeated(lambda: paste(a, b, corners), work),
    )
    labels = alternately(
        size,
        plain=repeated(lambda: _labels(label, other, boxes), work),
        ours=repeated(lambda: paste(label, other, corners), work),
    )
    return [
        row("CutMix, images", times, "ours", "plain", "ms", work=work),
        row("CutMix, labels", labels, "ours", "plain", "ms", work=work),
    ]


def _images(a: Tensor, b: Tensor, boxes: Tensor) -> Tensor:
    mixed, where = a.clone(), boxes.unsqueeze(1).expand(a.shape) == 1
    mixed[where] = b[where]
    return mixed


def _labels(a: Tensor, b: Tensor, boxes: Tensor) -> Tensor:
    mixed = a.clone()
    mixed[boxes == 1] = b[boxes == 1]
    return mixed
