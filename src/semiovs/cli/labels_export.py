"""``semiovs labels export``: write labels as annotations, to be corrected by a person."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, log, report
from semiovs.cli.exchange_options import FORMATS, Classes, Root, read_vocabulary, require_known
from semiovs.cli.next_steps import format_next
from semiovs.cli.progress import Progress, progress
from semiovs.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.data.label_source import LabelSource
    from semiovs.exchange import ChosenImage, ImageIndex
    from semiovs.vocab.vocabulary import Vocabulary

#: Address of Label Studio's local files; its document root is the folder that is written.
_LOCAL = "/data/local-files/?d=images/"


_Source = Annotated[Path, typer.Argument(metavar="STORE|MASKS|LIST", help="Store, folder of masks, or labelled list.")]
_Out = Annotated[Path, typer.Option(metavar="DIR|FILE", help="New folder, or one file (.json, .xml) without images.")]
_Images = Annotated[
    Path | None,
    typer.Option(metavar="DIR|LIST", help="Images of the labels: their file names are written, and the files copied."),
]
_Worst = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Only the N images with the lowest confidence, lowest first.")
]
_Class = Annotated[str | None, typer.Option("--class", metavar="NAME", help="Only images with this class.")]
_Ids = Annotated[
    Path | None, typer.Option(metavar="LIST", help="Only these images: a text file with an id or image per line.")
]
_Polygons = Annotated[
    float | None,
    typer.Option(min=0, metavar="PIXELS", help="Write polygons, at most so far from the outline, instead of masks."),
]
_Prefix = Annotated[str, typer.Option(help="Label Studio: prefix of the file name in the address of an image.")]
_Sample = Annotated[int, typer.Option(min=1, help="Images that --worst compares, evenly spread over the store.")]


def export(
    source: _Source,
    to: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="Annotation program.")],
    out: _Out,
    images: _Images = None,
    worst: _Worst = None,
    class_: _Class = None,
    ids: _Ids = None,
    classes: Classes = None,
    polygons: _Polygons = None,
    prefix: _Prefix = _LOCAL,
    sample: _Sample = 10_000,
    root: Root = Path(),
    as_json: Json = False,
) -> None:
    """Write labels as annotations that a person can correct. Ignored pixels get a label of their own, 'ignore'."""
    from semiovs.exchange import Exporter, ImageIndex, list_formats

    require_known("--to", to, FORMATS)
    labels, vocabulary = _open_labels(source, classes, root)
    if class_ is not None and class_ not in vocabulary.names:
        raise UsageError(f"--class {class_}: no such class in {source}{did_you_mean(class_, vocabulary.names)}")
    if ids is not None and (worst is not None or class_ is not None):
        raise UsageError("--ids names the images; leave --worst and --class away")
    if ids is not None:
        chosen = _choose_by_id(labels, ids)
    else:
        with progress("choosing") as show:
            chosen = _choose_images(labels, vocabulary, worst, class_, sample, show)
    if not chosen:
        raise DataError(f"{source}: no images" + (f" with '{class_}'" if class_ else ""))
    images = images or (source if source.is_file() else None)  # a list names the images, too
    if images is not None:
        chosen = _find_images(chosen, ImageIndex.of(images, root))
    form = list_formats(prefix=prefix)[to]
    with progress("exporting") as show:
        written = Exporter(labels, vocabulary, form, polygons).run(chosen, out, show)
    if images is None:
        log("note: without --images file names are made up: <id>.jpg")
    files = {"annotations": written.annotations, "setup": written.setup, "images_folder": written.images}
    listed = [{"id": item.id, "name": item.name, "confidence": item.score} for item in chosen]
    following = shlex.join(["semiovs", "labels", "import", "FILE", "--images", str(images or "DIR"), "--out", "DIR"])
    steps = [f"# correct them in {form.title}, export them as FILE, then: {following}"]
    data = {"format": to, **files, "images": listed, "next": steps}
    lines = [f"{written.annotations}: {len(chosen)} images, {form.title}"]
    lines += [f"{written.setup}: classes and colours, for a new task or project"] if written.setup else []
    lines += [f"{written.images}: the images"] if written.images else []
    lines.append(format_next(steps))
    report(data, as_json=as_json, text="\n".join(lines))


def _open_labels(source: Path, classes: str | None, root: Path) -> tuple[LabelSource, Vocabulary]:
    from semiovs.data.label_source import MaskFiles, MaskFolder
    from semiovs.images.manifest import Manifest
    from semiovs.images.masks import MaskReader
    from semiovs.store import PseudoLabelStore
    from semiovs.store.meta import is_store

    if is_store(source):
        store = PseudoLabelStore.open(source, None if classes is None else read_vocabulary(classes))
        return store, store.vocabulary
    if classes is None and source.exists():
        raise UsageError(f"{source}: masks do not tell their classes; name them: --classes a,b,c")
    vocabulary = read_vocabulary(classes or "")
    reader = MaskReader(
        vocabulary.names,
        origin="labels export",
        map_key="`semiovs label --map`, which makes a store",
        ignore=vocabulary.ignore,
    )
    if not source.is_file():
        return MaskFolder(source, reader), vocabulary
    listed = Manifest.read(source, root)
    return MaskFiles({record.id: record.mask for record in listed if record.mask is not None}, reader), vocabulary


def _choose_by_id(labels: LabelSource, path: Path) -> list[ChosenImage]:
    from semiovs.exchange import ChosenImage
    from semiovs.images.conventions import IMAGE_SUFFIXES

    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as a list of ids: {getattr(error, 'strerror', None) or error}"
        ) from None
    chosen, problems = dict[str, ChosenImage](), []
    for number, line in enumerate(lines, 1):
        name = line.strip()
        bare = name[: name.rfind(".")] if name.lower().endswith(IMAGE_SUFFIXES) else name
        found = next((i for i in (name, bare) if i in labels), None)
        if found is not None:
            chosen[found] = ChosenImage(found)
        elif name:
            problems.append(f"{path}:{number}: no label of '{name[:120]}'")
    if problems:
        raise DataError.of(problems, f"{len(problems)} problems in {path}")
    return list(chosen.values())


def _choose_images(
    labels: LabelSource, vocabulary: Vocabulary, worst: int | None, class_: str | None, sample: int, show: Progress
) -> list[ChosenImage]:
    from semiovs.exchange import ChosenImage
    from semiovs.images.masks import find_ids
    from semiovs.store import PseudoLabelStore
    from semiovs.store.image_sample import pick_images

    of_class = None if class_ is None else vocabulary.index(class_)
    if isinstance(labels, PseudoLabelStore):
        if worst is not None and not any(row.confidence for row in labels.rows()):
            raise DataError(f"{labels.root}: holds no confidences, so none is the worst; choose by --ids or --class")
        found = pick_images(
            labels, worst or len(labels), of_class=of_class, worst=worst is not None, sample=max(sample, worst or 0)
        )
        return [ChosenImage(identifier, score) for identifier, score in found]
    if worst is not None:
        raise UsageError("--worst needs confidences, and masks have none; choose by --ids or --class")
    chosen, every = [], list(labels.ids())
    for number, identifier in enumerate(every, 1):
        if of_class is None or of_class in find_ids(labels.label(identifier)):
            chosen.append(ChosenImage(identifier))
        show(number, len(every))
    return chosen


def _find_images(chosen: Sequence[ChosenImage], index: ImageIndex) -> list[ChosenImage]:
    from dataclasses import replace

    from semiovs.exchange import ProblemList

    problems, found = ProblemList(), []
    for item in chosen:
        with problems.collect():
            found.append(replace(item, record=index.find(item.id)))
    problems.check("the images")
    return found
