"""A data set of a few small pictures, written in a moment: coloured rectangles on a ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ground", "red", "blue")
_COLORS = np.array([[90, 120, 80], [200, 40, 40], [40, 60, 210]])


def _picture(generator: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((side, side), np.uint8)
    for label in (1, 2):
        x, y = generator.integers(0, side - 16, 2)
        mask[y : y + 14, x : x + 14] = label
    noise = generator.normal(0, 12, (side, side, 3))
    return np.clip(_COLORS[mask] + noise, 0, 255).astype(np.uint8), mask


def write(root: Path, *, side: int = 48, labeled: int = 4) -> Path:
    """images/ masks/ unlabeled/ ood/ ood-labels/ val/, and classes.txt."""
    generator = np.random.default_rng(0)
    parts = (
        ("images", "masks", labeled),
        ("unlabeled", None, 6),
        ("ood", "ood-labels", 5),
        ("val/images", "val/masks", 2),
    )
    for images, masks, count in parts:
        for index in range(count):
            image, mask = _picture(generator, side)
            _save(root / images / f"{images[0]}{index}.png", image)
            if masks:
                _save(root / masks / f"{images[0]}{index}.png", mask)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def settings(root: Path, run: Path, **values: object) -> list[str]:
    """``key=value`` arguments of a run that takes about a second."""
    keys = {
        "data.root": root,
        "data.crop_size": 32,
        "data.workers": 0,
        "method.name": "unimatch",
        "method.conf_thresh": 0.4,
        "method.ema_decay": 0.9,
        "ood.images": "ood",
        "ood.labels": "ood-labels",
        "model.encoder": "tiny",
        "model.channels": 16,
        "model.dilations": "[1,2]",
        "optim.lr": 0.01,
        "train.steps": 12,
        "train.batch_size": 2,
        "train.precision": "fp32",
        "train.device": "cpu",
        "train.log_every": 2,
        "train.eval_every": 5,
        "train.save_every": 3,
        "run.dir": run,
        "run.log": "[]",
    } | {key.replace("__", "."): value for key, value in values.items()}
    return [f"{key}={'true' if v is True else 'false' if v is False else v}" for key, v in keys.items()]
