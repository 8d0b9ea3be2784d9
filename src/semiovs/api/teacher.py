"""A teacher as a program names it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semiovs.engine.teacher_choice import Agree, TeacherChoice

#: Folder, file or name.
Place = str | os.PathLike[str]


def choose_teacher(
    name: str,
    weights: Place | None,
    from_: Place | None,
    map: Mapping[Any, Any] | None,  # noqa: A002 - the option's name
    options: Mapping[str, Any] | None,
) -> TeacherChoice:
    """The teacher `name`; map: class of each value of ready-made masks; options: any others of the teacher."""
    values = dict(options or {})
    if map is not None:
        values["map"] = {str(value): label for value, label in map.items()}
    return TeacherChoice(name, to_path(weights), to_path(from_), values=values)


def make_agree(*, download: bool) -> Agree:
    """Weights are fetched with `download` alone: nobody is asked."""
    return lambda _offer: download or None


def to_path(place: Place | None) -> Path | None:
    """A path, `~` for the home folder; None stays."""
    return None if place is None else Path(place).expanduser()
