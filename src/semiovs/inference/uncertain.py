"""The pictures that a model is least certain of, as a folder to correct and to train with."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semiovs.errors import UsageError
from semiovs.files import new_folder
from semiovs.images.containers.container import split_path
from semiovs.images.image import open_file


def copy_uncertain(results: Sequence[dict[str, Any]], out: Path, names: Sequence[str], most: int) -> list[str]:
    """Copy the `most` pictures of the lowest mean confidence, least certain first, into ``out/images``, their masks
    into ``out/masks``, and write the classes into ``out/classes.txt``: `semiovs init` takes it as labelled images.

    results: what `PredictionRun` tells of each picture, with its mask (`ids`). Returns the pictures.

    Raises:
        UsageError: `out` is there already: what was corrected in it is not replaced.
    """
    chosen = sorted(results, key=lambda result: float(result["mean_confidence"]))[:most]
    with new_folder(out, refuse=UsageError) as partial:
        for number, result in enumerate(chosen, 1):
            image, mask = Path(result["image"]), Path(result["ids"])
            stored = split_path(image)
            name = f"{number:04d}_{Path(stored[1] if stored else image.name).stem}"
            for folder, source in ((partial / "images", image), (partial / "masks", mask)):
                folder.mkdir(exist_ok=True)
                with (folder / f"{name}{source.suffix}").open("wb") as file, open_file(source) as given:
                    shutil.copyfileobj(given, file)
        (partial / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    return [str(result["image"]) for result in chosen]
