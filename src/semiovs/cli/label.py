"""``semiovs label``: label OOD images with a teacher, into a pseudo-label store."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli import teacher_options as options
from semiovs.cli.console import Engine, Json, Workers, error, log, report
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import progress

if TYPE_CHECKING:
    from semiovs.engine.labelling import LabellingReport, LabellingTask
    from semiovs.store import PseudoLabelStore

#: Images that were left out and are named; all of them are in the JSON report.
_SHOWN = 10


#: Arguments that name the OOD images.
_IMAGES = ("ood.images=", "ood=")


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
_BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1, help="Images per batch of the teacher; reduced if memory runs out; default: 1, on a GPU up to 8."
    ),
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
    batch_size: _BatchSize = None,
    shard: options.Shard = "0/1",
    threads: options.Threads = None,
    on_error: _OnError = "fail",
    engine: Engine = "local",
    workers: Workers = None,
    yes: options.Yes = False,
    as_json: Json = False,
) -> None:
    """Label images with a teacher, into a pseudo-label store. A repeated call labels the images that are left."""
    from semiovs.calibration.labelling import label_with
    from semiovs.config import load_config, split_source
    from semiovs.config.option_texts import parse_on_error, parse_shard
    from semiovs.engine.labelling import make_task

    handling, share, run = parse_on_error(on_error), parse_shard(shard), _choose_engine(engine, workers)
    asked = options.type_teacher(teacher, weights, from_, map_, set_)
    config = load_config(*split_source(arguments or [])).config
    task = make_task(config, images=images, classes=classes, out=out, alone=not arguments, say=log)
    done = label_with(
        asked,
        task,
        config,
        calibration=calibration,
        agree=options.make_agree(yes=yes),
        shard=share,
        show=progress,
        say=log,
        batch_size=batch_size,
        on_error=handling,
        threads=threads,
        run=run,
    )
    if done is not None:
        typed = [f"ood.images={images}" if images else "", f"ood.labels={out}" if out else ""]
        typed.append("ood.confidence=calibrated" if calibration else "")
        words = [*(arguments or ["CONFIG"]), *filter(None, typed)]
        _report_labelling(task, done, words, batch_size, whole=bool(arguments), as_json=as_json)


def _choose_engine(name: str, workers: int | None) -> Callable[..., LabellingReport | None]:
    """What runs the job.

    Raises:
        UsageError, MissingExtraError: as `wants_ray`.
    """
    from semiovs.clusters.ray_cluster import wants_ray

    if wants_ray(name, workers, instead="start torchrun, or several --shard I/N"):
        from semiovs.clusters.ray_labelling import run_on_ray

        return partial(run_on_ray, workers=workers)
    from semiovs.engine.labelling import run_labelling

    return run_labelling


def _report_labelling(
    task: LabellingTask,
    report_of_all: LabellingReport,
    words: Sequence[str],
    batch_size: int | None,
    *,
    whole: bool,
    as_json: bool,
) -> None:
    """Print what was done by all processes, what the store holds now (other shards' work too), and what is next.

    words, whole: as `_list_next_steps`.
    """
    from semiovs.store import PseudoLabelStore, count_classes

    done = report_of_all.total
    for item in done["failed"][:_SHOWN]:
        error(f"left out: {item['reason']}")
    if len(done["failed"]) > _SHOWN:
        error(f"… and {len(done['failed']) - _SHOWN} more left out")
    report_of_all.require_labels()
    if done["smallest_batch"]:
        log(f"memory was short: batches of {done['smallest_batch']}, not {batch_size or 'as many as by default'}")
    store = PseudoLabelStore.open(task.out)
    stats, steps = count_classes(store), _list_next_steps(task, store, len(done["failed"]), words, whole=whole)
    data = {"store": str(task.out), **done, "stats": stats.as_json(), "next": steps}
    if report_of_all.agreement is not None:
        data["agreement"] = report_of_all.agreement.as_json()
    absent = [name for name, pixels in stats.pixels.items() if not pixels]
    lines = [
        str(report_of_all),
        f"classes that never occur: {', '.join(absent)}" if absent and stats.images else None,
        format_next(steps),
    ]
    report(data, as_json=as_json, text="\n".join(line for line in lines if line))


def _list_next_steps(
    task: LabellingTask, store: PseudoLabelStore, failed: int, words: Sequence[str], *, whole: bool
) -> list[str]:
    """The command that trains with the labels; of images that were left out there are none, so it gets a list.

    words: its arguments; whole: whether they hold a configuration, or CONFIG in its place.
    """
    from semiovs.images.manifest import Manifest

    labeled = task.images.keep_if(lambda record: record.id in store)
    lacking = len(task.images) - len(labeled)
    if lacking and lacking == failed:
        path = task.out.with_name(f"{task.out.name}-images.jsonl")  # keeps the ids, as a text list does not
        Manifest(labeled, task.root).write_jsonl(path)
        log(f"list of the images that have labels: {path}")
        words = [*(word for word in words if not word.startswith(_IMAGES)), f"ood.images={path.absolute()}"]
    command = shlex.join(["semiovs", "train", *words])
    if lacking > failed:
        return [f"# {lacking} images have no label yet: those of other shards; with them: {command}"]
    return [command if whole else f"# CONFIG: your configuration, with these classes: {command}"]
