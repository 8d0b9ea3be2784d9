"""Image and mask files of a folder, by id."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from semiovs.control_characters import CONTROL, escape_controls
from semiovs.errors import DataError
from semiovs.images.allowed_folders import AllowedFolders
from semiovs.images.conventions import IMAGE_SUFFIXES, MASK_SUFFIXES
from semiovs.images.file_names import adopt_names
from semiovs.images.findings import Finding, join_first, raise_errors
from semiovs.images.folder_walk import PassedBy, walk_files
from semiovs.images.record import Record

_JPEG = (".jpg", ".jpeg")


def find_images(folder: Path, *, recursive: bool = True) -> dict[str, Path]:
    """Find the images of a folder: id (path in the folder without suffix) -> file, sorted by id.

    Raises:
        DataError: no such folder, no images in it, or two images of one id.
    """
    found, findings = _list_by_id(folder, IMAGE_SUFFIXES, recursive)
    raise_errors(findings)
    if not found:
        raise _no_images_error(folder, findings)
    return found


def find_masks(folder: Path, *, recursive: bool = True) -> dict[str, Path]:
    """As `find_images`, for files that can hold masks; an empty folder gives an empty mapping."""
    found, findings = _list_by_id(folder, MASK_SUFFIXES, recursive)
    raise_errors(findings)
    return found


def read_folder(
    images: Path, masks: Path | None, *, recursive: bool = True, within: AllowedFolders | None = None
) -> tuple[list[Record], list[Finding]]:
    """Read a folder of images, with masks of the same names if a folder of them is given: records, and findings.

    Raises:
        DataError: no such folder, or no images in it.
    """
    found, findings = _list_by_id(images, IMAGE_SUFFIXES, recursive)
    if not found and all(finding.severity == "note" for finding in findings):
        raise _no_images_error(images, findings)
    known: dict[str, Path] = {}
    if masks is not None and not masks.is_dir():
        text = (
            f"{masks}: no such folder; put the masks of {images} there (same names, PNG), or set data.labeled to a list"
        )
        raise DataError(f"{text}; images without masks belong into unlabeled/", kind="list-missing")
    if masks is not None:
        named, further = _list_by_id(masks, MASK_SUFFIXES, recursive)
        known = adopt_names(named, found)
        findings += further
    lacking = [] if masks is None else [i for i in found if i not in known]
    if masks is not None and lacking:
        findings.append(_report_missing_masks(images, masks, lacking, len(found)))
    if stray := [i for i in known if i not in found]:
        text = f"{masks}: {len(stray)} of {len(known)} masks belong to no image in {images}: {join_first(stray)}"
        findings.append(Finding("mask-stray", "warning", text, where=str(masks)))
    records = []
    for name, path in found.items():
        if masks is not None and name not in known:
            continue
        record = Record(name, path, known.get(name))
        outside = None if within is None else _report_outside(record, within)
        if outside is None:
            records.append(record)
        else:
            findings.append(outside)
    return records, findings


def read_files(paths: Sequence[Path], folder: Path) -> tuple[list[Record], list[Finding]]:
    """Records of the images among files and folders below `folder`, and findings; the others are told in notes."""
    passed = PassedBy(folders=[path.relative_to(folder).as_posix() for path in paths if path.is_dir()])
    files = [path for path in paths if not path.is_dir()]
    passed.count([path.name for path in files if not path.name.lower().endswith(IMAGE_SUFFIXES)])
    found, findings = _name_files((path for path in files if path.name.lower().endswith(IMAGE_SUFFIXES)), folder)
    return [Record(name, path) for name, path in found.items()], [*findings, *_report_passed(passed, folder)]


def _report_missing_masks(images: Path, masks: Path, lacking: list[str], total: int) -> Finding:
    text = (
        f"{images}: {len(lacking)} of {total} images have no mask in {masks} (expected <id>.png): {join_first(lacking)}"
    )
    lossy = [i for i in lacking if any(os.path.isfile(masks / f"{i}{suffix}") for suffix in _JPEG)]  # noqa: PTH113 - False where pathlib raises
    if lossy:
        text += f"; {len(lossy)} have a JPEG file there, which cannot hold a mask: save masks as PNG"
    fix = "move images without masks to the unlabelled folder"
    return Finding("mask-missing", "error", text, where=str(images), fix=fix, ids=tuple(lacking))


def _report_outside(record: Record, within: AllowedFolders) -> Finding | None:
    try:
        for path in filter(None, (record.image, record.mask)):
            within.check(path)
    except DataError as error:
        return Finding(
            "line-outside", "error", str(error), where=str(record.image), file=str(record.image), ids=(record.id,)
        )
    return None


def _no_images_error(folder: Path, notes: Sequence[Finding]) -> DataError:
    told = "".join(f"; {note.text.removeprefix(f'{folder}: ')}" for note in notes)
    return DataError(f"{folder}: no images in this folder ({', '.join(IMAGE_SUFFIXES)}){told}", kind="list-empty")


def _list_by_id(folder: Path, suffixes: tuple[str, ...], recursive: bool) -> tuple[dict[str, Path], list[Finding]]:
    """Files by id, sorted; and findings: each file whose name is not valid, and how many have another ending."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder", kind="list-missing")
    unreadable: list[OSError] = []
    passed = PassedBy()
    paths = walk_files(folder, suffixes, deep=recursive, onerror=unreadable.append, passed_by=passed)
    found, findings = _name_files(paths, folder)
    return found, [*findings, *map(_report_unreadable, unreadable), *_report_passed(passed, folder)]


def _name_files(paths: Iterable[Path], folder: Path) -> tuple[dict[str, Path], list[Finding]]:
    """Files by id (path in the folder without suffix), sorted; and a finding for each whose name is not valid."""
    found: dict[str, Path] = {}
    findings: list[Finding] = []
    for path in paths:
        name = path.relative_to(folder).with_suffix("").as_posix()
        if (problem := _check_name(name, path, found)) is not None:
            findings.append(problem)
            continue
        found[name] = path
    return dict(sorted(found.items())), findings


def _report_passed(passed: PassedBy, folder: Path) -> list[Finding]:
    where = escape_controls(str(folder))
    return [Finding("files-unread", "note", line, where=where) for line in passed.describe(where)]


def _report_unreadable(error: OSError) -> Finding:
    where = escape_controls(str(error.filename))
    text = f"{where}: this folder cannot be looked into: {error.strerror}"
    return Finding("folder-unreadable", "error", text, where=where, file=where, fix="see to its permissions")


def _check_name(name: str, path: Path, found: dict[str, Path]) -> Finding | None:
    shown = escape_controls(str(path))
    if name in found:
        text = f"{shown}: has the same name as {found[name].name}; names without suffix must be unique"
        return Finding("id-twice", "error", text, where=shown, file=shown, ids=(name,))
    if CONTROL.search(name) or not _is_text(name):
        text = f"{shown}: a control character, or no UTF-8, in the name"
        return Finding(
            "name-control", "error", text, where=shown, file=shown, fix="rename the file", ids=(escape_controls(name),)
        )
    return None


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
