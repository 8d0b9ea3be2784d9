"""`semiovs data check` as a Ray Data pipeline: actors decode blocks of images and masks, one process adds up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from semiovs.audit.audit import limit_decoder_threads, list_jobs
from semiovs.audit.record_check import Inspection, Inspector
from semiovs.clusters.ray_blocks import BLOCK, in_order, run_blocks
from semiovs.clusters.ray_cluster import join_cluster
from semiovs.data.collection import Collection, Stream
from semiovs.images.record import Record

_Tools = tuple[Inspector, list[tuple[Stream, Record]]]


@dataclass(frozen=True)
class _Job:
    """The images to check; they lie under the same paths on all machines."""

    collection: Collection

    def begin(self) -> _Tools:
        """What checks a record, and all records."""
        return Inspector(self.collection, "whole"), list(list_jobs(self.collection))

    def do(self, tools: _Tools, number: int) -> list[Inspection]:
        """Check the records of a block."""
        inspector, records = tools
        with limit_decoder_threads():
            return [inspector(*job) for job in records[number * BLOCK : (number + 1) * BLOCK]]


def inspect_on_ray(collection: Collection, *, workers: int | None = None) -> Iterator[Inspection]:
    """Decode every image and mask on a Ray cluster, for `semiovs.audit.audit.audit`: what it finds is the same.

    The cluster is that of `RAY_ADDRESS`, else this machine alone; files lie under the same paths on all machines.
    workers: largest number of actors of one core each; None: one for each core.

    Raises:
        UsageError, MissingExtraError: as `semiovs.clusters.ray_cluster.join_cluster`.
        Exception: what an actor raised.
    """
    total = sum(len(stream.manifest) for stream in collection.streams.values())
    if not total:
        return
    with join_cluster(0, workers) as actors:
        for found in in_order(run_blocks(_Job(collection), range(-(-total // BLOCK)), actors=actors)):
            yield from found
