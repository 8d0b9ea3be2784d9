"""``semiovs labels``: what is in stores of labels, are they whole, put them together, look at them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, log, report, table
from semiovs.cli.labels_export import export
from semiovs.cli.labels_import import import_
from semiovs.cli.progress import progress
from semiovs.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.images.readers import ImageReader
    from semiovs.inference import Tile
    from semiovs.store import PseudoLabelStore
    from semiovs.store.stats import ConfidenceStats, StoreStats
    from semiovs.store.verify import StoreReport

labels = typer.Typer(
    help="Look into stores of labels: stats, verify, merge, view; export, import: to annotation programs and back.",
    add_completion=False,
    rich_markup_mode=None,
)

labels.command("export")(export)
labels.command("import")(import_)

_Store = Annotated[Path, typer.Argument(metavar="DIR", help="A store, as `semiovs label` writes it.")]

#: Ids and files that are named; all of them are in the JSON report.
_SHOWN = 10


@labels.command()
def stats(
    store: _Store,
    sample: Annotated[
        int, typer.Option(min=0, help="Images whose confidences are read, evenly over the store; 0: none.")
    ] = 1000,
    as_json: Json = False,
) -> None:
    """Classes, ignored pixels, confidences, size."""
    from semiovs.store import PseudoLabelStore, count_classes
    from semiovs.store.stats import count_bytes, measure_confidence, sample_evenly

    opened = PseudoLabelStore.open(store)
    counted = count_classes(opened)
    with progress("reading confidences") as show:
        graded = measure_confidence(opened, sample_evenly(opened.ids(), sample), progress=show)
    size = count_bytes(store)
    total = max(sum(counted.pixels.values()) + counted.ignored, 1)
    data = {
        "store": str(store),
        "vocabulary": opened.vocabulary.hash,
        "teacher": opened.teacher,
        **counted.as_json(),
        "shares": {name: round(pixels / total, 6) for name, pixels in counted.pixels.items()},
        "ignored_share": round(counted.ignored_share, 6),
        "confidence": graded.as_json(),
        "bytes": size,
    }
    report(data, as_json=as_json, text=_stats_text(opened, counted, graded, size))


def _stats_text(store: PseudoLabelStore, counted: StoreStats, graded: ConfidenceStats, size: int) -> str:
    total = max(sum(counted.pixels.values()) + counted.ignored, 1)
    rows = [
        (
            name,
            f"{100 * pixels / total:.2f}%",
            counted.images_with[name],
            f"{graded.by_class[name]:.3f}" if name in graded.by_class else "-",
        )
        for name, pixels in counted.pixels.items()
    ]
    each = size / counted.images / 1024 if counted.images else 0
    lines = [
        f"{store.root}: {counted.images} images, {size / 2**20:.1f} MiB ({each:.1f} KiB an image), "
        f"teacher '{store.teacher.get('name', '?')}', vocabulary {store.vocabulary.hash}",
        table(["class", "pixels", "images", "confidence"], rows),
        f"ignored: {100 * counted.ignored_share:.2f}% of the pixels",
    ]
    if graded.mean is not None:
        bars = "  ".join(f"{i / 10:.1f}: {100 * share:.1f}%" for i, share in enumerate(graded.histogram))
        without = graded.sampled - graded.with_confidence
        lines.append(
            f"confidence of {graded.sampled} images: mean {graded.mean:.3f}"
            + (f" ({without} have none, which counts as 1)" if without else "")
            + f"\n  from {bars}"
        )
    return "\n".join(lines)


@labels.command()
def verify(
    store: _Store,
    fix: Annotated[
        bool, typer.Option("--fix", help="Take bad images out of the store, so that `semiovs label` redoes them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare every file with its checksum. Exit code 3 if the store is damaged (with --fix: 0, once it is whole)."""
    from semiovs.store import PseudoLabelStore, verify
    from semiovs.store.meta import StoreMeta
    from semiovs.store.verify import StoreReport, find_damaged_lines, repair

    StoreMeta.read(store)  # a folder that is no store
    if fix:
        found = repair(store)
    elif lines := find_damaged_lines(store):
        found = StoreReport(
            0, [], [], [], lines
        )  # what the lines said is not known: the rest is checked once they are gone
    else:
        with progress("verifying") as show:
            found = verify(PseudoLabelStore.open(store), progress=show)
    report({"store": str(store), "fixed": fix, **found.as_json()}, as_json=as_json, text=_verify_text(store, found))
    if found.ok:
        return
    if not fix:
        raise DataError(f"{store}: {_damage(found)}; next: semiovs labels verify {store} --fix")
    log(f"next: run `semiovs label` again; it redoes what was taken out ({_damage(found)})")


def _damage(found: StoreReport) -> str:
    parts = {"missing": len(found.missing), "damaged": len(found.damaged), "damaged index lines": len(found.lines)}
    return ", ".join(f"{number} {name}" for name, number in parts.items() if number)


def _verify_text(store: Path, found: StoreReport) -> str:
    lines = [f"{store}: {found.checked} images checked, {_damage(found) or 'all whole'}"]
    for name, items in (("missing", found.missing), ("damaged", found.damaged), ("line", found.lines)):
        lines += [f"  {name}: {item}" for item in items[:_SHOWN]]
        lines += [f"  … and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    if found.stray:
        lines.append(f"  {len(found.stray)} files belong to no image (harmless), like {found.stray[0]}")
    return "\n".join(lines)


@labels.command()
def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Store for all; new, or one that takes the others in.")],
    stores: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Stores of one vocabulary and teacher.")],
    copy: Annotated[
        bool, typer.Option("--copy", help="Copy files; by default they are linked where possible.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put stores together. Every file is checked; nothing is lost or double, and two labels for one image are an error."""
    from semiovs.store.merge import merge_stores

    with progress("merging") as show:
        done = merge_stores(out, stores, copy=copy, progress=show)
    sources = ", ".join(f"{root} ({number})" for root, number in done.merged.items())
    text = (
        f"{out}: {done.images} images = {done.before} that were there + {done.added} new; "
        f"{done.equal} were double and equal\nmerged: {sources or 'nothing'}"
    )
    report({"store": str(out), **done.as_json()}, as_json=as_json, text=text)


@labels.command()
def view(
    store: _Store,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...",
            help="As for `semiovs label`: how images are read that are not RGB (data.bands, data.range, data.rgb).",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder, list or manifest of the images: shows them, too.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="PNG", help="The picture.")] = Path("sheet.png"),
    count: Annotated[int, typer.Option(min=1, max=400, help="Images to show.")] = 12,
    class_: Annotated[str | None, typer.Option("--class", metavar="NAME", help="Only images with this class.")] = None,
    worst: Annotated[bool, typer.Option("--worst", help="The images of the lowest confidence, worst first.")] = False,
    columns: Annotated[int, typer.Option(min=1, help="Images in a row.")] = 2,
    as_json: Json = False,
) -> None:
    """Write a contact sheet: image, label and confidence, side by side."""
    from semiovs.files import write_bytes
    from semiovs.inference.sheet import contact_sheet
    from semiovs.store import PseudoLabelStore
    from semiovs.store.image_sample import pick_images

    opened = PseudoLabelStore.open(store)
    names = opened.vocabulary.names
    if class_ is not None and class_ not in names:
        raise UsageError(f"--class {class_}: no such class in {store}{did_you_mean(class_, names)}")
    of_class = None if class_ is None else names.index(class_)
    picked = pick_images(opened, count, of_class=of_class, worst=worst)
    if not picked:
        raise DataError(f"{store}: no images" + (f" with '{class_}'" if class_ else ""))
    find, read = _finder(images), _reader(arguments or [])
    tiles = [_tile(opened, identifier, mean, find, read) for identifier, mean in picked]
    encoded = io.BytesIO()
    contact_sheet(tiles, names=names, colors=opened.vocabulary.colors, columns=columns).save(encoded, "PNG")
    write_bytes(out, encoded.getvalue())
    shown = [{"id": identifier, "confidence": mean} for identifier, mean in picked]
    report({"sheet": str(out), "images": shown}, as_json=as_json, text=f"{out}: {len(picked)} images")


def _reader(arguments: list[str]) -> ImageReader:
    from semiovs.config import load_config, split_source
    from semiovs.images.readers import RGB, image_reader

    if not arguments:
        return RGB
    source, overrides = split_source(arguments)
    return image_reader(load_config(source, overrides).config.data)


def _tile(
    store: PseudoLabelStore,
    identifier: str,
    mean: float | None,
    find: Callable[[str], Path] | None,
    read: ImageReader,
) -> Tile:
    from semiovs.images.conventions import IGNORE
    from semiovs.inference.sheet import Tile

    label, confidence = store.label(identifier), store.confidence(identifier)
    path = None if find is None else find(identifier)
    photo = None if path is None else read.shown(path)
    if photo is not None and photo.size != label.shape[::-1]:
        raise DataError(
            f"{path}: {photo.width}x{photo.height}, but its label in {store.root} is "
            f"{label.shape[1]}x{label.shape[0]}; are these the images that were labelled?"
        )
    said = "all ignored" if mean is None else f"confidence {mean:.2f}"
    ignored = float((label == IGNORE).mean())
    return Tile(f"{identifier}  {said}, ignored {100 * ignored:.0f}%", label, confidence, photo)


def _finder(images: Path | None) -> Callable[[str], Path] | None:
    """Function from id to image, for a folder, a list, tars or a data set."""
    from semiovs.images.source import names_container, read_source

    if images is None:
        return None
    if images.is_dir() and not names_container(images):
        return lambda identifier: _in_folder(identifier, images)
    listed = {record.id: record.image for record in read_source(images.name, images.parent)}

    def find(identifier: str) -> Path:
        if identifier not in listed:
            raise DataError(f"{images}: no image '{identifier}'; name the list that was labelled")
        return listed[identifier]

    return find


def _in_folder(identifier: str, images: Path) -> Path:
    from semiovs.images.conventions import IMAGE_SUFFIXES

    for suffix in IMAGE_SUFFIXES:
        for name in (f"{identifier}{suffix}", f"{identifier}{suffix.upper()}"):
            if (images / name).is_file():
                return images / name
    raise DataError(
        f"{images}: no image '{identifier}' ({', '.join(IMAGE_SUFFIXES)}); name the folder that was labelled"
    )
