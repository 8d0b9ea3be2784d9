"""Seeds of the model's random numbers as a pure function of (seed, step, micro-step, rank)."""

from __future__ import annotations

import hashlib
import struct

import torch

#: In place of a rank, for random numbers that are the same on all ranks.
SHARED = -1


def make_step_seed(seed: int, step: int, micro: int, rank: int) -> int:
    """Seed of one micro-step on one rank (`SHARED`: on all of them): 63 well-mixed bits."""
    digest = hashlib.blake2b(struct.pack("<4q", seed, step, micro, rank), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def reseed(seed: int, step: int, micro: int, rank: int) -> None:
    """Seed torch's generators (CPU and every accelerator) for one micro-step; a resumed run draws the same."""
    torch.manual_seed(make_step_seed(seed, step, micro, rank))
