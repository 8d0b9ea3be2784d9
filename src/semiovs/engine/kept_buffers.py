"""What a forward pass writes beside its result, kept so that the pass can be undone."""

from __future__ import annotations

import torch
from torch import nn


class KeptBuffers:
    """The buffers of a module as they are now: BatchNorm statistics, memories, moving thresholds."""

    def __init__(self, module: nn.Module) -> None:
        self._kept = [
            (owner, name, buffer, buffer.clone())
            for owner in module.modules()
            for name, buffer in owner.named_buffers(recurse=False)
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Put them back, also those that were replaced by others."""
        for owner, name, buffer, value in self._kept:
            buffer.copy_(value)
            setattr(owner, name, buffer)
