"""The interface of text encoders, and the fingerprint of their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import torch
from torch import Tensor


class TextEncoder(Protocol):
    """Maps sentences to vectors.

    dim: C, length of a vector; identity: tells this encoder with these weights from every other (disk caches are keyed
    by it).
    """

    dim: int

    @property
    def identity(self) -> str:
        """Kind and hash of the weights."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """N sentences -> (N, C) float32, not normalised."""

    def to(self, device: torch.device) -> Self:
        """Compute on `device` from now on."""


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """First 16 hex digits of the SHA-256 over names, shapes, types and bytes of `state`."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
