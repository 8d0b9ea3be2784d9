"""Suffixes of image and mask files (lower case), and the mask value of pixels without a class."""

from __future__ import annotations

#: Value of a mask pixel that belongs to no class.
IGNORE = 255

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

#: In the order in which masks are searched for (JPEG is lossy and cannot hold a mask).
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")

#: Pictures and films that are not read, and are named with their number.
FOREIGN_SUFFIXES = (
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".jxl", ".svg", ".psd", ".tga", ".ppm", ".pgm", ".jfif",
    ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".npy",
)  # fmt: skip
FILM_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".wmv")
