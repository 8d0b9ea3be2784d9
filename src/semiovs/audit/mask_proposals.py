"""Proposals of `data.masks.map` for masks with unknown values or colours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from semiovs.config.source import inline
from semiovs.data.collection import Collection
from semiovs.errors import DataError
from semiovs.images.conventions import IGNORE
from semiovs.images.findings import Finding
from semiovs.images.image import open_image

#: Wrong masks that are opened again, at most; entries of a proposed map, at most.
_LOOKED_AT, _MOST = 200, 64

_Color = tuple[int, ...]


def propose_mask_maps(collection: Collection, findings: list[Finding]) -> Iterator[Finding]:
    """Yield a note with a proposed map for masks of unknown values, and one for masks of unknown colours."""
    if collection.masks.map is not None or collection.masks.reduce_zero_label:
        return
    for kind, propose in (("mask-values", _propose_for_values), ("mask-colors", _propose_for_colors)):
        files = [Path(finding.file) for finding in findings if finding.kind == kind]
        if files:
            step = max(1, len(files) // _LOOKED_AT)
            yield from propose(collection, files[::step][:_LOOKED_AT])


def _propose_for_values(collection: Collection, files: list[Path]) -> Iterator[Finding]:
    names, known = collection.vocabulary.names, range(len(collection.vocabulary))
    found = sorted(key[0] for key in _count_values(files) if len(key) == 1)
    values = [value for value in found if value != IGNORE]
    if not values:
        return
    if values[-1] == len(names) and values[0] >= 0 and len(values) <= len(names) + 1 and 0 in values:
        fix = "is 0 'no class'? then set data.masks.reduce_zero_label=true; is a class missing? add it to data.classes"
    elif len(values) == len(names):
        meant = {str(value): name for value, name in zip(values, names, strict=True)}
        fix = f"one value for each class: set data.masks.map={inline(meant)}, if they stand in this order"
    else:
        meant = {str(value): names[value] if value in known else "?" for value in values[:_MOST]}
        fix = f"say what each means: data.masks.map={inline(meant)}"
    yield _make_proposal(f"the masks with unknown values hold {_join_values(values)}", fix)


def _propose_for_colors(collection: Collection, files: list[Path]) -> Iterator[Finding]:
    """Yield a setting if the class file gives every colour that occurs, else a map to be completed."""
    colors = [color for color, _ in _count_values(files).most_common() if len(color) == 3]
    own = dict(zip(collection.vocabulary.colors, collection.vocabulary.names, strict=False))
    meant = {",".join(map(str, color)): own.get((color[0], color[1], color[2]), "?") for color in colors[:_MOST]}
    text = f"the colour masks hold {len(colors)} colours"
    if own and set(colors) <= set(own):
        every = {",".join(map(str, color)): name for color, name in own.items()}
        yield _make_proposal(
            f"{text}, all of them colours of your classes",
            f"set data.masks.map={inline(every)}",
            {"data.masks.map": every},
        )
    elif len(colors) > _MOST:
        yield _make_proposal(text, "so many are no classes: were the masks resized or saved as JPEG on the way?")
    else:
        yield _make_proposal(text, f"say what each means: data.masks.map={inline(meant)}")


def _make_proposal(text: str, fix: str, setting: Mapping[str, object] | None = None) -> Finding:
    return Finding("mask-map", "note", text, where="data.masks", fix=fix, setting=setting or {})


def _count_values(files: list[Path]) -> Counter[_Color]:
    """Count the pixels of each value (as a 1-tuple) or colour of the masks."""
    counts: Counter[_Color] = Counter()
    for path in files:
        try:
            with open_image(path) as image:
                pixels = _flatten_pixels(image)
        except DataError:
            continue
        found, number = np.unique(pixels, axis=0, return_counts=True)
        counts.update({tuple(key): int(n) for key, n in zip(found.tolist(), number, strict=True)})
    return counts


def _flatten_pixels(image: Image.Image) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Flatten to (N, 1) values or (N, 3) colours."""
    pixels = np.asarray(image).astype(np.int64)
    flat = pixels.reshape(-1, 1 if pixels.ndim == 2 else pixels.shape[2])
    return flat[:, :3] if flat.shape[1] >= 3 else flat[:, :1]


def _join_values(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:20]))
    return shown + (f" and {len(values) - 20} more" if len(values) > 20 else "")
