"""Contact sheets of unlabelled images: one picture, or two to compare, above a caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from semiovs.images.overlay import resize_photo

_MARGIN, _TEXT = 6, 12


@dataclass(frozen=True)
class Photo:
    """One tile: pictures beside each other, and a line below."""

    caption: str
    pictures: Sequence[Image.Image]


def make_photo_sheet(photos: Sequence[Photo], *, side: int = 160, columns: int = 6) -> Image.Image:
    """Tiles row by row.

    side: pixels of the longer side of each picture; columns: tiles per row, half as many if tiles have two pictures.

    Raises:
        ValueError: no tiles.
    """
    if not photos:
        raise ValueError("a contact sheet needs at least one picture")
    each = max(len(photo.pictures) for photo in photos)
    columns = max(1, min(columns // each, len(photos)))
    width, height = each * side + (each - 1) * 2, side + _TEXT + 6
    rows = -(-len(photos) // columns)
    size = (columns * (width + _MARGIN) + _MARGIN, rows * (height + _MARGIN) + _MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT)
    for number, photo in enumerate(photos):
        left = _MARGIN + number % columns * (width + _MARGIN)
        top = _MARGIN + number // columns * (height + _MARGIN)
        for place, picture in enumerate(photo.pictures):
            small = resize_photo(picture, side)
            shift = ((side - small.width) // 2, (side - small.height) // 2)
            sheet.paste(small, (left + place * (side + 2) + shift[0], top + shift[1]))
        draw.text((left, top + side + 2), _cut_text(photo.caption, width, font), fill="black", font=font)
    return sheet


def _cut_text(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of the end of a text as fits."""
    shown = text
    while len(shown) > 1 and font.getlength(shown) > width:
        shown = "…" + shown.lstrip("…")[1:]
    return shown
