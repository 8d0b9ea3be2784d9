"""The tables of the user guide are those of the code, and each of their rows holds."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from semiovs.errors import ConfigError, DataError
from semiovs.images.discover import layouts
from semiovs.images.discover.guide import fill_page
from semiovs.images.mask_kinds import READ_AS, REFUSALS
from semiovs.images.mask_values import NAN, read_mask_values
from semiovs.vocab.class_list import FORMS
from semiovs.vocab.vocabulary import Vocabulary

GUIDE = Path(__file__).parents[3] / "docs/your-data.md"
IDS = np.array([[0, 1, 2], [3, 7, 1]])
GRAY = IDS.astype(np.uint8)


def test_the_guide_holds_the_tables_of_the_code():
    text = GUIDE.read_text("utf-8")
    assert text.count("<!-- generated ") == text.count("<!-- end -->") == 5
    assert fill_page(text) == text, "run: python -m semiovs.images.discover.guide docs/your-data.md"
    names = (*layouts.IMAGE_FOLDERS, *layouts.MASK_FOLDERS, *layouts.UNLABELED_FOLDERS, *layouts.MASK_ENDINGS)
    names = (*names, *layouts.MASK_STARTS, *layouts.IMAGE_STARTS)
    assert [name for name in (*names, *layouts.IMAGE_ENDINGS) if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("text", "refused"),
    [(text, refused) for texts, _, refused in FORMS for text in texts],
    ids=lambda value: repr(value),
)
def test_forms_of_class_files(tmp_path, text, refused):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    if refused:
        with pytest.raises(ConfigError):
            Vocabulary.load(path)
    else:
        assert Vocabulary.load(path).names in {("road", "car"), ("background", "road")}


def palette(path, ids=GRAY):
    image = Image.fromarray(ids)
    image.putpalette([9, 9, 9, 50, 60, 70] * 128)
    image.save(path, optimize=False)  # or Pillow's GIF leaves indices out


#: Row of the table -> files of it, and what is read from each.
READ = {
    "palette (PNG, BMP, GIF, TIFF)": [(s, palette, IDS) for s in ("png", "bmp", "gif", "tif")],
    "gray of 1, 2, 4, 8, 16, 32 or 64 bits, signed or not": [
        ("png", lambda path: Image.fromarray(GRAY).save(path), IDS),
        ("tif", lambda path: tifffile.imwrite(path, IDS.astype(np.int64) - 1), IDS - 1),
    ],
    "floats (TIFF)": [
        ("tif", lambda path: tifffile.imwrite(path, np.array([[np.nan, 3]], np.float32)), np.array([[NAN, 3]]))
    ],
    "RGB of 8 bits": [
        ("png", lambda path: cv2.imwrite(str(path), np.stack([GRAY] * 3, -1)), IDS),
        (
            "png",
            lambda path: cv2.imwrite(str(path), np.stack([GRAY, GRAY, GRAY + 1], -1)),
            np.stack([IDS + 1, IDS, IDS], -1),
        ),
    ],
    "RGB of 16 bits": [
        ("png", lambda path: cv2.imwrite(str(path), np.stack([GRAY.astype(np.uint16)] * 3, -1)), IDS),
    ],
    "RGBA, gray or a palette with alpha": [
        ("png", lambda path: Image.fromarray(np.stack([GRAY, 255 - GRAY], -1), "LA").save(path), IDS),
        ("png", lambda path: Image.fromarray(np.stack([GRAY] * 3 + [255 - GRAY], -1)).save(path), IDS),
    ],
    "TIFF of 64 bits, or of several channels of 16 bits": [
        ("tif", lambda path: tifffile.imwrite(path, IDS.astype(np.uint64)), IDS),
        ("tif", lambda path: tifffile.imwrite(path, np.stack([IDS.astype(np.uint16)] * 3, -1), photometric="rgb"), IDS),
    ],
    "TIFF with an orientation": [
        ("tif", lambda path: tifffile.imwrite(path, GRAY, extratags=[(274, "H", 1, 3, False)]), IDS[::-1, ::-1]),
    ],
}


def test_every_kind_of_mask_is_tried():
    assert [*READ] == [*READ_AS]
    assert [*REFUSED] == [refusal.what for refusal in REFUSALS]


@pytest.mark.parametrize(("suffix", "write", "expected"), [case for cases in READ.values() for case in cases])
def test_masks_that_are_read(tmp_path, suffix, write, expected):
    write(tmp_path / f"m.{suffix}")
    assert np.array_equal(read_mask_values(tmp_path / f"m.{suffix}"), expected)


def packed_bmp(path):
    Image.fromarray(GRAY).save(path)
    data = bytearray(path.read_bytes())
    data[28] = 4
    path.write_bytes(data)


def renumbered_gif(path):
    image = Image.fromarray(GRAY)
    image.putpalette([value for number in range(256) for value in [255 - number] * 3])
    image.save(path)


#: Row of the table -> a file of it.
REFUSED = {
    "JPEG, lossy WebP, TIFF with lossy compression": (
        "webp",
        lambda path: Image.fromarray(GRAY).save(path, quality=50),
    ),
    "several pages or frames": (
        "tif",
        lambda path: tifffile.imwrite(path, np.stack([GRAY] * 2), photometric="minisblack"),
    ),
    "WhiteIsZero (TIFF)": ("tif", lambda path: tifffile.imwrite(path, GRAY, photometric="miniswhite")),
    "fractions": ("tif", lambda path: tifffile.imwrite(path, IDS.astype(np.float32) / 2)),
    "numbers beyond 63 bits": ("tif", lambda path: tifffile.imwrite(path, IDS.astype(np.uint64) + np.uint64(2**63))),
    "gray GIF with indices of its own": ("gif", renumbered_gif),
    "other modes (CMYK, YCbCr, LAB)": ("tif", lambda path: Image.fromarray(GRAY).convert("CMYK").save(path)),
    "two channels without alpha, four or more": (
        "tif",
        lambda path: tifffile.imwrite(
            path, np.stack([IDS.astype(np.uint16)] * 5, -1), photometric="minisblack", planarconfig="contig"
        ),
    ),
    "colours of more than 8 bits": (
        "png",
        lambda path: cv2.imwrite(str(path), np.stack([GRAY.astype(np.uint16) * n for n in (100, 200, 300)], -1)),
    ),
    "gray BMP of 2 or 4 bits": ("bmp", packed_bmp),
}


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.what)
def test_masks_that_are_refused(tmp_path, refusal):
    suffix, write = REFUSED[refusal.what]
    write(tmp_path / f"m.{suffix}")
    with pytest.raises(DataError) as caught:
        read_mask_values(tmp_path / f"m.{suffix}")
    assert caught.value.kind == refusal.kind
    assert str(caught.value).endswith(refusal.fix)
    assert refusal.why.split("{")[0] in str(caught.value)
