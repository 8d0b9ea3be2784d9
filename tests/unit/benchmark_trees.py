"""Miniature copies of the benchmarks on disk: names, modes, palettes and odd cases as in the official archives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from semiovs.images.palette import build_palette

SIZE = (24, 16)  # width, height


def image(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, len(path.name)])
    pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG" if path.suffix.lower() == ".png" else "JPEG")


def mask(path: Path, values, *, mode: str = "L", size: tuple[int, int] = SIZE) -> None:
    """Stripes of `values`, as gray or palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.array(values, np.uint8)[np.arange(size[0]) * len(values) // size[0]]
    picture = Image.fromarray(np.tile(stripes, (size[1], 1)))
    if mode == "P":
        picture.putpalette(build_palette().tobytes())
    picture.save(path, "PNG")


def voc(home: Path, *, augmented: bool = True) -> None:
    """Two training and one evaluation image of the devkit (palette PNGs with borders of 255), two images of SBD."""
    for stem in ("2007_000032", "2007_000039", "2007_000033"):
        image(home / "JPEGImages" / f"{stem}.jpg")
        mask(home / "SegmentationClass" / f"{stem}.png", [0, 255, 15, 20], mode="P")
        mask(home / "SegmentationObject" / f"{stem}.png", [0, 1, 2], mode="P")
    for stem in ("2008_000008", "2008_000015"):
        image(home / "JPEGImages" / f"{stem}.jpg")
        if augmented:
            mask(home / "SegmentationClassAug" / f"{stem}.png", [0, 13])
    for part, stems in {"train": "2007_000032\n2007_000039\n", "val": "2007_000033\n"}.items():
        path = home / "ImageSets" / "Segmentation" / f"{part}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(stems)
    (home / "JPEGImages" / "Thumbs.db").write_bytes(b"x")


def voc_lists(n: int = 4) -> dict[str, str]:
    """Published lists over that tree; every mask is called SegmentationClass/…"""
    labeled, bare = ["2007_000032", "2008_000008"], ["2007_000039", "2008_000015"]
    line = "JPEGImages/{0}.jpg SegmentationClass/{0}.png".format
    return {
        "pascal/92/labeled.txt": "\n".join(map(line, labeled)),
        "pascal/92/unlabeled.txt": "\n".join(map(line, bare)) + "\n",
        "pascal/val.txt": line("2007_000033") + "\n",
    }


def cityscapes(home: Path, *, train_ids: bool) -> None:
    for part, city, frame in (
        ("train", "jena", "jena_000078_000019"),
        ("train", "ulm", "ulm_000001_000019"),
        ("val", "lindau", "lindau_000000_000019"),
    ):
        image(home / "leftImg8bit" / part / city / f"{frame}_leftImg8bit.png")
        stem = home / "gtFine" / part / city / f"{frame}_gtFine"
        mask(Path(f"{stem}_labelIds.png"), [0, 4, 7, 26, 33])
        mask(Path(f"{stem}_instanceIds.png"), [0, 1])
        Path(f"{stem}_polygons.json").write_text("{}")
        if train_ids:
            mask(Path(f"{stem}_labelTrainIds.png"), [255, 255, 0, 13, 18])
    image(home / "leftImg8bit" / "train_extra" / "augsburg" / "augsburg_000000_000000_leftImg8bit.png")


def cityscapes_lists() -> dict[str, str]:
    line = "leftImg8bit/train/{0}/{1}_leftImg8bit.png gtFine/train/{0}/{1}_gtFine_labelTrainIds.png".format
    return {
        "cityscapes/1_16/labeled.txt": line("jena", "jena_000078_000019"),
        "cityscapes/1_16/unlabeled.txt": line("ulm", "ulm_000001_000019"),
        "cityscapes/all/unlabeled.txt": "leftImg8bit/train_extra/augsburg/augsburg_000000_000000_leftImg8bit.png None\n",
        "cityscapes/val.txt": line("lindau", "lindau_000000_000019").replace("/train/", "/val/"),
    }


def ade20k(home: Path, *, moved: bool = False) -> None:
    for part, stems in {
        "training": ["ADE_train_00000001", "ADE_train_00000002"],
        "validation": ["ADE_val_00000001"],
    }.items():
        for stem in stems:
            image(home / "images" / part / f"{stem}.jpg")
            mask(home / "annotations" / part / f"{stem}.png", [255, 0, 149] if moved else [0, 1, 150])


def context(home: Path, *, folder: str = "SegmentationClassContext60") -> None:
    for part, stem in (("train", "2008_000002"), ("train", "2008_000003"), ("val", "2010_000001")):
        image(home / "JPEGImages" / f"{stem}.jpg")
        where = f"{folder}/{part}" if folder.endswith("60") else folder
        mask(home / where / f"{stem}.png", [0, 1, 59], mode="P")


WIDTH, HEIGHT = SIZE


def rectangle(x0: int, y0: int, x1: int, y1: int) -> list[list[float]]:
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def runs(mask_: np.ndarray) -> dict[str, object]:
    """Uncompressed run lengths, by columns, as COCO's crowds have them."""
    flat = mask_.T.reshape(-1).astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return {"counts": [0, *counts] if flat[0] else counts, "size": [HEIGHT, WIDTH]}


def coco(home: Path, *, masks: str = "json", inner: str = "") -> None:
    """masks: json, png or maps."""
    train, val = ["000000000009", "000000000025", "000000000030"], ["000000000139"]
    for part, stems in (("train2017", train), ("val2017", val)):
        for stem in stems:
            image(home / inner / part / f"{stem}.jpg")
            if masks == "png":
                mask(home / "masks" / f"{stem}.png", [0, 1, 80])
            elif masks == "maps":
                mask(home / "stuffthingmaps" / part / f"{stem}.png", [0, 89, 91, 181, 255])
        if masks == "json":
            path = home / "annotations" / f"instances_{part}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(instances(stems)))
    image(home / inner / "unlabeled2017" / "000000000001.jpg")


def instances(stems: list[str]) -> dict[str, object]:
    """A person (crowd, all of the left half), a cat over it, a toothbrush inside the cat; the last image is empty."""
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[:, : WIDTH // 2] = True
    rows = []
    for number, stem in enumerate(stems[:-1] or stems):
        rows += [
            {"id": 10 * number, "image_id": int(stem), "category_id": 90, "area": 4, "iscrowd": 0,
             "segmentation": rectangle(9, 9, 11, 11)},
            {"id": 10 * number + 1, "image_id": int(stem), "category_id": 17, "area": 64, "iscrowd": 0,
             "segmentation": rectangle(8, 4, 16, 12)},
            {"id": 10 * number + 2, "image_id": int(stem), "category_id": 1, "area": 1, "iscrowd": 1,
             "segmentation": runs(crowd)},
        ]  # fmt: skip
    images = [{"id": int(stem), "file_name": f"{stem}.jpg", "width": WIDTH, "height": HEIGHT} for stem in stems]
    return {"images": images, "annotations": rows, "categories": []}
