from __future__ import annotations

import contextlib
import os
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from semiovs.errors import DataError, MissingExtraError
from semiovs.images.image import read_image, read_size
from semiovs.images.pixels import read_pixels, read_shape
from semiovs.images.readers import BandReader

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (24, 16, 3), np.uint8)
FOUR = RNG.integers(0, 65536, (24, 16, 4), np.uint16)


def agreed(path):
    """What is read, after the header was found to say the same."""
    values = read_pixels(path).values
    assert read_shape(path) == values.shape
    return values


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4), ("CMYK", 4), ("1", 1)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_eight_bit_modes_keep_their_channels(tmp_path, mode, channels, suffix):
    if mode == "CMYK" and suffix == "png":
        suffix = "jpg"
    picture = Image.fromarray(RGB8).convert(mode)
    picture.save(tmp_path / f"a.{suffix}")
    values = agreed(tmp_path / f"a.{suffix}")
    assert values.shape == (24, 16, channels)
    assert suffix == "jpg" or np.array_equal(
        values.squeeze(), np.asarray(picture.convert("L") if mode == "1" else picture)
    )


def test_a_palette_is_looked_up(tmp_path):
    picture = Image.fromarray(RGB8).convert("P")
    picture.save(tmp_path / "a.png")
    assert np.array_equal(agreed(tmp_path / "a.png"), np.asarray(picture.convert("RGB")))
    picture.save(tmp_path / "b.png", transparency=bytes(range(256)))
    assert agreed(tmp_path / "b.png").shape == (24, 16, 4)
    picture.save(tmp_path / "c.tif")
    assert np.array_equal(agreed(tmp_path / "c.tif"), np.asarray(picture.convert("RGB")))


def test_sixteen_bits_stay_sixteen_bits(tmp_path):
    Image.fromarray(FOUR[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(FOUR[..., 0]).save(tmp_path / "gray.tif")
    cv2.imwrite(str(tmp_path / "rgb.png"), FOUR[..., 2::-1])
    cv2.imwrite(str(tmp_path / "rgba.png"), FOUR[..., [2, 1, 0, 3]])
    tifffile.imwrite(tmp_path / "rgb.tif", FOUR[..., :3], photometric="rgb")
    for name, channels in (("gray.png", 1), ("gray.tif", 1), ("rgb.png", 3), ("rgba.png", 4), ("rgb.tif", 3)):
        values = agreed(tmp_path / name)
        assert values.dtype == np.uint16, name
        assert np.array_equal(values, FOUR[..., :channels]), name


def test_gray_of_sixteen_bits_with_alpha(tmp_path):
    """Pillow calls it RGBA."""
    codecs = pytest.importorskip("imagecodecs")
    (tmp_path / "a.png").write_bytes(codecs.png_encode(FOUR[..., :2].copy()))
    assert np.array_equal(agreed(tmp_path / "a.png"), FOUR[..., :2])


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize(
    "how", [{}, {"tile": (16, 16)}, {"compression": "deflate", "predictor": True}, {"bigtiff": True}]
)
def test_tiffs_with_many_bands(tmp_path, planar, dtype, how):
    if dtype == "float32" and how.get("predictor"):
        pytest.importorskip("imagecodecs")
    given = FOUR[:, :, [0, 1, 2, 3, 0]].astype(dtype)
    stored = given if planar == "contig" else given.transpose(2, 0, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", planarconfig=planar, **how)
    values = agreed(tmp_path / "a.tif")
    assert values.dtype == dtype
    assert np.array_equal(values, given)


def test_lzw_as_gdal_writes_it_and_byte_order(tmp_path):
    pytest.importorskip("imagecodecs")
    tifffile.imwrite(
        tmp_path / "a.tif", FOUR, photometric="minisblack", planarconfig="contig", compression="lzw", predictor=True,
        tile=(16, 16), byteorder=">",
    )  # fmt: skip
    assert np.array_equal(agreed(tmp_path / "a.tif"), FOUR)


def test_pages_are_bands_and_overviews_are_not(tmp_path):
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for band in range(4):
            file.write(FOUR[..., band], contiguous=False)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(FOUR, photometric="minisblack", planarconfig="contig", subifds=0)
        file.write(FOUR[::2, ::2], photometric="minisblack", planarconfig="contig", subfiletype=1)
    for name in ("pages.tif", "pyramid.tif"):
        assert np.array_equal(agreed(tmp_path / name)[..., :4], FOUR) or name == "pages.tif"
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 2, 8, 8), np.uint8), imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(DataError, match=r"stack\.tif: is a stack of 3 \(T\) x 2 \(C\).*cut it into pictures"):
        read_pixels(tmp_path / "stack.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pixels_are_turned_as_images_are(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "a.tif"):
        Image.fromarray(RGB8).save(tmp_path / name, exif=exif)
        assert np.array_equal(agreed(tmp_path / name), np.asarray(read_image(tmp_path / name))), name


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path, suffix):
    picture = Image.fromarray(RGB8)
    exif = picture.getexif()
    exif[0x0112] = 66
    picture.save(tmp_path / f"a.{suffix}", exif=exif)
    assert agreed(tmp_path / f"a.{suffix}").shape == (24, 16, 3)
    assert read_size(tmp_path / f"a.{suffix}") == read_image(tmp_path / f"a.{suffix}").size == (16, 24)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for look in (read_pixels, read_shape, read_image):
        with pytest.raises(DataError, match=r"a\.png: a pipe or device, no file"):
            look(tmp_path / "a.png")


def test_large_numbers_keep_their_steps(tmp_path):
    steps = np.arange(256, dtype=np.uint32).reshape(16, 16)
    for low, values in ((4e9, steps + np.uint32(4_000_000_000)), (1e12, steps + 1e12)):
        tifffile.imwrite(tmp_path / "a.tif", values)
        seen = BandReader((1,), ((low, low + 255),))(tmp_path / "a.tif").values
        assert seen.dtype == np.float32
        np.testing.assert_allclose(seen[0], steps / 255, atol=1e-6)


def test_a_nodata_value_beyond_float32_is_no_warning(tmp_path):
    values = np.array([[0.25, -np.inf], [0.5, 1]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values, extratags=[(42113, "s", 0, "-1.7976931348623157e+308", True)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen = BandReader((1,), ((0, 1),))(tmp_path / "a.tif").values
    assert seen.tolist() == [[[0.25, 0], [0.5, 1]]]


def test_nodata_and_nan(tmp_path):
    values = np.array([[[0.0, 5.0], [-9999.0, 10.0]], [[np.nan, 2.5], [np.inf, -9999.0]]], np.float32)
    path = tmp_path / "a.tif"
    tags = [(42113, "s", 0, "-9999", True)]
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig", extratags=tags)
    seen = BandReader((1, 2), ((0.0, 10.0), (0.0, 10.0)))(path).values
    assert seen.tolist() == [[[0, 0], [0, 0]], [[0.5, 1], [0.25, 0]]]
    tifffile.imwrite(path, np.full((4, 4), np.nan, np.float32))
    with pytest.raises(DataError, match=r"a\.tif: holds no pixel that was measured"):
        BandReader((1,), ((0.0, 1.0),))(path)
    tifffile.imwrite(path, np.full((4, 4), 0, np.uint8), extratags=[(42113, "s", 0, "0", True)])
    with pytest.raises(DataError, match="holds no pixel"):
        BandReader((1,))(path)
    tifffile.imwrite(path, np.full((4, 4), 7, np.uint8), extratags=[(42113, "s", 0, "-9999", True)])
    assert BandReader((1,))(path).values.min() == np.float32(7 / 255)


def test_what_cannot_be_read_says_why(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FOUR, photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match=r"a\.tif: has 4 channel\(s\), but data\.bands asks for 5, 9"):
        BandReader((1, 5, 9)).read_header(path)
    with pytest.raises(DataError, match=r"data\.rgb asks for 7"):
        BandReader((1,), None, (1, 2, 7)).read_rgb(path)
    with pytest.raises(DataError, match=r"a teacher sees RGB.*data\.rgb"):
        BandReader((1, 2)).read_rgb(path)
    tifffile.imwrite(tmp_path / "f.tif", np.ones((4, 4), np.float32))
    with pytest.raises(DataError, match=r"f\.tif: float32 pixels have no range of their own: set data\.range"):
        BandReader((1,))(tmp_path / "f.tif")
    tifffile.imwrite(tmp_path / "c.tif", np.ones((4, 4), np.complex64))
    with pytest.raises(DataError, match=r"complex64 pixels"):
        read_pixels(tmp_path / "c.tif")
    for read in (read_pixels, read_shape):
        with pytest.raises(DataError, match=r"gone\.tif: no such file"):
            read(tmp_path / "gone.tif")
        with pytest.raises(DataError):
            read(tmp_path)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_cut_and_damaged_files_are_data_errors(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, FOUR, photometric="minisblack", planarconfig="contig", compression="deflate")
    else:
        cv2.imwrite(str(path), FOUR[..., :3])
    whole = path.read_bytes()
    for length in (0, 3, 4, 8, 40, len(whole) // 2, len(whole) - 60):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=rf"a\.{suffix}: "):
            read_pixels(path)
        with pytest.raises(DataError, match=rf"a\.{suffix}: "):
            read_shape(path)
    rng = np.random.default_rng(1)
    for _ in range(200):  # some changes leave a file that can be read
        spoiled = bytearray(whole)
        for place in rng.integers(4, len(whole), 4):
            spoiled[place] = rng.integers(0, 256)
        path.write_bytes(spoiled)
        for read in (read_pixels, read_shape):
            try:
                read(path)
            except DataError as error:
                assert str(error).startswith(str(path))  # noqa: PT017 - one of the two outcomes


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((64, 64, 4), np.uint8), photometric="minisblack", planarconfig="contig")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for read in (read_pixels, read_shape):
        with pytest.raises(DataError, match=r"64 x 64 pixels of 4 channels; cut it into tiles"):
            read(path)


def test_a_segment_that_blows_up_stays_small(tmp_path):
    """Two hundred kilobytes that say they are 16 pixels and unpack to 200 MB."""
    import tracemalloc

    pytest.importorskip("imagecodecs")  # tifffile's own fallback unpacks all of it
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), compression="deflate", rowsperstrip=16)
    whole = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        offset, count = page.tags["StripOffsets"].valueoffset, page.tags["StripByteCounts"].valueoffset
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    whole[offset : offset + 4] = len(whole).to_bytes(4, "little")
    whole[count : count + 4] = len(bomb).to_bytes(4, "little")
    path.write_bytes(bytes(whole) + bomb)
    tracemalloc.start()
    with contextlib.suppress(DataError):
        assert read_pixels(path).values.shape == (16, 16, 1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * 2**20


def test_without_the_extra(tmp_path, monkeypatch):
    import sys

    Image.fromarray(RGB8).save(tmp_path / "a.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingExtraError, match=r"a\.tif: .*pip install 'semiovs\[geo\]'"):
        read_pixels(tmp_path / "a.tif")
