"""Colours as hex codes, and those of VOC's classes."""

from __future__ import annotations

import re

RGB = tuple[int, int, int]


def voc_color(index: int) -> RGB:
    """Colour of a class id in the VOC devkit: its bits, lowest first, fill red, green and blue from the highest bit
    on.
    """
    parts = [0, 0, 0]
    for bit in range(24):
        parts[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    return parts[0], parts[1], parts[2]


def parse_hex(text: str) -> RGB | None:
    """Parse ``#804080`` to (128, 64, 128); None for other text."""
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        return None
    number = int(text.removeprefix("#"), 16)
    return number >> 16, number >> 8 & 255, number & 255


def format_hex(color: RGB) -> str:
    """Format (128, 64, 128) as ``#804080``."""
    return "#{:02x}{:02x}{:02x}".format(*color)
