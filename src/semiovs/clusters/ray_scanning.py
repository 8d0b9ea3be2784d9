"""The scan of `semiovs select` as a Ray Data pipeline: actors look at images and write the chunks of its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from semiovs.clusters.ray_blocks import run_blocks
from semiovs.clusters.ray_cluster import join_cluster
from semiovs.errors import DataError
from semiovs.select.scan import Examiner, ImageScan
from semiovs.select.scan_table import PoolEntry, ScanTable


@dataclass(frozen=True)
class _Chunk:
    """A chunk that is missing. mark: as `ScanTable.chunks`; asked: as `ImageScan`."""

    table: ScanTable
    asked: bool
    number: int
    images: Sequence[PoolEntry]
    mark: str


@dataclass(frozen=True)
class _Job:
    """Chunks, and what builds the one that looks; images, weights and tables lie under the same paths everywhere."""

    chunks: Sequence[_Chunk]
    build: Callable[[], Examiner]

    def begin(self) -> Examiner:
        """What looks at the images, with its models."""
        return self.build()

    def do(self, tools: Examiner, number: int) -> int:
        """Scan a chunk and write it; returns its images.

        Raises:
            DataError: teacher, weights or stored labels are others on this machine.
        """
        chunk = self.chunks[number]
        examiner = ImageScan(chunk.table, chunk.images, chunk.asked).examiner(tools)
        if examiner.settings != chunk.table.settings:
            raise DataError(
                "a machine of the Ray cluster has another teacher, encoder or labels than this one; give all machines "
                "the same files under the same paths"
            )
        made = examiner.rows(chunk.images, 1, lambda _: False)
        assert made is not None
        chunk.table.write(chunk.number, chunk.mark, *made)
        return len(chunk.images)


def fill_on_ray(
    scans: Sequence[ImageScan],
    examiner: Examiner,
    build: Callable[[], Examiner],
    *,
    workers: int | None = None,
    shard: tuple[int, int] = (0, 1),
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005
    stop: Callable[[], bool] = lambda: False,
) -> list[int]:
    """Compute the chunks that are missing, on a Ray cluster; `scan_pool` then finds them. Gives the images of each scan
    that were looked at.

    The cluster is that of `RAY_ADDRESS`, else this machine alone. examiner: says what a chunk depends on, and whether
    an actor takes a GPU; build: makes the same one in an actor; workers: largest number of actors; shard: (i, n), every
    n-th chunk from the i-th on; progress: told images done, and all that are missing; stop: asked after each chunk.

    Raises:
        UsageError, MissingExtraError: as `semiovs.clusters.ray_cluster.join_cluster`.
        Exception: what an actor raised.
    """
    found = [list(_list_missing(scan, examiner, shard)) for scan in scans]
    chunks = [chunk for part in found for chunk in part]
    places = [place for place, part in enumerate(found) for _ in part]
    looked, total = [0] * len(scans), sum(len(chunk.images) for chunk in chunks)
    if not chunks:
        return looked
    device = None if examiner.teacher is None else examiner.teacher.device
    gpus = int(device is not None and device.type == "cuda")
    with join_cluster(gpus, workers) as actors:
        for number, images in run_blocks(_Job(chunks, build), range(len(chunks)), actors=actors, gpus=gpus):
            looked[places[number]] += images
            progress(sum(looked), total)
            if stop():
                break
    return looked


def _list_missing(scan: ImageScan, examiner: Examiner, shard: tuple[int, int]) -> Iterator[_Chunk]:
    index, count = shard
    version = scan.examiner(examiner).version
    for number, images, mark in scan.table.chunks(scan.images, version):
        if number % count == index and not scan.table.holds(number, mark):
            yield _Chunk(scan.table, scan.asked, number, images, mark)
