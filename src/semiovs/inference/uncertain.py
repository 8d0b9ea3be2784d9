"""The pictures that a model is least certain of, as a folder to correct and to train with."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiovs.errors import DataError
from semiovs.files import atomic_write, write_text
from semiovs.images.containers.container import split_path
from semiovs.images.image import open_file


def copy_uncertain(results: Sequence[dict[str, Any]], out: Path, names: Sequence[str], most: int) -> list[str]:
    """Copy the `most` pictures of the lowest mean confidence, least certain first, into ``out/images``, their masks into
    ``out/masks``, and write the classes into ``out/classes.txt``: a folder that `semiovs init` takes as labelled images.

    results: what `PredictionRun` tells of each picture, with the masks as PNG (`ids`). Returns the pictures.

    Raises:
        DataError: `out` is there and holds something else.
    """
    if out.exists() and (not out.is_dir() or not (out / "classes.txt").is_file()):
        if not out.is_dir() or any(out.iterdir()):
            raise DataError(f"{out}: is there already, and holds no uncertain pictures; move it away")
    for folder in ("images", "masks"):
        shutil.rmtree(out / folder, ignore_errors=True)
    pictures = [result for result in results if str(result.get("ids", "")).endswith((".png", ".tif"))]
    chosen = sorted(pictures, key=lambda result: float(result["mean_confidence"]))[:most]
    for number, result in enumerate(chosen, 1):
        image, mask = Path(result["image"]), Path(result["ids"])
        stored = split_path(image)
        name = f"{number:04d}_{Path(stored[1] if stored else image.name).stem}"
        for place, source in ((out / "images", image), (out / "masks", mask)):
            with atomic_write(place / f"{name}{source.suffix}") as file, open_file(source) as given:
                shutil.copyfileobj(given, file)
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in names))
    return [str(result["image"]) for result in chosen]
