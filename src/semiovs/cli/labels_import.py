"""``semiovs labels import``: make masks and a labelled list of the annotations of other programs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, format_table, log, report
from semiovs.cli.exchange_options import Classes, Root, read_vocabulary, require_known
from semiovs.cli.next_steps import choose_method, format_next
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError

if TYPE_CHECKING:
    from semiovs.exchange import Annotations, ClassRules, Importer, ImportResult, ProblemList
    from semiovs.images.manifest import Manifest
    from semiovs.vocab.vocabulary import Vocabulary

#: The preset that the next commands name, and its method.
_RECIPE, _METHOD = "modern/small", "unimatch"
#: Below this share of annotated pixels, a note asks what the other pixels are.
_COVERED = 0.8
#: Above this share of crowds among the objects, `--crowd` must be given.
_FEW_CROWDS = 0.1


_File = Annotated[Path, typer.Argument(metavar="FILE|DIR", help="File that the program exported; LabelMe: the folder.")]
_From = Annotated[str, typer.Option("--from", metavar="auto|coco|cvat|label-studio|labelme", help="The format.")]
_Map = Annotated[
    list[str] | None,
    typer.Option("--map", help="Classes of labels with other names: 'auto=car,tree=ignore'; may be repeated."),
]
_Rest = Annotated[
    str, typer.Option(metavar="ignore|CLASS", help="Class of pixels without a shape: ignore, background, …")
]
_Crowd = Annotated[
    str | None, typer.Option(metavar="ignore|class", help="COCO's crowds: ignored (default), or objects.")
]
_Predictions = Annotated[
    bool, typer.Option("--predictions", help="Label Studio: also tasks that nobody has handed in.")
]
_AddTo = Annotated[
    Path | None, typer.Option(metavar="LIST", help="Labelled list whose images are added to the new one.")
]
_RemoveFrom = Annotated[
    Path | None,
    typer.Option(metavar="DIR|LIST", help="Unlabelled images; unlabeled.jsonl lists those that are left."),
]
_OnError = Annotated[str, typer.Option(metavar="fail|skip", help="On images with errors: leave them out, or stop.")]


def import_(
    file: _File,
    images: Annotated[Path, typer.Option(metavar="DIR|LIST", help="The images.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for masks/ and labeled.jsonl.")],
    from_: _From = "auto",
    classes: Classes = None,
    map_: _Map = None,
    rest: _Rest = "ignore",
    crowd: _Crowd = None,
    predictions: _Predictions = False,
    add_to: _AddTo = None,
    remove_from: _RemoveFrom = None,
    on_error: _OnError = "fail",
    root: Root = Path(),
    as_json: Json = False,
) -> None:
    """Make masks of annotations, and a list for data.labeled. Everything is written, or nothing."""
    from semiovs.config.option_texts import parse_on_error
    from semiovs.exchange import ClassRules, ImageIndex, Importer, ProblemList, read_annotations

    _check_options(from_, crowd, add_to, classes)
    skip, problems = parse_on_error(on_error) == "skip", ProblemList()
    annotations, found = read_annotations(file, problems, name=from_, predictions=predictions)
    if crowd is None:
        _check_crowds(annotations)
    vocabulary = _find_classes(annotations, problems) if classes is None else read_vocabulary(classes)
    importer = Importer(
        ClassRules(vocabulary, _parse_map(map_ or []), rest, crowd_ignored=crowd != "class"),
        ImageIndex.of(images, root),
        out,
        root,
        source=file.name,
        skip=skip,
        name_classes=classes is None,
        known=None if add_to is None else _read_list(add_to, root),
        pool=None if remove_from is None else _read_list(remove_from, root),
    )
    with progress("importing") as show:
        done = importer.run(annotations, problems, show)
    for line in problems.found:
        log(f"left out: {line}")
    steps = _list_next_steps(out, classes, importer, done)
    data = {**_collect_result(out, found, importer.rules, annotations, done, problems), "next": steps}
    report(data, as_json=as_json, text=_format_result(out, data, importer, annotations, done))


def _check_options(from_: str, crowd: str | None, add_to: Path | None, classes: str | None) -> None:
    from semiovs.exchange import AUTO, list_formats

    if from_ != AUTO:
        require_known("--from", from_, list(list_formats()))
    if crowd not in {None, "ignore", "class"}:
        raise UsageError(f"--crowd {crowd}: ignore or class")
    if add_to is not None and classes is None:
        raise UsageError("--add-to needs --classes: the ids have to mean the same in both lists")


def _check_crowds(annotations: Annotations) -> None:
    """COCO has one crowd in a hundred objects; CVAT and Datumaro mark every brush mask as one, and none may get lost
    so.
    """
    marks = [shape.crowd for image in annotations.images for shape in image.shapes]
    if sum(marks) > _FEW_CROWDS * len(marks):
        raise DataError(
            f"{sum(marks)} of {len(marks)} objects are crowds (iscrowd: 1); if a program marks its brush masks so, as "
            f"CVAT does, "
            "say --crowd class; if they are crowds, --crowd ignore"
        )


def _find_classes(annotations: Annotations, problems: ProblemList) -> Vocabulary:
    from semiovs.exchange import find_declared_classes

    if not annotations.labels and not annotations.used():
        problems.found += [fault for image in annotations.images for fault in image.faults]
        problems.check("the annotations")
    return find_declared_classes(annotations)


def _read_list(path: Path, root: Path) -> Manifest:
    from semiovs.images.manifest import Manifest

    return Manifest.from_folder(path) if path.is_dir() else Manifest.read(path, root)


def _parse_map(texts: Sequence[str]) -> dict[str, str]:
    """``a=b,c=ignore``, once or several times."""
    from semiovs.config.option_texts import join_maps

    parts = [(text, pair.rpartition("=")) for text in texts for pair in text.split(",") if pair.strip()]
    for text, (label, _, name) in parts:
        if not (label.strip() and name.strip()):
            raise UsageError(f"--map {text}: expected label=CLASS or label=ignore, with commas between")
    return join_maps((label.strip(), name.strip()) for _, (label, _, name) in parts)


def _collect_result(
    out: Path,
    found: Sequence[str],
    rules: ClassRules,
    annotations: Annotations,
    done: ImportResult,
    problems: ProblemList,
) -> dict[str, Any]:
    from semiovs.images.conventions import IGNORE

    names = rules.vocabulary.names
    return {
        "folder": out,
        "list": out / "labeled.jsonl",
        "formats": found,
        "images": len(done.records),
        "listed": done.listed,
        "classes": names,
        "pixels": {name: done.pixels[index] for index, name in enumerate(names)},
        "ignored": done.pixels[IGNORE],
        "without_shape": done.rest,
        "rest": rules.rest,
        "bare": done.bare,
        "untouched": annotations.untouched,
        "shapes": done.drawn,
        "boxes": sum(shape.box for image in annotations.images for shape in image.shapes),
        "skipped_shapes": dict(done.skipped.counts),
        "empty_shapes": done.empty,
        "left_out": done.left_out,
        "problems": problems.found,
        "unlabeled": done.left,
    }


def _format_result(
    out: Path, data: dict[str, Any], importer: Importer, annotations: Annotations, done: ImportResult
) -> str:
    total = sum(done.pixels.values())
    rows = [
        (name, f"{100 * pixels / total:.2f}%")
        for name, pixels in [*data["pixels"].items(), ("ignore", data["ignored"])]
    ]
    share = 100 * done.rest / total
    lines = [
        f"{out / 'masks'}: {len(done.records)} images ({', '.join(data['formats'])})",
        format_table(["class", "pixels"], rows),
        f"{share:.2f}% of the pixels are under no shape: {importer.rules.rest} (--rest)",
    ]
    notes = [
        (len(done.bare), "images without any shape, left out"),
        (len(annotations.untouched), "tasks that nobody has handed in, left out"),
        (len(done.left_out), "images with problems, left out"),
        (done.empty, "shapes thinner than a pixel"),
        (data["boxes"], f"of {done.drawn} shapes are boxes: every pixel in them counts as the class"),
    ]
    lines += [f"note: {number} {what}" for number, what in notes if number]
    lines += [f"note: {line}" for line in [*done.skipped.format_lines(), *annotations.notes]]
    if done.rest > (1 - _COVERED) * total and importer.rules.rest == "ignore":
        lines.append("note: pixels that are ignored teach nothing; if no shape means background, say --rest background")
    further = f" ({done.listed} with those of --add-to)" if done.listed > len(done.records) else ""
    lines.append(f"list: {out / 'labeled.jsonl'}{further}")
    if done.left is not None:
        lines.append(f"list: {out / 'unlabeled.jsonl'} ({done.left} images)")
    return "\n".join([*lines, format_next(data["next"])])


def _list_next_steps(out: Path, classes: str | None, importer: Importer, done: ImportResult) -> list[str]:
    """The commands that check the lists and train with them, with a recipe for a folder of one's own."""
    names = str(out / "classes.txt") if classes is None else classes
    if Path(names).is_file():
        names = str(Path(names).absolute())
    elif "," in names:
        names = f"[{names}]"
    root = importer.root
    settings = [f"data.root={root}", f"data.classes={names}", f"data.labeled={(out / 'labeled.jsonl').absolute()}"]
    if done.left:
        settings.append(f"data.unlabeled={(out / 'unlabeled.jsonl').absolute()}")
    listed, inside = [*done.records, *(importer.known or ()), *(importer.pool or ())], root.resolve()
    if not all(record.image.resolve().is_relative_to(inside) for record in listed):
        settings.append("data.outside=true")
    method = choose_method(_METHOD, done.left or 0)
    return [
        shlex.join(["semiovs", "data", "check", _RECIPE, *settings]),
        shlex.join(["semiovs", "train", _RECIPE, *settings, *method]),
    ]
