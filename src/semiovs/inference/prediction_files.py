"""The files of a prediction: which pictures are segmented, what is written for each, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiovs.errors import DataError, UsageError, did_you_mean
from semiovs.images.containers.container import image_exists, split_path
from semiovs.images.conventions import IMAGE_SUFFIXES
from semiovs.images.folder_walk import PassedBy, walk_files
from semiovs.images.source import examine_list, is_container, match_files, read_source
from semiovs.inference.prediction_record import PredictionRecord

#: What `--save` can name -> ending of its file beside that of the other pictures; COCO's is one file for all.
KINDS = {
    "ids": ".png",
    "color": "_color.png",
    "overlay": "_overlay.jpg",
    "confidence": "_confidence.png",
    "scores": "_scores.npz",
    "geojson": ".geojson",
    "coco": "",
}
#: As `KINDS`, of TIFF with a georeference and of very large ones; colours are the palette of the class ids.
_RASTER = {"ids": ".tif", "overlay": "_overlay.jpg", "confidence": "_confidence.tif", "geojson": ".geojson"}
#: What is written where nothing else is asked for.
USUAL = ("ids", "color", "overlay")
COCO_FILE = "coco.json"
_LISTS = (".txt", ".jsonl")


@dataclass(frozen=True)
class PredictionJob:
    """One picture and the path, without ending, of what is written for it.

    name: that path within the folder of results; raster: whether results are TIFF, written part by part.
    """

    image: Path
    target: Path
    name: str
    raster: bool = False

    def files(self, kinds: Sequence[str]) -> dict[str, Path]:
        """Kind -> file."""
        endings = _RASTER if self.raster else {kind: ending for kind, ending in KINDS.items() if ending}
        wanted = {*kinds, "ids"} if self.raster else {*kinds}
        made = [kind for kind in KINDS if kind in wanted and kind in endings]
        return {kind: self.target.with_name(self.target.name + endings[kind]) for kind in made}


def parse_kinds(text: str | None, *, overlay: bool = True, scores: bool = False) -> tuple[str, ...]:
    """Kinds of results from ``--save`` (a list with commas; None: the usual ones), and the older options.

    Raises:
        UsageError: an unknown kind, or none at all.
    """
    named = [*USUAL] if text is None else [part.strip() for part in text.split(",") if part.strip()]
    for kind in named:
        if kind not in KINDS:
            raise UsageError(f"--save '{kind}' is not known{did_you_mean(kind, KINDS)}")
    named = [*named, *(["scores"] if scores else []), *(["ids"] if "coco" in named else [])]
    kinds = tuple(kind for kind in KINDS if kind in named and (overlay or kind != "overlay"))
    if not kinds:
        raise UsageError(f"--save: nothing to write; name some of {', '.join(KINDS)}")
    return kinds


def default_folder(model: Path) -> Path:
    """``predictions`` in the directory of the run that the model is or lies in, or else beside the weights."""
    folder = model if model.is_dir() else model.parent
    above = folder.parent if folder.name == "checkpoints" else folder
    return (above if (above / "config.yaml").is_file() else folder) / "predictions"


def list_jobs(
    given: Sequence[Path],
    out: Path,
    *,
    recursive: bool,
    say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
) -> Iterator[PredictionJob]:
    """Pictures with their targets: sub-folders are kept, and the folders' own names where several are given.

    given: files, folders, lists (.txt, .jsonl), tars, and patterns of them (``photos/*.jpg``); say: told what folders
    hold that is not read.

    Raises:
        DataError: a file or folder that is not there, or a folder without pictures.
    """
    paths = [path for one in given for path in match_files(one)]
    several = sum(path.is_dir() for path in paths) > 1
    found: list[tuple[Path, Path]] = []
    for path in paths:
        if is_container(path) and split_path(path) is None:
            found += [(record.image, Path(record.id)) for record in read_source(path.name, path.parent)]
            continue
        if path.suffix.lower() in _LISTS and path.is_file():
            found += [(record.image, Path(record.id)) for record in examine_list(path, path.parent, outside=True)[0]]
            continue
        if not path.is_dir():
            if not image_exists(path):
                raise DataError(f"{path}: no such file or folder")
            found.append((path, Path(path.stem)))
            continue
        images, notes = _list_pictures(path, recursive=recursive)
        if not images:
            rest = "".join(f"; {note.removeprefix(f'{path}: ')}" for note in notes)
            raise DataError(f"{path}: no pictures in this folder ({', '.join(IMAGE_SUFFIXES)}){rest}")
        for note in notes:
            say(note)
        above = Path(path.resolve().name) if several else Path()
        found += [(image, above / image.relative_to(path).with_suffix("")) for image in images]
    found = list({image.resolve(): (image, target) for image, target in reversed(found)}.values())[::-1]
    names = Counter(target for _, target in found)
    for image, target in found:
        # a.jpg beside a.png: both keep their ending
        place = out / (target if names[target] == 1 else target.with_name(f"{target.name}{image.suffix}"))
        yield PredictionJob(image, place, place.relative_to(out).as_posix())


def _list_pictures(folder: Path, *, recursive: bool) -> tuple[list[Path], list[str]]:
    """Pictures of a folder, and lines about what it holds beside them."""
    passed, unreadable = PassedBy(), list[OSError]()
    images = sorted(walk_files(folder, IMAGE_SUFFIXES, deep=recursive, onerror=unreadable.append, passed_by=passed))
    notes = [f"{error.filename}: this folder cannot be looked into: {error.strerror}" for error in unreadable]
    return images, [*notes, *passed.describe(folder, way="; --recursive reads them")]


def check_targets(
    jobs: Sequence[PredictionJob], kinds: Sequence[str], record: PredictionRecord, *, overwrite: bool
) -> int:
    """Number of results that will be replaced and are none of an earlier prediction's.

    Raises:
        UsageError: a result would replace a picture, another result, or (without `overwrite`) a file that no prediction
            has made, or that was changed since.
    """
    for job in jobs:
        if job.target.parent.exists() and not job.target.parent.is_dir():
            raise UsageError(f"--out: {job.target.parent} is a file; name a folder")
    inputs = {job.image.resolve() for job in jobs}
    owners: dict[Path, Path] = {}
    there = changed = 0
    for job in jobs:
        for path in job.files(kinds).values():
            if path.resolve() in inputs:
                raise UsageError(f"{path}: the result would replace a picture; choose another --out")
            first = owners.setdefault(path, job.image)
            if first is not job.image:
                raise UsageError(f"{first} and {job.image} would both be written to {path}; predict them one by one")
            if path.exists():
                there += not record.owns(job.name)
                changed += record.owns(job.name) and record.is_changed(path)
    if there and not overwrite:
        raise UsageError(f"{there} of the results are there already; --overwrite replaces them")
    if changed and not overwrite:
        raise UsageError(
            f"{changed} of the results were changed since they were written (corrected by hand?); "
            "--overwrite replaces them"
        )
    return there + changed
