"""``semiovs init``: from a folder of images to a commented starter YAML that already loads."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from semiovs.cli.console import Json, log, out, report
from semiovs.config.source import inline
from semiovs.errors import DataError, UsageError
from semiovs.images.discover.classes import Classes, guess_classes
from semiovs.images.discover.discover import discover
from semiovs.images.discover.survey import Survey

_PLACEHOLDER = Classes(("background", "thing"), None, "no masks to guess from")
#: What a teacher that is asked with words needs beyond names.
_CONCEPTS = (
    "  # ^ or a YAML file with other words for a teacher to look for, colours, background: semiovs vocab show voc21 --yaml",
)
#: With fewer labelled images than this the recipe takes smaller steps of fewer images.
_FEW = 8


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with images/, masks/, unlabeled/, val/, ood/ or lists.")],
    to: Annotated[Path | None, typer.Option("--out", help="File to write; default: DIR/semiovs.yaml.")] = None,
    classes: Annotated[str | None, typer.Option("--classes", help="Names in the order of their ids: a,b,c.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Look at a folder of images and write a commented starter YAML for it; says what to do next."""
    from semiovs.config import load_config
    from semiovs.files import write_text

    path = to or folder / "semiovs.yaml"
    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force replaces it, --out FILE writes another")
    found = discover(folder)
    made = _lists_beside(found, path)
    text = starter(found, chosen_classes(found, classes), root=_relative(folder, path.parent))
    try:
        for file, lines in made.items():
            write_text(file, lines)
        write_text(path, text)
    except PermissionError as error:
        raise DataError(
            f"{path.parent}: cannot be written into: {error.strerror}; --out FILE writes elsewhere"
        ) from None
    load_config(str(path))
    steps = next_steps(found, str(path))
    if as_json:
        told = {
            "file": str(path),
            "found": _counts(found),
            "lists": list(found.made) if path.parent == folder else [str(file) for file in made],
            "bands": None if found.bands is None else asdict(found.bands),
            "notes": found.notes,
            "next": steps,
        }
        report(told, as_json=True)
        return
    for note in found.notes:
        log(f"note: {note}")
    wrote = ", ".join(map(str, [path, *made]))
    out("\n".join([f"wrote {wrote}", *(f"  {count:>6} {what}" for what, count in _counts(found).items()), "next:"]))
    out("\n".join(f"  {step}" for step in steps))


def _lists_beside(found: Survey, path: Path) -> dict[Path, str]:
    """File -> text of the lists to write: they lie with the YAML file, which need not be in the folder of the images."""
    if path.parent.resolve() != found.folder.resolve():
        for role, name in found.lists.items():
            if name in found.made:
                found.lists[role] = (path.parent.resolve() / name).as_posix()
    return {path.parent / name: lines for name, lines in found.made.items()}


def chosen_classes(found: Survey, given: str | None) -> str | Classes:
    """A file with names, names given on the command line, or a guess from the masks."""
    guess = _guess(found) if given is not None or found.class_file is None else None
    if guess is not None and guess.doubt:
        found.notes.append(guess.doubt)
    if given is not None:
        names = tuple(name.strip() for name in given.split(","))
        if not all(names) or len(set(names)) < len(names):
            raise UsageError(f"--classes '{given}': expected different names with commas between them")
        if guess is not None and guess.map is not None and len(guess.names) == len(names):
            rename = dict(zip(guess.names, names, strict=True))
            return Classes(names, {key: rename[name] for key, name in guess.map.items()}, "--classes", named=True)
        if guess is not None and (guess.map is not None or len(guess.names) > len(names)):
            found.notes.append(
                f"{len(names)} classes given, but {guess.source}; say what each value means in data.masks.map"
            )
        return Classes(names, None, "--classes", named=True)
    return found.class_file or guess or _PLACEHOLDER


def _guess(found: Survey) -> Classes | None:
    return found.classes or guess_classes(found.mask_files)


def _relative(folder: Path, start: Path) -> str:
    try:
        return Path(os.path.relpath(folder.resolve(), start.resolve())).as_posix()
    except ValueError:  # another drive
        return folder.resolve().as_posix()


def _counts(found: Survey) -> dict[str, int]:
    counts = {
        "images in images/": found.images,
        "masks in masks/": found.masks,
        "images in unlabeled/": found.unlabeled,
        "images in val/images/": found.val,
        "images in ood/": found.ood,
        "images beside them": found.flat,
        "lists": len(found.lists),
    }
    return {what: count for what, count in counts.items() if count}


def starter(found: Survey, classes: str | Classes, *, root: str) -> str:
    """The YAML text."""
    parts = (_head(found), _data(found, classes, root), _ood(found), _recipe(found))
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(found: Survey) -> Iterator[str]:
    yield "# Starter configuration written by `semiovs init`: read it once, change what is wrong."
    yield "# Every other knob with its default: semiovs config show THIS_FILE --origins"
    yield "extends: modern/small   # the recipe; see them all: semiovs list presets"
    yield ""
    yield f"run: {{name: {inline(found.folder.resolve().name or 'run')}}}   # results go to runs/<name>/…"
    yield ""


def _data(found: Survey, classes: str | Classes, root: str) -> Iterator[str]:
    yield "data:"
    yield f"  root: {inline(root)}   # relative to this file; paths below are relative to it"
    if isinstance(classes, str):
        yield f"  classes: {inline(classes)}   # names in the order of their ids"
        yield from _CONCEPTS
    else:
        yield f"  classes: {inline(list(classes.names))}"
        yield f"  # ^ in the order of their ids; {classes.source}" + ("" if classes.named else ". RENAME THEM.")
        yield from _CONCEPTS
    yield from _role(
        found,
        "labeled",
        f"images/ with masks/ of the same names ({found.images} and {found.masks} here)",
        found.labeled,
    )
    unlabeled = f"unlabeled/ ({found.unlabeled} images here)"
    if found.flat and not found.unlabeled and "unlabeled" not in found.lists:
        yield f"  unlabeled: .   # the {found.flat} images in the folder itself"
    else:
        yield from _role(found, "unlabeled", unlabeled, bool(found.unlabeled))
    yield from _role(found, "val", f"val/images with val/masks ({found.val} images here)", bool(found.val))
    if found.bands is not None:
        yield from found.bands.lines()
    if found.other_splits:
        yield f"  # other lists: {', '.join(found.other_splits[:8])}"
    if isinstance(classes, Classes) and classes.map is not None:
        yield "  masks:"
        yield "    map:   # value in the mask file -> class name, or ignore"
        yield from (f"      {inline(key)}: {inline(name)}" for key, name in classes.map.items())
    yield ""


def _role(found: Survey, role: str, default: str, there: bool) -> Iterator[str]:
    if role in found.lists:
        yield f"  {role}: {inline(found.lists[role])}"
    elif there:
        yield f"  # {role}: taken from {default}"
    else:
        yield f"  # {role}: a list of files, or {default}"


def _ood(found: Survey) -> Iterator[str]:
    """Active only where the labels are there already, so that the file trains as it is."""
    labels = _ood_labels(found)
    mark = "" if labels and found.ood else "# "
    yield "# Images from elsewhere (out of distribution), labelled by an open-vocabulary model: semiovs label --help"
    yield f"{mark}ood:"
    yield f"{mark}  images: ood   # {found.ood} images here"
    yield f"{mark}  labels: {labels or 'ood-labels'}   # store written by semiovs label, or a folder of masks"
    yield ""


def _ood_labels(found: Survey) -> str | None:
    return next((name for name in ("ood-labels", "ood_labels") if (found.folder / name).is_dir()), None)


def _recipe(found: Survey) -> Iterator[str]:
    if found.bare:
        yield "method: unimatch   # semiovs list methods"
    else:
        yield "method: supervised   # there are no unlabelled images yet; with them: unimatch"
    yield "model:"
    yield "  pretrained: true   # the encoder's ImageNet weights (network or cache); or a file; or false"
    yield "train:"
    yield "  steps: 4000   # try 200 first"
    if 0 < found.images < _FEW and "labeled" not in found.lists:
        yield f"  batch_size: {max(2, found.images)}   # few labelled images; lower it too if memory runs out"
    else:
        yield "  batch_size: 8   # lower it if memory runs out"


def next_steps(found: Survey, path: str) -> list[str]:
    """Commands to type next, in order."""
    quoted = shlex.quote(path)
    steps = [f"semiovs data check {quoted}"]
    if found.bands is not None and found.bands.needed:
        steps.insert(
            0, f"semiovs data normalize {quoted}   # range, mean and deviation of the bands: lines for the file"
        )
    labels = _ood_labels(found)
    if found.ood and labels is None:
        steps.append(f"semiovs label {quoted} ood=ood --from MASKS   # masks of the images in ood/, from any teacher")
    if found.labeled:
        with_ood = " ood=ood" if found.ood and labels is None else ""
        return [*steps, f"semiovs train {quoted}{with_ood} train.steps=200"]
    return [*steps, f"# put labelled images into {found.folder}/images, their masks into {found.folder}/masks, then:",
            f"semiovs train {quoted}"]  # fmt: skip
