"""A split on disk: its lists, and split.json, which says what each part holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiovs.audit.split import DataSplit
from semiovs.data.collection import Collection
from semiovs.files import parse_json
from semiovs.images.manifest import Manifest

#: The file with the facts of a split.
FACTS = "split.json"


def _lists_there(place: Path) -> set[Path]:
    """Lists of the split that is there: none of them may stay among those that replace it."""
    try:
        names = parse_json((place / FACTS).read_text("utf-8"))["lists"].values()
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return set()
    paths = {(place / str(name)).resolve() for name in names}
    return {path for path in paths if path.suffix in {".txt", ".jsonl"} and path.is_relative_to(place.resolve())}


def write_lists(made: DataSplit, labeled: Manifest, bare: Manifest | None, place: Path, root: Path) -> dict[str, Path]:
    """Write all lists; returns name -> file. Bare images that are among the labelled ones have their place there.

    Where there are such, `unlabeled` lists the bare images without those for evaluation and decisions.
    """
    others = () if bare is None else bare.exclude(labeled)

    def part(places: Sequence[int]) -> Manifest:
        return Manifest((labeled[index] for index in places), labeled.root)

    parts = {"train": part(made.train)}
    parts |= {name: part(places) for name, places in (("val", made.val), ("held_out", made.held_out)) if places}
    if bare is not None and len(others) < len(bare):
        parts["unlabeled"] = bare.exclude(part([*made.val, *made.held_out]))
    for name in made.labeled:
        rest = part(made.unlabeled(name)).without_masks()
        parts[f"{name}/labeled"] = part(made.labeled[name])
        parts[f"{name}/unlabeled"] = Manifest([*rest, *others], labeled.root)
    before = _lists_there(place)
    written = {name: manifest.write(place / name, root) for name, manifest in parts.items() if manifest}
    for path in before - {path.resolve() for path in written.values()}:
        path.unlink(missing_ok=True)
    return written


def describe_split(made: DataSplit, pixels: NDArray[np.int64], collection: Collection) -> dict[str, Any]:
    """What split.json holds: of each part its images, class shares, how far these are off the whole, and classes it
    lacks.
    """
    whole, names = _shares(pixels, range(len(pixels))), collection.vocabulary.names
    parts: dict[str, Any] = {}
    for part, places in {"train": made.train, "val": made.val, "held_out": made.held_out, **made.labeled}.items():
        if not places:
            continue
        shares = _shares(pixels, places)
        parts[part] = {
            "images": len(places),
            "shares": {name: round(float(share), 6) for name, share in zip(names, shares, strict=True)},
            "off": round(float(abs(shares - whole).sum() / 2), 4),
            "missing": [name for name, share, all_ in zip(names, shares, whole, strict=True) if share == 0 < all_],
        }
    labeled = {"images": len(collection.labeled), "hash": collection.labeled.hash}
    return {"labelled": labeled, "parts": parts}


def _shares(pixels: NDArray[np.int64], places: Sequence[int]) -> NDArray[np.float64]:
    counts = pixels[list(places)].sum(axis=0)
    shares: NDArray[np.float64] = counts / max(int(counts.sum()), 1)
    return shares
