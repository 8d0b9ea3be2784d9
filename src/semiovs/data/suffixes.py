"""Which files count as images, and which can hold masks; lower case."""

from __future__ import annotations

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

#: In the order in which masks are looked for beside images (JPEG is lossy and never a mask).
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
