"""Names by which folders and files of images and masks are recognised; the user guide shows them (`guide`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: Folders that may hold labelled images, best first.
IMAGE_FOLDERS = ("images", "img_dir", "imgs", "img", "image", "JPEGImages", "imagesTr", "Images")

#: Folders that may hold the masks of the images beside them, best first.
MASK_FOLDERS = (
    "masks", "labels", "annotations", "ann_dir", "mask", "label", "gt", "segmentation", "SegmentationClass",
    "annotation", "labelsTr", "Masks", "Labels",
)  # fmt: skip

#: Folders that may hold images without masks where there is no unlabeled/.
UNLABELED_FOLDERS = ("unlabelled", "unlabeled_images", "unlabelled_images", "images/unlabeled", "images/unlabelled")

#: Parts of a data set: to learn from, and to measure on.
TRAIN_PARTS, VAL_PARTS = ("train", "training"), ("val", "valid", "validation", "test")

#: Folders of labelled images, in the order in which they are tried.
LABELED_PLACES = (
    *(place for name in IMAGE_FOLDERS for part in TRAIN_PARTS for place in (f"{name}/{part}", f"{part}/{name}")),
    *IMAGE_FOLDERS, *TRAIN_PARTS, "default", ".",
)  # fmt: skip
#: Folders of images to measure on.
VAL_PLACES = (
    *(place for part in VAL_PARTS for name in IMAGE_FOLDERS for place in (f"{name}/{part}", f"{part}/{name}")),
    "imagesTs", *VAL_PARTS,
)  # fmt: skip

#: Endings of a mask's name after the image's.
MASK_ENDINGS = (
    "_mask", "_masks", "_label", "_labels", "_gt", "_seg", "_segmentation", "_L", "-mask", "_labelIds",
)  # fmt: skip
#: Endings of an image's name in the place of which its mask may have another one, or none.
IMAGE_ENDINGS = ("_image", "_images", "_img", "_sat", "_rgb", "-image", "_leftImg8bit", "_0000")
#: Beginnings of names of masks, and of images in the place of which their masks may have them, or none.
MASK_STARTS = ("mask_", "masks_", "label_", "labels_", "gt_", "seg_", "mask-")
IMAGE_STARTS = ("image_", "images_", "img_", "sat_", "rgb_", "image-", "img-")
#: Endings so common in pictures of other things that they alone do not make a file a mask.
_WEAK = ("_L",)
_STRONG_ENDINGS = tuple(ending for ending in MASK_ENDINGS if ending not in _WEAK)
_APPENDED = tuple(f"_{name}" for name in MASK_FOLDERS)
_CHANNEL = re.compile(r"_\d{4}")


def list_mask_folders(place: str) -> Iterator[str]:
    """List the folders that may hold the masks of the images in `place`, best first.

    The name of the images' folder is replaced by one for masks (``img_dir/train``: ``ann_dir/train``), or that name
    is appended (``train``: ``train_masks``, ``trainannot``, ``train/masks``).
    """
    parts = place.split("/")
    if place == ".":
        yield from MASK_FOLDERS
        return
    if place == "imagesTs":
        yield "labelsTs"
        return
    for name in MASK_FOLDERS:
        if set(parts) & set(IMAGE_FOLDERS):
            yield "/".join(name if part in IMAGE_FOLDERS else part for part in parts)
        else:
            yield from (f"{place}_{name}", f"{place}/{name}")
    yield f"{place}annot"


def list_mask_names(name: str, suffix: str, *, beside: bool) -> Iterator[str]:
    """List the names (without suffix) that the mask of an image may have, best first.

    name: the image's, without suffix; suffix: ``.jpg``; beside: the mask lies in the folder of the images.
    """
    if not beside or suffix.lower() in {".jpg", ".jpeg"}:
        yield name
    yield f"{name}{suffix}"  # a.jpg: a.jpg.png
    yield from (name + ending for ending in MASK_ENDINGS)
    stem = next((name.removesuffix(ending) for ending in IMAGE_ENDINGS if name.endswith(ending)), None)
    if stem:
        if not beside:
            yield stem
        yield from (stem + ending for ending in MASK_ENDINGS)
    folder, slash, last = name.rpartition("/")
    yield from (f"{folder}{slash}{start}{last}" for start in MASK_STARTS)
    start = next((start for start in IMAGE_STARTS if last.startswith(start) and last != start), None)
    if start:
        rest = last.removeprefix(start)
        if not beside:
            yield f"{folder}{slash}{rest}"
        yield from (f"{folder}{slash}{other}{rest}" for other in MASK_STARTS)


def is_named_like_a_mask(name: str) -> bool:
    """Whether a name without suffix begins or ends as those of masks do."""
    return name.endswith(_STRONG_ENDINGS) or name.startswith(MASK_STARTS)


def is_mask_folder(place: str) -> bool:
    """Whether a folder is named as those of masks are: ``masks/train``, ``train_masks``, ``trainannot``."""
    return any(part in MASK_FOLDERS or part.endswith((*_APPENDED, "annot")) for part in place.split("/"))


def is_further_channel(name: str) -> bool:
    """Whether a name is that of nnU-Net's second or later channel of an image (``case_0001``)."""
    return bool(_CHANNEL.fullmatch(name[-5:])) and not name.endswith("_0000")
