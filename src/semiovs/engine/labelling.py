"""The labelling job: one process or many of one launch ask a teacher, into one pseudo-label store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.engine.label_shards import join_shards
from semiovs.engine.signals import StopSignals, make_stop_error
from semiovs.images.manifest import Manifest
from semiovs.images.readers import ImageReader
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.label import label_images
from semiovs.ovs.precision_agreement import LabelAgreement, measure_agreement
from semiovs.store import PseudoLabelStore
from semiovs.vocab.vocabulary import Vocabulary

#: Called with what is being done; gives a context whose value takes (done, total).
ProgressBar = Callable[[int], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class LabellingTask:
    """What to label, with which classes, where to; reader: of the image files."""

    images: Manifest
    vocabulary: Vocabulary
    out: Path
    reader: ImageReader


@dataclass(frozen=True)
class LabellingReport:
    """What all processes of a launch did together (`LabelReport.as_json`, summed); agreement: with exact arithmetic."""

    total: dict[str, Any]
    agreement: LabelAgreement | None


def run_labelling(
    task: LabellingTask,
    build: Callable[[], tuple[OpenVocabModel, dict[str, Any]]],
    *,
    shard: tuple[int, int],
    bar: ProgressBar,
    say: Callable[[str], None],
    **work: Any,
) -> LabellingReport | None:
    """Do this process's part of `shard`; None on all processes but the main one, which hears of all.

    build: teacher and its description, called once the process has its GPU; bar: number of processes -> a progress bar;
    say: told what the teacher's shortcuts change; work: as `label_images`.

    Raises:
        DataError: images or the store, or a process of the launch that is gone; PreemptedError, InterruptedRunError: a
        signal, after what was begun is in the store.
    """
    with join_shards() as ranks:
        teacher, description = build()
        store = PseudoLabelStore.create(task.out, task.vocabulary, teacher=description)
        agreement = _measure_agreement(teacher, task, say) if ranks.is_main else None
        with StopSignals() as signals:

            def stop() -> bool:
                return bool(signals.received)

            with bar(ranks.size) as show:
                done = label_images(
                    teacher,
                    task.images,
                    task.vocabulary,
                    store,
                    shard=ranks.take_shard(shard),
                    progress=show,
                    stop=stop,
                    read=task.reader.read_rgb,
                    **work,
                )
            reports = ranks.gather_reports(done.as_json(), stop)
            if signals.received:
                told = f"{done.done} of {done.listed} images are done and in {task.out}; the same command does the rest"
                raise make_stop_error(signals.received, told)
        return LabellingReport(_sum_up(reports), agreement) if ranks.is_main else None


def _measure_agreement(
    teacher: OpenVocabModel, task: LabellingTask, say: Callable[[str], None]
) -> LabelAgreement | None:
    """Measure and say what a teacher's shortcuts change, where it takes any."""
    exact = teacher.exact()
    if exact is None:
        return None
    found = measure_agreement(teacher, exact, task.images, task.vocabulary, read=task.reader.read_rgb)
    if found is not None:
        say(
            f"{found.percent:.2f} % of the pixels of {found.images} images get the label that exact arithmetic gives "
            "them (fp32, nothing rejected early)"
        )
    return found


def _sum_up(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One report of all processes, which worked at the same time."""
    total = {key: sum(r[key] for r in reports) for key in ("listed", "labeled", "already")}
    batches = [r["smallest_batch"] for r in reports if r["smallest_batch"]]
    return {
        **total,
        "duplicates": reports[0]["duplicates"],  # of the whole list, which every process reads
        "failed": [item for r in reports for item in r["failed"]],
        "seconds": max(r["seconds"] for r in reports),
        "images_per_second": round(sum(r["images_per_second"] for r in reports), 2),
        "smallest_batch": min(batches, default=None),
        "processes": len(reports),
    }
