"""``semiovs labels export``: labels as annotations, for a person to correct."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, log, report
from semiovs.cli.exchange_options import FORMATS, Classes, Root, require_known, vocabulary_of
from semiovs.cli.progress import Progress, progress
from semiovs.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.data.label_source import LabelSource
    from semiovs.exchange import Chosen, ImageIndex
    from semiovs.vocab.vocabulary import Vocabulary

#: Where Label Studio serves local files; its document root is then the folder that was written.
_LOCAL = "/data/local-files/?d=images/"


def export(
    source: Annotated[Path, typer.Argument(metavar="STORE|MASKS|LIST", help="Store, folder of masks, or labelled list.")],
    to: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="The program.")],
    out: Annotated[Path, typer.Option(metavar="DIR|FILE", help="New folder, or one file (.json, .xml) without images.")],
    images: Annotated[Path | None, typer.Option(metavar="DIR|LIST", help="Their names go in, copies go to the folder.")] = None,
    worst: Annotated[int | None, typer.Option(min=1, metavar="N", help="The N of the lowest confidence, worst first.")] = None,
    class_: Annotated[str | None, typer.Option("--class", metavar="NAME", help="Only images with this class.")] = None,
    ids: Annotated[Path | None, typer.Option(metavar="LIST", help="Only these: a text file, an id or image a line.")] = None,
    classes: Classes = None,
    polygons: Annotated[float | None, typer.Option(min=0, metavar="PIXELS", help="Polygons, so far off, not masks.")] = None,
    prefix: Annotated[str, typer.Option(help="Label Studio: what stands before a file name in its address.")] = _LOCAL,
    sample: Annotated[int, typer.Option(min=1, help="Images that --worst looks at, evenly over the store.")] = 10_000,
    root: Root = Path(),
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write labels as annotations that a person can correct. Ignored pixels are a label of their own, 'ignore'."""
    from semiovs.exchange import Exporter, ImageIndex, formats

    require_known("--to", to, FORMATS)
    labels, vocabulary = _opened(source, classes, root)
    if class_ is not None and class_ not in vocabulary.names:
        raise UsageError(f"--class {class_}: no such class in {source}{did_you_mean(class_, vocabulary.names)}")
    if ids is not None and (worst is not None or class_ is not None):
        raise UsageError("--ids names the images; leave --worst and --class away")
    with progress("choosing") as show:
        chosen = _named(labels, ids) if ids is not None else _picked(labels, vocabulary, worst, class_, sample, show)
    if not chosen:
        raise DataError(f"{source}: no images" + (f" with '{class_}'" if class_ else ""))
    images = images or (source if source.is_file() else None)  # a list names the images, too
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


def _opened(source: Path, classes: str | None, root: Path) -> tuple[LabelSource, Vocabulary]:
    from semiovs.data.label_source import MaskFiles, MaskFolder
    from semiovs.images.manifest import Manifest
    from semiovs.images.masks import MaskReader
    from semiovs.store import PseudoLabelStore

    if (source / "meta.json").is_file():
        store = PseudoLabelStore.open(source, None if classes is None else vocabulary_of(classes))
        return store, store.vocabulary
    if classes is None and source.exists():
        raise UsageError(f"{source}: masks do not tell their classes; name them: --classes a,b,c")
    vocabulary = vocabulary_of(classes or "")
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


def _named(labels: LabelSource, path: Path) -> list[Chosen]:
    from semiovs.exchange import Chosen
    from semiovs.images.conventions import IMAGE_SUFFIXES

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
    labels: LabelSource, vocabulary: Vocabulary, worst: int | None, class_: str | None, sample: int, show: Progress
) -> list[Chosen]:
    from semiovs.exchange import Chosen
    from semiovs.images.masks import ids_present
    from semiovs.store import PseudoLabelStore
    from semiovs.store.image_sample import pick_images

    of_class = None if class_ is None else vocabulary.index(class_)
    if isinstance(labels, PseudoLabelStore):
        if worst is not None and not any(row.confidence for row in labels.rows()):
            raise DataError(f"{labels.root}: holds no confidences, so none is the worst; choose by --ids or --class")
        found = pick_images(
            labels, worst or len(labels), of_class=of_class, worst=worst is not None, sample=max(sample, worst or 0)
        )
        return [Chosen(identifier, score) for identifier, score in found]
    if worst is not None:
        raise UsageError("--worst needs confidences, and masks have none; choose by --ids or --class")
    chosen, every = [], list(labels.ids())
    for number, identifier in enumerate(every, 1):
        if of_class is None or of_class in ids_present(labels.label(identifier)):
            chosen.append(Chosen(identifier))
        show(number, len(every))
    return chosen


def _with_images(chosen: Sequence[Chosen], index: ImageIndex) -> list[Chosen]:
    from dataclasses import replace

    from semiovs.exchange import Problems

    problems, found = Problems(), []
    for item in chosen:
        with problems.collect():
            found.append(replace(item, record=index.find(item.id)))
    problems.check("the images")
    return found
