"""Render labels: id masks, palette masks, and overlays on the photograph with a legend; and make pictures small."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from semiovs.images.conventions import IGNORE
from semiovs.images.palette import build_palette

Colors = Sequence[tuple[int, int, int]]


def id_png(labels: NDArray[np.uint8]) -> Image.Image:
    """Gray 8-bit image of labels (H, W) whose pixel values are the class ids."""
    return Image.fromarray(np.ascontiguousarray(labels))


def palette_png(labels: NDArray[np.uint8], colors: Colors = ()) -> Image.Image:
    """Palette image of labels (H, W): pixel values are class ids, shown in `colors` (or the default ones)."""
    image = id_png(labels)
    image.putpalette(build_palette(colors).tobytes())
    return image


def resize_photo(picture: Image.Image, side: int) -> Image.Image:
    """Resize an image to a longer side of `side` pixels."""
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)


def shrink_labels(labels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Labels (H, W) at another size (width, height): those of the nearest pixels."""
    return np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))


def overlay(
    image: Image.Image,
    labels: NDArray[np.uint8],
    alpha: float = 0.5,
    *,
    colors: Colors = (),
    names: Sequence[str] | None = None,
) -> Image.Image:
    """Photograph with each class tinted in its colour; ignored pixels (255) stay as they are.

    image: of the size of `labels` (H, W); alpha: 0 shows the photograph alone, 1 the colours alone; names: with them, a
    legend of the classes that occur, with their share of the pixels, is added on the right.

    Raises:
        ValueError: the sizes differ, or alpha is outside [0, 1].
    """
    if image.size != labels.shape[::-1]:
        raise ValueError(f"image is {image.width}x{image.height}, labels {labels.shape[1]}x{labels.shape[0]}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha} is outside [0, 1]")
    table = build_palette(colors)
    tint = Image.fromarray(table[labels])
    photo = image.convert("RGB")
    mixed = Image.composite(
        Image.blend(photo, tint, alpha), photo, Image.fromarray((labels != IGNORE).astype("uint8") * 255)
    )
    return mixed if names is None else _add_legend(mixed, labels, table, names)


def _add_legend(
    picture: Image.Image, labels: NDArray[np.uint8], table: NDArray[np.uint8], names: Sequence[str]
) -> Image.Image:
    counts = np.bincount(labels.ravel(), minlength=256)
    present = [i for i in np.argsort(-counts, kind="stable") if counts[i] and i < len(names)]
    size = max(10, min(28, picture.height // 24))
    font = ImageFont.load_default(size)
    lines = [f"{names[i]}  {100 * counts[i] / labels.size:.1f}%" for i in present]
    width = 2 * size + int(max((font.getlength(line) for line in lines), default=0)) + size
    step = size + size // 2
    canvas = Image.new("RGB", (picture.width + width, max(picture.height, step * (len(lines) + 1))), "white")
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, (index, line) in enumerate(zip(present, lines, strict=True)):
        left, top = picture.width + size // 2, size // 2 + row * step
        fill = tuple(int(v) for v in table[index])
        draw.rectangle((left, top, left + size, top + size), fill=fill, outline="gray")
        draw.text((left + size + size // 2, top), line, fill="black", font=font)
    return canvas
