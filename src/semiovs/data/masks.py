"""Earlier place of `semiovs.images.masks`, for programs that import the reader of masks from here."""

from __future__ import annotations

import warnings

from semiovs.images.mask_values import ForeignValuesError
from semiovs.images.masks import MaskReader, find_ids

__all__ = ["ForeignValuesError", "MaskReader", "find_ids"]

warnings.warn(
    "semiovs.data.masks has moved: from semiovs.images.masks import MaskReader", DeprecationWarning, stacklevel=2
)
