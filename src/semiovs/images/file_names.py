"""Names of files that look alike: Unicode stores an accented letter as one character (NFC) or as two (NFD)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from semiovs.errors import DataError

_Value = TypeVar("_Value")


def normalize_name(name: str) -> str:
    """The name in NFC, in which names that look alike are equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def adopt_names(given: Mapping[str, _Value], wanted: Mapping[str, object]) -> dict[str, _Value]:
    """Rename the keys of `given` that `wanted` lacks to those of `wanted` that look alike."""
    if all(map(str.isascii, given)):
        return dict(given)
    alike = {normalize_name(name): name for name in wanted if name not in given}
    return {name if name in wanted else alike.get(normalize_name(name), name): value for name, value in given.items()}


def make_missing_error(path: Path) -> DataError:
    """An error about a file that is not there; one of a name that looks alike is told."""
    text = f"{path}: no such file"
    forms: tuple[Literal["NFC", "NFD"], ...] = () if path.name.isascii() else ("NFC", "NFD")
    for form in forms:
        other = path.with_name(unicodedata.normalize(form, path.name))
        if other.name != path.name and other.exists():
            text += f"; one that looks alike is there, its accents in another form (Unicode {form}): rename it"
    return DataError(text, kind="missing")
