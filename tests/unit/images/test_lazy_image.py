from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from semiovs.errors import DataError
from semiovs.images.image import read_image
from semiovs.images.lazy_image import read_lazily
from semiovs.images.pixel_cache import PixelCache


def smooth(mode="RGB", size=(53, 38)):
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    planes = [(3 * x + 2 * y) % 256, (x * y // 9) % 256, (5 * y) % 256, np.full_like(x, 90)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8), "RGBA").convert(mode)


def turned(by):
    exif = Image.Exif()
    exif[0x0112] = by
    return exif


KINDS = {
    "plain.jpg": lambda path: smooth().save(path, quality=90),
    "whole-chroma.jpg": lambda path: smooth().save(path, quality=75, subsampling=0),
    "in-stages.jpg": lambda path: smooth().save(path, progressive=True),
    "gray.jpg": lambda path: smooth("L").save(path),
    "cmyk.jpg": lambda path: smooth("CMYK").save(path),
    "of-rgb.jpg": lambda path: smooth().save(path, keep_rgb=True),
    "turned.jpg": lambda path: smooth().save(path, exif=turned(6)),
    "mirrored.jpg": lambda path: smooth().save(path, exif=turned(5)),
    "colors.png": lambda path: smooth().save(path),
    "palette.png": lambda path: smooth().convert("P").save(path),
    "alpha.png": lambda path: smooth("RGBA").save(path),
}


@pytest.mark.parametrize("name", KINDS)
def test_pixels_are_those_of_pillow(tmp_path, name):
    path = tmp_path / name
    KINDS[name](path)
    want, image = read_image(path), read_lazily(path)
    assert (image.width, image.height) == want.size
    pixels, divisor = image.decode(1)
    assert divisor == 1
    assert np.array_equal(pixels, np.asarray(want))


@pytest.mark.parametrize(("most", "divisor"), [(1.9, 1), (2, 2), (3.9, 2), (5, 4), (100, 8)])
def test_a_jpeg_is_decoded_on_a_smaller_scale(tmp_path, most, divisor):
    for name in ("plain.jpg", "turned.jpg"):
        KINDS[name](tmp_path / name)
        image = read_lazily(tmp_path / name)
        pixels, divided = image.decode(most)
        assert divided == divisor
        assert pixels.shape == (-(-image.height // divisor), -(-image.width // divisor), 3)
    KINDS["colors.png"](tmp_path / "colors.png")
    assert read_lazily(tmp_path / "colors.png").decode(most)[1] == 1


def test_damage_is_what_pillow_says(tmp_path):
    whole, cut, dirty = (tmp_path / name for name in ("whole.jpg", "cut.jpg", "dirty.jpg"))
    smooth(size=(200, 150)).save(whole)
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"cut\.jpg"):
        read_lazily(cut).decode(1)
    with pytest.raises(DataError, match=r"none\.jpg"):
        read_lazily(tmp_path / "none.jpg")
    dirty.write_bytes(data[:-600] + bytes(300) + data[-300:])  # libjpeg warns and goes on
    for most in (1, 4):
        pixels, divisor = read_lazily(dirty).decode(most)
        assert divisor == 1
        assert np.array_equal(pixels, np.asarray(read_image(dirty)))


def test_the_cache_changes_no_pixel(tmp_path):
    cache = PixelCache.open(tmp_path / "cache", 10**6)
    for name in ("plain.jpg", "colors.png"):
        KINDS[name](tmp_path / name)
        for most in (1, 4, 1, 4):
            got, divisor = cache.read_lazily(tmp_path / name).decode(most)
            want = read_lazily(tmp_path / name).decode(most)
            assert divisor == want[1]
            assert np.array_equal(got, want[0])
        assert np.array_equal(np.asarray(cache.read(tmp_path / name)), np.asarray(read_image(tmp_path / name)))
    assert len([*(tmp_path / "cache").glob("??/*")]) == 2
