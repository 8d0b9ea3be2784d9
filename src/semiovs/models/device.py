"""Where a network computes."""

from __future__ import annotations

import torch

from semiovs.errors import UsageError


def pick_device(requested: torch.device | str) -> torch.device:
    """Device called `requested`; auto is the GPU where there is one.

    Raises:
        UsageError: no such device here.
    """
    if requested == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(requested)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageError(f"device '{requested}' is not there (auto, cpu, cuda, cuda:1, …)") from None
    return device
