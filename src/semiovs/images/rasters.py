"""Read TIFF by windows, and write masks as tiled TIFF with an image's georeference, by `rasterio` (extra `geo`)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError, MissingExtraError, is_out_of_memory
from semiovs.files import sync_directory, temporary_beside
from semiovs.images.conventions import IGNORE
from semiovs.images.orientation import ORIENTATION, valid_orientation
from semiovs.images.palette import build_palette

#: Called with rows, columns and the values (h, w) uint8 of a part of an image.
PutPart = Callable[[slice, slice, NDArray[np.uint8]], None]
#: Bytes of decoded blocks that GDAL keeps; its own default is a share of the machine's memory.
_CACHE = 128 << 20
#: Side of the blocks of files that are written.
_BLOCK = 512
#: Tags of GeoTIFF: scale, tie points, matrix, keys of the coordinate system.
_GEO_TAGS = frozenset((33550, 33922, 34264, 34735))


@dataclass(frozen=True, eq=False)
class Georeference:
    """Where the pixels of an image lie. crs: coordinate system or None; transform: (column, row) -> coordinates."""

    crs: Any
    transform: Any

    @property
    def name(self) -> str | None:
        """The coordinate system as GeoJSON of GDAL and QGIS names it: by its EPSG number, else as WKT."""
        if self.crs is None:
            return None
        number = self.crs.to_epsg()
        return str(self.crs.to_wkt()) if number is None else f"urn:ogc:def:crs:EPSG::{number}"


@dataclass(frozen=True, eq=False)
class Raster:
    """An open TIFF.

    kinds: what its bands are, in GDAL's words (`red`, `gray`, `palette`, `alpha`); plain: whether the values mean what
    they say (no palette, not inverted, not of single bits, not turned, no stack of images).
    """

    path: Path
    width: int
    height: int
    dtype: str
    kinds: tuple[str, ...]
    nodata: float | None
    plain: bool
    georeference: Georeference | None
    _dataset: Any

    def read(self, rows: slice, columns: slice, bands: int | None = None) -> NDArray[Any]:
        """Read a window (h, w, C), of the first `bands` alone if given.

        Raises:
            DataError: damaged.
        """
        chosen = None if bands is None else list(range(1, bands + 1))
        with _refusing(self.path):
            values = self._dataset.read(chosen, window=_window(rows, columns))
        return np.asarray(values.transpose(1, 2, 0))

    def read_measured(self, rows: slice, columns: slice) -> NDArray[np.bool_] | None:
        """Which pixels (h, w) of a window were measured in any band: not nodata, not masked, not transparent; None: all
        of them.

        Raises:
            DataError: damaged.
        """
        with _refusing(self.path):
            found = np.asarray(self._dataset.dataset_mask(window=_window(rows, columns)) > 0)
        return None if found.all() else found


def has_rasterio() -> bool:
    """Whether `rasterio` is installed."""
    try:
        _import_rasterio("")
    except MissingExtraError:
        return False
    return True


def has_geo_tags(tags: Any) -> bool:
    """Whether the tags of a TIFF (their numbers) say where it lies."""
    return not _GEO_TAGS.isdisjoint(tags)


@contextmanager
def open_raster(path: Path) -> Iterator[Raster]:
    """Open a TIFF to read windows of it.

    Raises:
        DataError: missing or damaged; MissingExtraError: no rasterio.
    """
    rasterio = _import_rasterio(path)
    with rasterio.Env(GDAL_CACHEMAX=_CACHE, CPL_LOG_ERRORS="OFF"):
        with _refusing(path):
            dataset = rasterio.open(path, driver="GTiff")
        with dataset:
            yield _describe(path, dataset)


def _describe(path: Path, dataset: Any) -> Raster:
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    kinds = tuple(kind.name for kind in dataset.colorinterp)
    turned = valid_orientation(_read_orientation(path)) != 1
    odd = turned or "palette" in kinds or "MINISWHITE" in structure or "NBITS" in structure or dataset.subdatasets
    placed = dataset.crs is not None or not dataset.transform.is_identity
    return Raster(
        path,
        dataset.width,
        dataset.height,
        str(dataset.dtypes[0]) if len(set(dataset.dtypes)) == 1 else "mixed",
        kinds,
        dataset.nodata,
        not odd,
        Georeference(dataset.crs, dataset.transform) if placed else None,
        dataset,
    )


def _read_orientation(path: Path) -> int:
    """The tag of a TIFF, which GDAL does not tell; Pillow's image is never decoded, so its limit does not hold."""
    from PIL import TiffImagePlugin

    try:
        with path.open("rb") as file:
            head = file.read(8)
            head += file.read(8) if 43 in head[2:4] else b""  # BigTIFF, in either byte order
            tags = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
        return int(tags.get(ORIENTATION, 1))
    except Exception:  # whatever is odd about the tags is not the orientation
        return 1


@contextmanager
def write_raster(
    path: Path,
    size: tuple[int, int],
    georeference: Georeference | None = None,
    *,
    colors: Sequence[tuple[int, int, int]] | None = None,
    nodata: int | None = IGNORE,
) -> Iterator[PutPart]:
    """Write a tiled, compressed TIFF of one 8-bit channel part by part; gives the function to call with each part.

    The file has its name once all is written, as in `files.atomic_write`. size: (height, width); colors: of a palette,
    by value.

    Raises:
        OSError: the disk is full; MissingExtraError: no rasterio.
    """
    rasterio = _import_rasterio(path)
    place = {} if georeference is None else {"crs": georeference.crs, "transform": georeference.transform}
    layout = {"tiled": True, "blockxsize": _BLOCK, "blockysize": _BLOCK, "compress": "deflate", "BIGTIFF": "IF_SAFER"}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    shape = {"height": size[0], "width": size[1], "count": 1, "dtype": "uint8", "nodata": nodata}
    try:
        with (
            rasterio.Env(GDAL_CACHEMAX=_CACHE),
            _telling_full_disks(path),
            rasterio.open(temporary, "w", driver="GTiff", **shape, **layout, **place) as dataset,
        ):
            if colors is not None:
                table = build_palette(colors).tolist()
                dataset.write_colormap(1, {value: (*color, 255) for value, color in enumerate(table)})

            def put(rows: slice, columns: slice, values: NDArray[np.uint8]) -> None:
                dataset.write(values, 1, window=_window(rows, columns))

            yield put
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def trace_raster(path: Path, band: NDArray[np.uint8] | None, georeference: Georeference | None) -> Iterator[Any]:
    """Outlines of the pieces of one value as pairs (GeoJSON geometry, value), with their holes, along the pixels'
    borders; pixels of 255 have none.

    path: a mask file as `write_raster` makes it; band: its values (H, W) instead. Coordinates are those of
    `georeference`, or columns and rows.

    Raises:
        MissingExtraError: no rasterio.
    """
    rasterio = _import_rasterio(path)
    from rasterio import features

    transform = rasterio.Affine.identity() if georeference is None else georeference.transform
    with rasterio.Env(GDAL_CACHEMAX=_CACHE):
        if band is not None:
            yield from features.shapes(band, mask=band != IGNORE, transform=transform)
            return
        with rasterio.open(path) as dataset:  # its nodata, 255, is masked
            yield from features.shapes(rasterio.band(dataset, 1), transform=transform)


def _window(rows: slice, columns: slice) -> Any:
    from rasterio.windows import Window

    return Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = next(iter(str(error.__cause__ or error).splitlines()), "") or type(error).__name__
        raise DataError(f"{path}: cannot be read as an image: {reason}", kind="unreadable") from None


@contextmanager
def _telling_full_disks(path: Path) -> Iterator[None]:
    """GDAL's errors of writing as the OSError that Python's own files raise."""
    from rasterio.errors import RasterioError

    try:
        yield
    except RasterioError as error:
        raise OSError(f"{path}: cannot be written: {error.__cause__ or error}") from None


def _import_rasterio(path: object) -> Any:
    try:
        import rasterio
    except ImportError:
        raise MissingExtraError(f"{path}: TIFF is read by windows by rasterio: pip install 'semiovs[geo]'") from None
    from rasterio.errors import NotGeoreferencedWarning

    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # most pictures have none
    return rasterio
