"""The normalisation layer of decoders and of our own encoders, by name."""

from __future__ import annotations

import math

from torch import nn

from semiovs.errors import UsageError, did_you_mean

NORMS = ("batch", "group")


def norm_layer(norm: str, channels: int) -> nn.Module:
    """`batch`: BatchNorm2d (as published); `group`: GroupNorm with at most 8 groups, independent of the batch.

    Raises:
        UsageError: `norm` is neither.
    """
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(math.gcd(channels, 8), channels)
    raise UsageError(f"model.norm '{norm}' is not known{did_you_mean(norm, NORMS)}")
