"""Plug-ins of other installed packages, found by their entry points without importing them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from semiovs.errors import SemiovsWarning, UsageError
from semiovs.registry.entry import Entry

#: Default segmenter of a method that names none.
SEGMENTER = "deeplabv3plus"


@cache
def find_plug_ins(group: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    """Name -> the entry points of `group` with that name, in installed packages; more than one is a conflict."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=group):
        found[point.name] = (*found.get(point.name, ()), point)
    return MappingProxyType(found)


def load_plug_in(kind: str, points: tuple[EntryPoint, ...]) -> Entry:
    """Import a plug-in and describe it as a row.

    Its summary is the first line of the docstring of its class or function; class attributes give the rest, all of
    them optional: ``default_segmenter`` (of a method) and ``source`` (the publication).

    Raises:
        UsageError: two packages use the name, or the plug-in cannot be imported.
    """
    point, *others = points
    if others:
        packages = " and ".join(describe_package(one) for one in points)
        raise UsageError(f"{kind} '{point.name}' is offered by {packages}; uninstall all but one of these packages")
    try:
        target = point.load()
        lines = (inspect.getdoc(target) or "").splitlines()
        segmenter = str(getattr(target, "default_segmenter", SEGMENTER)) if kind == "method" else None
        row = Entry(
            point.name,
            f"{point.module}:{point.attr}",
            lines[0] if lines else "",
            segmenter,
            str(getattr(target, "source", "")),
            describe_package(point),
        )
        _ = row.options
    except Exception as error:
        cause = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(
            f"{kind} '{point.name}' of {describe_package(point)} (entry point {point.value}) cannot be imported: "
            f"{cause}; "
            "install what it lacks, or uninstall the package"
        ) from error
    return row


def warn_of_taken_name(kind: str, point: EntryPoint) -> None:
    """Warn that a plug-in is ignored because semiovs has a component of that name."""
    warnings.warn(
        f"{kind} '{point.name}' of {describe_package(point)} is ignored: semiovs has a {kind} of that name; "
        "the package must give its entry point another name",
        SemiovsWarning,
        stacklevel=3,
    )


def describe_package(point: EntryPoint) -> str:
    """Name and version of the package that offers an entry point."""
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.module.partition(".")[0]
