"""Predict many pictures: read, segmented and written by several threads, in order; what is done already is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from semiovs.errors import DataError, SemiovsError, require_memory
from semiovs.evaluation.memory_fallback import ADVICE
from semiovs.images.image import read_size
from semiovs.images.readers import BandReader
from semiovs.images.tile_source import WindowedTiff, open_tiles
from semiovs.inference.picture_forms import read_picture
from semiovs.inference.prediction_files import PredictionJob
from semiovs.inference.prediction_record import PredictionRecord
from semiovs.inference.predictor import Predictor
from semiovs.inference.results import count_file_pages, write_results, write_tiles
from semiovs.inference.tiles import Tiling
from semiovs.progress import Progress, Say
from semiovs.read_ahead import read_ahead

_TIFF = (".tif", ".tiff")
#: Threads where none are asked for: on a CPU each computes on its own, on a GPU they read and write beside it.
_MOST_THREADS = 4


@dataclass(frozen=True)
class Outcome:
    """What became of a picture: what is told of its results, or why there are none."""

    job: PredictionJob
    result: dict[str, Any] | None = None
    failure: DataError | None = None


def find_rasters(jobs: Sequence[PredictionJob], predictor: Predictor) -> list[PredictionJob]:
    """The same jobs; those of TIFF with a georeference, and of TIFF so large that it is predicted in tiles, become
    rasters. Only headers are read.
    """
    return [replace(job, raster=_is_raster(job.image, predictor)) for job in jobs]


def _is_raster(path: Path, predictor: Predictor) -> bool:
    if path.suffix.lower() not in _TIFF:
        return False
    try:
        with open_tiles(path, predictor.images) as source:
            return source is not None and _choose(source, predictor) is not None
    except DataError:  # told when its turn comes
        return False


def _choose(source: WindowedTiff, predictor: Predictor) -> Tiling | None:
    """Tiles of a TIFF; one tile if it is small and has a georeference; None if it is a picture like any other."""
    tiling = predictor.choose_tiling((source.width, source.height))
    if tiling is None and source.georeference is not None:
        return Tiling(max(source.width, source.height), 0)
    return tiling


def find_threads(asked: int | None, jobs: int) -> int:
    """Number of threads: as asked, else one a core, at most four; never more than there are pictures."""
    return max(1, min(asked or min(os.cpu_count() or 1, _MOST_THREADS), jobs))


@dataclass
class PredictionRun:
    """Predicts pictures into files.

    kinds: what is written (`prediction_files.KINDS`); batch_size: pictures that are read together, those of one size go
    through the model together; threads: that read, segment and write; say: told which images are predicted in tiles.
    """

    predictor: Predictor
    record: PredictionRecord
    kinds: Sequence[str]
    threads: int = 1
    batch_size: int = 1
    say: Say = field(default=lambda line: None)  # noqa: ARG005
    show_tiles: Callable[[int, int], None] = field(default=lambda done, total: None)  # noqa: ARG005

    def find_done(self, jobs: Sequence[PredictionJob]) -> dict[str, dict[str, Any]]:
        """Name -> result of the pictures that are done already."""
        found = {}
        for job in jobs:
            done = self.record.find_done(job.name, job.image, [*job.files(self.kinds).values()])
            if done is not None:
                found[job.name] = done
        return found

    def run(self, jobs: Sequence[PredictionJob], progress: Progress) -> Iterator[Outcome]:
        """Predict pictures; yields what became of each, in order, once its files are written.

        Raises:
            ResourcesError: an image does not fit into memory.
        """
        before, share = torch.get_num_threads(), max(1, torch.get_num_threads() // self.threads)

        def work(chunk: Sequence[PredictionJob]) -> list[Outcome]:
            torch.set_num_threads(share)  # of this thread
            return self._predict(chunk)

        done, step = 0, self.batch_size
        chunks = [jobs[start : start + step] for start in range(0, len(jobs), step)]
        try:
            for outcomes in read_ahead(chunks, work, threads=self.threads):
                for outcome in outcomes:
                    done += 1
                    if len(jobs) > 1:
                        progress(done, len(jobs))
                    yield outcome
        finally:
            torch.set_num_threads(before)

    def _predict(self, jobs: Sequence[PredictionJob]) -> list[Outcome]:
        self.record.begin([job.name for job in jobs])
        outcomes: dict[str, Outcome] = {}
        read = []
        for job in jobs:
            try:
                if job.raster:
                    outcomes[job.name] = self._finish(job, self._predict_raster(job))
                else:
                    with require_memory(str(job.image), ADVICE):
                        self._tell_large(job)
                        read.append((job, *read_picture(job.image, self.predictor.images)))
            except DataError as failure:
                outcomes[job.name] = Outcome(job, failure=failure)
        with require_memory(str(jobs[0].image), ADVICE):
            found = self.predictor.predict_read([(str(job.image), seen, shown) for job, seen, shown in read])
        for (job, _, _), prediction in zip(read, found, strict=True):
            result = write_results(job, prediction, self.predictor.vocabulary, self.kinds)
            result["pages"] = 1 if isinstance(self.predictor.images, BandReader) else count_file_pages(job.image)
            outcomes[job.name] = self._finish(job, result)
        return [outcomes[job.name] for job in jobs]

    def _finish(self, job: PredictionJob, result: dict[str, Any]) -> Outcome:
        self.record.finish(job.name, job.image, [*job.files(self.kinds).values()], result)
        return Outcome(job, result)

    def _predict_raster(self, job: PredictionJob) -> dict[str, Any]:
        with open_tiles(job.image, self.predictor.images) as source, require_memory(str(job.image), ADVICE):
            if source is None or (tiling := _choose(source, self.predictor)) is None:
                raise DataError(f"{job.image}: was changed while pictures were predicted")
            if tiling.overlap:
                self._tell(job.image, (source.width, source.height), tiling, "")
            return write_tiles(job, source, tiling, self.predictor, self.kinds, self.show_tiles)

    def _tell_large(self, job: PredictionJob) -> None:
        """Say that a picture is predicted in tiles, and what it costs that it is decoded as a whole."""
        if self.predictor.tile is None:
            return
        try:
            size = read_size(job.image)
        except SemiovsError:  # the reader of bands may know better
            return
        if (tiling := self.predictor.choose_tiling(size)) is not None:
            held = 3 * size[0] * size[1] / 2**30
            self._tell(job.image, size, tiling, f"; it is decoded as a whole, {held:.1f} GiB (a tiled TIFF is not)")

    def _tell(self, image: Path, size: tuple[int, int], tiling: Tiling, more: str) -> None:
        width, height = size
        self.say(
            f"{image}: {width}x{height} pixels are predicted in tiles of {tiling.side} that share {tiling.overlap} "
            f"(--tile){more}"
        )
