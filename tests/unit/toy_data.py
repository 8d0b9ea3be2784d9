"""A small data set on disk: textured images with masks, for tests of the data layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from semiovs.data.collection import Collection
from semiovs.data.label_source import LabelSource, MaskFolder
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.vocab import Vocabulary

NAMES = ("sky", "road", "car")

#: Settings of a run of four steps on these images.
SMALL_RUN = (
    "data.crop_size=33",
    "data.workers=0",
    "model.encoder=tiny",
    "train.batch_size=2",
    "train.steps=4",
    "train.device=cpu",
)


def image(path: Path, seed: int, size: tuple[int, int] = (40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)).save(path)


def mask(path: Path, seed: int, size: tuple[int, int] = (40, 30), values: tuple[int, ...] = (0, 1, 2, 255)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.random.default_rng(seed).choice(np.array(values, np.uint8), (size[1], size[0]))
    Image.fromarray(ids).save(path)


def write_bright_and_dark(folder: Path) -> list[Record]:
    """Write seven images of seven sizes; a mask is 1 where the image is bright, but wrong in three rows, and 255 in
    one.
    """
    rng = np.random.default_rng(0)
    found = []
    for i in range(7):
        pixels = rng.integers(0, 256, (20 + i, 33, 3), np.uint8)
        ids = (pixels.astype(float).mean(2) > 127.5).astype(np.uint8)
        ids[:3] = 1 - ids[:3]
        ids[5] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
        Image.fromarray(ids).save(folder / f"{i}_m.png")
        found.append(Record(str(i), folder / f"{i}.png", folder / f"{i}_m.png"))
    return found


def make(root: Path, *, labeled: int = 5, unlabeled: int = 7, val: int = 2, ood: int = 4) -> Path:
    """Fill `root` with the layout of the data set 'folder'."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text("\n".join(NAMES))
    for i in range(labeled):
        image(root / f"images/l{i}.png", i)
        mask(root / f"masks/l{i}.png", i)
    for i in range(val):
        image(root / f"val/images/v{i}.png", 100 + i)
        mask(root / f"val/masks/v{i}.png", 100 + i)
    for i in range(unlabeled):
        image(root / f"unlabeled/u{i}.png", 200 + i, (30 + i, 40))
    for i in range(ood):
        image(root / f"ood/o{i}.png", 300 + i)
        mask(root / f"ood-labels/o{i}.png", 300 + i)
    return root


def sources(root: Path, **changes: object) -> Collection:
    """Collection of what `make` wrote."""
    reader = MaskReader(NAMES)
    labels: LabelSource = MaskFolder(root / "ood-labels", reader)
    given: dict[str, object] = {
        "vocabulary": Vocabulary.of(NAMES),
        "masks": reader,
        "labeled": Manifest.from_folder(root / "images", root / "masks"),
        "unlabeled": Manifest.from_folder(root / "unlabeled"),
        "val": Manifest.from_folder(root / "val/images", root / "val/masks"),
        "ood": Manifest.from_folder(root / "ood"),
        "ood_labels": labels,
    }
    return Collection.of(**(given | changes))  # type: ignore[arg-type]


def changed(collection: Collection, **changes: object) -> Collection:
    """The collection with other manifests, masks or labels."""
    names = ("vocabulary", "masks", "labeled", "unlabeled", "val", "ood", "held_out", "ood_labels", "images")
    return Collection.of(**({name: getattr(collection, name) for name in names} | changes))  # type: ignore[arg-type]
