"""The recorded steps' inputs, rebuilt from their rule (names -> numbers), and the golden files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semiovs.data import Batch, Labeled, OpenVocab, Unlabeled

GOLDENS = Path(__file__).parent / "goldens" / "deeplab"
SIZE = 65


def _generator(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([7, zlib.crc32(name.encode())]))


def normal(name: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 numbers of `name`."""
    draws = _generator(name).standard_normal(int(np.prod(shape)))
    return torch.from_numpy(draws.astype(np.float32).reshape(shape))


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform float64 numbers of `name`."""
    return _generator(name).random(int(np.prod(shape))).reshape(shape)


def block_mask(name: str) -> Tensor:
    blocks = np.floor(uniform(name, (2, 13, 13)) * 21).astype(np.int64)
    return torch.from_numpy(np.kron(blocks, np.ones((1, 5, 5), dtype=np.int64)))


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002
    """Channel dropout with the recorded masks, in place of `torch.nn.functional.dropout2d`."""
    assert p == 0.5
    assert training
    samples, channels = input.shape[:2]
    keep = torch.from_numpy(uniform(f"dropout2d_c{channels}", (samples, channels)) < 0.5)
    return input * (keep.to(input) * 2.0)[:, :, None, None]


def _image(name: str, dtype: torch.dtype) -> Tensor:
    return normal(name, (2, 3, SIZE, SIZE)).to(dtype)


def _valid(*holes: tuple[int, slice, slice]) -> Tensor:
    valid = torch.ones(2, SIZE, SIZE, dtype=torch.bool)
    for sample, rows, columns in holes:
        valid[sample, rows, columns] = False
    return valid


def batch(*, unlabeled: int | None, ood: bool, dtype: torch.dtype) -> Batch:
    """The recorded batch with `unlabeled` strong views (None: labelled images alone), its images in `dtype`."""
    every = slice(None)
    mask = block_mask("mask_x")
    mask[:, :, 60:] = 255
    mask[0, :7] = 255
    labeled = Labeled(_image("img_x", dtype), mask)
    if unlabeled is None:
        return Batch(labeled)
    # rows/columns of the recorded boxes as x0, y0, x1, y1
    box1 = torch.tensor([[10, 5, 50, 40], [0, 0, 0, 0]])
    box2 = torch.tensor([[0, 20, 30, 65], [30, 8, 61, 33]])
    boxes = (box1, box2)[:unlabeled]
    names = ("s1", "s2")[:unlabeled]
    u = Unlabeled(
        _image("img_u_w", dtype),
        tuple(_image(f"img_u_{n}", dtype) for n in names),
        _valid((0, slice(56, None), every), (1, every, slice(61, None))),
        boxes,
    )
    mixing = Unlabeled(
        _image("img_u_w_mix", dtype),
        tuple(_image(f"img_u_{n}_mix", dtype) for n in names),
        _valid((0, slice(62, None), every), (1, every, slice(53, None))),
        tuple(torch.zeros_like(box) for box in boxes),
    )
    if not ood:
        return Batch(labeled, u, mixing)
    valid = _valid((0, every, slice(50, None)), (1, slice(10, 25), slice(10, 25)))
    label = block_mask("mask_u_ood").where(valid, 255)
    o = OpenVocab(
        _image("img_u_w_ood", dtype),
        tuple(_image(f"img_u_{n}_ood", dtype) for n in names),
        label,
        torch.full(label.shape, 0.25),  # as published the confidence is 1 whatever the store says
        valid,
    )
    return Batch(labeled, u, mixing, o)
