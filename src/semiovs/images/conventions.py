"""Suffixes of image and mask files (lower case), and the mask value of pixels without a class."""

from __future__ import annotations

#: Value of a mask pixel that belongs to no class.
IGNORE = 255

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

#: In the order in which masks are searched for (JPEG is lossy and cannot hold a mask).
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
