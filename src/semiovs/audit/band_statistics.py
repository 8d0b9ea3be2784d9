"""Mean, deviation and range of the bands of training images, in one pass and with the memory of a few images."""

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
#: Images that are measured: all, or of a longer list this many, evenly spread over it.
MOST = 2000
#: Pixels of each image that the percentiles are taken from.
_SAMPLED = 256
#: Shares of the pixels below and above the proposed range.
_TAILS = (0.1, 99.9)
#: A deviation below this is that of a constant band, which is left alone.
_CONSTANT = 1e-6


@dataclass(frozen=True)
class BandStatistics:
    """One band of the training images, over all pixels that were measured.

    band: its number in the files; minimum, maximum, and low, high (all but 0.1 % at each end): as the files have them; nodata:
    share of pixels without a value; mean, std: of values scaled to [0, 1] as the model sees them, NaN where nothing says how.
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
class _Counted:
    """What one image adds, a number a band: count, sum and squares of the scaled values, all pixels, extremes, a sample."""

    count: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    pixels: int
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    sample: tuple[NDArray[Any], ...]


def training_images(sources: Collection) -> list[Record]:
    """What may be measured: labelled and unlabelled images, never those for evaluation, nor those from elsewhere."""
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
    found: list[_Counted] = []
    problems: list[str] = []
    read = partial(_counted_or_problem, reader=reader, scaled=scaled)
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
    return tuple(_summary(found, index, band) for index, band in enumerate(reader.take))


def _counted_or_problem(record: Record, reader: BandReader, *, scaled: bool) -> _Counted | str:
    try:
        return _counted(record, reader, scaled=scaled)
    except DataError as error:
        return str(error)


def _counted(record: Record, reader: BandReader, *, scaled: bool) -> _Counted:
    pixels = read_pixels(record.image)
    planes, there = reader.select_planes(pixels, record.image)
    values = reader.to_bands(pixels, record.image).values if scaled else np.full(planes.shape, np.nan, np.float32)
    rows = [_kept(plane, None if there is None else there[i]) for i, plane in enumerate(planes)]
    seen = [_kept(plane, None if there is None else there[i]) for i, plane in enumerate(values)]
    return _Counted(
        count=np.array([row.size for row in rows], np.float64),
        total=np.array([row.sum(dtype=np.float64) for row in seen]),
        squares=np.array([np.square(row, dtype=np.float64).sum() for row in seen]),
        pixels=planes[0].size,
        minimum=np.array([row.min() if row.size else np.inf for row in rows], np.float64),
        maximum=np.array([row.max() if row.size else -np.inf for row in rows], np.float64),
        sample=tuple(row[:: max(1, row.size // _SAMPLED)].copy() for row in rows),
    )


def _kept(plane: NDArray[Any], there: NDArray[np.bool_] | None) -> NDArray[Any]:
    return plane.ravel() if there is None else plane[there]


def _summary(found: Sequence[_Counted], index: int, band: int) -> BandStatistics:
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
        mean=_short(mean),
        std=1.0 if std < _CONSTANT else _short(std),
    )


def _short(value: float) -> float:
    """Six digits: what is written into a configuration should be readable."""
    return float(f"{value:.6g}")
