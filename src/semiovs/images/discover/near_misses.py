"""Notes about files that `semiovs init` cannot use as they are, each with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from semiovs.images.conventions import FILM_SUFFIXES, FOREIGN_SUFFIXES, IMAGE_SUFFIXES
from semiovs.images.discover.layouts import IMAGE_FOLDERS, UNLABELED_FOLDERS
from semiovs.images.discover.lists import UNLABELED
from semiovs.images.discover.survey import Survey
from semiovs.images.folder_walk import walk_files

_ANNOTATIONS = frozenset({".json", ".xml"})
#: Suffixes of pictures and films that are not read.
FOREIGN = frozenset({*FOREIGN_SUFFIXES, *FILM_SUFFIXES})
#: Files of CVAT's export beside JPEGImages/.
_CVAT = ("labelmap.txt", "ImageSets/Segmentation/default.txt")
#: Files in which other programs keep class names.
_CLASS_LISTS = (
    "labelmap.txt",
    "labels.txt",
    "class_names.txt",
    "classes.json",
    "classes.csv",
    "class_dict.csv",
    "classes.names",
    "obj.names",
    "data.yaml",
)


def find_near_misses(found: Survey, told: Iterable[Path] = ()) -> Iterator[str]:
    """Yield notes about a folder with images. told: further folders of images."""
    folder = found.folder
    if not found.labeled:
        yield from _note_annotations(folder, read="" if found.classes is None else found.classes.source)
        yield from _note_polygons(folder)
    if found.images and found.masks and found.images < found.masks and UNLABELED not in found.lists:
        yield f"{found.images} images but {found.masks} masks: an image and its mask have the same name"
    if lossy := _count_suffixes(folder / "masks", {".jpg", ".jpeg"}):
        yield f"masks/ holds {sum(lossy.values())} JPEG files: JPEG changes the values, save masks as PNG"
    yield from note_unread_files(folder, told)
    names = [name for name in _CLASS_LISTS if (folder / name).is_file()]
    if names and found.class_file is None and found.classes is None:
        yield f"{names[0]} may hold the class names: give them with --classes a,b,c, or one a line in classes.txt"


def note_unread_files(folder: Path, told: Iterable[Path] = ()) -> Iterator[str]:
    """Yield a note about files among the images that are not read. told: further folders of images."""
    places = (*IMAGE_FOLDERS, "unlabeled", *UNLABELED_FOLDERS, "val/images", "ood")
    inner = [*(folder / place for place in places), *told]
    files = {path.resolve() for place in inner for path in walk_files(place, FOREIGN)}
    kinds = Counter(
        path.suffix.lower() for path in {*files, *map(Path.resolve, walk_files(folder, FOREIGN, deep=False))}
    )
    if kinds:
        shown = ", ".join(f"{number} {suffix}" for suffix, number in kinds.most_common())
        yield f"files that are not read ({shown}) are left out: save images as JPEG or PNG"


def describe_other_places(folder: Path) -> str:
    """Say where other images lie in a folder without images by convention, and what they may be; empty if there are
    none.
    """
    files = [path.relative_to(folder).parts for path in walk_files(folder, IMAGE_SUFFIXES)]
    places = Counter(f"{parts[0]}/" if len(parts) > 1 else "this folder, named like masks" for parts in files)
    if not places:
        return "".join(f"; {note}" for note in [*note_unread_files(folder), *_note_annotations(folder)])
    shown = ", ".join(f"{name} ({number})" for name, number in places.most_common())
    text = f"; there are images in {shown}"
    inner = next((name for name in places if name != "images/" and (folder / name / "images").is_dir()), None)
    if "JPEGImages/" in places and any((folder / name).is_file() for name in _CVAT):
        return (
            f"{text}: CVAT's export, but without masks in SegmentationClass/; export 'Segmentation mask 1.1', or "
            "'CVAT for images' for semiovs labels import"
        )
    if "JPEGImages/" in places:
        return f"{text}: Pascal VOC? semiovs data prepare voc --root {folder}"
    if inner is not None:
        return f"{text}: semiovs init {folder / inner}"
    return f"{text}: say what they are: semiovs init {folder} --labeled DIR --masks DIR --unlabeled DIR --val DIR"


def _note_annotations(folder: Path, *, read: str = "") -> Iterator[str]:
    """Yield notes about files that may hold annotations. read: one that was read already."""
    places = [folder, folder / "annotations", folder / "train"]
    files = (path for place in places if place.is_dir() for path in sorted(place.iterdir()))
    found = [path for path in files if path.suffix.lower() in _ANNOTATIONS and path.name[0] != "."]
    for path in [path for path in found if path.name != read][:4]:
        images = folder / "images" if (folder / "images").is_dir() else path.parent
        yield f"annotations? semiovs labels import {path} --images {images} --out DIR makes masks of them"


def _note_polygons(folder: Path) -> Iterator[str]:
    if number := sum(1 for _ in walk_files(folder / "labels", {".txt"})):
        yield (
            f"labels/ holds {number} text files: polygons or boxes of YOLO? they are not read; "
            "export the labels as COCO, then: semiovs labels import"
        )


def _count_suffixes(folder: Path, suffixes: Collection[str]) -> Counter[str]:
    return Counter(path.suffix.lower() for path in walk_files(folder, suffixes))
