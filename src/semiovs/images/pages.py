"""Count the pages or frames of an image file, of which only the first is read."""

from __future__ import annotations

import re
from math import prod
from typing import Any

from PIL import Image

from semiovs.images.image import keep_stored_size
from semiovs.images.tiff import is_page

_PAGED = ("GIF", "WEBP", "PNG", "TIFF")
#: Tags of TIFF files.
_SUBFILE, _DESCRIPTION, _CHANNELS = 254, 270, 277


def count_pages(image: Image.Image) -> int:
    """Count the pages or frames of an open image.

    Smaller copies of a page (overviews), transparency masks, and what phones store behind a JPEG do not count.
    """
    if image.format not in _PAGED:
        return 1
    pages: int = image.n_frames if getattr(image, "is_animated", False) else 1  # type: ignore[attr-defined]
    if image.format != "TIFF":
        return pages
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    hidden = _count_hidden_pages(str(tags.get(_DESCRIPTION, "")), image.width * image.height * tags.get(_CHANNELS, 1))
    if pages > 1:
        pages = 0
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            pages += is_page(image.tag_v2.get(_SUBFILE, 0))  # type: ignore[attr-defined]
        image.seek(0)
        keep_stored_size(image)
    return max(pages, hidden)


def _count_hidden_pages(description: str, samples: int) -> int:
    """Count the pictures that ImageJ and tifffile may write behind a single page, by what they say of it.

    samples: of the page, all channels.
    """
    if found := re.match(r"ImageJ=[\s\S]*?^images=(\d+)", description, re.MULTILINE):
        return int(found[1])
    if found := re.match(r'\{[^{}]*"shape": \[([\d, ]+)\]', description):
        return prod(int(side) for side in found[1].split(",")) // max(samples, 1)
    return 1
