"""A small world, and a pool of images to choose from in which copies, leaks, off-topic and broken images were
planted.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from semiovs.demo.synthetic import OOD, WorldSize, render_scene, save_png, write_world

SIDE = 64

Change = Callable[[Image.Image], Image.Image]


def _cropped(image: Image.Image) -> Image.Image:
    edge = round(0.02 * image.width)
    return image.crop((edge, edge, image.width - edge, image.height - edge))


#: What is done to a picture, and the JPEG quality it is saved with afterwards.
CHANGES: Mapping[str, tuple[Change, int]] = {
    "reencoded": (lambda image: image, 60),
    "resized": (lambda image: image.resize((image.width // 2, image.height // 2)), 90),
    "cropped": (_cropped, 92),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.2), 92),
}


def _scene(root: Path, name: str, *keys: int) -> Path:
    path, truth = root / f"pool/{name}.png", root / f"truth/{name}.png"
    scene = render_scene(OOD, SIDE, np.random.default_rng(list(keys)))
    for file, pixels in ((path, scene.image), (truth, scene.mask)):
        file.parent.mkdir(parents=True, exist_ok=True)
        save_png(file, pixels)
    return path


def _copies(folder: Path, origins: list[Path]) -> set[str]:
    """Plant each kind of change of each origin, and the file itself; ids in the pool."""
    folder.mkdir(parents=True)
    for origin in origins:
        shutil.copy(origin, folder / f"exact-{origin.stem}{origin.suffix}")
        for name, (change, quality) in CHANGES.items():
            image = change(Image.open(origin).convert("RGB"))
            image.save(folder / f"{name}-{origin.stem}.jpg", quality=quality)
    return {f"{folder.name}/{path.stem}" for path in folder.iterdir()}


def plant(root: Path, *, scenes: int = 40) -> dict[str, set[str]]:
    """Write root/world (a data set), root/pool, and root/truth with masks of pool/web; which ids of the pool are what,
    by kind.

    Copies stand for the whole group: of an original and its copies one may stay.
    """
    world = write_world(root / "world", 3, size=WorldSize(12, 1, 1, 6, SIDE))
    pool = root / "pool"
    originals = [_scene(root, f"web/{i:03d}", 77, i) for i in range(scenes)]
    kinds = {"copies": _copies(pool / "copies", originals[:5])}
    kinds["leaks"] = _copies(pool / "leaks", sorted((world / "val/images").iterdir())[:4])
    # not the first: an even border, which is cut off before images are compared, is one in its PNG and none in its JPEG
    kinds["leaks"] |= _copies(pool / "trained", sorted((world / "images").iterdir())[1:3])
    rng = np.random.default_rng(0)
    (pool / "empty").mkdir()
    for i in range(6):  # even grounds: nothing that has a name
        shade = rng.integers(40, 220, 3) + np.linspace(0, 20, SIDE)[:, None, None] * np.ones((1, SIDE, 1))
        save_png(pool / f"empty/{i}.png", shade.astype(np.uint8))
    kinds["off-topic"] = {f"empty/{i}" for i in range(6)}
    (pool / "broken").mkdir()
    (pool / "broken/cut.png").write_bytes(originals[0].read_bytes()[:500])
    (pool / "broken/empty.jpg").write_bytes(b"")
    (pool / "broken/text.jpg").write_text("no picture")
    kinds["unreadable"] = {"broken/cut", "broken/empty", "broken/text"}
    kinds["web"] = {f"web/{i:03d}" for i in range(scenes)}
    return kinds
