"""``semiovs labels export`` and ``semiovs labels import``: to annotation programs and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semiovs.cli.console import Json, log, report, table
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.data.exchange import Annotations, Chosen, Imported, Problems, Rules
    from semiovs.data.manifest import Manifest
    from semiovs.data.sources import LabelSource
    from semiovs.vocab.vocabulary import Vocabulary

_FORMATS = ("coco", "cvat", "label-studio")
#: Where Label Studio serves local files; its document root is then the folder that was written.
_LOCAL = "/data/local-files/?d=images/"
#: With fewer pixels than this under a shape, something is probably meant that is not said.
_COVERED = 0.8

_Classes = Annotated[
    str | None, typer.Option(help="Vocabulary: a name, a YAML or text file, or a,b,c in the order of the ids.")
]
_Root = Annotated[Path, typer.Option(metavar="DIR", help="Where relative paths in lists start: data.root.")]


def export(
    source: Annotated[Path, typer.Argument(metavar="STORE|MASKS", help="A store of labels, or a folder of masks.")],
    to: Annotated[str, typer.Option(metavar="|".join(_FORMATS), help="The program.")],
    out: Annotated[Path, typer.Option(metavar="DIR|FILE", help="New folder, or one file (.json, .xml) without images.")],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR|LIST", help="The images: their names go in, copies go to DIR.")
    ] = None,
    worst: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The N images of the lowest confidence, worst first.")
    ] = None,
    class_: Annotated[str | None, typer.Option("--class", metavar="NAME", help="Only images with this class.")] = None,
    ids: Annotated[Path | None, typer.Option(metavar="LIST", help="Only these: a text file, an id or image a line.")] = None,
    classes: _Classes = None,
    polygons: Annotated[
        float | None, typer.Option(min=0, metavar="PIXELS", help="Polygons that may be so far off, instead of exact masks.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Label Studio: what stands before a file name in its address.")] = _LOCAL,
    sample: Annotated[int, typer.Option(min=1, help="Images that --worst looks at, evenly over the store.")] = 10_000,
    root: _Root = Path(),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write labels as annotations that a person can correct. Ignored pixels are a label of their own, 'ignore'."""
    from semiovs.data.exchange import Exporter, ImageIndex, formats

    _known("--to", to, _FORMATS)
    labels, vocabulary = _opened(source, classes)
    if class_ is not None and class_ not in vocabulary.names:
        raise UsageError(f"--class {class_}: no such class in {source}{did_you_mean(class_, vocabulary.names)}")
    if ids is not None and (worst is not None or class_ is not None):
        raise UsageError("--ids names the images; leave --worst and --class away")
    with progress("choosing") as show:
        chosen = _named(labels, ids) if ids is not None else _picked(labels, vocabulary, worst, class_, sample, show)
    if not chosen:
        raise DataError(f"{source}: no images" + (f" with '{class_}'" if class_ else ""))
    if images is not None:
        chosen = _with_images(chosen, ImageIndex.of(images, root))
    form = formats(prefix=prefix)[to]
    with progress("exporting") as show:
        written = Exporter(labels, vocabulary, form, polygons).run(chosen, out, show)
    if images is None:
        log("note: without --images file names are made up: <id>.jpg")
    data = {
        "format": to, "annotations": written.annotations, "setup": written.setup, "images_folder": written.images,
        "images": [{"id": item.id, "name": item.name, "confidence": item.score} for item in chosen],
    }  # fmt: skip
    lines = [f"{written.annotations}: {len(chosen)} images, {form.title}"]
    lines += [f"{written.setup}: classes and colours, for a new task or project"] if written.setup else []
    lines += [f"{written.images}: the images"] if written.images else []
    lines.append(f"next: correct them, export, then: semiovs labels import FILE --images {images or 'DIR'} --out DIR")
    report(data, as_json=as_json, text="\n".join(lines))


def _known(option: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise UsageError(f"{option} {name}: no such format{did_you_mean(name, names)}")


def _opened(source: Path, classes: str | None) -> tuple[LabelSource, Vocabulary]:
    from semiovs.data.masks import MaskReader
    from semiovs.data.sources import MaskFolder
    from semiovs.data.store import PseudoLabelStore

    if (source / "meta.json").is_file():
        store = PseudoLabelStore.open(source, None if classes is None else _vocabulary(classes))
        return store, store.vocabulary
    if classes is None and source.is_dir():
        raise UsageError(f"{source}: a folder of masks does not tell its classes; name them: --classes a,b,c")
    vocabulary = _vocabulary(classes or "")
    return MaskFolder(source, MaskReader(vocabulary.names, origin="a mask", ignore=vocabulary.ignore)), vocabulary


def _vocabulary(classes: str) -> Vocabulary:
    from semiovs.vocab.vocabulary import Vocabulary

    if "," in classes and not Path(classes).is_file():
        return Vocabulary.of([name.strip() for name in classes.split(",")])
    return Vocabulary.load(classes)


def _named(labels: LabelSource, path: Path) -> list[Chosen]:
    from semiovs.data.exchange import Chosen
    from semiovs.data.image import IMAGE_SUFFIXES

    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as a list of ids: {getattr(error, 'strerror', None) or error}"
        ) from None
    chosen, problems = dict[str, Chosen](), []
    for number, line in enumerate(lines, 1):
        name = line.strip()
        bare = name[: name.rfind(".")] if name.lower().endswith(IMAGE_SUFFIXES) else name
        found = next((i for i in (name, bare) if i in labels), None)
        if found is not None:
            chosen[found] = Chosen(found)
        elif name:
            problems.append(f"{path}:{number}: no label of '{name[:120]}'")
    if problems:
        raise DataError.of(problems, f"{len(problems)} problems in {path}")
    return list(chosen.values())


def _picked(
    labels: LabelSource, vocabulary: Vocabulary, worst: int | None, class_: str | None, sample: int, show: Any
) -> list[Chosen]:
    from semiovs.data.exchange import Chosen
    from semiovs.data.masks import ids_present
    from semiovs.data.store import PseudoLabelStore
    from semiovs.data.store_pick import pick

    of_class = None if class_ is None else vocabulary.index(class_)
    if isinstance(labels, PseudoLabelStore):
        if worst is not None and not any(row.confidence for row in labels.rows()):
            raise DataError(f"{labels.root}: holds no confidences, so none is the worst; choose by --ids or --class")
        found = pick(
            labels, worst or len(labels), of_class=of_class, worst=worst is not None, sample=max(sample, worst or 0)
        )
        return [Chosen(identifier, score) for identifier, score in found]
    if worst is not None:
        raise UsageError("--worst needs confidences, and a folder of masks has none; choose by --ids or --class")
    chosen, every = [], list(labels.ids())
    for number, identifier in enumerate(every, 1):
        if of_class is None or of_class in ids_present(labels.label(identifier)):
            chosen.append(Chosen(identifier))
        show(number, len(every))
    return chosen


def _with_images(chosen: Sequence[Chosen], index: Any) -> list[Chosen]:
    from dataclasses import replace

    from semiovs.data.exchange import Problems

    problems, found = Problems(), []
    for item in chosen:
        with problems.collect():
            found.append(replace(item, record=index.find(item.id)))
    problems.check("the images")
    return found


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE|DIR", help="What the program exported; LabelMe: the folder.")],
    images: Annotated[Path, typer.Option(metavar="DIR|LIST", help="The images.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for masks/ and labeled.jsonl.")],
    from_: Annotated[
        str, typer.Option("--from", metavar="auto|" + "|".join((*_FORMATS, "labelme")), help="The format.")
    ] = "auto",
    classes: _Classes = None,
    map_: Annotated[
        str | None, typer.Option("--map", help="Labels of other names: 'auto=car,tree=ignore'.")
    ] = None,
    rest: Annotated[str, typer.Option(metavar="ignore|CLASS", help="Pixels without a shape: ignore, background, …")] = "ignore",
    crowd: Annotated[str, typer.Option(metavar="ignore|class", help="COCO's crowds: ignored, or of their class.")] = "ignore",
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Label Studio: take the model's labels of tasks that nobody handed in.")
    ] = False,
    add_to: Annotated[
        Path | None, typer.Option(metavar="LIST", help="Labelled list; the new one holds its images, too.")
    ] = None,
    remove_from: Annotated[
        Path | None, typer.Option(metavar="DIR|LIST", help="Bare images; unlabeled.jsonl lists those that still are.")
    ] = None,
    on_error: Annotated[str, typer.Option(metavar="fail|skip", help="What to do about images with problems.")] = "fail",
    root: _Root = Path(),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Make labelled images of annotations: masks, and a list that data.labeled takes. All is written, or nothing."""
    from semiovs.cli.label import on_error_of
    from semiovs.data.exchange import (
        AUTO,
        ImageIndex,
        Importer,
        Problems,
        Rules,
        formats,
        read_annotations,
    )

    if from_ != AUTO:
        _known("--from", from_, list(formats()))
    if crowd not in {"ignore", "class"}:
        raise UsageError(f"--crowd {crowd}: ignore or class")
    if add_to is not None and classes is None:
        raise UsageError("--add-to needs --classes: the ids have to mean the same in both lists")
    skip, problems = on_error_of(on_error) == "skip", Problems()
    annotations, found = read_annotations(file, problems, name=from_, predictions=predictions)
    if not annotations.images and not annotations.untouched:
        problems.check("the annotations")
    vocabulary = _classes_of(annotations, problems) if classes is None else _vocabulary(classes)
    importer = Importer(
        Rules(vocabulary, _pairs(map_), rest, crowd_ignored=crowd == "ignore"), ImageIndex.of(images, root), out, root,
        source=file.name, skip=skip, name_classes=classes is None, known=None if add_to is None else _list(add_to, root),
        pool=None if remove_from is None else _list(remove_from, root),
    )  # fmt: skip
    with progress("importing") as show:
        done = importer.run(annotations, problems, show)
    for line in problems.found:
        log(f"left out: {line}")
    data = _import_data(out, found, importer.rules, annotations, done, problems)
    report(data, as_json=as_json, text=_import_text(out, data, importer, annotations, done))


def _classes_of(annotations: Annotations, problems: Problems) -> Vocabulary:
    from semiovs.data.exchange import declared_classes

    if not annotations.labels and not annotations.used():
        problems.found += [fault for image in annotations.images for fault in image.faults]
        problems.check("the annotations")
    return declared_classes(annotations)


def _list(path: Path, root: Path) -> Manifest:
    from semiovs.data.manifest import Manifest

    return Manifest.from_folder(path) if path.is_dir() else Manifest.read(path, root)


def _pairs(text: str | None) -> dict[str, str]:
    """``a=b,c=ignore``."""
    pairs = [pair.rpartition("=") for pair in (text or "").split(",") if pair.strip()]
    if not all(key.strip() and value.strip() for key, _, value in pairs):
        raise UsageError(f"--map {text}: expected label=CLASS or label=ignore, with commas between")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _import_data(
    out: Path, found: Sequence[str], rules: Rules, annotations: Annotations, done: Imported, problems: Problems
) -> dict[str, Any]:
    from semiovs.data.batch import IGNORE

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
        "skipped_shapes": dict(annotations.skipped),
        "empty_shapes": done.empty,
        "left_out": done.left_out,
        "problems": problems.found,
        "unlabeled": done.left,
    }


def _import_text(out: Path, data: dict[str, Any], importer: Any, annotations: Annotations, done: Imported) -> str:
    total = sum(done.pixels.values())
    rows = [
        (name, f"{100 * pixels / total:.2f}%")
        for name, pixels in [*data["pixels"].items(), ("ignore", data["ignored"])]
    ]
    share = 100 * done.rest / total
    lines = [
        f"{out / 'masks'}: {len(done.records)} images ({', '.join(data['formats'])})",
        table(["class", "pixels"], rows),
        f"{share:.2f}% of the pixels are under no shape: {importer.rules.rest} (--rest)",
    ]
    notes = [
        (len(done.bare), "images without any shape, left out"),
        (len(annotations.untouched), "tasks that nobody has handed in, left out"),
        (len(done.left_out), "images with problems, left out"),
        (done.empty, "shapes thinner than a pixel"),
        *((number, f"shapes without an area, not read: {kind}") for kind, number in annotations.skipped.items()),
    ]
    lines += [f"note: {number} {what}" for number, what in notes if number]
    if done.rest > (1 - _COVERED) * total and importer.rules.rest == "ignore":
        lines.append("note: pixels that are ignored teach nothing; if no shape means background, say --rest background")
    further = f" ({done.listed} with those of --add-to)" if done.listed > len(done.records) else ""
    lines.append(f"next: data.labeled: {out / 'labeled.jsonl'}{further}")
    if done.left is not None:
        lines.append(f"      data.unlabeled: {out / 'unlabeled.jsonl'} ({done.left} images)")
    if importer.name_classes:
        lines.append(f"      data.classes: {out / 'classes.txt'}")
    return "\n".join(lines)
