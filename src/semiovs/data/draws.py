"""Random numbers of one item: three generators seeded together, independent of the global ones."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import DTypeLike, NDArray


def item_seed(seed: int, stream: str, epoch: int, index: int) -> int:
    """Seed below 2**32 of one item: a stable hash of (seed, stream, epoch, index), the same on every machine."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{epoch}/{index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")


class _Unseeded(ISeedSequence):
    """Zeros: seeding from the system takes numpy longer than all draws of an item, and is overwritten at once."""

    def generate_state(self, n_words: int, dtype: DTypeLike = np.uint32) -> NDArray[Any]:
        return np.zeros(n_words, dtype)


_UNSEEDED = _Unseeded()


class ItemDraws:
    """Python, numpy and torch generators that equal the global ones after seeding all three with `seed`.

    The published augmentation (UniMatch) takes numbers from all three, so replaying it needs all three.
    """

    def __init__(self, seed: int) -> None:
        self.python = random.Random(seed)
        self.numpy = np.random.RandomState(np.random.MT19937(_UNSEEDED))  # type: ignore[arg-type]
        self.numpy.seed(seed)
        self.torch = torch.Generator().manual_seed(seed)
        self._number = torch.empty(1)

    def integer(self, low: int, high: int) -> int:
        """Integer in [low, high], both ends included (Python generator)."""
        return self.python.randint(low, high)

    def chance(self) -> float:
        """Number in [0, 1) (Python generator)."""
        return self.python.random()

    def uniform(self, low: float, high: float) -> float:
        """Number in [low, high) (numpy generator)."""
        return float(self.numpy.uniform(low, high))

    def below(self, high: int) -> int:
        """Integer in [0, high) (numpy generator)."""
        return int(self.numpy.randint(0, high))

    def torch_uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Number in [low, high) (torch generator)."""
        return self._number.uniform_(low, high, generator=self.torch).item()

    def permutation(self, length: int) -> list[int]:
        """Order of `length` things (torch generator)."""
        order: list[int] = torch.randperm(length, generator=self.torch).tolist()
        return order
