"""Find lists of images in a folder and guess their roles from their names; pair images and masks where there is no
list.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semiovs.files import parse_json
from semiovs.images.conventions import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiovs.images.discover.class_masks import refuse_class_masks
from semiovs.images.discover.id_lists import PLACES as ID_PLACES
from semiovs.images.discover.id_lists import SUFFIXES as ID_SUFFIXES
from semiovs.images.discover.id_lists import index_pairs, read_pairs
from semiovs.images.discover.layouts import LABELED_PLACES, UNLABELED_FOLDERS, VAL_PLACES, is_named_like_a_mask
from semiovs.images.discover.pairs import (
    FoundPairs,
    Pair,
    find_pairs,
    have_same_names,
    list_images,
    pair_side_by_side,
)
from semiovs.images.folder_walk import is_empty, walk_files
from semiovs.images.source import find_list_root

LABELED, UNLABELED, VAL, OOD = "labeled", "unlabeled", "val", "ood"
#: Role -> conventional folders that are read as a whole where no list replaces them.
WHOLE = {LABELED: ("images", "masks"), VAL: ("val/images", "val/masks"), UNLABELED: ("unlabeled",)}
#: Role -> words in the name of a list, the best first; roles are tried in this order.
_WORDS = {
    UNLABELED: ("unlabeled", "unlabelled"),
    VAL: ("val", "valid", "validation", "eval", "test"),
    LABELED: ("labeled", "labelled", "train", "training", "trainval"),
}
_LONGEST = 4096


@dataclass
class FoundLists:
    """lists: role -> list file; others: further ones; made: role -> (image, mask or None) of lists that have to be
    written; flat: number of bare images, where they lie in the folder itself and there is nothing else.

    told: roles whose folders a person named; folders: role -> such a folder, of images without masks; bare: images
    without masks in such a folder of labelled ones.
    """

    lists: dict[str, Path] = field(default_factory=dict)
    others: list[Path] = field(default_factory=list)
    made: dict[str, list[Pair]] = field(default_factory=dict)
    flat: int = 0
    notes: list[str] = field(default_factory=list)
    told: frozenset[str] = frozenset()
    folders: dict[str, Path] = field(default_factory=dict)
    bare: list[Path] = field(default_factory=list)

    @property
    def roles(self) -> set[str]:
        """Roles that have a list or a folder already."""
        return {*self.lists, *self.made, *self.told}


def find_lists(folder: Path, found: FoundLists) -> None:
    """Add lists in the folder itself, in lists/ or splits/, and in the first folder of splits/ with a labelled list.

    Roles whose folders are told keep them.
    """
    by_id = _add_id_lists(folder, found)
    inner = sorted(
        {path.parent for path in (folder / "splits").glob("*/*") if _guess_role(path) == LABELED and _is_list(path)}
    )
    for place in [*inner[:1], folder, folder / "lists", folder / "splits"]:
        ranked = sorted((_rank_list(path), path) for path in _list_files(place) if _guess_role(path) and _is_list(path))
        for _, path in ranked:
            role = _guess_role(path) or ""
            if role not in found.told:
                found.lists.setdefault(role, path)
                found.made.pop(role, None)
        left = [path for path in _list_files(place) if _is_named_like_a_list(path) and path not in by_id]
        found.notes += map(_note_not_a_list, left)
    found.others = inner[1:]


def add_missing_lists(folder: Path, found: FoundLists, class_names: Collection[str] = ()) -> None:
    """Fill `found.made` with lists of images in folders that do not follow the convention.

    By convention masks/ holds the masks of images/, val/masks those of val/images, and unlabeled/ has no masks; these
    need no list. class_names: names by which masks of single classes are recognised.

    Raises:
        DataError: images have several masks, one for each class.
    """
    if LABELED in found.roles:
        _add_unlabeled(folder, found)
        _add_bare(found, folder)
        _add_rest(folder, found)
        _add_flat(folder, found)
        return
    _add_unlabeled(folder, found)
    measured = {image for image, _ in found.made.get(VAL, ())}
    if VAL not in found.roles and (val := _find_first_pairs(folder, VAL_PLACES)) is not None:
        measured = {image for image, _ in val[1].pairs}
    else:
        val = None
    if (labeled := _find_first_pairs(folder, LABELED_PLACES)) is not None:
        _add_pairs(folder, LABELED, found, *labeled, measured)
    else:
        for place in LABELED_PLACES:
            refuse_class_masks(folder, place, class_names)
    if val is not None:
        _add_pairs(folder, VAL, found, *val)
    _add_flat(folder, found)


def _find_first_pairs(folder: Path, places: Iterable[str]) -> tuple[str, FoundPairs] | None:
    """Find the first place whose images have masks, and its pairs."""
    found = ((place, find_pairs(folder, place)) for place in places)
    return next(((place, pairs) for place, pairs in found if pairs is not None), None)


def _add_id_lists(folder: Path, found: FoundLists) -> set[Path]:
    """Add the lists of ids; returns their files."""
    taken: set[Path] = set()
    files = [
        path
        for place in ID_PLACES
        for path in _list_files(folder / place)
        if path.suffix.lower() in ID_SUFFIXES and _guess_role(path) and not _is_list(path)
    ]
    known = index_pairs(folder) if files else {}
    for path in sorted(files, key=_rank_list):
        role = _guess_role(path) or ""
        pairs = [(image, None if role == UNLABELED else mask) for image, mask in read_pairs(path, known)]
        if role != UNLABELED:
            pairs = [(image, mask) for image, mask in pairs if mask is not None]
        if not pairs:
            continue
        taken.add(path)
        if role not in found.made and role not in found.told:
            found.made[role] = pairs
            found.notes.append(f"{path.relative_to(folder)} names {len(pairs)} images by their ids: taken as {role}")
    return taken


def _add_unlabeled(folder: Path, found: FoundLists) -> None:
    """Add the images of unlabelled/ and the like, and those of unlabeled/ if masks lie between them."""
    if UNLABELED in found.roles:
        return
    for name in ("unlabeled", *UNLABELED_FOLDERS):
        place = folder / name / "images" if (folder / name / "images").is_dir() else folder / name
        every = list_images(place)
        if not every:
            continue
        if name == "unlabeled" and not any(is_named_like_a_mask(path.stem) for path in every):
            return
        images = [image for image, _ in pair_side_by_side(place)]
        if not images:
            found.notes.append(f"{name}/ holds nothing but {len(every)} masks by their names: move them away")
            continue
        if name != "unlabeled":
            found.notes.append(f"{len(images)} images of {name}/ are taken as unlabelled")
        if len(images) < len(every):
            found.notes.append(f"{len(every) - len(images)} files of {name}/ are masks by their names: left aside")
        if name != "unlabeled" or len(images) < len(every):
            found.made[UNLABELED] = [(image, None) for image in images]
        return


def _add_bare(found: FoundLists, folder: Path) -> None:
    """Add the images without masks of a folder that is told to be the labelled one."""
    if found.bare and not _has_unlabeled(folder, found):
        found.made[UNLABELED] = [(image, None) for image in found.bare]
        found.notes.append(f"the {len(found.bare)} without a mask are taken as unlabelled")


def _add_rest(folder: Path, found: FoundLists) -> None:
    """Add the images in images/ that no labelled or evaluation list names, as unlabelled."""
    if _has_unlabeled(folder, found) or not (folder / "images").is_dir():
        return
    listed = find_listed(folder, found.lists.values(), found.made.values())
    rest = [path for path, _ in pair_side_by_side(folder / "images") if Path(os.path.normpath(path)) not in listed]
    if rest:
        found.made[UNLABELED] = [(path, None) for path in rest]
        found.notes.append(f"{len(rest)} images of images/ are in none of the lists: they are taken as unlabelled")


def _add_flat(folder: Path, found: FoundLists) -> None:
    """Add images in the folder itself as unlabelled, by a list if other images or masks lie there or below."""
    if _has_unlabeled(folder, found):
        return
    listed = find_listed(folder, found.lists.values(), found.made.values())
    pairs = pair_side_by_side(folder, deep=False)
    bare = [image for image, mask in pairs if mask is None and Path(os.path.normpath(image)) not in listed]
    if not bare:
        return
    known = set(bare)
    if all(path in known for path in walk_files(folder, IMAGE_SUFFIXES)):
        found.flat = len(bare)
        return
    found.made[UNLABELED] = [(path, None) for path in bare]
    found.notes.append(f"{len(bare)} images of this folder have no mask: they are taken as unlabelled")


def _has_unlabeled(folder: Path, found: FoundLists) -> bool:
    return UNLABELED in found.roles or not is_empty(folder / "unlabeled")


def find_taken(folder: Path, found: FoundLists) -> set[Path]:
    """Find the images and masks that have a role, as normalised paths."""
    taken = find_listed(folder, found.lists.values(), found.made.values())
    for role in {LABELED, VAL} - found.roles:
        images, masks = (folder / name for name in WHOLE[role])
        if not is_empty(masks):
            taken |= {Path(os.path.normpath(path)) for path in walk_files(images, IMAGE_SUFFIXES)}
    return taken


def find_listed(folder: Path, lists: Iterable[Path], made: Iterable[Iterable[Pair]]) -> set[Path]:
    """Find the images and masks that lists name, as normalised paths."""
    listed: set[Path] = set()
    for path in lists:
        root = find_list_root(path, folder)
        listed |= {
            Path(os.path.normpath(root / file)) for row in _read_rows(path) for file in row if isinstance(file, str)
        }
    return listed | {Path(os.path.normpath(file)) for pairs in made for pair in pairs for file in pair if file}


def _add_pairs(
    folder: Path, role: str, found: FoundLists, place: str, given: FoundPairs, without: Collection[Path] = ()
) -> None:
    """Add the images of a place that have masks, but those in `without`; those that have none are unlabelled if there
    are no others.
    """
    pairs = [(image, mask) for image, mask in given.pairs if image not in without]
    labeled = [(image, mask) for image, mask in pairs if mask is not None]
    convention = {"images": folder / "masks", "val/images": folder / "val/masks"}.get(place)
    if not labeled or (
        convention is not None
        and have_same_names(pairs, folder / place, convention)
        and len(pairs) == len(list_images(folder / place))
    ):
        return
    found.made[role] = [*labeled]
    shown = "this folder" if place == "." else f"{place}/"
    masks = "beside them" if given.where is None else f"in {given.where.relative_to(folder).as_posix()}/"
    found.notes.append(f"{len(labeled)} images of {shown} have masks {masks}")
    bare = [(image, None) for image, mask in pairs if mask is None]
    if bare and role == LABELED and not _has_unlabeled(folder, found):
        found.made[UNLABELED] = [*bare]
        found.notes.append(f"{len(bare)} images of {shown} have no mask: they are taken as unlabelled")


def format_line(folder: Path, image: Path, mask: Path | None) -> str:
    """Format a line of a JSONL list."""
    row = {"image": format_place(folder, image)}
    if mask is not None:
        row["mask"] = format_place(folder, mask)
    return json.dumps(row, ensure_ascii=False) + "\n"


def format_place(folder: Path, path: Path) -> str:
    """Format a path relative to `folder`, or as it is if it lies elsewhere."""
    return (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()


def lead_elsewhere(folder: Path, made: Iterable[Iterable[Pair]]) -> bool:
    """Whether some files, or the links above them, lie outside of the folder."""
    places = {os.path.dirname(file) for pairs in made for pair in pairs for file in pair if file}  # noqa: PTH120
    top = folder.resolve()
    return any(not Path(place).resolve().is_relative_to(top) for place in places)


def iterate_images(folder: Path, lists: Mapping[str, str], made: Mapping[str, str]) -> Iterator[Path]:
    """Iterate over images that will be trained on: of the lists, else of the conventional folders, else of the folder
    itself; those with masks come first.

    lists: role -> list, relative to the folder; made: those that are not written yet, path -> text.
    """
    for role in (LABELED, UNLABELED):
        if role in lists:
            rows = (
                _parse_rows(made[lists[role]].splitlines()) if lists[role] in made else _read_rows(folder / lists[role])
            )
            yield from (folder / image for image, _ in rows if (folder / image).is_file())
    for name in ("images", "unlabeled"):
        yield from walk_files(folder / name, IMAGE_SUFFIXES)
    yield from walk_files(folder, IMAGE_SUFFIXES, deep=False)


def read_masks(folder: Path, path: Path) -> list[Path]:
    """Read the mask files that a list names."""
    return [
        folder / mask
        for _, mask in _read_rows(path)
        if mask and Path(mask).suffix.lower() in MASK_SUFFIXES and (folder / mask).is_file()
    ]


def _list_files(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_file()) if place.is_dir() else []


def _guess_role(path: Path) -> str | None:
    words = re.findall("[a-z]+", path.stem.lower())
    return next((role for role, names in _WORDS.items() if set(names) & set(words)), None)


def _rank_list(path: Path) -> tuple[int, int, str]:
    """Sort key of lists of one role: short names first, then the best word of the role."""
    names = _WORDS[_guess_role(path) or LABELED]
    words = re.findall("[a-z]+", path.stem.lower())
    return len(words), min(names.index(word) for word in words if word in names), path.name


def _is_list(path: Path) -> bool:
    """Whether the first lines name images, and masks in labelled and evaluation lists."""
    if path.suffix.lower() not in {".txt", ".jsonl", ".lst"} or path.name in {"classes.txt", "requirements.txt"}:
        return False
    rows = [row for row, _ in zip(_read_rows(path), range(3), strict=False)]
    return bool(rows) and all(
        Path(i).suffix.lower() in IMAGE_SUFFIXES and (m is not None or _guess_role(path) == UNLABELED) for i, m in rows
    )


def _is_named_like_a_list(path: Path) -> bool:
    """Whether a file is named like a list, but its lines are not those of one."""
    suffixes = {".txt", ".jsonl", ".lst", ".csv", ".tsv"}
    return (
        path.suffix.lower() in suffixes
        and not path.name.startswith(".")
        and bool(_guess_role(path))
        and not _is_list(path)
    )


def _note_not_a_list(path: Path) -> str:
    form = "images/a.jpg" if _guess_role(path) == UNLABELED else "images/a.jpg masks/a.png"
    return f"{path} is left aside: its name is a list's, but its lines are not like '{form}' (UTF-8)"


def _read_rows(path: Path) -> Iterator[tuple[str, str | None]]:
    """Read (image, mask) of the lines of a list; lines that cannot be parsed are skipped."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    yield from _parse_rows(lines)


def _parse_rows(lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    for text in filter(str.strip, lines):
        if len(text) > _LONGEST:
            continue
        if text.startswith("{"):
            try:
                row = parse_json(text)
            except ValueError:
                continue
            if isinstance(row.get("image"), str):
                yield row["image"], row.get("mask")
            continue
        columns = text.replace("\\", "/").split()
        yield columns[0], columns[1] if len(columns) == 2 and columns[1] != "None" else None
