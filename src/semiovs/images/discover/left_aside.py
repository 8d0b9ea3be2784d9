"""Name the folders whose images or masks `semiovs init` has no use for, each with the number of files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath

from semiovs.images.conventions import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiovs.images.discover.layouts import is_mask_folder, is_named_like_a_mask
from semiovs.images.discover.lists import OOD, WHOLE, FoundLists, find_listed, format_place
from semiovs.images.folder_walk import walk_files

_OOD_LABELS = ("ood-labels", "ood_labels")
#: More folders than this are counted by the folder at the top.
_MANY = 12


def note_left_aside(folder: Path, lists: FoundLists) -> Iterator[str]:
    """Yield a note that names what is in no list and no folder that is read; nothing if there is none."""
    if left := _count_left_aside(folder, lists):
        shown = ", ".join(f"{_show(place)} ({number})" for place, number in left.items())
        yield (
            f"images or masks that are left aside, with their number: {shown}; "
            "name a folder or a list of them in data.labeled, data.unlabeled or data.val if they belong to the data"
        )
    masks = sum(is_named_like_a_mask(path.stem) for path in walk_files(folder / "ood", MASK_SUFFIXES))
    if masks:
        yield f"ood/ holds {masks} files that are masks by their names: they would be read as images, move them away"


def _count_left_aside(folder: Path, lists: FoundLists) -> dict[str, int]:
    """Folder -> number of files that are left aside, by name."""
    listed = find_listed(folder, lists.lists.values(), lists.made.values())
    known = (*WHOLE.items(), (OOD, (OOD,)))
    whole = [*_OOD_LABELS, *(name for role, names in known if role not in lists.roles for name in names)]
    whole += [format_place(folder, place) for place in lists.folders.values()]
    used: set[str] = set()
    left: Counter[str] = Counter()
    for parent, files in groupby(walk_files(folder, {*IMAGE_SUFFIXES, *MASK_SUFFIXES}), lambda path: path.parent):
        place = parent.relative_to(folder).as_posix()
        if f"{place}/".startswith(tuple(f"{name}/" for name in whole)) or "." in whole or (lists.flat and place == "."):
            continue
        found = [bool(listed) and Path(os.path.normpath(path)) in listed for path in files]
        if any(found):
            used.add(place)
        if not all(found):
            left[place] += found.count(False)
    for place in used & {*left}:  # masks of images that are taken without them
        if is_mask_folder(place):
            del left[place]
    if len(left) > _MANY:
        above: Counter[str] = Counter()
        for place, number in left.items():
            above[PurePosixPath(place).parts[0] if place != "." else place] += number
        left = above
    return dict(sorted(left.items()))


def _show(place: str) -> str:
    return "this folder" if place == "." else f"{place}/"
