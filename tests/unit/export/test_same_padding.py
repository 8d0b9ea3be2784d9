"""Convolutions of TensorFlow's encoders leave in whole numbers, and answer as before."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

from semiovs.export.same_padding import SamePaddedConv, replace_same_padding


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3), (2, 4)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
def test_the_same_numbers_at_any_size(kernel: tuple[int, int], stride: tuple[int, int], dilation: int) -> None:
    torch.manual_seed(0)
    conv = Conv2dSame(4, 6, kernel, stride, dilation=dilation, groups=2)
    ours = SamePaddedConv(conv)
    for size in ((16, 16), (17, 23), (18, 21), (19, 14)):
        image = torch.randn(2, 4, *size)
        torch.testing.assert_close(ours(image), conv(image), rtol=0, atol=0)


def test_a_traced_program_has_no_fractions() -> None:
    model = nn.Sequential(*(Conv2dSame(3, 3, 3, 2) for _ in range(3)))
    replaced = replace_same_padding(model)
    assert [type(each) for each in model] == [Conv2dSame] * 3  # the model itself stays
    free = torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free},)
    with torch.no_grad():
        program = torch.export.export(replaced, (torch.randn(2, 3, 97, 130),), dynamic_shapes=shapes)
    assert "truediv" not in str(program.graph)
    for size in ((64, 64), (101, 67)):
        image = torch.randn(3, 3, *size)
        torch.testing.assert_close(program.module()(image), model(image))


def test_other_models_are_not_copied() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3))
    assert replace_same_padding(model) is model
