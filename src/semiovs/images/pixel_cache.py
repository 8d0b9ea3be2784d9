"""A cache of decoded images on a fast disk, up to a budget; reading them again saves the time of decoding.

Images are stored as raw RGB, so batches are the same with and without the cache. Each pass over shuffled images reads
each image once, so entries stay, and once the budget is spent nothing more is stored (replacing the oldest would remove
what the next pass reads first).
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import __version__ as PILLOW

from semiovs.errors import ConfigError, DataError
from semiovs.files import open_locked
from semiovs.images.containers.container import identify
from semiovs.images.image import read_image, read_size
from semiovs.images.lazy_image import LazyImage, RgbArray, read_lazily

#: Version of the format; changes with `read_image` or the layout of an entry.
_FORMAT = 1
_HEADER = struct.Struct("<8sIII")
_MAGIC = b"semiovs1"
_SUFFIX, _TEMPORARY = ".rgb", ".part"
_LEDGER = "bytes-used"
#: Longer than a line of it.
_LINE = 32
_DISK_BLOCK = 4096


class PixelCache:
    """An `ImageReader` of RGB that stores decoded images under `root`, at most `budget` bytes in whole disk blocks.

    Processes and runs with the same budget may share a folder. An entry is identified by path, size and time of its
    file (or its tar, and the place in it) and Pillow's version, written atomically, and removed if its checksum is
    wrong. If the disk cannot be written, nothing more is stored and the run goes on.
    """

    bands = None

    def __init__(self, root: Path, budget: int) -> None:
        self.root = root
        self.budget = budget
        self._full = False

    @classmethod
    def open(cls, root: Path, budget: int) -> PixelCache:
        """Create the folder, count its entries, and remove the oldest ones above the budget.

        Raises:
            ConfigError: the folder cannot be written.
        """
        cache = cls(root, budget)
        try:
            root.mkdir(parents=True, exist_ok=True)
            with cache._ledger() as ledger:
                ledger.restart(cache._count())
        except OSError as error:
            raise ConfigError(f"data.cache.dir: {root} cannot be written: {error.strerror or error}") from None
        return cache

    def __call__(self, path: Path) -> Image.Image:
        """See `read`."""
        return self.read(path)

    def read_rgb(self, path: Path) -> Image.Image:
        """See `read`."""
        return self.read(path)

    def read_preview(self, path: Path) -> Image.Image:
        """The image, decoded."""
        return read_image(path)

    def read_header(self, path: Path) -> tuple[int, int, int]:
        """See `ImageReader`."""
        return (*read_size(path), 3)

    def read(self, path: Path) -> Image.Image:
        """The image, from the cache or decoded.

        Raises:
            DataError: as `read_image`.
        """
        try:
            entry = self._entry(path)
        except (OSError, ValueError, DataError):
            return read_image(path)  # it says best what is wrong
        pixels = self._load(entry)
        if pixels is not None:
            return Image.fromarray(pixels)
        image = read_image(path)
        self._keep(entry, image.size, image.tobytes())
        return image

    def read_lazily(self, path: Path) -> LazyImage:
        """The image, from the cache or decoded in its turn; where less of a JPEG file is enough, that is decoded, as
        without a cache.

        Raises:
            DataError: as `semiovs.images.lazy_image.read_lazily`.
        """
        try:
            entry = self._entry(path)
        except (OSError, ValueError, DataError):
            return read_lazily(path)
        pixels = self._load(entry)
        if pixels is None:
            image = read_lazily(path)
            return LazyImage(image.size, partial(self._decode, entry, image))
        return LazyImage((pixels.shape[1], pixels.shape[0]), partial(self._reduce, path, pixels))

    def _decode(self, entry: Path, image: LazyImage, most: float) -> tuple[RgbArray, int]:
        pixels, divisor = image.decode(most)
        if divisor == 1:
            self._keep(entry, image.size, pixels.tobytes())
        return pixels, divisor

    def _reduce(self, path: Path, pixels: RgbArray, most: float) -> tuple[RgbArray, int]:
        """What `LazyImage.decode` gives without a cache, where `pixels` are those of the whole image."""
        if most >= 2 and (image := read_lazily(path)).reducible:
            return image.decode(most)
        return pixels, 1

    def _entry(self, path: Path) -> Path:
        name = hashlib.sha256(f"{_FORMAT}\0{PILLOW}\0{identify(path)}".encode(errors="surrogateescape")).hexdigest()[
            :40
        ]
        return self.root / name[:2] / f"{name}{_SUFFIX}"

    def _load(self, entry: Path) -> RgbArray | None:
        try:
            data = np.fromfile(entry, np.uint8)
        except OSError:
            return None
        with suppress(struct.error):
            magic, width, height, checksum = _HEADER.unpack_from(data.data)
            pixels = data[_HEADER.size :]
            whole = magic == _MAGIC and len(pixels) == 3 * width * height > 0
            if whole and zlib.crc32(pixels.data) == checksum:
                return pixels.reshape(height, width, 3)
        self._drop(entry, len(data))
        return None

    def _keep(self, entry: Path, size: tuple[int, int], pixels: bytes) -> None:
        if self._full:
            return
        header = _HEADER.pack(_MAGIC, *size, zlib.crc32(pixels))
        cost = _disk_usage(len(header) + len(pixels))
        temporary = entry.with_suffix(_TEMPORARY)
        try:
            with self._ledger() as ledger:
                if entry.exists():
                    return
                if ledger.used + cost > self.budget:
                    self._full = True
                    return
                ledger.write(ledger.used + cost)  # first: a process that dies leaves the count too high, never too low
                entry.parent.mkdir(exist_ok=True)
                with temporary.open("wb") as file:  # no fsync: the checksum finds what a crash has torn
                    file.write(header)
                    file.write(pixels)
                temporary.replace(entry)
        except OSError:
            self._full = True
            with suppress(OSError):
                temporary.unlink()

    def _drop(self, entry: Path, size: int) -> None:
        with suppress(OSError), self._ledger() as ledger:
            entry.unlink()
            ledger.write(ledger.used - _disk_usage(size))

    def _count(self) -> int:
        """Count the bytes of all entries, after removing unfinished ones, and the oldest ones above the budget."""
        for path in self.root.glob(f"??/*{_TEMPORARY}"):
            path.unlink()
        entries = [(status.st_mtime_ns, _disk_usage(status.st_size), path) for path, status in self._entries()]
        used = sum(cost for _, cost, _ in entries)
        for _, cost, path in sorted(entries):
            if used <= self.budget:
                break
            path.unlink()
            used -= cost
        return used

    def _entries(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.root.glob(f"??/*{_SUFFIX}"):
            yield path, path.stat()

    @contextmanager
    def _ledger(self) -> Iterator[_Ledger]:
        """Lock the count of bytes used and return it."""
        descriptor = open_locked(self.root / _LEDGER)
        try:
            os.lseek(descriptor, max(0, os.fstat(descriptor).st_size - _LINE), os.SEEK_SET)
            text = os.read(descriptor, _LINE)
            last = text[:-1].rpartition(b"\n")[2]
            ledger = _Ledger(descriptor, int(last) if text.endswith(b"\n") and last.isdigit() else -1)
            if ledger.used < 0:
                ledger.restart(self._count())
            yield ledger
        finally:
            os.close(descriptor)


@dataclass
class _Ledger:
    """The locked file of the bytes used; counts are appended, so that a killed process leaves a valid one."""

    descriptor: int
    used: int

    def write(self, used: int) -> None:
        self.used = max(0, used)
        os.write(self.descriptor, b"%d\n" % self.used)

    def restart(self, used: int) -> None:
        os.ftruncate(self.descriptor, 0)
        self.write(used)


def _disk_usage(size: int) -> int:
    return -(-size // _DISK_BLOCK) * _DISK_BLOCK
