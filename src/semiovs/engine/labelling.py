"""The labelling job: one process or many of one launch ask a teacher, into one pseudo-label store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.config import Config
from semiovs.config.ood_section import OodConfig
from semiovs.engine.host import COMMAND, Host
from semiovs.engine.label_shards import join_shards
from semiovs.engine.signals import StopSignals, make_stop_error
from semiovs.engine.teacher_choice import AUTO, Agree, TeacherChoice, find_answers
from semiovs.errors import DataError, PreemptedError, SemiovsError, UsageError
from semiovs.images.manifest import Manifest
from semiovs.images.readers import ImageReader
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.label import label_images
from semiovs.ovs.precision_agreement import LabelAgreement, measure_agreement
from semiovs.progress import Say, ShowProgress
from semiovs.registry import DATASETS, lookup
from semiovs.report.table import Table, render_lines
from semiovs.store import PseudoLabelStore, count_classes
from semiovs.vocab.vocabulary import Vocabulary


@dataclass(frozen=True)
class LabellingTask:
    """What to label, with which classes, where to; reader: of the image files; root: start of relative paths; alone:
    there is no configuration, and so there are no labelled images to learn from.
    """

    images: Manifest
    vocabulary: Vocabulary
    out: Path
    reader: ImageReader
    root: Path
    alone: bool = False


@dataclass(frozen=True)
class LabellingReport:
    """What all processes of a launch did together (`LabelReport.as_json`, summed), in the store `out`; agreement: with
    exact arithmetic.
    """

    out: Path
    total: dict[str, Any]
    agreement: LabelAgreement | None

    @property
    def store(self) -> PseudoLabelStore:
        """The store, with what other jobs have added."""
        return PseudoLabelStore.open(self.out)

    @property
    def labeled(self) -> int:
        """Images that were labelled now."""
        return int(self.total["labeled"])

    @property
    def already(self) -> int:
        """Images that had a label before."""
        return int(self.total["already"])

    @property
    def failed(self) -> list[dict[str, str]]:
        """Images that were left out: `id` and `reason`."""
        return list(self.total["failed"])

    def __str__(self) -> str:
        speed = f", {self.total['images_per_second']:.1f} a second" if self.labeled else ""
        return (
            f"{self.out}: {self.labeled} images labelled{speed}, {self.already} were there, {len(self.failed)} left out"
        )

    def table(self) -> Table:
        """Of each class: the images of the store that show it, and its share of their labelled pixels in percent."""
        stats = count_classes(self.store)
        total = max(sum(stats.pixels.values()), 1)
        return Table(
            {"class": name, "images": stats.images_with[name], "% of pixels": 100 * pixels / total}
            for name, pixels in stats.pixels.items()
        )

    def _repr_html_(self) -> str:
        return render_lines([str(self)]) + self.table()._repr_html_()

    def require_labels(self) -> None:
        """Raise DataError if there were images, and not one of them has a label."""
        failed = self.total["failed"]
        if failed and not (self.total["labeled"] or self.total["already"]):
            reasons = [item["reason"] for item in failed]
            raise DataError(f"none of the {len(failed)} images could be labelled", reasons)


def make_task(
    config: Config,
    *,
    images: str | os.PathLike[str] | None = None,
    classes: str | os.PathLike[str] | Sequence[str] | None = None,
    out: Path | None = None,
    alone: bool = False,
    say: Say,
) -> LabellingTask:
    """What to label: the images of `ood.images` into the store `ood.labels`, unless other `images` or `out` are given.

    classes: file, shipped vocabulary or names; alone: there is no configuration but the default one, so that all three
    must be given; say: told what is wrong with lists.

    Raises:
        UsageError: no images, no store to write, or classes beside those of a configuration; DataError: as the data
        set.
    """
    if alone and (images is None or classes is None or out is None):
        raise UsageError("give a configuration, or --images DIR, --classes FILE and --out DIR")
    if classes is not None and not alone:
        raise UsageError("--classes: the classes are those of the configuration; leave one of the two away")
    ood = config.ood or (OodConfig() if images is not None else None)
    if ood is None:
        raise UsageError("nothing to label: give --images DIR, or set ood.images (ood=DIR)")
    if images is not None:
        ood = ood.model_copy(update={"images": str(Path(images).expanduser().absolute())})
    data = config.data.model_copy(update={"classes": _parse_classes(classes)}) if classes is not None else config.data
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(data, ood)
    found = dataset.ood_images()
    for finding in found.findings:
        say(f"{finding.severity}: {finding.line}")
    if out is None and ood.labels is None:
        raise UsageError("ood.labels: null names no store to write; give --out DIR, or set ood.labels")
    store = out or dataset.root / str(ood.labels)
    return LabellingTask(found.ood, found.vocabulary, store, found.images, dataset.root, alone)


def _parse_classes(classes: str | os.PathLike[str] | Sequence[str]) -> list[str] | str:
    """A value of `data.classes`: names, or the name of a file or vocabulary."""
    if not isinstance(classes, str | os.PathLike):
        return list(classes)
    text = os.fspath(classes)
    return [name.strip() for name in text.split(",")] if "," in text and not Path(text).is_file() else text


def resolve_teacher(
    asked: TeacherChoice, task: LabellingTask, config: Config, *, agree: Agree, say: Say
) -> TeacherChoice:
    """The teacher that ``auto`` stands for (`TeacherChoice.resolve`); masks in `ood.labels` come first.

    Raises:
        UsageError: the images have masks already, where the store would be; others as `TeacherChoice.resolve`.
    """
    answers = find_answers(config) if asked.name == AUTO else None
    ids = (record.id for record in task.images)
    chosen = asked.resolve(task.vocabulary, answers=answers, ids=ids, agree=agree, say=say)
    if chosen.root == task.out and asked.root is None:
        raise UsageError(f"{task.out}: holds a mask of every image, so there is nothing to label; train with them")
    return chosen


def run_labelling(
    task: LabellingTask,
    build: Callable[[], tuple[OpenVocabModel, dict[str, Any]]],
    *,
    shard: tuple[int, int],
    show: ShowProgress,
    say: Say,
    host: Host = COMMAND,
    deadline: float | None = None,
    **work: Any,
) -> LabellingReport | None:
    """Do this process's part of `shard`; None on all processes but the main one, which hears of all.

    build: teacher and its description, called once the process has its GPU; show: shows how far the main process is;
    say: told what the teacher's shortcuts change; deadline: of `time.monotonic`, when it stops; work: as
    `label_images`.

    Raises:
        ConfigError: classes that the teacher cannot look for.
        DataError: images or the store, or a process of the launch that is gone; PreemptedError, InterruptedRunError: a
        signal, or the deadline, after what was begun is in the store.
    """
    with join_shards() as ranks:
        teacher, description = build()
        teacher.check_vocabulary(task.vocabulary)
        store = PseudoLabelStore.create(task.out, task.vocabulary, teacher=description)
        agreement = say_agreement(teacher, task, say) if ranks.is_main else None
        with StopSignals(host=host) as signals:

            def stop() -> bool:
                return bool(signals.received) or (deadline is not None and time.monotonic() >= deadline)

            what = "labelling" if ranks.size == 1 else f"labelling, process 0 of {ranks.size}"
            with show(what) if ranks.is_main else nullcontext() as progress:
                done = label_images(
                    teacher,
                    task.images,
                    task.vocabulary,
                    store,
                    shard=ranks.take_shard(shard),
                    progress=progress,
                    stop=stop,
                    read=task.reader.read_rgb,
                    **work,
                )
            reports = ranks.gather_reports(done.as_json(), stop)
            if signals.received or done.stopped:
                raise make_stop(signals, done.done, done.listed, task)
        return LabellingReport(task.out, _sum_up(reports), agreement) if ranks.is_main else None


def make_stop(signals: StopSignals, done: int, listed: int, task: LabellingTask) -> SemiovsError:
    """The error of a job that a signal ended, or its deadline, after `done` of its images."""
    told = f"{done} of {listed} images are done and in {task.out}; the same command does the rest"
    if signals.received:
        return make_stop_error(signals.received, told)
    return PreemptedError(f"the time is over; {told}")


def say_agreement(teacher: OpenVocabModel, task: LabellingTask, say: Say) -> LabelAgreement | None:
    """Measure and say what a teacher's shortcuts change, where it takes any; None where it takes none."""
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
