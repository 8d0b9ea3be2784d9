"""Lists of images that the trainings of a comparison have instead of the configuration's: folds, and new choices of
labelled images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from semiovs.audit.label_counts import LabelCounts, count_labels
from semiovs.audit.split import Counts, draw_order, pairs_by_group
from semiovs.data.collection import Collection
from semiovs.errors import UsageError
from semiovs.images.manifest import Manifest
from semiovs.similarity.groups import connected

FOLDER = "lists"
#: Progress of reading masks: images done, and all.
Progress = Callable[[int, int], None]


def write_folds(
    root: Path, images: Collection, folds: int, *, group: str | None, progress: Progress | None = None
) -> dict[str, dict[str, str]]:
    """Write the lists of each fold: one part of the labelled images to evaluate on, the others to learn from.

    Parts hold the classes in about equal shares; copies, and images of one group, are in one part. Unlabelled images
    that are in the part are left out. Returns name of the fold -> configuration key -> list, relative to `root`.

    Raises:
        UsageError: more folds than images or groups of them.
    """
    counts = _count(images, progress)
    ids = [record.id for record in images.labeled]
    parts = choose_folds(counts.pixels, ids, folds, connected(pairs_by_group(counts.copies, ids, group, "--group-by")))
    found: dict[str, dict[str, str]] = {}
    for number, part in enumerate(parts):
        name, taken = f"fold-{number}", set(part)
        val = _pick(images.labeled, part)
        lists = {"data.val": val, "data.labeled": _pick(images.labeled, [i for i in range(len(ids)) if i not in taken])}
        bare = None if images.unlabeled is None else images.unlabeled.exclude(val)
        if bare is not None and images.unlabeled is not None and len(bare) < len(images.unlabeled):
            lists["data.unlabeled"] = bare
        found[name] = _write(root, name, lists)
    return found


def write_choices(
    root: Path, images: Collection, seeds: Sequence[int], count: int, *, progress: Progress | None = None
) -> dict[str, dict[str, str]]:
    """Write the lists of each seed: `count` of the labelled images, chosen anew with the classes in the shares of all;
    the others lose their labels.

    Raises:
        UsageError: as many as there are, or more.
    """
    if not 0 < count < len(images.labeled):
        raise UsageError(
            f"--resplit {count}: give 1 to {len(images.labeled) - 1} of the {len(images.labeled)} labelled images"
        )
    counts = _count(images, progress)
    ids = [record.id for record in images.labeled]
    found: dict[str, dict[str, str]] = {}
    for seed in seeds:
        name, order = f"seed-{seed}", draw_order(counts.pixels, ids, f"{seed}/compare")
        rest = _pick(images.labeled, sorted(order[count:])).without_masks()
        others = () if images.unlabeled is None else images.unlabeled.exclude(images.labeled)
        bare = Manifest([*rest, *others], images.labeled.root)
        lists = {"data.labeled": _pick(images.labeled, sorted(order[:count])), "data.unlabeled": bare}
        found[name] = _write(root, name, lists)
    return found


def choose_folds(pixels: Counts, ids: Sequence[str], folds: int, together: Sequence[Sequence[int]]) -> list[list[int]]:
    """Deal images to folds: each unit of `together`, rare classes in turn, goes to the smallest fold that has least of
    its classes.

    pixels: (N, K) of each class; a pure function of its arguments. Returns the indices of each fold.

    Raises:
        UsageError: more folds than units.
    """
    tied = {index for unit in together for index in unit}
    units = [*map(sorted, together), *([index] for index in range(len(ids)) if index not in tied)]
    if not 2 <= folds <= len(units):
        raise UsageError(f"--folds {folds}: {len(units)} images, or groups that stay together, give 2 to {len(units)}")
    sums = np.array([pixels[unit].sum(axis=0) for unit in units])
    whole = np.maximum(pixels.sum(axis=0), 1)
    have, parts = np.zeros((folds, pixels.shape[1])), [list[int]() for _ in range(folds)]
    for place in draw_order(sums, [min(ids[index] for index in unit) for unit in units], "folds"):
        crowded = (have / whole)[:, sums[place] > 0].sum(axis=1)
        fold = min(range(folds), key=lambda number: (len(parts[number]), crowded[number], number))
        parts[fold] += units[place]
        have[fold] += sums[place]
    return [sorted(part) for part in parts]


def _count(images: Collection, progress: Progress | None) -> LabelCounts:
    return count_labels(images.labeled, images.masks, progress=progress, read=images.images.read_preview)


def _pick(images: Manifest, places: Sequence[int]) -> Manifest:
    return Manifest((images[place] for place in places), images.root)


def _write(root: Path, name: str, lists: dict[str, Manifest]) -> dict[str, str]:
    written = {}
    for key, manifest in lists.items():
        path = Path(FOLDER) / name / f"{key.removeprefix('data.')}.jsonl"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        manifest.write_jsonl(root / path)
        written[key] = path.as_posix()
    return written
