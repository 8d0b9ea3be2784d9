"""Labelling as a Ray Data pipeline: actors that hold the teacher take blocks of images and write into one store."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs import errors
from semiovs.engine.distributed import is_launched
from semiovs.engine.host import COMMAND, Host
from semiovs.engine.labelling import LabellingReport, LabellingTask, make_stop, say_agreement
from semiovs.engine.signals import StopSignals
from semiovs.errors import MissingExtraError, SemiovsError, UsageError
from semiovs.files import sweep_temporaries
from semiovs.images.record import Record
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.batch_size import choose_batch_size
from semiovs.ovs.label import drop_duplicates, label_images, require_same_images
from semiovs.ovs.precision_agreement import LabelAgreement
from semiovs.progress import Say, ShowProgress
from semiovs.store import PseudoLabelStore

#: Images of a block, or those of one batch if these are more: what is done again when a machine is lost.
BLOCK = 32
#: Name of the column of a block's number, and of what its actor reports.
_NUMBER, _REPORT = "block", "report"

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


class _BlockLabeler:
    """An actor: it builds the teacher once, and labels the blocks that it is given.

    A block that another actor had begun before its machine was lost is gone on with: what is in the store stays.
    """

    def __init__(self, job: Any) -> None:
        import ray

        self._job: _Job = ray.get(job)
        self._teacher, _ = self._job.build()

    def __call__(self, numbers: Mapping[str, NDArray[np.int64]]) -> dict[str, list[str]]:
        """Label the blocks of a batch; a report in JSON each."""
        return {_REPORT: [json.dumps(self._label(int(number))) for number in numbers[_NUMBER]]}

    def _label(self, number: int) -> dict[str, Any]:
        """The report of a block, or what is wrong with it: Ray would try it again, and wrap the error."""
        task, first = self._job.task, number * self._job.block
        records = self._job.records[first : first + self._job.block]
        try:
            store = PseudoLabelStore.open(task.out)
            done = label_images(
                self._teacher,
                records,
                task.vocabulary,
                store,
                read=task.reader.read_rgb,
                settle=False,
                **self._job.work,
            )
        except SemiovsError as error:
            return {"error": type(error).__name__, "says": str(error)}
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
        UsageError: started by torchrun; MissingExtraError: Ray is not installed.
        SemiovsError: as `run_labelling`, also what an actor raised.
    """
    if is_launched():
        raise UsageError("--engine ray starts its own processes: run it once, without torchrun")
    job, gpus, total, agreement = _prepare(task, build, shard, {**work, "batch_size": batch_size}, say)
    mine, there, store = job.records, total["already"], PseudoLabelStore.open(task.out)
    begin = time.monotonic()
    reports: list[dict[str, Any]] = []
    with _cluster(gpus, workers) as actors, StopSignals(host=host) as signals, show("labelling on Ray") as progress:
        left = _find_blocks(job, store)
        for report in _run_blocks(job, left, actors, gpus):
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


@contextmanager
def _cluster(gpus: int, workers: int | None) -> Iterator[int]:
    """Join the cluster, or start one on this machine; gives the largest number of actors.

    Raises:
        MissingExtraError: Ray is not installed; UsageError: the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    ray: Any
    try:
        import ray
    except ImportError:
        raise MissingExtraError("--engine ray needs Ray; pip install 'semiovs[ray]'") from None
    own = not ray.is_initialized()
    if own:
        local = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}  # options of a cluster of our own
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **local)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            reason = str(error).splitlines()[0][:200]
            raise UsageError(f"RAY_ADDRESS: the Ray cluster cannot be joined: {reason}") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):  # Ray tells of lost machines there, and a report may be on stdout
        try:
            yield max(1, workers or int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1)))
        finally:
            if own:
                ray.shutdown()


def _find_blocks(job: _Job, store: PseudoLabelStore) -> list[int]:
    """Numbers of the blocks that hold an image without a label."""
    firsts = range(0, len(job.records), job.block)
    return [
        first // job.block
        for first in firsts
        if any(record.id not in store for record in job.records[first : first + job.block])
    ]


def _run_blocks(job: _Job, numbers: Sequence[int], actors: int, gpus: int) -> Iterator[dict[str, Any]]:
    """Reports of blocks, in the order in which they are done.

    Raises:
        SemiovsError: of the first block that could not be labelled.
    """
    import ray

    if not numbers:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    blocks = ray.data.from_items(
        [{_NUMBER: number} for number in numbers], override_num_blocks=min(len(numbers), 64 * actors)
    )
    done = blocks.map_batches(
        _BlockLabeler,
        fn_constructor_args=(ray.put(job),),
        batch_size=1,
        concurrency=(1, min(actors, len(numbers))),
        num_cpus=1,
        num_gpus=gpus,
    )
    for row in done.iter_rows():
        report = json.loads(row[_REPORT])
        if "error" in report:
            raise getattr(errors, report["error"], errors.DataError)(report["says"])
        yield report


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
