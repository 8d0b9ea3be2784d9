"""The recorded SemiVL runs' inputs and weights, made again from names (SemiVL spec; goldens/semivl)."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parity.keyfill import tensor_for

GOLDENS = Path(__file__).parent / "goldens" / "semivl"
#: Part of an open_clip name -> part of the published name.
_NAMES = {
    r"^class_embedding$": "cls_token",
    r"^positional_embedding$": "pos_embed",
    r"^proj$": "proj.weight",
    r"^conv1": "patch_embed.projection",
    r"^ln_pre": "ln0",
    r"^ln_post": "ln1",
    r"^transformer\.resblocks": "layers",
    r"\.ln_": ".ln",
    r"\.attn\.": ".attn.attn.",
    r"\.mlp\.c_fc": ".ffn.layers.0.0",
    r"\.mlp\.c_proj": ".ffn.layers.1",
}


def gauss(name: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal float32 numbers of `name`."""
    draws = np.random.Generator(np.random.PCG64([7, zlib.crc32(name.encode())]))
    return torch.from_numpy(draws.standard_normal(math.prod(shape)).astype(np.float32).reshape(shape))


def ints(name: str, shape: tuple[int, ...], high: int) -> np.ndarray:
    """Uniform int64 numbers of `name`, below `high`."""
    draws = np.random.Generator(np.random.PCG64([7, zlib.crc32(name.encode())]))
    return draws.integers(0, high, size=math.prod(shape)).reshape(shape)


def image(name: str, batch: int, height: int, width: int) -> Tensor:
    """Blocks of 16 x 16 pixels with noise of 0.3, as if normalised: (B, 3, H, W)."""
    coarse = gauss(f"{name}.blocks", (batch, 3, -(-height // 16), -(-width // 16)))
    blocks = coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)[:, :, :height, :width]
    return blocks + 0.3 * gauss(f"{name}.noise", (batch, 3, height, width))


def made_up_text(name: str, count: int) -> Tensor:
    """(count, 512) of length 1, rounded to float16 as the published files are."""
    drawn = gauss(name, (count, 512)).numpy()
    return torch.from_numpy((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)).float()


def published_name(name: str) -> str:
    """Published name of a parameter of open_clip's image tower."""
    for pattern, replacement in _NAMES.items():
        name = re.sub(pattern, replacement, name)
    return name


def fill_tower(tower: torch.nn.Module, prefix: str) -> None:
    """Weights by the rule of the recordings; tables of positions are then scaled up."""
    for name, own in tower.state_dict().items():
        published = published_name(name)
        shape = {"cls_token": (1, 1, *own.shape), "pos_embed": (1, *own.shape)}.get(published, tuple(own.shape))
        if published == "proj.weight":
            drawn = tensor_for(f"{prefix}.{published}", tuple(own.T.shape)).T
        else:
            drawn = tensor_for(f"{prefix}.{published}", shape).reshape(own.shape)
        if published == "pos_embed":
            drawn = drawn * (8 * math.sqrt(own.shape[0]))
        own.copy_(drawn)
