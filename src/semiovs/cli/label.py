"""``semiovs label``: label OOD images with a teacher, into a pseudo-label store."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Json, error, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.engine.labelling import LabellingReport, LabellingTask
    from semiovs.ovs import OpenVocabModel
    from semiovs.store import PseudoLabelStore

#: Images that were left out and are named; all of them are in the JSON report.
_SHOWN = 10


#: Arguments that name the OOD images.
_IMAGES = ("ood.images=", "ood=")


@dataclass(frozen=True)
class _Training:
    """The arguments of the command that trains with the labels.

    root: start of relative paths; whole: whether they hold a configuration, or CONFIG in its place.
    """

    words: Sequence[str]
    root: Path
    whole: bool


_Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...", help="Configuration: images of ood.images are labelled into ood.labels."
    ),
]
_Calibration = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="File written by `semiovs calibrate`: uncertain pixels become ignore."),
]
_Images = Annotated[
    Path | None, typer.Option(help="Images to label instead of ood.images: folder, list, tars or hf:NAME.")
]
_Classes = Annotated[
    str | None, typer.Option(help="Without CONFIG: file of class names, shipped vocabulary, or a,b,c.")
]
_OnError = Annotated[
    str, typer.Option(metavar="skip|fail", help="On an image that cannot be labelled: leave it out, or stop.")
]


def label(
    arguments: _Arguments = None,
    teacher: options.Teacher = "masks",
    from_: options.From = None,
    map_: options.Map = None,
    set_: options.Set = None,
    weights: options.Weights = None,
    calibration: _Calibration = None,
    images: _Images = None,
    classes: _Classes = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Store to write, instead of ood.labels.")] = None,
    batch_size: options.BatchSize = 1,
    shard: options.Shard = "0/1",
    threads: options.Threads = None,
    on_error: _OnError = "fail",
    as_json: Json = False,
) -> None:
    """Label images with a teacher, into a pseudo-label store. A repeated call labels the images that are left."""
    from semiovs.calibration.calibration import Calibration
    from semiovs.engine.labelling import run_labelling

    handling, share = options.parse_on_error(on_error), options.parse_shard(shard)
    asked = options.TeacherChoice(teacher, weights, from_, map_, set_ or [])
    fitted = None if calibration is None else Calibration.load(calibration)
    task, training = _make_task(arguments or [], images, classes, out)
    if fitted is not None:
        with _name_file(calibration):  # the concepts that it was fitted with
            task = replace(task, vocabulary=fitted.vocabulary_for(task.vocabulary))
        training = replace(training, words=[*training.words, "ood.confidence=calibrated"])

    def build() -> tuple[OpenVocabModel, dict[str, Any]]:
        model = asked.build()
        if fitted is not None:
            with _name_file(calibration):
                model = fitted.applied_to(teacher, model)
        return model, {"name": teacher, **model.describe()}

    work = {"batch_size": batch_size, "on_error": handling, "threads": threads}
    done = run_labelling(task, build, shard=share, bar=_show_progress, say=log, **work)
    if done is not None:
        _report_labelling(task, done, training, batch_size, as_json=as_json)


def _show_progress(processes: int) -> AbstractContextManager[Any]:
    from semiovs.engine.distributed import is_main

    what = "labelling" if processes == 1 else f"labelling, process 0 of {processes}"
    return progress(what, shown=is_main())


def _report_labelling(
    task: LabellingTask, report_of_all: LabellingReport, training: _Training, batch_size: int, *, as_json: bool
) -> None:
    """Print what was done by all processes, what the store holds now (other shards' work too), and what is next."""
    from semiovs.store import PseudoLabelStore, count_classes

    done = report_of_all.total
    for item in done["failed"][:_SHOWN]:
        error(f"left out: {item['reason']}")
    if len(done["failed"]) > _SHOWN:
        error(f"… and {len(done['failed']) - _SHOWN} more left out")
    if done["failed"] and not (done["labeled"] or done["already"]):
        raise DataError(f"none of the {len(done['failed'])} images could be labelled")
    if done["smallest_batch"]:
        log(f"memory was short: batches of {done['smallest_batch']}, not {batch_size}")
    store = PseudoLabelStore.open(task.out)
    stats, steps = count_classes(store), _list_next_steps(task, store, len(done["failed"]), training)
    data = {"store": str(task.out), **done, "stats": stats.as_json(), "next": steps}
    if report_of_all.agreement is not None:
        data["agreement"] = report_of_all.agreement.as_json()
    absent = [name for name, pixels in stats.pixels.items() if not pixels]
    speed = f", {done['images_per_second']:.1f} a second" if done["labeled"] else ""
    lines = [
        f"{task.out}: {done['labeled']} images labelled{speed}, {done['already']} were there, "
        f"{len(done['failed'])} left out",
        f"classes that never occur: {', '.join(absent)}" if absent and stats.images else None,
        format_next(steps),
    ]
    report(data, as_json=as_json, text="\n".join(line for line in lines if line))


def _list_next_steps(task: LabellingTask, store: PseudoLabelStore, failed: int, training: _Training) -> list[str]:
    """The command that trains with the labels; of images that were left out there are none, so it gets a list."""
    from semiovs.images.manifest import Manifest

    labeled = task.images.keep_if(lambda record: record.id in store)
    lacking, words = len(task.images) - len(labeled), training.words
    if lacking and lacking == failed:
        path = task.out.with_name(f"{task.out.name}-images.jsonl")  # keeps the ids, as a text list does not
        Manifest(labeled, training.root).write_jsonl(path)
        log(f"list of the images that have labels: {path}")
        words = [*(word for word in words if not word.startswith(_IMAGES)), f"ood.images={path.absolute()}"]
    command = shlex.join(["semiovs", "train", *words])
    if lacking > failed:
        return [f"# {lacking} images have no label yet: those of other shards; with them: {command}"]
    return [command if training.whole else f"# CONFIG: your configuration, with these classes: {command}"]


@contextmanager
def _name_file(path: Path | None) -> Iterator[None]:
    """Put the name of the file before the errors raised inside."""
    try:
        yield
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from None


def _make_task(
    arguments: Sequence[str], images: Path | None, classes: str | None, out: Path | None
) -> tuple[LabellingTask, _Training]:
    """Build the labelling task, and what trains with the labels."""
    from semiovs.config import load_config, split_source
    from semiovs.config.schema import OodConfig
    from semiovs.engine.labelling import LabellingTask
    from semiovs.registry import DATASETS, lookup

    source, overrides = split_source(arguments)
    alone = source is None and not overrides
    if alone and (images is None or classes is None or out is None):
        raise UsageError("give a configuration, or --images DIR, --classes FILE and --out DIR")
    if classes is not None and not alone:
        raise UsageError("--classes: the classes are those of the configuration; leave one of the two away")
    config = load_config(source, overrides).config
    ood = config.ood or (OodConfig() if images is not None else None)
    if ood is None:
        raise UsageError("nothing to label: give --images DIR, or set ood.images (ood=DIR)")
    if images is not None:
        ood = ood.model_copy(update={"images": str(images.expanduser().absolute())})
    data = config.data.model_copy(update={"classes": _parse_classes(classes)}) if classes is not None else config.data
    dataset = lookup(DATASETS, config.data.name, kind="data set").load()(data, ood)
    found = dataset.ood_images()
    for finding in found.findings:
        log(f"{finding.severity}: {finding.line}")
    if out is None and ood.labels is None:
        raise UsageError("ood.labels: null names no store to write; give --out DIR, or set ood.labels")
    store = out or dataset.root / str(ood.labels)
    typed = [f"ood.images={images}" if images else "", f"ood.labels={out}" if out else ""]
    words = [*(["CONFIG"] if alone else arguments), *filter(None, typed)]
    training = _Training(words, dataset.root, whole=not alone)
    return LabellingTask(found.ood, found.vocabulary, store, found.images), training


def _parse_classes(classes: str) -> list[str] | str:
    """Parse ``--classes`` into a value of `data.classes`."""
    if "," in classes and not Path(classes).is_file():
        return [name.strip() for name in classes.split(",")]
    return classes
