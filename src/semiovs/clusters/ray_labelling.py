"""Labelling as a Ray Data pipeline: actors that hold the teacher take blocks of images and write into one store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from semiovs.clusters.ray_blocks import BLOCK, run_blocks
from semiovs.clusters.ray_cluster import join_cluster, require_ray
from semiovs.engine.host import COMMAND, Host
from semiovs.engine.labelling import LabellingReport, LabellingTask, make_stop, say_agreement
from semiovs.engine.signals import StopSignals
from semiovs.files import sweep_temporaries
from semiovs.images.record import Record
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.batch_size import choose_batch_size
from semiovs.ovs.label import drop_duplicates, label_images, require_same_images
from semiovs.ovs.precision_agreement import LabelAgreement
from semiovs.progress import Say, ShowProgress
from semiovs.store import PseudoLabelStore

Build = Callable[[], tuple[OpenVocabModel, dict[str, Any]]]


@dataclass(frozen=True)
class _Job:
    """What every actor is given. records: of the shard, without doubles; block: images of each; work: as
    `label_images`.
    """

    task: LabellingTask
    build: Build
    records: Sequence[Record]
    block: int
    work: Mapping[str, Any]

    def begin(self) -> tuple[OpenVocabModel, PseudoLabelStore]:
        """The teacher of an actor, and the store, whose index is read once."""
        return self.build()[0], PseudoLabelStore.open(self.task.out)

    def do(self, tools: tuple[OpenVocabModel, PseudoLabelStore], number: int) -> dict[str, Any]:
        """Label a block into the store; what is there stays. Returns its report."""
        (teacher, store), first = tools, number * self.block
        store.catch_up()
        done = label_images(
            teacher,
            self.records[first : first + self.block],
            self.task.vocabulary,
            store,
            read=self.task.reader.read_rgb,
            settle=False,
            **self.work,
        )
        return {"new": done.done - done.already, **done.as_json()}


def run_on_ray(
    task: LabellingTask,
    build: Build,
    *,
    shard: tuple[int, int],
    show: ShowProgress,
    say: Say,
    host: Host = COMMAND,
    deadline: float | None = None,
    workers: int | None = None,
    batch_size: int | None = None,
    **work: Any,
) -> LabellingReport:
    """Label a shard on a Ray cluster, as `semiovs.engine.labelling.run_labelling` does in one process: the same bytes.

    The cluster is that of `RAY_ADDRESS`, else this machine alone. All machines see images, weights and store under the
    same paths. workers: largest number of actors, one a GPU, or one a core where there is none; None: as many as the
    cluster holds. The pool grows from one actor as long as blocks wait, no more blocks are handed out than the actors
    can take, and the blocks of a lost machine go to another. deadline: of `time.monotonic`; work: as `label_images`.

    Raises:
        UsageError, MissingExtraError: as `semiovs.clusters.ray_cluster.join_cluster`.
        SemiovsError: as `run_labelling`, also what an actor raised.
    """
    require_ray()
    job, gpus, total, agreement = _prepare(task, build, shard, {**work, "batch_size": batch_size}, say)
    mine, there, store = job.records, total["already"], PseudoLabelStore.open(task.out)
    begin = time.monotonic()
    reports: list[dict[str, Any]] = []
    with join_cluster(gpus, workers) as actors, StopSignals(host=host) as signals, show("labelling on Ray") as progress:
        left = _find_blocks(job, store)
        for _, report in run_blocks(job, left, actors=actors, gpus=gpus):
            reports.append(report)
            progress(there + sum(done["new"] for done in reports), len(mine))
            if signals.received or (deadline is not None and time.monotonic() >= deadline):
                break
    store = PseudoLabelStore.open(task.out)
    labeled = sum(record.id in store for record in mine) - there
    if len(reports) < len(left):
        raise make_stop(signals, there + labeled, len(mine), task)
    sweep_temporaries(task.out / "incoming")  # of actors that were killed here
    store.settle()
    total |= {"processes": actors, **_sum_up(reports, mine, labeled, time.monotonic() - begin)}
    return LabellingReport(task.out, total, agreement)


def _prepare(
    task: LabellingTask, build: Build, shard: tuple[int, int], work: Mapping[str, Any], say: Say
) -> tuple[_Job, int, dict[str, Any], LabelAgreement | None]:
    """Make or check the store; gives the job, the GPUs of an actor, counts for the report, and what the teacher's
    shortcuts change.

    Raises:
        SemiovsError: as `semiovs.engine.labelling.run_labelling`.
    """
    teacher, description = build()
    teacher.check_vocabulary(task.vocabulary)
    size = work["batch_size"] or choose_batch_size(teacher.device)
    gpus = int(teacher.device is not None and teacher.device.type == "cuda")
    store = PseudoLabelStore.create(task.out, task.vocabulary, teacher=description)
    agreement = say_agreement(teacher, task, say)
    unique, duplicates = drop_duplicates(task.images)
    mine = unique[shard[0] :: shard[1]]
    there = [record for record in mine if record.id in store]
    require_same_images(store, there)
    job = _Job(task, build, mine, size * max(1, BLOCK // size), {**work, "batch_size": size})
    return job, gpus, {"already": len(there), "duplicates": duplicates}, agreement


def _find_blocks(job: _Job, store: PseudoLabelStore) -> list[int]:
    """Numbers of the blocks that hold an image without a label."""
    firsts = range(0, len(job.records), job.block)
    return [
        first // job.block
        for first in firsts
        if any(record.id not in store for record in job.records[first : first + job.block])
    ]


def _sum_up(
    reports: Sequence[dict[str, Any]], records: Sequence[Record], labeled: int, seconds: float
) -> dict[str, Any]:
    """One report of all blocks, as `LabelReport.as_json`."""
    order = {record.id: number for number, record in enumerate(records)}
    batches = [report["smallest_batch"] for report in reports if report["smallest_batch"]]
    failed = [item for report in reports for item in report["failed"]]
    return {
        "listed": len(records),
        "labeled": labeled,
        "failed": sorted(failed, key=lambda item: order[item["id"]]),
        "seconds": round(seconds, 3),
        "images_per_second": round(labeled / seconds, 2) if seconds > 0 else 0.0,
        "smallest_batch": min(batches, default=None),
    }
