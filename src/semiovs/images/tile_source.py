"""Parts of an image for a model: windows of a TIFF that is never decoded as a whole, or of a picture in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.images.pixels import Pixels, is_tiff
from semiovs.images.rasters import Georeference, Raster, has_rasterio, open_raster
from semiovs.images.readers import BandImage, BandReader, ImageReader, Picture

#: Kinds of bands that are read as RGB of 8 bits: channels after the third are dropped, as `read_image` does.
_COLORS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Part:
    """A window of an image. seen: for the model; shown: (h, w, 3) for people; measured: (h, w), None: all pixels."""

    seen: Picture
    shown: NDArray[np.uint8]
    measured: NDArray[np.bool_] | None = None


class TileSource(Protocol):
    """An image that is read part by part. height, width: in pixels; decoded: bytes that it holds in memory."""

    height: int
    width: int
    georeference: Georeference | None
    decoded: int

    def read(self, rows: slice, columns: slice) -> Part | None:
        """Read a window; None if no pixel of it was measured."""


class DecodedPicture:
    """A picture that lies in memory."""

    georeference: Georeference | None = None

    def __init__(self, seen: Picture, shown: Image.Image) -> None:
        self.height, self.width = seen.height, seen.width
        self._seen, self._shown = seen, shown
        self.decoded = 3 * self.height * self.width + (seen.values.nbytes if isinstance(seen, BandImage) else 0)

    def read(self, rows: slice, columns: slice) -> Part | None:
        """See `TileSource`."""
        box = (columns.start, rows.start, columns.stop, rows.stop)
        shown = self._shown.crop(box)
        if isinstance(self._seen, BandImage):
            return Part(BandImage(self._seen.values[:, rows, columns]), np.asarray(shown))
        return Part(shown, np.asarray(shown))


class WindowedTiff:
    """A TIFF of which windows alone are decoded; pixels are those of the reader."""

    decoded = 0

    def __init__(self, raster: Raster, reader: ImageReader) -> None:
        self.height, self.width = raster.height, raster.width
        self.georeference = raster.georeference
        self._raster, self._reader = raster, reader

    def read(self, rows: slice, columns: slice) -> Part | None:
        """See `TileSource`."""
        measured = self._raster.read_measured(rows, columns)
        if measured is not None and not measured.any():
            return None
        if isinstance(self._reader, BandReader):
            pixels, where = Pixels(self._raster.read(rows, columns), self._raster.nodata), self._raster.path
            if (there := pixels.find_measured(pixels.values)) is not None and not there.any():
                return None
            seen = self._reader.to_bands(pixels, where)
            return Part(seen, np.asarray(self._reader.to_picture(pixels, where)), measured)
        shown = _to_rgb(self._raster.read(rows, columns, bands=min(len(self._raster.kinds), 3)))
        return Part(Image.fromarray(shown), shown, measured)


@contextmanager
def open_tiles(path: Path, reader: ImageReader) -> Iterator[WindowedTiff | None]:
    """Open a TIFF to read windows of it; gives None for other formats, for TIFF of a kind that GDAL reads in another
    way than `reader`, and without rasterio.

    Raises:
        DataError: missing or damaged.
    """
    if not path.is_file() or not is_tiff(path) or not has_rasterio():
        yield None
        return
    with open_raster(path) as raster:
        yield WindowedTiff(raster, reader) if _reads_alike(raster, reader) else None


def _reads_alike(raster: Raster, reader: ImageReader) -> bool:
    if not raster.plain or raster.dtype == "mixed":
        return False
    if isinstance(reader, BandReader):
        return np.dtype(raster.dtype).kind in "uif"
    gray = raster.kinds in (("gray",), ("gray", "alpha"))
    return (raster.dtype == "uint8" and (raster.kinds[:3] == _COLORS or gray)) or (raster.dtype == "uint16" and gray)


def _to_rgb(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """(h, w, 1, 2 or 3) of 8 or 16 bits as RGB of 8, as `image.convert_to_rgb` does."""
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.shape[2] < 3:
        values = np.broadcast_to(values[..., :1], (*values.shape[:2], 3))
    return np.ascontiguousarray(values, np.uint8)
