"""Mean, standard deviation and range of each band of the training images, in one pass over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.data.collection import Collection
from semiovs.errors import DataError
from semiovs.images.pixels import read_pixels
from semiovs.images.readers import BandReader
from semiovs.images.record import Record
from semiovs.read_ahead import read_ahead

#: done, total
Progress = Callable[[int, int], None]
#: At most this many images are measured, evenly spread over longer lists.
MOST = 2000
#: Pixels sampled from each image for the percentiles.
_SAMPLED = 256
#: Percentiles that bound the proposed range.
_TAILS = (0.1, 99.9)
#: A band with a smaller standard deviation is constant, and gets a standard deviation of 1.
_CONSTANT = 1e-6


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of one band over all valid pixels of the measured training images.

    band: its number in the files; minimum, maximum, and low, high (all but 0.1 % at each end): as the files have them;
    nodata: share of pixels without a value; mean, std: of values scaled to [0, 1] as in training, NaN without
    scaling.
    """

    band: int
    minimum: float
    maximum: float
    low: float
    high: float
    nodata: float
    mean: float
    std: float

    def __str__(self) -> str:
        return f"{self.band}: mean {self.mean:.4g}, std {self.std:.4g}, values {self.minimum:g} to {self.maximum:g}"

    def as_json(self) -> dict[str, Any]:
        """Plain data; null where nothing is known."""
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class _ImageSums:
    """Sums of one image, (bands,) each: count, sum, sum of squares of scaled values; extremes; a sample of pixels."""

    count: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    pixels: int
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    sample: tuple[NDArray[Any], ...]


def list_training_images(sources: Collection) -> list[Record]:
    """Labelled and unlabelled images; evaluation and OOD images are never measured."""
    return [*sources.labeled, *(sources.unlabeled or ())]


def measure_bands(
    records: Sequence[Record],
    reader: BandReader,
    *,
    threads: int = 4,
    progress: Progress | None = None,
    scaled: bool = True,
) -> tuple[BandStatistics, ...]:
    """Statistics of the bands that `reader` takes; the same numbers whatever the number of threads.

    scaled: off, nothing is scaled, and mean and std are NaN (for pixels whose range is not known yet).

    Raises:
        DataError: images that cannot be read, all of them in one error.
    """
    step = max(1, -(-len(records) // MOST))
    chosen = records[::step]
    found: list[_ImageSums] = []
    problems: list[str] = []
    read = partial(_try_measure_image, reader=reader, scaled=scaled)
    for done, answer in enumerate(read_ahead(chosen, read, threads=threads), 1):
        if isinstance(answer, str):
            problems.append(answer)
        else:
            found.append(answer)
        if progress is not None:
            progress(done, len(chosen))
    if problems:
        raise DataError.of(problems)
    if not found:
        raise DataError("there are no training images to measure; give data.mean and data.std")
    return tuple(_summarize_band(found, index, band) for index, band in enumerate(reader.take))


def _try_measure_image(record: Record, reader: BandReader, *, scaled: bool) -> _ImageSums | str:
    try:
        return _measure_image(record, reader, scaled=scaled)
    except DataError as error:
        return str(error)


def _measure_image(record: Record, reader: BandReader, *, scaled: bool) -> _ImageSums:
    pixels = read_pixels(record.image)
    planes, there = reader.planes(pixels, record.image)
    values = reader.seen(pixels, record.image).values if scaled else np.full(planes.shape, np.nan, np.float32)
    rows = [_select_valid(plane, None if there is None else there[i]) for i, plane in enumerate(planes)]
    seen = [_select_valid(plane, None if there is None else there[i]) for i, plane in enumerate(values)]
    return _ImageSums(
        count=np.array([row.size for row in rows], np.float64),
        total=np.array([row.sum(dtype=np.float64) for row in seen]),
        squares=np.array([np.square(row, dtype=np.float64).sum() for row in seen]),
        pixels=planes[0].size,
        minimum=np.array([row.min() if row.size else np.inf for row in rows], np.float64),
        maximum=np.array([row.max() if row.size else -np.inf for row in rows], np.float64),
        sample=tuple(row[:: max(1, row.size // _SAMPLED)].copy() for row in rows),
    )


def _select_valid(plane: NDArray[Any], there: NDArray[np.bool_] | None) -> NDArray[Any]:
    return plane.ravel() if there is None else plane[there]


def _summarize_band(found: Sequence[_ImageSums], index: int, band: int) -> BandStatistics:
    count, pixels = sum(image.count[index] for image in found), sum(image.pixels for image in found)
    if not count:
        raise DataError(
            f"band {band} holds no pixel that was measured in any training image; leave it out of data.bands"
        )
    mean = sum(image.total[index] for image in found) / count
    variance = sum(image.squares[index] for image in found) / count - mean**2
    std = float("nan") if math.isnan(mean) else math.sqrt(max(variance, 0.0))
    low, high = np.percentile(np.concatenate([image.sample[index] for image in found]), _TAILS)
    return BandStatistics(
        band,
        minimum=float(min(image.minimum[index] for image in found)),
        maximum=float(max(image.maximum[index] for image in found)),
        low=float(low),
        high=float(high),
        nodata=float(1 - count / pixels),
        mean=_round_digits(mean),
        std=1.0 if std < _CONSTANT else _round_digits(std),
    )


def _round_digits(value: float) -> float:
    """Round to six digits, so that configurations stay readable."""
    return float(f"{value:.6g}")
