"""What the predictions of a run say beyond its recorded scores: boundaries, confidences, and pictures of examples."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiovs.calibration.reliability import Reliability
from semiovs.errors import DataError, SemiovsError, UsageError
from semiovs.images.conventions import IGNORE
from semiovs.images.masks import MaskReader
from semiovs.images.overlay import resize_photo, shrink_labels
from semiovs.images.record import Record
from semiovs.inference import Predictor
from semiovs.models.device import pick_device
from semiovs.run_page.boundary import compute_iou, count_areas

#: Bins of confidence (Guo et al. 2017 take 15).
BINS = 15
#: Most images that are measured, and seconds after which no further one is begun; examples may take as long again.
MOST, SECONDS = 200, 25.0
#: Long side of pictures on the page, pixels.
SIDE = 320

Labels = NDArray[np.uint8]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Example:
    """An image with its mask and prediction, made small. picture: RGB; truth, predicted: (h, w) of its size."""

    picture: Image.Image
    truth: Labels
    predicted: Labels


@dataclass
class Measurement:
    """What was measured on the predictions for some evaluation images.

    listed: evaluation images in all; images: of them those that were measured; areas, bands: (3, K) pixels, see
    `count_overlap`; tally: (3, BINS) pixels of each bin of confidence, those that are right, and the sum of their
    confidences; examples: by image; left_out: examples that there was no time for; problems: of images that could not
    be read.
    """

    listed: int
    areas: NDArray[np.int64]
    bands: NDArray[np.int64]
    tally: NDArray[np.float64] = field(default_factory=lambda: np.zeros((3, BINS)))
    images: int = 0
    examples: dict[str, Example] = field(default_factory=dict)
    left_out: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def miou(self) -> float:
        """Mean IoU in percent over the classes in these masks; NaN if they show none."""
        return _mean(compute_iou(self.areas))

    @property
    def boundary_miou(self) -> float:
        """Mean boundary IoU in percent, over the same classes."""
        return _mean(compute_iou(self.bands))

    @property
    def reliability(self) -> Reliability:
        """How often predictions of some confidence are right, over pixels."""
        pixels, right, said = self.tally
        with np.errstate(invalid="ignore"):
            return Reliability(said / pixels, right / pixels, pixels / max(pixels.sum(), 1))

    def add(self, truth: Labels, predicted: Labels, confidence: NDArray[np.float32]) -> None:
        """Count one image."""
        areas, bands = count_areas(truth, predicted, self.areas.shape[1])
        self.areas, self.bands, self.images = self.areas + areas, self.bands + bands, self.images + 1
        known = (truth != IGNORE) & (predicted != IGNORE)
        sure = confidence[known].astype(np.float64)
        bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
        right = (truth == predicted)[known]
        self.tally += np.stack([np.bincount(bins, weights, BINS) for weights in (np.ones_like(sure), right, sure)])


def measure(
    predictor: Predictor,
    records: Sequence[Record],
    masks: MaskReader,
    *,
    shown: Sequence[str] = (),
    most: int = MOST,
    seconds: float = SECONDS,
    progress: Progress | None = None,
) -> Measurement:
    """Predict images with masks, at most `most` of them, spread evenly over their ids, for about `seconds`.

    shown: ids of images that become examples, whether they are measured or not, the first ones first; progress: called
    with how many are done and how many there are.
    """
    nothing = np.zeros((3, masks.num_classes), np.int64)
    found = Measurement(len(records), nothing, nothing)
    begin = time.monotonic()
    chosen = list(_spread(sorted(records, key=lambda record: record.id), most))
    for done, record in enumerate(chosen):
        if found.images and time.monotonic() - begin > seconds:
            break
        _measure_image(found, predictor, record, masks, shown=record.id in shown, counts=True)
        if progress is not None:
            progress(done + 1, len(chosen))
    by_id = {record.id: record for record in records}
    for name in shown:
        if name not in by_id or name in found.examples:
            continue
        if time.monotonic() - begin > 2 * seconds:
            found.left_out += 1
        else:
            _measure_image(found, predictor, by_id[name], masks, shown=True, counts=False)
    return found


def _measure_image(
    found: Measurement, predictor: Predictor, record: Record, masks: MaskReader, *, shown: bool, counts: bool
) -> None:
    try:
        truth, prediction = masks(record.mask or record.image), predictor(record.image)
        if truth.shape != prediction.labels.shape:
            raise DataError(f"{record.image}: its mask {record.mask} has another size")
    except SemiovsError as error:
        found.problems.append(str(error))
        return
    if counts:
        found.add(truth, prediction.labels, prediction.confidence)
    if shown:
        found.examples[record.id] = shrink(prediction.image, truth, prediction.labels)


def shrink(picture: Image.Image, truth: Labels, predicted: Labels) -> Example:
    """An example at the size in which it is shown; small images stay as they are."""
    if max(picture.size) <= SIDE:
        return Example(picture.convert("RGB"), truth, predicted)
    small = resize_photo(picture, SIDE)
    return Example(small, shrink_labels(truth, small.size), shrink_labels(predicted, small.size))


def _spread(records: Sequence[Record], most: int) -> Iterator[Record]:
    """At most `most` records at even distances, in an order whose beginnings are spread evenly too (van der Corput)."""
    places = [i * len(records) // min(most, len(records)) for i in range(min(most, len(records)))]
    for place in sorted(range(len(places)), key=lambda i: int(f"{i:032b}"[::-1], 2)):
        yield records[places[place]]


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")


def find_predictor(run: Path, model: str | None, device: str) -> tuple[Predictor, str]:
    """The newest model of a run, ready to predict with its evaluation settings, and what to call it.

    device: the run's; where it is not there, the one that is.

    Raises:
        WeightsError: the run has no weights, or damaged ones.
    """
    try:
        there = pick_device(device)
    except UsageError:
        there = pick_device("auto")
    newest = run / "checkpoints" / "last.pt"
    if newest.is_file():
        return Predictor.load(newest, which=model, device=there), "the newest checkpoint"
    return Predictor.load(run, device=there), "the best checkpoint, as the last one was not kept"
