"""What ``semiovs labels export`` and ``labels import`` have in common: formats, classes, where lists start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.vocab.vocabulary import Vocabulary

#: Programs that labels are written for.
FORMATS = ("coco", "cvat", "label-studio")

Classes = Annotated[
    str | None, typer.Option(help="Vocabulary: a name, a YAML or text file, or a,b,c in the order of the ids.")
]
Root = Annotated[Path, typer.Option(metavar="DIR", help="Where relative paths in lists start: data.root.")]


def require_known(option: str, name: str, names: Sequence[str]) -> None:
    """Refuse a name of a format that is none of `names`."""
    if name not in names:
        raise UsageError(f"{option} {name}: no such format{did_you_mean(name, names)}")


def vocabulary_of(classes: str) -> Vocabulary:
    """Value of ``--classes``."""
    from semiovs.vocab.vocabulary import Vocabulary

    if "," in classes and not Path(classes).is_file():
        return Vocabulary.of([name.strip() for name in classes.split(",")])
    return Vocabulary.load(classes)
