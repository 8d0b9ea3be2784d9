"""Turn a survey of a folder into a configuration: values by key, and the commented YAML that `semiovs init` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from semiovs.config.edit import LIST_OR, TAKEN_FROM
from semiovs.config.yaml_reader import format_inline
from semiovs.errors import UsageError
from semiovs.images.discover.classes import choose_masks, guess_classes
from semiovs.images.discover.found_classes import NO_CLASS, FoundClasses
from semiovs.images.discover.mask_colors import explain_undecided, may_be_colored
from semiovs.images.discover.recipe import Recipe
from semiovs.images.discover.sizes import Sizes
from semiovs.images.discover.survey import Survey

_PLACEHOLDER = FoundClasses(("background", "thing"), None, "no masks to guess from")
#: Hint about concepts for open-vocabulary teachers.
_CONCEPTS = (
    "  # ^ or a YAML file with other words for a teacher to look for, colours, background: semiovs vocab show "
    "voc21 --yaml",
)
#: Colours without a name that are written out.
_SHOWN = 64
#: Folders that may hold labels of the images in ood/.
_OOD_LABELS = ("ood-labels", "ood_labels")


def choose_classes(found: Survey, given: str | None) -> str | FoundClasses:
    """Choose the classes: a class file, names from the command line (``a,b,c``), or a guess from the masks; doubts
    become notes.

    Raises:
        UsageError: `given` holds no names, or one twice, or does not tell which colour of colour masks is which.
    """
    names = None if given is None else _split_names(given)
    guess = found.classes
    if guess is None and (found.class_file is None or given is not None or _needs_colors(found)):
        guess = guess_classes(found.mask_files, colors=found.colors, names=names or found.class_names)
    if guess is not None and guess.colored and names is not None and (guess.undecided or not guess.map):
        raise UsageError(_explain_colors(found, guess, given or ""))
    if guess is not None and guess.doubt:
        found.notes.append(guess.doubt)
    if guess is not None and guess.colored:
        if guess.map and guess.named:
            found.notes.append(f"masks are read by their colours: {guess.source}")
        whole = names is None and found.class_file is not None and "ignore" not in found.colors.values()
        return replace(guess, file=found.class_file or "") if whole else guess
    if names is None:
        return found.class_file or guess or _PLACEHOLDER
    if guess is not None and guess.map is not None and len(guess.names) == len(names):
        rename = dict(zip(guess.names, names, strict=True)) | {NO_CLASS: NO_CLASS}
        return FoundClasses(names, {key: rename[name] for key, name in guess.map.items()}, "--classes", named=True)
    if guess is not None and (guess.map is not None or len(guess.names) > len(names)):
        found.notes.append(
            f"{len(names)} classes given, but {guess.source}; say what each value means in data.masks.map"
        )
    return FoundClasses(names, None, "--classes", named=True)


def _split_names(given: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise UsageError(f"--classes '{given}': expected different names with commas between them")
    return names


def _needs_colors(found: Survey) -> bool:
    """Whether the masks have to be looked at although a class file gives names: their colours may mean the classes."""
    return may_be_colored(choose_masks(found.mask_files), palettes=1 if found.colors else 2)


def _explain_colors(found: Survey, guess: FoundClasses, given: str) -> str:
    """Say which colours have no name, and the lines that give them one."""
    lines = [f"{name} {key.replace(',', ' ')}" for key, name in (guess.map or {}).items()]
    for key, pixels in list(guess.undecided.items())[:_SHOWN]:
        lines.append(f"NAME {key.replace(',', ' ')}   # {pixels:,} pixels; {explain_undecided(key)}")
    head = (
        f"--classes '{given}': the masks hold colours, and names alone do not say which colour is which; write these "
        f"lines, with names, into {found.folder / 'classes.txt'}, then run semiovs init without --classes:"
    )
    return "\n  ".join([head, *lines])


def list_settings(found: Survey, classes: str | FoundClasses, *, root: str) -> dict[str, Any]:
    """List the settings of section `data` and `ood` for the folder: dotted key -> value."""
    values: dict[str, Any] = {"data.root": root}
    values["data.classes"] = classes if isinstance(classes, str) else classes.file or list(classes.names)
    given = found.lists | found.folders
    values |= {f"data.{role}": given[role] for role in ("labeled", "unlabeled", "val") if role in given}
    if found.flat and not found.unlabeled and "unlabeled" not in given:
        values["data.unlabeled"] = "."
    if found.bands is not None and found.bands.needed:
        values["data.bands"] = found.bands.take
    if isinstance(classes, FoundClasses) and classes.map:
        if classes.colored:
            values["data.masks.encoding"] = "rgb"
        values["data.masks.map"] = classes.map
    if found.outside:
        values["data.outside"] = True
    if found.ood and (labels := find_ood_labels(found)):
        values |= {"ood.images": found.ood_images, "ood.labels": labels}
    return values


def find_ood_labels(found: Survey) -> str | None:
    """Find the folder with labels of the images in ood/."""
    return next((name for name in _OOD_LABELS if (found.folder / name).is_dir()), None)


def format_starter(found: Survey, classes: str | FoundClasses, recipe: Recipe, sizes: Sizes, *, root: str) -> str:
    """Format the settings as YAML, with a recipe and comments on everything that users may want to change."""
    values = list_settings(found, classes, root=root)
    parts = (
        _format_head(found, recipe),
        _format_data(found, classes, sizes, values),
        _format_ood(found, values),
        _format_recipe(found, recipe, sizes),
    )
    return "\n".join(line for part in parts for line in part) + "\n"


def _format_head(found: Survey, recipe: Recipe) -> Iterator[str]:
    yield "# Starter configuration written by `semiovs init`: read it once, change what is wrong."
    yield "# Every other knob with its default: semiovs config show THIS_FILE --origins"
    yield f"extends: {recipe.preset}   # {recipe.reason}; all recipes: semiovs list presets"
    yield ""
    yield f"run: {{name: {format_inline(found.folder.resolve().name or 'run')}}}   # results go to runs/<name>/…"
    yield ""


def _format_data(found: Survey, classes: str | FoundClasses, sizes: Sizes, values: dict[str, Any]) -> Iterator[str]:
    yield "data:"
    yield f"  root: {format_inline(values['data.root'])}   # relative to this file; paths below are relative to it"
    if isinstance(classes, str) or classes.file:
        yield f"  classes: {format_inline(values['data.classes'])}   # names in the order of their ids"
    else:
        yield f"  classes: {format_inline(values['data.classes'])}"
        yield f"  # ^ in the order of their ids; {classes.source}" + ("" if classes.named else ". RENAME THEM.")
    yield from _CONCEPTS
    yield f"  crop_size: {sizes.crop_size}   # {sizes.crop_reason}"
    masks = f"images/ with masks/ of the same names ({found.images} and {found.masks} here)"
    yield _format_role(values, "labeled", masks, there=found.labeled)
    if values.get("data.unlabeled") == ".":
        yield f"  unlabeled: .   # the {found.flat} images in the folder itself"
    else:
        yield _format_role(
            values, "unlabeled", f"unlabeled/ ({found.unlabeled} images here)", there=bool(found.unlabeled)
        )
    yield _format_role(values, "val", f"val/images with val/masks ({found.val} images here)", there=bool(found.val))
    if "data.outside" in values:
        yield "  outside: true   # the lists name files that lie elsewhere"
    if found.bands is not None:
        yield from found.bands.lines()
    if found.other_splits:
        yield f"  # other lists: {', '.join(found.other_splits[:8])}"
    yield from _format_map(values, {} if isinstance(classes, str) else classes.undecided)
    yield ""


def _format_map(values: dict[str, Any], undecided: Mapping[str, int]) -> Iterator[str]:
    """Format section `masks`; colours whose meaning a person has to say are comments, all of it if nothing is known."""
    known = values.get("data.masks.map", {})
    if not known and not undecided:
        return
    mark = "" if known else "# "
    yield f"  {mark}masks:"
    if "data.masks.encoding" in values or not known:
        yield f"  {mark}  encoding: rgb   # files are read as colours"
    yield f"  {mark}  map:   # value in the mask file -> class name, or ignore"
    yield from (f"      {format_inline(key)}: {format_inline(name)}" for key, name in known.items())
    for key, pixels in list(undecided.items())[:_SHOWN]:
        yield f"      # {format_inline(key)}: ignore   # NEEDED ({pixels:,} pixels): {explain_undecided(key)}"
    if len(undecided) > _SHOWN:
        yield f"  # and {len(undecided) - _SHOWN} more colours"


def _format_role(values: dict[str, Any], role: str, default: str, *, there: bool) -> str:
    if f"data.{role}" in values:
        return f"  {role}: {format_inline(values[f'data.{role}'])}"
    return f"  # {role}: {TAKEN_FROM if there else LIST_OR} {default}"


def _format_ood(found: Survey, values: dict[str, Any]) -> Iterator[str]:
    """Format section `ood`; commented out if there are no labels yet, so that the file can be trained with."""
    mark = "" if "ood.images" in values else "# "
    yield "# Images from elsewhere (out of distribution), labelled by an open-vocabulary model: semiovs label --help"
    yield f"{mark}ood:"
    yield f"{mark}  images: {format_inline(found.ood_images)}   # {found.ood} images here"
    yield (
        f"{mark}  labels: {find_ood_labels(found) or _OOD_LABELS[0]}   # store written by semiovs label, or a "
        f"folder "
        f"of masks"
    )
    yield ""


def _format_recipe(found: Survey, recipe: Recipe, sizes: Sizes) -> Iterator[str]:
    if not found.bare:
        yield f"method: supervised   # there are no unlabelled images yet; with two or more: {recipe.method}"
    else:
        yield f"method:\n  name: {recipe.method}   # semiovs list methods"
    if sizes.ema_decay is not None:
        yield f"  ema_decay: {sizes.ema_decay:g}   # {sizes.ema_reason}"
    yield "model:"
    if recipe.encoder is not None:
        yield f"  encoder: {recipe.encoder}   # the base size, for 20 GB and more; smaller: vit_small_patch14_dinov2"
    yield "  pretrained: true   # the encoder's published weights (network or cache); or a file; or false"
    if sizes.dilations is not None:
        yield f"  dilations: {list(sizes.dilations)}   # {sizes.dilations_reason}"
    yield "train:"
    yield f"  steps: {sizes.steps}   # {sizes.steps_reason}"
    yield f"  batch_size: {sizes.batch_size}   # {sizes.batch_reason}"
    if sizes.eval_every is not None:
        yield f"  eval_every: {sizes.eval_every}   # steps; seldom, because an evaluation takes long on a CPU"
