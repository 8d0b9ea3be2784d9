from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

from semiovs.errors import DataError
from semiovs.images.containers.container import read_bytes
from semiovs.images.discover.bands import guess_bands
from semiovs.images.image import read_image, read_size
from semiovs.images.orientation import orient_image, orient_pixels
from semiovs.images.pixels import read_pixels


@pytest.fixture
def picture():
    values = np.random.default_rng(0).integers(0, 256, (24, 16, 3), np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("name", "exact"), [("a.png", True), ("a.bmp", True), ("a.tif", True), ("A.JPG", False), ("a.webp", False)]
)
def test_formats(tmp_path, picture, name, exact):
    picture.save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert (image.mode, image.size) == ("RGB", (16, 24))
    if exact:
        assert np.array_equal(np.asarray(image), np.asarray(picture))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_modes_become_rgb(tmp_path, picture, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.convert(mode).save(path)
    assert read_image(path).mode == "RGB"
    assert np.array_equal(np.asarray(read_image(path)), np.asarray(picture.convert(mode).convert("RGB")))


def test_palette_with_transparency_warns_nobody(tmp_path, picture, recwarn):
    picture.convert("P").save(tmp_path / "a.png", transparency=bytes(range(256)))
    assert read_image(tmp_path / "a.png").mode == "RGB"
    assert not list(recwarn)


def test_deep_gray_is_scaled_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 257, 32896, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_floating_point_images_are_refused(tmp_path):
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: 32-bit pixels"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_tiffs_are_read_as_shown(tmp_path, picture, orientation, compression):
    path = tmp_path / "a.tif"
    picture.save(path, tiffinfo={0x0112: orientation}, compression=compression)
    image = read_image(path)
    assert np.array_equal(np.asarray(image), orient_pixels(np.asarray(picture), orientation))
    assert read_size(path) == image.size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_read_as_shown(tmp_path, picture, orientation):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as file:
        expected = ImageOps.exif_transpose(file)
    image = read_image(tmp_path / "a.png")
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    assert read_size(tmp_path / "a.png") == image.size


@pytest.mark.parametrize("turn", range(10))
def test_images_and_arrays_are_turned_alike(picture, turn):
    image = orient_image(picture, turn)
    assert np.array_equal(orient_pixels(np.asarray(picture), turn), np.asarray(image))
    assert (image is picture) == (turn not in range(2, 9))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_image(tmp_path, picture):
    picture.save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(40)))
    assert read_image(tmp_path / "a.jpg").size == (16, 24)
    assert read_size(tmp_path / "a.jpg") == (16, 24)


def encoded(picture: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("keep", [0, 4, 0.5, 0.9])
def test_truncated_files(tmp_path, picture, form, keep):
    data = encoded(picture, form)
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(DataError, match=r"cut: cannot be read as an image: \w+") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's about the metadata
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_damaged_bytes_give_an_image_or_our_error(tmp_path, picture, form):
    data = bytearray(encoded(picture, form))
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 8):
            broken[place] = random.integers(0, 256)
        (tmp_path / "x").write_bytes(broken)
        try:
            assert read_image(tmp_path / "x").mode == "RGB"
        except DataError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"hello " * 50, "damaged, or not an image format"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "a HEIC or AVIF picture, or a film, which are not read; save it as JPEG"),
    ],
)
def test_no_image_at_all(tmp_path, content, words):
    (tmp_path / "a.jpg").write_bytes(content)
    for read in (read_image, read_size):
        with pytest.raises(DataError, match=words):
            read(tmp_path / "a.jpg")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="cannot be read as an image: Is a directory"):
        read_size(tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_unread(tmp_path, picture, monkeypatch):
    picture.save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for read in (read_image, read_size):
        with pytest.raises(DataError, match=r"a\.png: more than 200 pixels; cut it into tiles"):
            read(tmp_path / "a.png")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert guess_bands(tmp_path / "a.png") is None
    for read in (read_bytes, read_image):
        with pytest.raises(DataError, match="a pipe or device, no file"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_gray_tiffs_are_read_as_shown_with_black_or_white_as_zero(tmp_path, kind, photometric):
    """Pillow inverts WhiteIsZero of 8 bits, and not that of 16; bands keep the file's values, as docs/data/images.md
    says.
    """
    tifffile = pytest.importorskip("tifffile")
    shown = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)
    values = shown.astype(kind) * (257 if kind == "uint16" else 1)
    stored = values if photometric == "minisblack" else np.iinfo(kind).max - values
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric)
    assert np.array_equal(np.asarray(read_image(tmp_path / "a.tif")), np.stack([shown] * 3, -1))
    assert np.array_equal(read_pixels(tmp_path / "a.tif").values[..., 0], stored)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiffs_are_the_same_for_all_readers_or_refused(tmp_path, kind, compression, planar):
    """Pillow scrambles deep colours that are stored plane by plane without compression."""
    tifffile = pytest.importorskip("tifffile")
    shown = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    values = shown.astype(kind) * (257 if kind == "uint16" else 1)
    stored = values if planar == "contig" else np.ascontiguousarray(np.moveaxis(values, -1, 0))
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar, compression=compression)
    assert np.array_equal(read_pixels(tmp_path / "a.tif").values, values)
    if (kind, compression, planar) == ("uint16", None, "separate"):
        for read in (read_image, read_size):
            with pytest.raises(DataError, match=r"a\.tif: colours of more than 8 bits, plane by plane"):
                read(tmp_path / "a.tif")
    else:
        assert np.array_equal(np.asarray(read_image(tmp_path / "a.tif")), shown)
