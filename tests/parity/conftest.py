"""The recordings were made with two threads; the order of sums, and so the last digits, depend on their number."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def _threads_of_the_recordings() -> Iterator[None]:
    """With batches of two, train-mode BatchNorm amplifies rounding to 1e-3 of the logits of a ResNet-101."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
