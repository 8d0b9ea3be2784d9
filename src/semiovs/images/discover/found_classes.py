"""Classes that were found, with what the values or colours in masks mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Names in a class file that mean 'not labelled'.
VOID = frozenset({"unlabeled", "unlabelled", "void", "ignore", "ignored", "unknown", "don't care", "dontcare"})
#: Name for 'not labelled' in a map.
NO_CLASS = "ignore"


@dataclass(frozen=True)
class FoundClasses:
    """Class names guessed from masks, or given.

    map: value or colour in the file -> class name, None where values are ids; source: how they were found; named:
    whether a person named them; doubt: what a person should know, or why they may not be classes at all; file: the
    class file that holds the names; colored: whether masks are read as colours; undecided: colours that a person has to
    name, with their pixels.
    """

    names: tuple[str, ...]
    map: dict[str, str] | None = None
    source: str = ""
    named: bool = False
    doubt: str = ""
    file: str = ""
    colored: bool = False
    undecided: Mapping[str, int] = field(default_factory=dict)
