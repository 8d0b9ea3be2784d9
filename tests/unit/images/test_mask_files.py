"""Masks written by Pillow, tifffile, OpenCV and by hand: what is read is what was written, or an error says why not."""

from __future__ import annotations

import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from semiovs.errors import DataError
from semiovs.images.mask_values import NAN, read_mask_values, read_stored_mask
from semiovs.images.masks import MaskReader

NAMES = ("sky", "road", "car")
SHAPE = (4, 5)
#: Files of each writer; with the number of writers, more than 2,000 files.
REPEATS = 22


def make_ids(random, bits, signed=False):
    """Ids of a mask: a few values of that many bits, often 0, 255 and the largest among them."""
    top = 2 ** (bits - signed) - 1
    values = random.integers(0, min(top, 2**31), 4, endpoint=True).tolist()
    values += [0, min(255, top), min(top, 2**52), *([-1, -(2 ** (min(bits, 52) - 1))] if signed else [])]
    return random.choice(np.array(values, np.int64), SHAPE)


def write_png(path, ids, depth, kind, *, palette=None):
    """Write a PNG of any depth and colour type by hand. ids: (H, W) or (H, W, C)."""
    channels = ids.reshape(len(ids), -1)
    bits = ((channels[..., None] >> np.arange(depth - 1, -1, -1)) & 1).reshape(len(ids), -1).astype(np.uint8)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], depth, kind, 0, 0, 0))]
    parts += [] if palette is None else [(b"PLTE", palette.tobytes())]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def by_hand(depth, kind):
    def write(path, random):
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
        ids = make_ids(random, depth)
        stored = np.stack([ids] * channels, -1)
        if kind in (4, 6):
            stored[..., -1] = random.integers(0, 2**depth, SHAPE)
        palette = random.integers(0, 256, (2**depth, 3), np.uint8) if kind == 3 else None
        write_png(path.with_suffix(".png"), stored, depth, kind, palette=palette)
        return path.with_suffix(".png"), ids

    return write


def by_pillow(suffix, mode, bits=8, /, **options):
    def write(path, random):
        ids = make_ids(random, bits, signed=mode == "I")
        dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}.get(mode, np.uint8)
        if mode == "F":
            ids = np.clip(ids, 0, 2**24)
        image = Image.fromarray(ids.astype(bool) if mode == "1" else ids.astype(dtype))
        if mode in ("LA", "RGB", "RGBA"):
            image = image.convert(mode)
        if mode in ("LA", "RGBA"):
            image.putalpha(Image.fromarray(random.integers(0, 256, SHAPE, np.uint8)))
        if mode == "P":
            image.putpalette(random.integers(0, 256, 3 << bits, np.uint8).tobytes())
        image.save(path.with_suffix(suffix), **options)
        return path.with_suffix(suffix), ids

    return write


def by_palette(bits):
    return by_pillow(".png", "P", bits, bits=bits)


def by_opencv(suffix, dtype, channels=1, options=()):
    def write(path, random):
        ids = make_ids(random, min(8 * np.dtype(dtype).itemsize, 16))
        pixels = np.stack([ids] * channels, -1).astype(dtype)
        assert cv2.imwrite(str(path.with_suffix(suffix)), pixels, list(options))
        return path.with_suffix(suffix), ids

    return write


def by_tifffile(dtype, channels=1, *, alpha=None, **options):
    def write(path, random):
        tifffile = pytest.importorskip("tifffile")
        kind = np.dtype(dtype)
        bits = {"f": {2: 11, 4: 24, 8: 52}.get(kind.itemsize), "b": 1}.get(kind.kind, 8 * kind.itemsize)
        ids = make_ids(random, min(bits, 53), signed=kind.kind == "i")
        pixels = ids.astype(kind)
        if channels > 1:
            pixels = np.stack([pixels] * channels, 0 if options.get("planarconfig") == "separate" else -1)
        if alpha is not None:
            pixels[..., -1] = random.integers(0, 2, SHAPE)
        if options.get("photometric") == "palette":
            options["colormap"] = random.integers(0, 65536, (3, 2**bits), np.uint16)
        extra = {} if alpha is None else {"extrasamples": [alpha]}
        tifffile.imwrite(path.with_suffix(".tif"), pixels, **options, **extra)
        return path.with_suffix(".tif"), ids

    return write


def by_gdal(dtype, nodata):
    """Like GDAL: a type of numbers, and a value of pixels without one."""

    def write(path, random):
        tifffile = pytest.importorskip("tifffile")
        ids = make_ids(random, 7)
        ids[random.random(SHAPE) < 0.3] = -77
        pixels = np.where(ids == -77, nodata, ids).astype(dtype)
        tag = (42113, 2, 0, str(nodata), True)
        tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="minisblack", extratags=[tag], metadata=None)
        return path.with_suffix(".tif"), np.where(ids == -77, NAN if np.isnan(nodata) else int(nodata), ids)

    return write


def by_netpbm(magic):
    def write(path, random):
        largest = int(random.choice([1, 2, 3, 7, 15, 20, 100, 254, 255, 256, 1000, 65535]))
        ids = random.integers(0, largest, SHAPE, endpoint=True)
        if magic == b"P2":
            data = " ".join(map(str, ids.ravel())).encode()
        else:
            stored = np.stack([ids] * 3, -1) if magic == b"P6" else ids
            data = stored.astype(np.uint8 if largest < 256 else ">u2").tobytes()
        path.write_bytes(b"%s\n%d %d\n%d\n" % (magic, SHAPE[1], SHAPE[0], largest) + data)
        return path, ids

    return write


WEBP = int(cv2.IMWRITE_WEBP_QUALITY)
#: Files that are read.
READ = {
    **{f"png by hand {depth} {kind}": by_hand(depth, kind) for depth, kind in [
        (1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (1, 3), (2, 3), (4, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6),
    ]},
    **{f"pillow {suffix} {mode}": by_pillow(suffix, mode, bits) for suffix, mode, bits in [
        (".png", "1", 1), (".png", "L", 8), (".png", "P", 8), (".png", "I;16", 16), (".png", "LA", 8), (".png", "RGB", 8), (".png", "RGBA", 8),
        (".tif", "1", 1), (".tif", "L", 8), (".tif", "P", 8), (".tif", "I;16", 16), (".tif", "I", 32), (".tif", "F", 24), (".tif", "LA", 8),
        (".tif", "RGB", 8), (".tif", "RGBA", 8), (".bmp", "1", 1), (".bmp", "L", 8), (".bmp", "P", 8), (".bmp", "RGB", 8),
        (".pbm", "1", 1), (".pgm", "L", 8), (".pgm", "I;16", 16), (".ppm", "RGB", 8),
    ]},
    **{f"pillow png P of {bits} bits": by_palette(bits) for bits in (1, 2, 4)},
    **{f"pillow tif {how} {mode}": by_pillow(".tif", mode, bits, compression=how) for how, mode, bits in [
        ("tiff_lzw", "L", 8), ("tiff_lzw", "P", 8), ("tiff_adobe_deflate", "I;16", 16), ("packbits", "L", 8), ("packbits", "1", 1), ("group4", "1", 1),
    ]},
    "pillow webp": by_pillow(".webp", "RGB", lossless=True),
    **{f"opencv {suffix} {np.dtype(dtype)} {channels}": by_opencv(suffix, dtype, channels) for suffix, dtype, channels in [
        (".png", np.uint8, 1), (".png", np.uint8, 3), (".png", np.uint8, 4), (".png", np.uint16, 1), (".png", np.uint16, 3), (".png", np.uint16, 4),
        (".tif", np.uint8, 1), (".tif", np.uint8, 3), (".tif", np.uint16, 1), (".tif", np.uint16, 3), (".tif", np.float32, 1), (".tif", np.float64, 1),
        (".bmp", np.uint8, 1), (".bmp", np.uint8, 3), (".pgm", np.uint8, 1), (".pgm", np.uint16, 1), (".ppm", np.uint8, 3), (".pfm", np.float32, 1),
    ]},
    "opencv webp": by_opencv(".webp", np.uint8, 3, (WEBP, 101)),
    **{f"tifffile {dtype}": by_tifffile(dtype, photometric="minisblack") for dtype in [
        "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
    ]},
    **{f"tifffile {dtype} {how}": by_tifffile(dtype, photometric="minisblack", **how) for dtype, how in [
        ("uint8", {"byteorder": ">"}), ("int16", {"byteorder": ">"}), ("uint32", {"byteorder": ">"}), ("float64", {"byteorder": ">"}),
        ("uint16", {"bigtiff": True}), ("int32", {"bigtiff": True}), ("uint8", {"tile": (16, 16)}), ("int64", {"tile": (16, 16)}),
        ("int16", {"compression": "zlib"}), ("float32", {"compression": "zlib"}), ("float64", {"compression": "zlib"}), ("uint64", {"compression": "zlib"}),
    ]},
    **{f"tifffile palette {dtype}": by_tifffile(dtype, photometric="palette") for dtype in ("uint8", "uint16")},
    **{f"tifffile rgb {dtype} {planar}": by_tifffile(dtype, 3, photometric="rgb", planarconfig=planar) for dtype, planar in [
        ("uint8", "contig"), ("uint16", "contig"), ("uint32", "contig"), ("uint16", "separate"), ("float32", "separate"),
    ]},
    **{f"tifffile rgb {dtype} {alpha}": by_tifffile(dtype, 4, photometric="rgb", alpha=alpha) for dtype in ("uint8", "uint16") for alpha in (1, 2)},
    **{f"tifffile gray {dtype} {alpha}": by_tifffile(dtype, 2, photometric="minisblack", planarconfig="contig", alpha=alpha)
       for dtype in ("uint8", "uint16") for alpha in (1, 2)},
    **{f"gdal {dtype} {nodata}": by_gdal(dtype, nodata) for dtype, nodata in [
        ("int16", -1), ("int16", -9999), ("int32", -9999), ("float32", -9999), ("float64", -1), ("float32", np.nan), ("float64", np.nan),
    ]},
    **{f"netpbm {magic.decode()}": by_netpbm(magic) for magic in (b"P2", b"P5")},
}  # fmt: skip
#: Files that may be read or refused, but never read as something else.
DOUBTFUL = {
    "pillow gif L": by_pillow(".gif", "L"),
    "pillow jpg": by_pillow(".jpg", "L"),
    "pillow webp lossy": by_pillow(".webp", "RGB"),
    "pillow tif jpeg": by_pillow(".tif", "L", compression="jpeg"),
    "pillow tif white": by_pillow(".tif", "L", tiffinfo={262: 0}),
    "opencv jpg": by_opencv(".jpg", np.uint8),
    "opencv webp lossy": by_opencv(".webp", np.uint8, 3, (WEBP, 90)),
    **{f"tifffile white {dtype}": by_tifffile(dtype, photometric="miniswhite") for dtype in ("bool", "uint8", "uint16", "float64")},
    "netpbm P6": by_netpbm(b"P6"),
    "tifffile two bands": by_tifffile("uint8", 2, photometric="minisblack", planarconfig="contig", alpha=0),
    "tifffile four bands": by_tifffile("uint16", 4, photometric="minisblack", planarconfig="contig"),
}  # fmt: skip


def read(path):
    """The values as 64-bit integers, or the one line that refuses the file and names it."""
    try:
        values = read_mask_values(path)
    except DataError as error:
        return str(error) if str(path) in str(error) and "\n" not in str(error) else 0
    return values.astype(np.int64) if values.dtype.kind in "ui" else 0


def test_there_are_more_than_two_thousand_files():
    assert REPEATS * (len(READ) + len(DOUBTFUL)) > 2000


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_what_was_written(tmp_path, name):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    for number in range(REPEATS):
        path, ids = READ[name](tmp_path / str(number), random)
        assert np.array_equal(read(path), ids)


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_may_be_wrong_is_refused(tmp_path, name):
    random = np.random.default_rng(zlib.crc32(name.encode()))
    refused = 0
    for number in range(REPEATS):
        path, ids = DOUBTFUL[name](tmp_path / str(number), random)
        found = read(path)
        refused += isinstance(found, str)
        assert isinstance(found, str) or np.array_equal(found, ids)
    assert refused


def save_tiff(path, *pages, **options):
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(path) as file:
        for number, page in enumerate(pages):
            smaller = number > 0 and page.shape != pages[0].shape
            file.write(page, photometric="minisblack", subfiletype=int(smaller), **options)
    return path


@pytest.mark.parametrize("kind", ["uint8", "float64"])
def test_several_pages_are_refused_and_overviews_are_not(tmp_path, kind):
    ids = np.arange(12, dtype=kind).reshape(3, 4)
    with pytest.raises(DataError, match=r"m\.tif: has 2 pages, but a mask has one; save each as a file"):
        read_mask_values(save_tiff(tmp_path / "m.tif", ids, ids, metadata=None))
    overview = save_tiff(tmp_path / "o.tif", ids, ids[::2, ::2], metadata=None)
    assert np.array_equal(read_mask_values(overview), ids)


@pytest.mark.parametrize("kind", ["uint8", "float64"])
@pytest.mark.parametrize("how", ["shaped", "imagej"])
def test_pages_behind_one_page_are_refused(tmp_path, kind, how):
    tifffile = pytest.importorskip("tifffile")
    stack = np.zeros((3, 6, 7), "float32" if kind == "float64" and how == "imagej" else kind)
    options = {"imagej": True} if how == "imagej" else {"truncate": True}
    tifffile.imwrite(tmp_path / "m.tif", stack, photometric="minisblack", **options)
    with pytest.raises(DataError, match="has 3 pages"):
        read_mask_values(tmp_path / "m.tif")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_films_are_refused(tmp_path, suffix):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / f"m{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.raises(DataError, match=f"m{suffix}: has 2 pages|m{suffix}: a lossy"):
        read_mask_values(tmp_path / f"m{suffix}")


@pytest.mark.parametrize(("kind", "nodata", "key"), [
    ("int8", -1, "-1"), ("int16", -9999, "-9999"), ("int64", -1, "-1"), ("float32", np.nan, "nan"), ("float64", -9999, "-9999"),
])  # fmt: skip
def test_what_was_not_measured_is_ignored_where_the_map_says_so(tmp_path, kind, nodata, key):
    pytest.importorskip("tifffile")
    path = save_tiff(tmp_path / "m.tif", np.array([[0, 1], [2, nodata]], kind))
    identity = {str(number): name for number, name in enumerate(NAMES)}
    assert MaskReader(NAMES, map=identity | {key: "ignore"})(path).tolist() == [[0, 1], [2, 255]]
    with pytest.raises(DataError, match=rf"{key} \(1 pixels\).*do they mean 'no data'.*'{key}': ignore"):
        MaskReader(NAMES)(path)
    with pytest.raises(DataError, match=rf"mask values {key} \(1 pixels\).*add them to data.masks.map"):
        MaskReader(NAMES, map=identity)(path)


@pytest.mark.parametrize(("kind", "nodata"), [
    ("uint8", 200), ("int16", -9999), ("int64", -1), ("float32", np.nan), ("float32", -3.4028234663852886e38), ("float64", -9999), ("float32", np.inf),
])  # fmt: skip
def test_what_a_file_declares_as_no_data_is_ignored(tmp_path, kind, nodata):
    """By GDAL's tag, with or without a map; other such values stay errors."""
    pytest.importorskip("tifffile")
    tag = {"extratags": [(42113, 2, 0, str(nodata), True)], "metadata": None}
    path = save_tiff(tmp_path / "m.tif", np.array([[0, 1], [2, nodata]], kind), **tag)
    identity = {str(number): name for number, name in enumerate(NAMES)}
    for reader in (MaskReader(NAMES), MaskReader(NAMES, map=identity), MaskReader(NAMES[:2], reduce_zero_label=True)):
        assert reader(path)[1, 1] == 255
    with pytest.raises(DataError, match=r"mask values 77 \(1 pixels\)"):
        MaskReader(NAMES)(save_tiff(tmp_path / "o.tif", np.array([[0, nodata], [77, 1]], kind), **tag))


def test_a_class_that_a_file_declares_as_no_data_stays_one(tmp_path):
    """As 0 is often declared, and means the background; `data check` tells it."""
    pytest.importorskip("tifffile")
    tag = {"extratags": [(42113, 2, 0, "0", True)], "metadata": None}
    path = save_tiff(tmp_path / "m.tif", np.array([[0, 1, 2]], np.uint8), **tag)
    assert MaskReader(NAMES)(path).tolist() == [[0, 1, 2]]
    assert MaskReader(NAMES, map={"0": "ignore", "1": 1, "2": 2})(path).tolist() == [[255, 1, 2]]


def test_tiffs_that_pillow_cannot_read_name_the_extra(tmp_path, monkeypatch):
    path = save_tiff(tmp_path / "m.tif", np.array([[0, 1]], np.int64))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(DataError, match=r"m\.tif: .*tifffile: pip install 'semiovs\[geo\]'"):
        read_mask_values(path)


def test_gifs_that_renumber_gray(tmp_path):
    Image.fromarray(np.array([[0, 2, 4]], np.uint8)).save(tmp_path / "m.gif")
    with pytest.raises(DataError, match="either may be meant"):
        read_mask_values(tmp_path / "m.gif")
    black_and_white = Image.fromarray(np.array([[0, 1, 1]], np.uint8), "P")
    black_and_white.putpalette([0, 0, 0, 255, 255, 255])
    black_and_white.save(tmp_path / "b.gif")
    assert read_mask_values(tmp_path / "b.gif").tolist() == [[0, 1, 1]]


def test_deep_colours(tmp_path):
    colors = np.array([[[128, 64, 0], [0, 0, 255]]])
    path = tmp_path / "m.png"
    for factor in (1, 257):
        write_png(path, colors * factor, 16, 2)
        assert np.array_equal(read_mask_values(path), colors)
        assert np.array_equal(read_mask_values(path, colors=True), colors)
    write_png(path, colors * 200, 16, 2)
    with pytest.raises(DataError, match="colours of more than 8 bits"):
        read_mask_values(path)


def test_colours_of_gray_files(tmp_path):
    ids = np.array([[0, 1, 3]])
    write_png(tmp_path / "two.png", ids, 2, 0)
    assert read_mask_values(tmp_path / "two.png", colors=True)[0, :, 0].tolist() == [0, 85, 255]  # as shown
    write_png(tmp_path / "deep.png", ids, 16, 0)
    assert read_mask_values(tmp_path / "deep.png", colors=True)[0, :, 0].tolist() == [0, 1, 3]
    write_png(tmp_path / "deeper.png", ids * 1000, 16, 0)
    with pytest.raises(DataError, match="colours of more than 8 bits"):
        read_mask_values(tmp_path / "deeper.png", colors=True)


def test_a_gray_bmp_of_four_bits_is_refused(tmp_path):
    palette = b"".join(bytes([gray] * 3 + [0]) for gray in range(16))
    rows = bytes.fromhex("01230000") * 4
    head = struct.pack("<2sIHHI", b"BM", 54 + 64 + len(rows), 0, 0, 54 + 64)
    info = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 4, 0, len(rows), 0, 0, 16, 16)
    (tmp_path / "m.bmp").write_bytes(head + info + palette + rows)
    with pytest.raises(DataError, match="a gray BMP of unusual depth"):
        read_mask_values(tmp_path / "m.bmp")


@pytest.mark.parametrize("kind", ["uint16", "float64"])
def test_turned_tiffs_are_read_as_shown(tmp_path, kind):
    ids = np.arange(12).reshape(3, 4)
    pages = [ids.astype(kind), ids[::2, ::2].astype(kind)]
    path = save_tiff(tmp_path / "m.tif", *pages, extratags=[(274, 3, 1, 6, True)], metadata=None)
    assert np.array_equal(read_mask_values(path), np.rot90(ids, -1))


def test_palettes_come_with_the_values(tmp_path):
    palette = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)
    write_png(tmp_path / "m.png", np.array([[0, 1, 2]]), 8, 3, palette=palette)
    stored = read_stored_mask(tmp_path / "m.png")
    assert np.array_equal(stored.palette[:3], palette)
    write_png(tmp_path / "g.png", np.array([[0, 1, 2]]), 8, 0)
    assert read_stored_mask(tmp_path / "g.png").palette is None
