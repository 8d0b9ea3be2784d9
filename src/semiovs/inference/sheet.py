"""Contact sheets of labelled images, with their labels and confidences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from semiovs.images.conventions import IGNORE
from semiovs.images.overlay import Colors, overlay
from semiovs.images.palette import build_palette

_MARGIN, _TEXT = 8, 13
#: From no confidence to full: dark blue, teal, yellow.
_RAMP = np.array([[48, 18, 90], [32, 144, 140], [253, 231, 37]], dtype=np.float64)


@dataclass(frozen=True)
class Tile:
    """One image of a sheet. label: (H, W), 255 = ignore; confidence: (H, W) uint8, times 255; photo: optional."""

    caption: str
    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8] | None
    photo: Image.Image | None = None


def contact_sheet(
    tiles: Sequence[Tile], *, names: Sequence[str], colors: Colors = (), side: int = 240, columns: int = 2
) -> Image.Image:
    """Tiles row by row: photo, tinted photo (or the label alone), and confidence if any tile has it; below, a legend of
    classes.

    side: pixels of the longer side of each picture; columns: tiles a row.

    Raises:
        ValueError: no tiles, or a photo that is not of its label's size.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one tile")
    table = build_palette(colors)
    graded = any(tile.confidence is not None for tile in tiles)
    strips = [_draw_strip(tile, table, colors, side, graded=graded) for tile in tiles]
    width, height = max(s.width for s in strips), max(s.height for s in strips)
    columns = min(columns, len(strips))
    rows = -(-len(strips) // columns)
    legend = _draw_legend(tiles, table, names, columns * (width + _MARGIN) - _MARGIN)
    size = (columns * (width + _MARGIN) + _MARGIN, rows * (height + _MARGIN) + _MARGIN + legend.height + _MARGIN)
    sheet = Image.new("RGB", size, "white")
    for i, strip in enumerate(strips):
        sheet.paste(strip, (_MARGIN + i % columns * (width + _MARGIN), _MARGIN + i // columns * (height + _MARGIN)))
    sheet.paste(legend, (_MARGIN, size[1] - legend.height - _MARGIN))
    return sheet


def draw_confidence(label: NDArray[np.uint8], confidence: NDArray[np.uint8] | None) -> Image.Image:
    """Confidence (H, W) in colours, dark blue (0) to yellow (1; also where there is none), ignored pixels white."""
    value = np.full(label.shape, 255, np.uint8) if confidence is None else confidence
    steps = np.linspace(0, 1, 256)
    ramp = np.stack([np.interp(steps, [0, 0.5, 1], _RAMP[:, c]) for c in range(3)], axis=1).astype(np.uint8)
    return Image.fromarray(np.where((label == IGNORE)[..., None], 255, ramp[value]).astype(np.uint8))


def _draw_strip(tile: Tile, table: NDArray[np.uint8], colors: Colors, side: int, *, graded: bool) -> Image.Image:
    """The pictures of one tile beside each other, the caption above."""
    if tile.photo is not None and tile.photo.size != tile.label.shape[::-1]:
        raise ValueError(f"{tile.caption}: the photo is not of the label's size")
    small = _resize_tile(tile, side)
    if small.photo is None:
        shown = np.where((small.label == IGNORE)[..., None], 255, table[small.label]).astype(np.uint8)
        pictures = [Image.fromarray(shown)]
    else:
        pictures = [small.photo, overlay(small.photo, small.label, 0.6, colors=colors)]
    if graded:
        pictures.append(draw_confidence(small.label, small.confidence))
    line = _TEXT + 6
    strip = Image.new("RGB", (len(pictures) * (side + 2), max(p.height for p in pictures) + line), "white")
    ImageDraw.Draw(strip).text((0, 1), _cut_text(tile.caption, strip.width), fill="black", font=_load_font())
    for number, picture in enumerate(pictures):
        strip.paste(picture, (number * (side + 2), line))
    return strip


def _resize_tile(tile: Tile, side: int) -> Tile:
    """The tile at the size in which it is shown; small ones are enlarged."""
    height, width = tile.label.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))

    def ids(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))

    photo = None if tile.photo is None else tile.photo.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    return Tile(tile.caption, ids(tile.label), None if tile.confidence is None else ids(tile.confidence), photo)


def _draw_legend(tiles: Sequence[Tile], table: NDArray[np.uint8], names: Sequence[str], width: int) -> Image.Image:
    counts = np.zeros(256, dtype=np.int64)
    for tile in tiles:
        counts += np.bincount(tile.label.ravel(), minlength=256)
    entries = [
        (names[i], tuple(int(v) for v in table[i]))
        for i in np.argsort(-counts, kind="stable")
        if counts[i] and i < len(names)
    ]
    entries += [("ignored", (255, 255, 255))] if counts[IGNORE] else []
    font, step = _load_font(), _TEXT + 8
    places, left, top = [], 0, 0
    for name, color in entries:
        length = step + int(font.getlength(name)) + 2 * _MARGIN
        if left and left + length > width:
            left, top = 0, top + step
        places.append((left, top, name, color))
        left += length
    legend = Image.new("RGB", (width, top + step), "white")
    draw = ImageDraw.Draw(legend)
    for left, top, name, color in places:
        draw.rectangle((left, top + 2, left + _TEXT, top + 2 + _TEXT), fill=color, outline="gray")
        draw.text((left + step, top + 1), name, fill="black", font=font)
    return legend


def _load_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT)


def _cut_text(text: str, width: int) -> str:
    """As much of the end of a text as fits."""
    font, shown = _load_font(), text
    while len(shown) > 1 and font.getlength(shown) > width:
        shown = "…" + shown.lstrip("…")[1:]
    return shown
