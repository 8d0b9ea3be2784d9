"""Read the images that a text names: a folder, a list, tars, or a Hugging Face data set."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from semiovs.control_characters import CONTROL
from semiovs.errors import DataError
from semiovs.images.allowed_folders import AllowedFolders
from semiovs.images.containers import SCHEME, TAR
from semiovs.images.containers.container import (
    Container,
    forget_container,
    image_exists,
    open_container,
    register_container,
    split_path,
)
from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.findings import Finding, raise_errors
from semiovs.images.folder_walk import walk_files
from semiovs.images.listing import read_files
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record
from semiovs.images.record_lines import parse_record, read_lines, relative_path

_PACKED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
#: Folders beside `images` that hold no images to read: masks, and folders of other roles.
_BESIDE = frozenset({"images", "masks", "labels", "annotations", "confidence", "val", "unlabeled", "ood"})
_SAVED = ("dataset_dict.json", "state.json")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,12})\.\.(\d{1,12})")
#: The valid records of a source, and findings about the others.
Reading = tuple[Manifest, Sequence[Finding]]

#: Folders above that of a list that its paths may start from, and lines that are read to find out.
_ABOVE, _LOOKED_AT = 4, 20
#: Signs that make a path a pattern, and the largest number of files that its braces may name.
_WILD, _MOST = frozenset("{*?["), 100_000
#: Characters of a source or license that are kept.
_LONGEST = 1000


def read_source(given: str | Path, root: Path | str = ".", *, key: str = "", outside: bool = False) -> Manifest:
    """Read the images of a folder, a list or manifest, tars, or a Hugging Face data set; a relative path starts from
    `root`.

    Also a single image, or a pattern of images (``photos/*.jpg``). Tars: ``a.tar``, ``shards/{000000..000099}.tar``,
    ``shards/*.tar``, or a folder of tars without images; an id is the tar's name and the image's, both without suffix.
    Data sets: ``hf:NAME[:SPLIT[:COLUMN]]``, a directory that `datasets` has saved, or a Parquet file. key: what to name
    in the message where nothing is there; outside: as in `examine_list`.

    Raises:
        DataError: nothing there, or it does not hold; MissingExtraError: a data set, and `datasets` is not installed.
    """
    manifest, findings = examine_source(given, root, key=key, outside=outside)
    raise_errors(findings, f"{given}: {len(findings)} lines do not hold" if len(findings) > 1 else None)
    return manifest


def examine_source(given: str | Path, root: Path | str = ".", *, key: str = "", outside: bool = False) -> Reading:
    """As `read_source`, but errors in lines of a list and files of a folder are returned as findings.

    Raises:
        DataError: nothing there, or it cannot be read at all; MissingExtraError: as `read_source`.
    """
    root = Path(root)
    path = root / Path(given).expanduser()
    if _is_dataset_path(path):
        return _read_rows(path, root), ()
    if _is_pattern(path):
        return _read_pattern(path, key)
    if path.is_dir():
        return _read_folder(path, root, outside=outside)
    if not path.is_file():
        raise _missing_error(key, path)
    name = path.name.lower()
    if name.endswith(_PACKED):
        raise DataError(f"{path}: a packed tar can only be read from its start; unpack it once to a plain .tar")
    if name.endswith(TAR):
        return _read_tars([path], path.parent), ()
    if name.endswith(".parquet"):
        return _read_saved(path, root), ()
    if name.endswith(IMAGE_SUFFIXES):
        return Manifest([Record(path.stem, path)], path.parent), ()
    return examine_list(path, root, outside=outside)


def examine_list(path: Path, root: Path | str = ".", *, outside: bool = False) -> Reading:
    """Read a list; its relative paths start from `find_list_root`.

    outside: lines may name files that lie neither in that folder, nor in `root`, nor in the list's own folder
    (`data.outside`).

    Raises:
        DataError: it cannot be read, or names something in a container that cannot.
    """
    start = find_list_root(path, root)
    within = None if outside else AllowedFolders([Path(root), path.parent, start])
    manifest, findings = Manifest.examine(path, start, within=within)
    check_containers(manifest)
    return manifest, findings


def find_list_root(path: Path, root: Path | str = ".") -> Path:
    """The folder that relative paths of a list start from, for every verb and every list.

    It is `root` (`data.root`, by default the working directory); where the images of the list are not there, the folder
    of the list, or the nearest of four folders above it where they are. If they are nowhere, it is `root`.

    Raises:
        DataError: the list cannot be read, or is no text.
    """
    lines = list(itertools.islice(read_lines(path), _LOOKED_AT))
    above = Path(os.path.abspath(path)).parents[1 : _ABOVE + 1]  # noqa: PTH100 - links in the path are kept
    starts = [Path(root), path.parent, *(folder for folder in above if folder != folder.parent)]
    return next((start for start in starts if any(_image_exists(line, start) for _, line in lines)), starts[0])


def _image_exists(line: str | DataError, start: Path) -> bool:
    """Whether the image that a line names exists; also true if its container cannot be read."""
    try:
        if isinstance(line, DataError):
            return False
        image = parse_record(line, start).image
    except DataError:
        return False
    try:
        return image_exists(image)
    except DataError:
        return True


def match_files(path: Path) -> list[Path]:
    """The files that a pattern (``photos/*.jpg``, also with ``?``, ``[0-9]``, ``{a,b}``) names, sorted; the path itself
    if it is no pattern.

    Raises:
        DataError: no file fits.
    """
    return _expand_pattern(path, "") if _is_pattern(path) and not _is_dataset_path(path) else [path]


def is_container(path: Path) -> bool:
    """Whether a path names many images without being a list: tars, patterns, a data set, a folder of tars."""
    if path.is_file():
        return path.name.lower().endswith((TAR, ".parquet", *_PACKED))
    return (
        _is_dataset_path(path)
        or _is_pattern(path)
        or (path.is_dir() and (_is_saved_dataset(path) or bool(_find_tars(path))))
    )


def _is_dataset_path(path: Path) -> bool:
    return f"/{SCHEME}" in f"/{path.as_posix()}"


def _is_saved_dataset(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SAVED)


def _find_tars(folder: Path) -> list[Path]:
    """Find the tars in a folder; none if it has images too, which were probably unpacked from them."""
    tars = sorted(p for p in folder.iterdir() if p.name.lower().endswith(TAR) and p.is_file() and p.name[0] != ".")
    return [] if tars and any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder.rglob("*")) else tars


def _missing_error(key: str, path: Path) -> DataError:
    if not key:
        return DataError(f"{path}: no such folder, list or tar")
    return DataError(f"{key}: no such list or folder: {path}; set {key}, or data.root where the path starts")


def check_containers(records: Iterable[Record]) -> None:
    """Open the containers of images, so that an unreadable one is reported once and not for each image.

    Raises:
        DataError: a container cannot be read.
    """
    places = [parts[0] for record in records if (parts := split_path(record.image)) is not None]
    problems: list[str] = []
    for place in dict.fromkeys(places):
        try:
            open_container(place)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError.of(problems)


def _read_folder(path: Path, root: Path, *, outside: bool) -> Reading:
    """Read a folder: a saved data set, tars, or images, which must lie in the folder or in the root after following
    links.
    """
    inner = (path / "images").is_dir()
    folder = path / "images" if inner else path
    if _is_saved_dataset(path):
        return _read_saved(path, root), ()
    if tars := _find_tars(folder):
        return _read_tars(tars, folder), ()
    images, findings = Manifest.examine_folder(folder, within=None if outside else AllowedFolders([root, folder]))
    beside = describe_beside_images(path) if inner else ()
    return images, [*findings, *(Finding("files-unread", "note", line, where=str(path)) for line in beside)]


def describe_beside_images(folder: Path) -> Iterator[str]:
    """Tell of the images that lie beside the folder ``images`` of a folder, and are not read for that."""
    places = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name not in _BESIDE]
    holding = [path.name for path in places if any(walk_files(path, IMAGE_SUFFIXES, deep=False))]
    here = sum(1 for _ in walk_files(folder, IMAGE_SUFFIXES, deep=False))
    left = [f"{here} images"] * bool(here) + [f"the folder {name}" for name in holding]
    if left:
        yield f"{folder}: only its folder images is read; beside it lie {', '.join(left)}"


def _read_saved(path: Path, root: Path) -> Manifest:
    """Read a saved data set that is named without ``hf:``."""
    return _read_rows(root / f"{SCHEME}{relative_path(path, root)}", root)


def _read_rows(path: Path, root: Path) -> Manifest:
    from semiovs.images.containers.hugging_face import open_rows

    rows = open_rows(path.as_posix())
    register_container(rows.path, rows)
    name, split, _ = rows.path.as_posix().rpartition(SCHEME)[2].split(":")
    return Manifest(_list_records(rows, rows.path, f"{Path(name).with_suffix('').name}/{split}"), root)


def _read_tars(paths: Sequence[Path], folder: Path) -> Manifest:
    """Read the images of several tars; the errors of all of them are reported together."""
    problems: list[str] = []
    records: list[Record] = []
    for path in paths:
        try:
            forget_container(path)
            records += _list_records(open_container(path), path, path.relative_to(folder).as_posix()[: -len(TAR)])
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError.of(problems)
    return Manifest(sorted(records, key=lambda record: record.id), folder)


def _list_records(images: Container, path: Path, prefix: str) -> Iterator[Record]:
    for name in images.names():
        about = images.describe(name)
        identifier = f"{prefix}/{os.path.splitext(name)[0]}"  # noqa: PTH122
        yield Record(
            identifier, path / name, source=_clean_text(about, "source"), license=_clean_text(about, "license")
        )


def _clean_text(about: Mapping[str, str], key: str) -> str:
    """Clean a text from a container for a list: one line without control characters, shortened."""
    text = about.get(key, "")
    if not text.isascii() or not text.isprintable():
        text = CONTROL.sub(" ", text).encode("utf-8", "replace").decode()
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _is_pattern(path: Path) -> bool:
    return bool(set(path.as_posix()) & _WILD) and not path.exists()


def _fixed_folder(path: Path) -> Path:
    """The part of a pattern before the first part with braces or a star."""
    return Path(*itertools.takewhile(lambda part: not set(part) & _WILD, path.parts))


def _read_pattern(path: Path, key: str) -> Reading:
    """Read the tars, or the images, that a pattern names; what else it names is told in a note."""
    paths, folder = _expand_pattern(path, key), _fixed_folder(path)
    tars = [p for p in paths if p.name.lower().endswith(TAR)]
    if len(tars) == len(paths):
        return _read_tars(tars, folder), ()
    if tars:
        raise DataError(f"{path}: names tars and other files; give a pattern for each of the two")
    records, findings = read_files(paths, folder)
    if not records and not any(finding.severity == "error" for finding in findings):
        told = "".join(f"; {finding.text}" for finding in findings)
        raise DataError(f"{path}: no images among {len(paths)} files and folders{told}", kind="list-empty")
    return Manifest(records, folder), findings


def _expand_pattern(path: Path, key: str) -> list[Path]:
    """Expand a path with braces and stars to what it names, in order, each once."""
    texts = list(itertools.islice(_expand_braces(path.as_posix()), _MOST + 1))
    if len(texts) > _MOST:
        raise DataError(f"{path}: braces that stand for more than {_MOST:,} files")
    paths: list[Path] = []
    for text in texts:
        base = _fixed_folder(Path(text))
        if base == Path(text) or Path(text).exists():
            paths.append(Path(text))
            continue
        paths += sorted(p for p in base.glob(Path(text).relative_to(base).as_posix()) if not p.name.startswith("."))
    if not paths:
        raise _missing_error(key, path)
    if missing := [f"{p}: no such file (of {path})" for p in paths if not p.exists()]:
        raise DataError.of(missing, f"{len(missing)} of the {len(paths)} files of {path} are missing")
    return list(dict.fromkeys(paths))


def _expand_braces(text: str) -> Iterator[str]:
    """Expand ``{000..099}`` (a range; leading zeros are kept) and ``{a,b}`` (alternatives)."""
    match = _BRACES.search(text)
    if match is None:
        yield text
        return
    numbers = _RANGE.fullmatch(match[1])
    choices: Iterable[str] = match[1].split(",")
    if numbers is not None:
        first, last = int(numbers[1]), int(numbers[2])
        if last < first:
            raise DataError(f"{match[0]}: expected a range that counts up, like {{{last}..{first}}}")
        width = len(numbers[1])
        choices = (f"{number:0{width}d}" for number in range(first, last + 1))
    for choice in choices:
        yield from _expand_braces(text[: match.start()] + choice + text[match.end() :])
