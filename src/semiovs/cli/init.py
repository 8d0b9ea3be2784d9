"""``semiovs init``: write a commented starter configuration for a folder of images."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from semiovs.cli.console import Json, log, out, report
from semiovs.cli.next_steps import ENOUGH_TO_SPLIT, format_next, propose_encoder
from semiovs.errors import UsageError
from semiovs.images.discover.found_classes import FoundClasses
from semiovs.images.discover.roles import Roles
from semiovs.images.discover.starter import find_ood_labels
from semiovs.images.discover.starter_file import write_starter
from semiovs.images.discover.survey import Survey


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with images/, masks/, unlabeled/, val/, ood/ or lists.")
    ],
    to: Annotated[Path | None, typer.Option("--out", help="File to write; default: DIR/semiovs.yaml.")] = None,
    classes: Annotated[str | None, typer.Option("--classes", help="Names in the order of their ids: a,b,c.")] = None,
    labeled: Annotated[Path | None, typer.Option("--labeled", metavar="DIR", help="Labelled images.")] = None,
    masks: Annotated[Path | None, typer.Option("--masks", metavar="DIR", help="Their masks.")] = None,
    unlabeled: Annotated[Path | None, typer.Option("--unlabeled", metavar="DIR", help="Images without masks.")] = None,
    val: Annotated[Path | None, typer.Option("--val", metavar="DIR", help="Images to measure on.")] = None,
    val_masks: Annotated[Path | None, typer.Option("--val-masks", metavar="DIR", help="Their masks.")] = None,
    ood: Annotated[Path | None, typer.Option("--ood", metavar="DIR", help="Images from elsewhere.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a folder of images, write a commented starter YAML for it, and print the next commands.

    Folders with other names than those of the user guide, in DIR or elsewhere, get their role from an option.
    """
    from semiovs.config import load_config

    path = to or folder / "semiovs.yaml"
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force replaces it, --out FILE writes another")
    made = write_starter(folder, path, Roles(labeled, masks, unlabeled, val, val_masks, ood), classes)
    config = load_config(str(path)).config
    found, sizes = made.found, made.sizes
    steps = list_next_steps(found, made.classes, path)
    train = next((place for place, step in enumerate(steps) if step.startswith("semiovs train ")), None)
    if train is not None:
        steps[train:train] = propose_encoder(config)
    if as_json:
        told = {
            "file": str(path),
            "found": _count_found(found),
            "lists": list(found.made) if path.parent == folder else [str(file) for file in made.lists],
            "bands": None if found.bands is None else asdict(found.bands),
            "recipe": asdict(made.recipe),
            "sizes": sizes.as_json(),
            "notes": found.notes,
            "next": steps,
        }
        report(told, as_json=True)
        return
    for note in found.notes:
        log(f"note: {note}")
    wrote = ", ".join(map(str, [path, *made.lists]))
    counts = (f"  {count:>6} {what}" for what, count in _count_found(found).items())
    settings = "  " + ", ".join(f"{key}={value}" for key, value in sizes.as_json().items())
    out("\n".join([f"wrote {wrote}", *counts, f"  {made.recipe}", settings, format_next(steps)]))


def _count_found(found: Survey) -> dict[str, int]:
    counts = {
        "images in images/": found.images,
        "masks in masks/": found.masks,
        "images in unlabeled/": found.unlabeled,
        "images in val/images/": found.val,
        "images in ood/": found.ood,
        "images beside them": found.flat,
        **{f"images in {name}": len(text.splitlines()) for name, text in found.made.items()},
        **{f"list of images: {name}": 1 for name in found.lists.values() if name not in found.made},
    }
    return {what: count for what, count in counts.items() if count}


def list_next_steps(found: Survey, classes: str | FoundClasses, path: Path) -> list[str]:
    """Commands to type next, in order; of those that do not work yet, what has to be done before."""
    quoted = shlex.quote(str(path))
    check = f"semiovs data check {quoted}"
    if not found.labeled:
        way = f"put images into {found.folder / 'images'} and their masks, of the same names, into "
        again = ["semiovs", "init", str(found.folder), "--force"]
        again += [] if path == found.folder / "semiovs.yaml" else ["--out", str(path)]
        return [f"# {way}{found.folder / 'masks'}, then: {shlex.join(again)}"]
    if isinstance(classes, FoundClasses) and classes.undecided:
        return [f"# name the class of each colour in {path} (lines with NEEDED), then: {check}"]
    steps = [check]
    if found.bands is not None and found.bands.needed:
        steps.insert(0, f"semiovs data normalize {quoted} --write   # range, mean and deviation of the bands")
    if not found.evaluated and found.count_labeled() >= ENOUGH_TO_SPLIT:
        steps.append(f"semiovs data split {quoted} --write   # some labelled images are kept to measure on")
    steps.append(f"semiovs train {quoted}")
    if found.ood and find_ood_labels(found) is None:
        ood = shlex.quote(found.ood_images)
        command = f"semiovs label {quoted} ood={ood} --teacher auto"
        if isinstance(classes, FoundClasses) and not classes.named:
            command = f"# write the names of the classes into {path} (data.classes), for a teacher, then: {command}"
        steps.append(command)
    return steps
