"""Update image lists after images were labelled."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Sequence
from pathlib import Path

from semiovs.exchange.problems import ProblemList
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record


def join_lists(known: Manifest, new: Sequence[Record], where: str) -> Manifest:
    """Append new records to a labelled list.

    Raises:
        DataError: an image or an id is in both, or one image has the content of another; all of them are named.
    """
    problems = ProblemList()
    paths = {record.image.resolve(): record for record in known}
    ids = {record.id for record in known}
    sizes: dict[int, list[Record]] = {}
    for record in known:
        if record.image.is_file():
            sizes.setdefault(record.image.stat().st_size, []).append(record)
    for record in new:
        if record.image.resolve() in paths:
            problems.add(where, f"{record.image} is labelled there already, as '{paths[record.image.resolve()].id}'")
        elif record.id in ids:
            problems.add(where, f"has another image of the id '{record.id}' than {record.image}; rename one")
        else:
            same = next(
                (other for other in sizes.get(record.image.stat().st_size, ()) if _have_same_content(record, other)),
                None,
            )
            if same is not None:
                problems.add(where, f"{record.image} is a copy of '{same.id}', which is labelled there")
    problems.check(f"joining {len(new)} images to {where}")
    return Manifest([*known, *new], known.root)


def _have_same_content(one: Record, other: Record) -> bool:
    return filecmp.cmp(one.image, other.image, shallow=False)


def list_remaining(pool: Manifest, labeled: Iterable[Record], root: Path) -> Manifest:
    """List the images of `pool` that were not labelled, with paths starting from `root`."""
    gone = {record.image.resolve() for record in labeled}
    return Manifest((record for record in pool if record.image.resolve() not in gone), root)
