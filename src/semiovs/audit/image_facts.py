"""Facts about an image file from decoding it once: size, mode, hashes, colours, and damage that decoders tolerate."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.images.image import convert_to_rgb, open_file, open_image
from semiovs.images.orientation import orient_pixels, read_orientation
from semiovs.images.pages import count_pages
from semiovs.images.readers import RGB, ImageReader
from semiovs.similarity.hashes import crop_borders, make_thumbnail, perceptual_hash

Pixels = NDArray[np.uint8]
_Rgb = tuple[float, float, float]

#: Larger images (pixels) are decoded one at a time whatever the number of threads, to bound the memory.
LARGE = 24_000_000
#: Larger files (bytes) are hashed piece by piece.
_BIG_FILE = 64 << 20
#: Short side, in pixels, of the reduced copy that is hashed.
_SMALL = 96
_LARGE_IMAGE = threading.Lock()
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """Facts about one image file.

    size: (width, height) as shown; channels: 3 unless bands are read; mode: as stored (Pillow's name); orientation:
    EXIF, 1 to 8; opaque: no pixel is transparent; length: bytes of the file; digest: first 16 bytes of its SHA-256;
    hash, small: perceptual hash and thumbnail of the shown image (`similarity.hashes`); mean, std: of R, G, B, 0 to
    255; damage: message of a strict decoder ("" for none); pages: or frames of the file, of which the first is read.
    """

    size: tuple[int, int]
    channels: int
    mode: str
    format: str
    orientation: int
    opaque: bool
    length: int
    digest: bytes
    hash: int
    small: Pixels
    mean: _Rgb
    std: _Rgb
    damage: str = ""
    pages: int = 1

    @classmethod
    def read(cls, path: Path, images: ImageReader = RGB) -> Self:
        """Decode the file, as `images` does.

        Raises:
            DataError: missing, unreadable, truncated, or larger than Pillow's limit for one image.
        """
        if images.bands is not None:
            return cls._read_bands(path, images)
        with open_image(path) as image:
            (width, height), mode, kind = image.size, image.mode, image.format or ""
            turn, pages = read_orientation(image), count_pages(image)
            with _LARGE_IMAGE if width * height > LARGE else nullcontext():
                length, digest, data = _read_content(path)
                pixels, damage = _decode_strictly(image, data) or (_decode_leniently(image), "")
                opaque = _is_opaque(image)
                gray, mean, std = _measure_colors(pixels)
        if kind == "PNG" and data is not None:
            damage = check_png(data)
        small = crop_borders(np.ascontiguousarray(orient_pixels(_reduce(gray), turn)))
        return cls(
            size=(height, width) if turn >= 5 else (width, height),
            channels=3,
            mode=mode,
            format=kind,
            orientation=turn,
            opaque=opaque,
            length=length,
            digest=digest,
            hash=perceptual_hash(small),
            small=make_thumbnail(small),
            mean=mean,
            std=std,
            damage=damage,
            pages=pages,
        )

    @classmethod
    def _read_bands(cls, path: Path, images: ImageReader) -> Self:
        """Read a file of selected bands; hashes and colours are those of its RGB preview."""
        width, height, channels = images.read_header(path)
        with _LARGE_IMAGE if width * height * channels > 3 * LARGE else nullcontext():
            images(path)  # raises if no pixel is valid
            gray, mean, std = _measure_colors(np.asarray(images.read_preview(path)))
            length, digest, data = _read_content(path)
        kind = path.suffix.lstrip(".").upper()
        small = crop_borders(_reduce(gray))
        return cls(
            size=(width, height),
            channels=channels,
            mode=f"{channels} channels",
            format=kind,
            orientation=1,
            opaque=True,
            length=length,
            digest=digest,
            hash=perceptual_hash(small),
            small=make_thumbnail(small),
            mean=mean,
            std=std,
            damage=check_png(data) if kind == "PNG" and data is not None else "",
        )


def _read_content(path: Path) -> tuple[int, bytes, bytes | None]:
    """Length and digest of a file, and its bytes unless it is large."""
    with open_file(path) as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        if length <= _BIG_FILE:
            data = file.read()
            return length, hashlib.sha256(data).digest()[:16], data
        digest = hashlib.sha256()
        while part := file.read(1 << 20):
            digest.update(part)
        return length, digest.digest()[:16], None


def _measure_colors(pixels: Pixels) -> tuple[Pixels, _Rgb, _Rgb]:
    """Gray copy, and mean and standard deviation of R, G, B."""
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels, np.uint8)
    mean, std = cv2.meanStdDev(pixels)
    return gray, _as_rgb(mean), _as_rgb(std)


def _decode_strictly(image: Image.Image, data: bytes | None) -> tuple[Pixels, str] | None:
    """Pixels of a JPEG file, (H, W, 3) or (H, W), as stored, and its damage; None for files this decoder cannot handle.

    Pillow and torchvision ignore most damage inside JPEG data, because libjpeg only warns about it.
    """
    if data is None or image.format not in {"JPEG", "MPO"} or image.mode not in {"RGB", "L"}:
        return None
    import simplejpeg

    gray = image.mode == "L"
    try:
        pixels = simplejpeg.decode_jpeg(data, "GRAY" if gray else "RGB")
    except ValueError as error:
        if "nsupported" in str(error):
            return None
        image.load()  # Pillow refuses what cannot be read at all
        return np.asarray(image), str(error)
    return (pixels[..., 0] if gray else pixels), ""


def _decode_leniently(image: Image.Image) -> Pixels:
    image.load()
    return np.asarray(image if image.mode in {"RGB", "L"} else convert_to_rgb(image))


def _is_opaque(image: Image.Image) -> bool:
    if image.mode not in {"RGBA", "LA"}:
        return True
    low, _ = image.getchannel("A").getextrema()
    return low == 255


def _reduce(gray: Pixels) -> Pixels:
    """A smaller copy by a whole factor, at least `_SMALL` on its short side."""
    factor = min(gray.shape) // _SMALL
    if factor < 2:
        return gray
    height, width = (side // factor for side in gray.shape)
    whole = gray[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _as_rgb(values: Any) -> _Rgb:
    found = [float(value) for value in values.ravel()]
    first, second, third = found if len(found) == 3 else found * 3
    return first, second, third


def check_png(data: bytes) -> str:
    """Describe the first wrong checksum of a PNG file; "" if all are right. Decoders do not check all of them."""
    at = len(_PNG)
    while data[at + 4 : at + 8] != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return "a part is cut off"
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"wrong checksum in part {data[at + 4 : at + 8].decode('latin-1')!r}"
        at = end + 4
    return ""
