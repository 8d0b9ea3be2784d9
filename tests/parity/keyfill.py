"""Deterministic weights for parity checks: every tensor is a function of its name and shape alone.

Two implementations that agree on a checkpoint's layout (names and shapes, specs/layouts/*.json) get identical
weights without a weight file being passed around. Drawn with numpy's PCG64, whose stream is stable.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def tensor_for(name: str, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """float32 tensor of `shape` determined by (name, shape, seed) only."""
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    n = int(np.prod(shape)) if shape else 1
    x = rng.standard_normal(n).astype(np.float32).reshape(shape)
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        x = 1.0 + 0.2 * np.abs(x)
    elif leaf == "running_mean":
        x = 0.1 * x
    elif len(shape) <= 1 and leaf in ("weight", "gamma"):
        x = 1.0 + 0.1 * x  # norm scales / layer scale
    elif len(shape) <= 1:
        x = 0.1 * x  # biases, logit scale, ...
    else:
        fan_in = int(np.prod(shape[1:]))
        x = x.astype(np.float64) / np.sqrt(fan_in)  # said outright: numpy 1 would divide in float32
    return torch.from_numpy(np.ascontiguousarray(x.astype(np.float32))).reshape(shape)


def state_dict_for(layout: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """layout: name -> shape (as in spec/*.json). Integer counters (`num_batches_tracked`) become int64 zero."""
    out = {}
    for name, shape in layout.items():
        if name.endswith("num_batches_tracked"):
            out[name] = torch.zeros((), dtype=torch.int64)
        else:
            out[name] = tensor_for(name, tuple(shape), seed)
    return out


def fill_(model: torch.nn.Module, seed: int = 0, skip: tuple[str, ...] = ()) -> dict[str, list[int]]:
    """Overwrite a model's floating state in place by the rule; returns the layout name -> shape."""
    layout = {}
    with torch.no_grad():
        for name, t in model.state_dict().items():
            layout[name] = list(t.shape)
            if t.is_floating_point() and not any(s in name for s in skip):
                t.copy_(tensor_for(name, tuple(t.shape), seed))
    return layout
