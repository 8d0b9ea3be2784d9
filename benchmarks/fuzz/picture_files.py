"""Targets that are pictures, arrays and archives of them."""

from __future__ import annotations

import io
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from semiovs.audit.image_facts import ImageFacts
from semiovs.datasets.voc import read_sbd
from semiovs.images.containers.container import forget_container
from semiovs.images.masks import MaskReader
from semiovs.images.readers import RGB, BandReader
from semiovs.images.source import examine_source
from semiovs.images.tile_source import open_tiles
from semiovs.ovs.score_maps import read_score_map

NAMES = ("sky", "road", "car")
_SIZE = (8, 6)


def _encode(pixels: np.ndarray[Any, Any], form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, form, **options)
    return out.getvalue()


def _draw(*shape: int, high: int = 256, kind: type[np.generic] = np.uint8) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, high, shape).astype(kind)


def pictures(folder: Path) -> list[bytes]:
    """Images of the formats that Pillow and OpenCV read."""
    rgb, gray, deep = _draw(6, 8, 3), _draw(6, 8), _draw(6, 8, high=65536, kind=np.uint16)
    turned = Image.Exif()
    turned[0x0112] = 6
    paletted = io.BytesIO()
    Image.fromarray(rgb).quantize(16).save(paletted, "PNG", transparency=3)
    return [
        _encode(rgb, "PNG"),
        _encode(deep, "PNG"),
        _encode(gray, "PNG"),
        paletted.getvalue(),
        _encode(_draw(6, 8, 4), "PNG"),
        _encode(rgb, "JPEG", exif=turned.tobytes()),
        _encode(rgb, "JPEG", progressive=True),
        _encode(gray, "JPEG"),
        _encode(rgb, "BMP"),
        _encode(gray, "GIF"),
        _encode(rgb, "WEBP", lossless=True),
        _encode(rgb, "WEBP"),
    ]


def masks(folder: Path) -> list[bytes]:
    """Masks: gray, paletted, 1-bit, 16-bit, GIF, BMP, WebP."""
    ids, wide = _draw(6, 8, high=3), _draw(6, 8, high=3, kind=np.uint16)
    out = [io.BytesIO(), io.BytesIO()]
    image = Image.fromarray(ids).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(out[0], "PNG")
    Image.fromarray(ids > 0).save(out[1], "PNG")
    return [
        *(each.getvalue() for each in out),
        _encode(ids, "PNG"),
        _encode(wide, "PNG"),
        _encode(ids, "BMP"),
        _encode(ids, "GIF"),
        _encode(np.stack([ids] * 3, -1), "WEBP", lossless=True),
    ]


def tiffs(folder: Path) -> list[bytes]:
    """TIFF: planar, tiled, packed, of floats, with many channels and pages."""
    import tifffile

    def write(values: np.ndarray[Any, Any], **options: Any) -> bytes:
        out = io.BytesIO()
        tifffile.imwrite(out, values, **options)
        return out.getvalue()

    deep, ids = _draw(6, 8, 5, high=65536, kind=np.uint16), _draw(6, 8, high=3)
    return [
        write(deep, planarconfig="contig"),
        write(np.moveaxis(deep, 2, 0), planarconfig="separate", photometric="minisblack"),
        write(ids),
        write(ids, compression="zlib"),
        write(_draw(32, 32, 3), tile=(16, 16), photometric="rgb"),
        write(ids.astype(np.float32), metadata=None),
        write(np.stack([ids] * 2), photometric="minisblack"),
        write(ids, photometric="palette", colormap=_draw(3, 256, high=65536, kind=np.uint16)),
        _encode(_draw(6, 8, 3), "TIFF"),
    ]


def read_picture(path: Path) -> None:
    """As training, prediction and `data check` read one."""
    for read in (RGB.read_header, RGB, RGB.read_rgb, RGB.read_preview):
        read(path)
    RGB.read_lazily(path)
    ImageFacts.read(path)


def read_bands(path: Path) -> None:
    """As with ``data.bands``, and by windows."""
    reader = BandReader((1, 2), ((0.0, 255.0), (0.0, 255.0)), (1, 1, 2))
    for read in (reader.read_header, reader, reader.read_preview):
        read(path)


def read_windows(path: Path) -> None:
    """A tile of it, as `semiovs predict` reads large ones."""
    with open_tiles(path, RGB) as tiles:
        if tiles is None:
            RGB(path)
        else:
            tiles.read(slice(0, 4), slice(0, 4))


def read_mask(path: Path) -> None:
    """As ids, as colours and by what it is."""
    MaskReader(NAMES)(path)
    MaskReader(NAMES, map={"0": "sky", "1": 1, "2": "ignore"})(path)


def _maps() -> dict[str, np.ndarray[Any, Any]]:
    whole = np.full((3, *_SIZE), 1 / 3)
    return {
        "<f4": whole.astype(np.float32),
        "<f2": whole.astype(np.float16),
        "|u1": _draw(3, *_SIZE),
        "small": whole[:, ::2, ::2].copy(),
    }


def array(folder: Path) -> list[bytes]:
    """Score maps as ``.npy``."""
    return [_save(values) for values in _maps().values()]


def _save(values: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def arrays(folder: Path) -> list[bytes]:
    """Score maps as ``.npz``."""
    out = [io.BytesIO(), io.BytesIO(), io.BytesIO()]
    values = _maps()["<f4"]
    np.savez(out[0], scores=values)
    np.savez_compressed(out[1], values)
    np.savez_compressed(out[2], scores=values, more=values[0])
    return [each.getvalue() for each in out]


def read_scores(path: Path) -> None:
    read_score_map(path, 3, _SIZE)


def tar(folder: Path) -> list[bytes]:
    """Tars of images with sidecars, in three variants of the format."""
    members = {
        "a.png": _encode(_draw(6, 8, 3), "PNG"),
        "a.json": b'{"url": "x", "license": "CC0"}',
        "b/c.jpg": _encode(_draw(6, 8), "JPEG"),
        "b/" + "d" * 120 + ".png": _encode(_draw(6, 8), "PNG"),
    }
    return [_tar(members, form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)]


def _tar(members: dict[str, bytes], form: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in members.items():
            if form == tarfile.USTAR_FORMAT and len(name) > 99:
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def read_tar(path: Path) -> None:
    """List its images and read each."""
    for kept in (path.parent / "cache").rglob("*") if (path.parent / "cache").is_dir() else ():
        if kept.is_file():
            kept.unlink()
    forget_container(path)
    for record in examine_source(path, path.parent)[0]:
        RGB(record.image)


def mat(folder: Path) -> list[bytes]:
    """A ``cls`` file of SBD."""
    from scipy.io import savemat

    out = [io.BytesIO(), io.BytesIO()]
    for each, packed in zip(out, (False, True), strict=True):
        savemat(each, {"GTcls": {"Segmentation": _draw(6, 8, high=21)}}, do_compression=packed)
    return [b"MATLAB 5.0 MAT-file".ljust(116) + each.getvalue()[116:] for each in out]  # without the time


def read_mat(path: Path) -> None:
    read_sbd(path)


def film(form: str, folder: Path) -> list[bytes]:
    """A film of three pictures."""
    import av

    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream: Any = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for _ in range(3):
            for packet in stream.encode(av.VideoFrame.from_ndarray(_draw(16, 32, 3), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return [out.getvalue()]


mp4 = partial(film, "mp4")
