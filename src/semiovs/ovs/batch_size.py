"""Adapt the batch size to the memory: batches that do not fit are halved."""

from __future__ import annotations

import torch

#: Batches that must fit before a larger one is tried; doubled after each failure, up to the second number.
_PATIENCE, _MOST = 32, 4096


#: Images at once on a GPU by default, and bytes of its memory for each.
_AT_ONCE, _EACH = 8, 4 * 2**30


def choose_batch_size(device: torch.device | None) -> int:
    """1 on a CPU, where a batch is no faster; on a GPU 8, or fewer where its memory is small.

    What of the memory is free has no say: a job that is resumed must form the same batches.
    """
    if device is None or device.type != "cuda":
        return 1
    total = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(_AT_ONCE, total // _EACH))


class AdaptiveBatchSize:
    """A batch size that is halved when a batch does not fit into memory.

    After many batches that fit, twice the size is tried, so that one huge image or another program does not slow down
    the rest of a long job.
    """

    def __init__(self, largest: int) -> None:
        self.size = self._largest = largest
        #: The smallest size used so far; None while the largest fits.
        self.smallest: int | None = None
        self._good, self._patience = 0, _PATIENCE

    def record_failure(self, count: int) -> None:
        """Record that a batch of `count` images did not fit."""
        if self.smallest is not None:
            self._patience = min(2 * self._patience, _MOST)
        self.size, self._good = max(1, count // 2), 0
        self.smallest = min(self.size, self.smallest or self.size)

    def record_success(self, count: int) -> None:
        """Record that a batch of `count` images fitted."""
        if count < self.size or self.size == self._largest:
            return
        self._good += 1
        if self._good >= self._patience:
            self.size, self._good = min(2 * self.size, self._largest), 0


def release_memory() -> None:
    """Free PyTorch's cached device memory."""
    torch.cuda.empty_cache()  # does nothing where no GPU was used
