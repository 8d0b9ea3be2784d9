"""Contact sheets: what is drawn where."""

import numpy as np
import pytest
from PIL import Image

from semiovs.inference.sheet import Tile, contact_sheet, draw_confidence

NAMES, COLORS = ("sky", "road"), ((10, 200, 30), (200, 10, 30))


def tile(height=20, width=40, *, photo=True, graded=True):
    label = np.zeros((height, width), np.uint8)
    label[:, width // 2 :] = 255
    confidence = np.full((height, width), 128, np.uint8) if graded else None
    return Tile("d/1", label, confidence, Image.new("RGB", (width, height), (100, 100, 100)) if photo else None)


def colors_of(image):
    return {color for _, color in image.getcolors(1 << 20)}


def test_photo_overlay_and_confidence():
    sheet = contact_sheet([tile()], names=NAMES, colors=COLORS, side=40)
    assert sheet.width == 3 * 42 + 16
    row = [sheet.getpixel((x, 8 + 19 + 10)) for x in (10 + 8, 30 + 8, 52 + 8, 72 + 8, 94 + 8, 114 + 8)]
    assert row[0] == row[1] == row[3] == (100, 100, 100)
    assert np.abs(np.subtract(row[2], (46, 160, 58))).max() <= 1  # 60 % of the class's colour
    assert row[4] == tuple(draw_confidence(np.zeros((1, 1), np.uint8), np.full((1, 1), 128, np.uint8)).getpixel((0, 0)))
    assert row[5] == (255, 255, 255)
    assert COLORS[0] in colors_of(sheet)  # the legend
    assert COLORS[1] not in colors_of(sheet)


def test_without_photos_and_without_confidences():
    sheet = contact_sheet([tile(photo=False, graded=False)] * 5, names=NAMES, colors=COLORS, side=40, columns=3)
    assert sheet.width == 3 * (42 + 8) + 8
    assert sheet.getpixel((8 + 5, 8 + 19 + 10)) == COLORS[0]


def test_odd_sizes_and_long_captions():
    shapes = [(1, 1), (1, 3000), (500, 2)]
    tiles = [tile(*shape) for shape in shapes]
    tiles = [Tile("x" * 500, t.label, t.confidence, t.photo) for t in tiles]
    assert contact_sheet(tiles, names=NAMES, side=30).width == 2 * (3 * 32 + 8) + 8


def test_confidence_goes_from_dark_to_light():
    values = np.arange(256, dtype=np.uint8)[None]
    gray = np.asarray(draw_confidence(np.zeros_like(values), values).convert("L"), dtype=int)[0]
    assert (np.diff(gray) >= 0).all()
    assert gray[-1] - gray[0] > 100


def test_wrong_input():
    wrong = Tile("a", np.zeros((2, 2), np.uint8), None, Image.new("RGB", (3, 2)))
    with pytest.raises(ValueError, match="photo is not of the label's size"):
        contact_sheet([wrong], names=NAMES)
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], names=NAMES)
