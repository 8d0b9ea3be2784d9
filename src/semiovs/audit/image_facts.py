"""What an image file holds, from decoding all of it once: size, mode, hashes, colours; and damage that decoders pass over."""

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
from semiovs.images.readers import RGB, ImageReader
from semiovs.similarity.hashes import perceptual_hash, thumbnail, unframed

Pixels = NDArray[np.uint8]
_Three = tuple[float, float, float]

#: Images of more pixels than this are decoded one at a time, whatever the number of threads: memory stays bounded.
LARGE = 24_000_000
#: Files of more bytes than this are not held in memory as a whole.
_BIG_FILE = 64 << 20
#: Side from which on the hash's small copy is made in two steps, the first of them whole-numbered and quick.
_SMALL = 96
_ALONE = threading.Lock()
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Appearance:
    """One image file.

    size: (width, height) as shown; channels: 3 unless bands are read; mode: as stored (Pillow's word); orientation: EXIF, 1 to 8;
    opaque: no pixel is transparent; length: bytes of the file; digest: first 16 bytes of its SHA-256; hash, small: perceptual hash
    and thumbnail of the shown image (`duplicates`); mean, std: of R, G, B, 0 to 255; damage: what a strict decoder said (empty:
    nothing).
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
    mean: _Three
    std: _Three
    damage: str = ""

    @classmethod
    def read(cls, path: Path, images: ImageReader = RGB) -> Self:
        """Decode the file, as `images` does.

        Raises:
            DataError: missing, unreadable, truncated, or larger than Pillow's limit for one image.
        """
        if images.bands is not None:
            return cls._of_bands(path, images)
        with open_image(path) as image:
            (width, height), mode, kind = image.size, image.mode, image.format or ""
            turn = read_orientation(image)
            with _ALONE if width * height > LARGE else nullcontext():
                length, digest, data = _content(path)
                pixels, damage = _strict(image, data) or (_lenient(image), "")
                opaque = _opaque(image)
                gray, mean, std = _measured(pixels)
        if kind == "PNG" and data is not None:
            damage = checksums(data)
        small = unframed(np.ascontiguousarray(orient_pixels(_reduced(gray), turn)))
        return cls(
            (height, width) if turn >= 5 else (width, height), 3, mode, kind, turn, opaque, length, digest,
            perceptual_hash(small), thumbnail(small), mean, std, damage,
        )  # fmt: skip

    @classmethod
    def _of_bands(cls, path: Path, images: ImageReader) -> Self:
        """A file whose bands are read one by one; hashes and colours are those of what a person sees."""
        width, height, channels = images.read_header(path)
        with _ALONE if width * height * channels > 3 * LARGE else nullcontext():
            images(path)  # whether any pixel was measured
            gray, mean, std = _measured(np.asarray(images.read_preview(path)))
            length, digest, data = _content(path)
        kind = path.suffix.lstrip(".").upper()
        small = unframed(_reduced(gray))
        return cls(
            (width, height), channels, f"{channels} channels", kind, 1, True, length, digest, perceptual_hash(small),
            thumbnail(small), mean, std, checksums(data) if kind == "PNG" and data is not None else "",
        )  # fmt: skip


def _content(path: Path) -> tuple[int, bytes, bytes | None]:
    """Length and digest of a file, and its bytes if they are not too many."""
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


def _measured(pixels: Pixels) -> tuple[Pixels, _Three, _Three]:
    """Gray copy, and mean and standard deviation of R, G, B."""
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if pixels.ndim == 3 else pixels, np.uint8)
    mean, std = cv2.meanStdDev(pixels)
    return gray, _three(mean), _three(std)


def _strict(image: Image.Image, data: bytes | None) -> tuple[Pixels, str] | None:
    """Pixels of a JPEG file, (H, W, 3) or (H, W), as stored, and what is wrong inside; None where this decoder is no use.

    Pillow and torchvision pass over most damage inside JPEG data, because libjpeg only warns of it.
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


def _lenient(image: Image.Image) -> Pixels:
    image.load()
    return np.asarray(image if image.mode in {"RGB", "L"} else convert_to_rgb(image))


def _opaque(image: Image.Image) -> bool:
    if image.mode not in {"RGBA", "LA"}:
        return True
    low, _ = image.getchannel("A").getextrema()
    return low == 255


def _reduced(gray: Pixels) -> Pixels:
    """A smaller copy by a whole factor, at least `_SMALL` on its short side."""
    factor = min(gray.shape) // _SMALL
    if factor < 2:
        return gray
    height, width = (side // factor for side in gray.shape)
    whole = gray[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _three(values: Any) -> _Three:
    found = [float(value) for value in values.ravel()]
    first, second, third = found if len(found) == 3 else found * 3
    return first, second, third


def checksums(data: bytes) -> str:
    """What is wrong with the checksums of a PNG file; empty: nothing. Decoders notice most damage, but not all."""
    at = len(_PNG)
    while data[at + 4 : at + 8] != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return "a part is cut off"
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"wrong checksum in part {data[at + 4 : at + 8].decode('latin-1')!r}"
        at = end + 4
    return ""
