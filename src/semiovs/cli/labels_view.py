"""``semiovs labels view``: draw a contact sheet of labels."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.cli.console import Json, report
from semiovs.cli.store_options import StoreFolder
from semiovs.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.images.readers import ImageReader
    from semiovs.inference import Tile
    from semiovs.store import PseudoLabelStore


def view(
    store: StoreFolder,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY=VALUE]...",
            help="As for `semiovs label`, for images that are not RGB (data.bands, data.range, data.rgb).",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder, list or manifest of the images, which are then shown too.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="PNG", help="File to write.")] = Path("sheet.png"),
    count: Annotated[int, typer.Option(min=1, max=400, help="Images to show.")] = 12,
    class_: Annotated[str | None, typer.Option("--class", metavar="NAME", help="Only images with this class.")] = None,
    worst: Annotated[
        bool, typer.Option("--worst", help="The images with the lowest confidence, lowest first.")
    ] = False,
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
    find, read = _make_finder(images), _choose_reader(arguments or [])
    tiles = [_make_tile(opened, identifier, mean, find, read) for identifier, mean in picked]
    encoded = io.BytesIO()
    contact_sheet(tiles, names=names, colors=opened.vocabulary.shown_colors, columns=columns).save(encoded, "PNG")
    write_bytes(out, encoded.getvalue())
    shown = [{"id": identifier, "confidence": mean} for identifier, mean in picked]
    report({"sheet": str(out), "images": shown}, as_json=as_json, text=f"{out}: {len(picked)} images")


def _choose_reader(arguments: list[str]) -> ImageReader:
    from semiovs.config import load_config, split_source
    from semiovs.images.readers import RGB, make_image_reader

    if not arguments:
        return RGB
    source, overrides = split_source(arguments)
    return make_image_reader(load_config(source, overrides).config.data)


def _make_tile(
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
    photo = None if path is None else read.read_preview(path)
    if photo is not None and photo.size != label.shape[::-1]:
        raise DataError(
            f"{path}: {photo.width}x{photo.height}, but its label in {store.root} is "
            f"{label.shape[1]}x{label.shape[0]}; are these the images that were labelled?"
        )
    said = "all ignored" if mean is None else f"confidence {mean:.2f}"
    ignored = float((label == IGNORE).mean())
    return Tile(f"{identifier}  {said}, ignored {100 * ignored:.0f}%", label, confidence, photo)


def _make_finder(images: Path | None) -> Callable[[str], Path] | None:
    """Make a function that finds an image by id in a folder, a list, tars or a data set."""
    from semiovs.images.source import is_container, read_source

    if images is None:
        return None
    if images.is_dir() and not is_container(images):
        return lambda identifier: _find_in_folder(identifier, images)
    listed = {record.id: record.image for record in read_source(images, outside=True)}

    def find(identifier: str) -> Path:
        if identifier not in listed:
            raise DataError(f"{images}: no image '{identifier}'; name the list that was labelled")
        return listed[identifier]

    return find


def _find_in_folder(identifier: str, images: Path) -> Path:
    from semiovs.images.conventions import IMAGE_SUFFIXES

    for suffix in IMAGE_SUFFIXES:
        for name in (f"{identifier}{suffix}", f"{identifier}{suffix.upper()}"):
            if (images / name).is_file():
                return images / name
    raise DataError(
        f"{images}: no image '{identifier}' ({', '.join(IMAGE_SUFFIXES)}); name the folder that was labelled"
    )
