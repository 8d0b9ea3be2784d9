"""Inputs and models of SED's recordings: arrays drawn by name, weights filled by rule, built by the loader of published
files.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from parity.keyfill import state_dict_for
from semiovs.models.sed import Aggregator
from semiovs.models.sed.checkpoint import Published, Skeleton

GOLDENS = Path(__file__).parent / "goldens" / "sed"
#: Tolerances that the recordings recommend.
NEAR = {"atol": 2e-5, "rtol": 1e-4}


def gauss(name: str, shape: Sequence[int], seed: int = 0) -> np.ndarray:
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return rng.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)


def aggregator_inputs(
    tag: str, b: int, t: int, p: int, c: int, h: int, w: int, guide_dims: Sequence[int], seed: int = 0
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Features that hold something of each concept here and there, text (T, P, C), and guides at 2, 4 and 8 times the
    size.
    """
    base = gauss(f"{tag}/base", (t, c), seed)
    text = base[:, None] + np.float32(0.5) * gauss(f"{tag}/text_noise", (t, p, c), seed)
    act = np.maximum(gauss(f"{tag}/act", (b, t, h, w), seed), 0)
    image = gauss(f"{tag}/img_noise", (b, c, h, w), seed) + np.einsum("bthw,tc->bchw", act, base).astype(np.float32)
    guides = [
        gauss(f"{tag}/guide{i}", (b, d, h * 2 ** (i + 1), w * 2 ** (i + 1)), seed) for i, d in enumerate(guide_dims)
    ]
    return torch.from_numpy(image), torch.from_numpy(text), [torch.from_numpy(guide) for guide in guides]


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDENS / f"{name}.npz") as file:
        return dict(file)


@cache
def facts(name: str) -> Any:
    return json.loads((GOLDENS / f"{name}.json").read_text("utf-8"))


def aggregator(layout: str, prompts: int, guide_dims: Sequence[int], seed: int = 0) -> Aggregator:
    model = Aggregator(prompts, guide_dims).eval()
    model.load_state_dict(state_dict_for(facts("aggregator_layouts")[layout], seed))
    return model


@cache
def tiny() -> Published:
    """The small SED of the end-to-end recordings, from its checkpoint."""
    layout = facts("tiny_sed")["layout"]
    skeleton = Skeleton(facts("tiny_sed")["clip_config"])
    state = {name: value.reshape(layout[name]) for name, value in state_dict_for(layout).items()}
    report = skeleton.load(state)
    assert report.ok, report
    return skeleton.published("tiny", report)
