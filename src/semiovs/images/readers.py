"""Image readers: RGB of 8 bits, or chosen bands of any depth, for models, teachers and people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.config.schema import DataConfig
from semiovs.errors import DataError
from semiovs.images.image import read_image, read_size
from semiovs.images.lazy_image import LazyImage, read_lazily
from semiovs.images.pixels import Pixels, read_pixels, read_shape

Span = tuple[float, float]
#: Values mapped to 0 and 1 by default, by pixel type.
DEFAULT_SPANS: Mapping[str, Span] = {"uint8": (0.0, 255.0), "uint16": (0.0, 65535.0)}


#: Pixel types that float32 holds exactly.
_EXACT = tuple(np.dtype(name) for name in ("bool", "uint8", "int8", "uint16", "int16", "float16", "float32"))


@dataclass(frozen=True, eq=False)
class BandImage:
    """Chosen bands of an image. values: (C, H, W) float32 in [0, 1]; pixels that were not measured are 0."""

    values: NDArray[np.float32]

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.values.shape[2])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.values.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height


#: Images for augmentation and prediction; all kinds have `size`, `width` and `height`.
Picture = Image.Image | LazyImage | BandImage


class ImageReader(Protocol):
    """Reads the image files of a data set (`Collection.images`)."""

    @property
    def bands(self) -> int | None:
        """Number of bands; None for RGB."""

    def __call__(self, path: Path, /) -> Picture:
        """Read the image for the model."""

    def read_lazily(self, path: Path, /) -> Picture:
        """Read the image for the fast pipeline, which decodes it; of bands as by a call."""

    def read_rgb(self, path: Path, /) -> Image.Image:
        """Read the image for a teacher, as RGB."""

    def read_preview(self, path: Path, /) -> Image.Image:
        """Read the image for people, as RGB."""

    def read_header(self, path: Path, /) -> tuple[int, int, int]:
        """Read (width, height, channels of the file) from its header and end."""


class _RgbReader:
    """Reads every file as RGB of 8 bits (`read_image`)."""

    bands = None

    def __call__(self, path: Path) -> Image.Image:
        return read_image(path)

    def read_lazily(self, path: Path) -> LazyImage:
        return read_lazily(path)

    def read_rgb(self, path: Path) -> Image.Image:
        return read_image(path)

    def read_preview(self, path: Path) -> Image.Image:
        return read_image(path)

    def read_header(self, path: Path) -> tuple[int, int, int]:
        return (*read_size(path), 3)


#: The reader used without `data.bands`.
RGB: ImageReader = _RgbReader()


@dataclass(frozen=True)
class BandReader:
    """Reads chosen channels of any depth.

    take: channels of the file, from 1; spans: for each, the values mapped to 0 and 1 (None: those of 8 and 16 bits);
    colors: channels shown as red, green and blue.
    """

    take: tuple[int, ...]
    spans: tuple[Span, ...] | None = None
    colors: tuple[int, int, int] | None = None

    @property
    def bands(self) -> int | None:
        """Number of bands that are read."""
        return len(self.take)

    def __call__(self, path: Path) -> BandImage:
        """Read the bands of a file.

        Raises:
            DataError: unreadable, without one of the bands, of pixels without a range, or with no pixel that was
            measured.
        """
        return self.to_bands(read_pixels(path), path)

    def read_lazily(self, path: Path) -> BandImage:
        """As a call."""
        return self(path)

    def read_rgb(self, path: Path) -> Image.Image:
        """Read the file as RGB of 8 bits, from the bands that `data.rgb` names, or a single band as gray.

        Raises:
            DataError: as by a call, or nothing says which bands are red, green and blue.
        """
        if self.colors is None and len(self.take) > 1:
            raise DataError(
                "a teacher sees RGB, and nothing says which channels those are: set data.rgb, like data.rgb=[3,2,1]"
            )
        return self.read_preview(path)

    def read_preview(self, path: Path) -> Image.Image:
        """As `read_rgb`, but without `data.rgb` the first band is shown as gray."""
        return self.to_picture(read_pixels(path), path)

    def read_header(self, path: Path) -> tuple[int, int, int]:
        """See `ImageReader`.

        Raises:
            DataError: unreadable, or without one of the bands.
        """
        height, width, channels = read_shape(path)
        self._require_bands(channels, path)
        return width, height, channels

    def to_bands(self, pixels: Pixels, where: object) -> BandImage:
        """Select and scale the bands of `pixels` for the model; where: named in errors."""
        self._require_bands(pixels.channels, where)
        values, there = _scale_planes(pixels, self.take, self._choose_spans(pixels, where))
        if there is not None and not there.any():
            raise DataError(f"{where}: holds no pixel that was measured (all of them NaN or nodata); leave it out")
        return BandImage(values)

    def to_picture(self, pixels: Pixels, where: object) -> Image.Image:
        """Convert `pixels` to RGB of 8 bits, see `read_preview`."""
        self._require_bands(pixels.channels, where)
        take, spans = self.colors or self.take[:1], self._choose_spans(pixels, where)
        of = dict(zip(self.take, spans, strict=True))
        chosen = tuple(of.get(band, spans[0]) for band in take)
        values, _ = _scale_planes(pixels, take, chosen)
        gray = np.rint(values * 255).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(np.broadcast_to(gray, (3, *gray.shape[1:])).transpose(1, 2, 0)))

    def select_planes(self, pixels: Pixels, where: object) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Select the bands without scaling (C, H, W); also returns which values were measured (None: all)."""
        self._require_bands(pixels.channels, where)
        planes = _select_planes(pixels, self.take)
        return planes, pixels.find_measured(planes)

    def as_json(self) -> dict[str, Any]:
        """Plain data for a model's card."""
        spans = None if self.spans is None else [list(span) for span in self.spans]
        return {
            "take": list(self.take),
            "spans": spans,
            "colors": None if self.colors is None else list(self.colors),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `as_json`."""
        spans, colors = data.get("spans"), data.get("colors")
        return cls(
            tuple(int(band) for band in data["take"]),
            None if spans is None else tuple((float(low), float(high)) for low, high in spans),
            None if colors is None else (int(colors[0]), int(colors[1]), int(colors[2])),
        )

    def _require_bands(self, channels: int, where: object) -> None:
        for key, bands in (("data.bands", self.take), ("data.rgb", self.colors or ())):
            if lacking := [str(band) for band in bands if band > channels]:
                raise DataError(f"{where}: has {channels} channel(s), but {key} asks for {', '.join(lacking)}")

    def _choose_spans(self, pixels: Pixels, where: object) -> Sequence[Span]:
        if self.spans is not None:
            return self.spans
        span = DEFAULT_SPANS.get(pixels.values.dtype.name)
        if span is None:
            raise DataError(
                f"{where}: {pixels.values.dtype} pixels have no range of their own: set data.range=[lo,hi], the "
                f"values that "
                "count as 0 and 1 (`semiovs data normalize` proposes them)"
            )
        return (span,) * len(self.take)


def make_image_reader(config: DataConfig) -> ImageReader:
    """Make the image reader for ``data.bands``, ``data.range`` and ``data.rgb``."""
    return RGB if config.bands is None else BandReader(config.bands, config.spans, config.rgb)


def _select_planes(pixels: Pixels, bands: Sequence[int]) -> NDArray[Any]:
    return np.stack([pixels.values[..., band - 1] for band in bands])


def _scale_planes(
    pixels: Pixels, bands: Sequence[int], spans: Sequence[Span]
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Scale bands to (C, H, W) in [0, 1]; also returns which values were measured (None: all)."""
    planes = _select_planes(pixels, bands)
    there = pixels.find_measured(planes)
    values: NDArray[Any] = planes.astype(np.float32 if planes.dtype in _EXACT else np.float64)
    for plane, (low, high) in zip(values, spans, strict=True):
        plane -= values.dtype.type(low)
        plane /= values.dtype.type(high - low)
    np.clip(values, 0, 1, out=values)
    if there is not None:
        values[~there] = 0
    return values.astype(np.float32, copy=False), there
