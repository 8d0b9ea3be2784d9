"""Options that ``semiovs labels export`` and ``labels import`` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semiovs.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from semiovs.vocab.vocabulary import Vocabulary

#: Formats that labels can be exported to.
FORMATS = ("coco", "cvat", "label-studio")

Classes = Annotated[
    str | None, typer.Option(help="Vocabulary: a name, a YAML or text file, or a,b,c in the order of the ids.")
]
Root = Annotated[Path, typer.Option(metavar="DIR", help="Start of relative paths in lists, as data.root.")]


def require_known(option: str, name: str, names: Sequence[str]) -> None:
    """Raise UsageError for a format that is not in `names`."""
    if name not in names:
        raise UsageError(f"{option} {name}: no such format{did_you_mean(name, names)}")


def read_vocabulary(classes: str) -> Vocabulary:
    """Parse the value of ``--classes``."""
    from semiovs.vocab.vocabulary import Vocabulary

    if "," in classes and not Path(classes).is_file():
        return Vocabulary.of([name.strip() for name in classes.split(",")])
    return Vocabulary.load(classes)
