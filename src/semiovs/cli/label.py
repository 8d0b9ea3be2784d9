"""``semiovs label``: OOD images and a teacher in, a pseudo-label store out."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, error, log, report
from semiovs.cli.progress import progress
from semiovs.cli.teacher_options import on_error_of, shard_of, teacher_options
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.images.manifest import Manifest
    from semiovs.images.readers import ImageReader
    from semiovs.ovs import OpenVocabModel
    from semiovs.ovs.label import LabelReport
    from semiovs.ovs.precision_agreement import LabelAgreement
    from semiovs.vocab import Vocabulary

#: Images that were left out and are named; all of them are in the JSON report.
_SHOWN = 10


@dataclass(frozen=True)
class _Task:
    """What to label, with which classes, where to; next: the command that uses the labels; reader: of the image files."""

    images: Manifest
    vocabulary: Vocabulary
    out: Path
    next: str
    reader: ImageReader


def label(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="Labels the images of ood.images into ood.labels."),
    ] = None,
    teacher: Annotated[str, typer.Option(help="Who labels (semiovs list teachers).")] = "masks",
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="Teacher masks: folder of ready-made masks or score maps.")
    ] = None,
    map_: Annotated[
        str | None,
        typer.Option("--map", help="Teacher masks: meaning of values, '7=road,8=ignore', or a YAML file that says it."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Any other option of the teacher.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of the teacher.")] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of `semiovs calibrate`: doubtful pixels become ignore.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder, list, tars or hf:NAME, instead of ood.images.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Without CONFIG: file of class names, shipped vocabulary, or a,b,c.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The store, instead of ood.labels.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that the teacher sees at once; fewer where memory is short.")] = 1,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Label every N-th image from the I-th on (from 0); torchrun's processes share it.")
    ] = "0/1",
    threads: Annotated[
        int | None, typer.Option(min=1, help="So many read images, and so many write labels; default: one a core.")
    ] = None,
    on_error: Annotated[str, typer.Option(metavar="skip|fail", help="What to do about a bad image.")] = "fail",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Label images with a teacher, into a pseudo-label store. Killed or repeated, it does what is left."""
    from semiovs.cli.calibrate import calibrated
    from semiovs.ovs import build_ovs

    work = {"batch_size": batch_size, "on_error": on_error_of(on_error), "threads": threads}
    share, options = shard_of(shard), teacher_options(from_, map_, set_ or [])
    task = _calibrated(_task(arguments or [], images, classes, out), calibration)

    def build() -> tuple[OpenVocabModel, dict[str, Any]]:
        who = build_ovs(teacher, weights=weights, **options)
        if calibration is not None:
            who = calibrated(calibration, teacher, who, task.vocabulary)
        return who, _described(teacher, who)

    _label(task, build, share, work, as_json=as_json)


def _calibrated(task: _Task, calibration: Path | None) -> _Task:
    """The task with the concepts that a calibration was fitted with, and its confidences named in the next command."""
    from semiovs.cli.calibrate import vocabulary_of

    if calibration is None:
        return task
    return replace(
        task,
        vocabulary=vocabulary_of(calibration, task.vocabulary),
        next=f"{task.next} ood.confidence=calibrated",
    )


def _label(
    task: _Task,
    build: Callable[[], tuple[OpenVocabModel, dict[str, Any]]],
    share: tuple[int, int],
    work: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    """Do this process's part; rank 0 tells what all did. build: teacher and its description, once the process has its GPU."""
    from semiovs.engine.label_shards import join_shards
    from semiovs.engine.signals import StopSignals
    from semiovs.ovs.label import label_images
    from semiovs.store import PseudoLabelStore

    with join_shards() as ranks, StopSignals() as signals:

        def stop() -> bool:
            return bool(signals.received)

        who, description = build()
        store = PseudoLabelStore.create(task.out, task.vocabulary, teacher=description)
        agreement = _agreement(who, task) if ranks.is_main else None
        with progress(_what(ranks.size), shown=ranks.is_main) as show:
            done = label_images(
                who,
                task.images,
                task.vocabulary,
                store,
                shard=ranks.take_shard(share),
                progress=show,
                stop=stop,
                read=task.reader.rgb,
                **work,
            )
        reports = ranks.gather_reports(done.as_json(), stop)
        _require_end(task, done, signals.received)
        if ranks.is_main:
            _tell(task, reports, work["batch_size"], agreement, as_json=as_json)


def _agreement(who: OpenVocabModel, task: _Task) -> LabelAgreement | None:
    """Measure and say what a teacher's shortcuts change, where it takes any."""
    from semiovs.ovs.precision_agreement import measure_agreement

    exact = who.exact()
    found = None if exact is None else measure_agreement(who, exact, task.images, task.vocabulary, read=task.reader.rgb)
    if found is not None:
        log(
            f"{found.percent:.2f} % of the pixels of {found.images} images get the label that exact arithmetic gives them "
            "(fp32, nothing rejected early)"
        )
    return found


def _what(processes: int) -> str:
    return "labelling" if processes == 1 else f"labelling, process 0 of {processes}"


def _require_end(task: _Task, done: LabelReport, signal: int) -> None:
    """Raise what a stopped job ends with."""
    from semiovs.engine.signals import make_stop_error

    if signal:
        raise make_stop_error(
            signal, f"{done.done} of {done.listed} images are done and in {task.out}; the same command does the rest"
        )


def _tell(
    task: _Task, reports: Sequence[dict[str, Any]], batch_size: int, agreement: LabelAgreement | None, *, as_json: bool
) -> None:
    """Print what was done by all processes, what the store holds now (other shards' work too), and the next command."""
    from semiovs.store import PseudoLabelStore, count_classes

    done = _together(reports)
    for item in done["failed"][:_SHOWN]:
        error(f"left out: {item['reason']}")
    if len(done["failed"]) > _SHOWN:
        error(f"… and {len(done['failed']) - _SHOWN} more left out")
    if done["failed"] and not (done["labeled"] or done["already"]):
        raise DataError(f"none of the {len(done['failed'])} images could be labelled")
    if done["smallest_batch"]:
        log(f"memory was short: batches of {done['smallest_batch']}, not {batch_size}")
    stats = count_classes(PseudoLabelStore.open(task.out))
    data = {"store": str(task.out), **done, "stats": stats.as_json()}
    if agreement is not None:
        data["agreement"] = agreement.as_json()
    absent = [name for name, pixels in stats.pixels.items() if not pixels]
    speed = f", {done['images_per_second']:.1f} a second" if done["labeled"] else ""
    lines = [
        f"{task.out}: {done['labeled']} images labelled{speed}, {done['already']} were there, "
        f"{len(done['failed'])} left out",
        f"classes that never occur: {', '.join(absent)}" if absent and stats.images else None,
        _list_without(task) if done["failed"] else None,
        f"next: {task.next}",
    ]
    report(data, as_json=as_json, text="\n".join(line for line in lines if line))


def _list_without(task: _Task) -> str:
    """A training takes no image without a label: the command that writes a list of the others."""
    command = task.next.replace("semiovs train", "semiovs data check", 1)
    return f"a list of the images that have labels: {command} --clean good writes good/ood.txt; train with ood.images=good/ood.txt"


def _together(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
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


def _task(arguments: Sequence[str], images: Path | None, classes: str | None, out: Path | None) -> _Task:
    from semiovs.config import load_config, split_source
    from semiovs.config.schema import OodConfig
    from semiovs.registry import DATASETS, lookup

    source, overrides = split_source(arguments)
    if source is None and not overrides:
        return _task_without_config(images, classes, out)
    if classes is not None:
        raise UsageError("--classes: the classes are those of the configuration; leave one of the two away")
    config = load_config(source, overrides).config
    ood = config.ood or (OodConfig() if images is not None else None)
    if ood is None:
        raise UsageError("nothing to label: give --images DIR, or set ood.images (ood=DIR)")
    if images is not None:
        ood = ood.model_copy(update={"images": str(images.expanduser().absolute())})
    # The labels are about to be made: `naive` is the mode that reads images alone.
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(
        config.data, ood.model_copy(update={"mode": "naive"})
    )
    sources = dataset.sources()
    typed = [*arguments, f"ood.images={images}" if images else "", f"ood.labels={out}" if out else ""]
    command = shlex.join(["semiovs", "train", *filter(None, typed)])
    return _Task(sources.ood, sources.vocabulary, out or dataset.root / ood.labels, command, sources.images)


def _task_without_config(images: Path | None, classes: str | None, out: Path | None) -> _Task:
    from semiovs.images.readers import RGB
    from semiovs.images.source import read_source
    from semiovs.vocab import Vocabulary

    if images is None or classes is None or out is None:
        raise UsageError("give a configuration, or --images DIR, --classes FILE and --out DIR")
    if "," in classes and not Path(classes).is_file():
        vocabulary = Vocabulary.of([name.strip() for name in classes.split(",")])
    else:
        vocabulary = Vocabulary.load(classes)
    manifest = read_source(images.name, images.parent)
    return _Task(
        manifest,
        vocabulary,
        out,
        f"semiovs train CONFIG {shlex.join([f'ood.images={images}', f'ood.labels={out}'])}",
        RGB,
    )


def _described(name: str, teacher: OpenVocabModel) -> dict[str, Any]:
    return {"name": name, **teacher.describe()}
