"""Conventions that image and mask files share: suffixes (lower case) and the value of pixels without a class."""

from __future__ import annotations

#: Value of a mask pixel that belongs to no class.
IGNORE = 255

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

#: In the order in which masks are looked for beside images (JPEG is lossy and never a mask).
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
