"""How many images at once: what does not fit the memory is tried in halves."""

from __future__ import annotations

import torch

#: How PyTorch and its libraries say it where they have no exception of their own for it.
_SIGNS = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")

#: Full batches that must fit before a larger one is tried; doubled each time that fails, up to the second number.
_PATIENCE, _MOST = 32, 4096


class AdaptiveBatchSize:
    """The batch size: halved when a batch does not fit, and stays so, because a failed try costs as much as a batch.

    After many batches that did fit, twice the size is tried once: one huge image, or another program that has ended, does not
    slow a long job down for ever.
    """

    def __init__(self, largest: int) -> None:
        self.size = self._largest = largest
        #: The smallest size that was needed; None while the largest fits.
        self.smallest: int | None = None
        self._good, self._patience = 0, _PATIENCE

    def record_failure(self, count: int) -> None:
        """`count` images at once did not fit."""
        if self.smallest is not None:
            self._patience = min(2 * self._patience, _MOST)
        self.size, self._good = max(1, count // 2), 0
        self.smallest = min(self.size, self.smallest or self.size)

    def record_success(self, count: int) -> None:
        """`count` images at once did fit."""
        if count < self.size or self.size == self._largest:
            return
        self._good += 1
        if self._good >= self._patience:
            self.size, self._good = min(2 * self.size, self._largest), 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory, of the device or the host, was too small."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(sign in str(error) for sign in _SIGNS)


def release_memory() -> None:
    """Give memory that PyTorch keeps for later back to the device, so that other sizes of tensors find room."""
    torch.cuda.empty_cache()  # does nothing where no GPU was used
