"""Labels of images by image id, from mask files or a pseudo-label store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.file_names import normalize_name
from semiovs.images.listing import find_masks
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import index_by_last_part, last_part


class LabelSource(Protocol):
    """Labels by image id; implemented by `PseudoLabelStore` and `MaskFiles`."""

    def __contains__(self, name: str, /) -> bool:
        """Whether there is a label for the image."""

    def ids(self) -> Iterable[str]:
        """All ids."""

    def label(self, name: str, /) -> NDArray[np.uint8]:
        """(H, W) class ids, 255 = ignore."""

    def confidence(self, name: str, /) -> NDArray[np.uint8] | None:
        """(H, W) round(255 · confidence); None: every pixel counts fully."""


class MaskFiles:
    """A `LabelSource` over ready-made mask files: id -> path, read through `reader`."""

    def __init__(self, paths: Mapping[str, Path], reader: MaskReader) -> None:
        self.paths = dict(paths)
        self.reader = reader

    def __contains__(self, name: object) -> bool:
        return name in self.paths

    def ids(self) -> Iterable[str]:
        """All ids."""
        return self.paths.keys()

    def label(self, name: str) -> NDArray[np.uint8]:
        """Read one mask (see `MaskReader`)."""
        return self.reader(self.paths[name])

    def confidence(self, name: str) -> None:
        """Masks carry no confidence: every pixel counts fully."""


class MaskFolder(MaskFiles):
    """A `LabelSource` over a folder of masks; the id is the path in the folder without suffix.

    Raises:
        DataError: no such folder, or two masks with one id.
    """

    def __init__(self, root: Path, reader: MaskReader) -> None:
        super().__init__(find_masks(root), reader)


def _index_by_name(ids: Iterable[str]) -> dict[str, str]:
    """Last part of an id, in one Unicode form -> the id; parts that several ids share are left out."""
    by_last = index_by_last_part(ids)
    times = Counter(map(normalize_name, by_last))
    return {name: i for last, i in by_last.items() if times[name := normalize_name(last)] == 1}


class MatchedLabels:
    """A `LabelSource` with the ids of a manifest: labels are found by id, else by the last part of the id where it is
    unique.

    The image ``ood/images/0001`` of a list thus has the label ``0001`` of a store that was made from the folder.
    """

    def __init__(self, source: LabelSource, manifest: Manifest) -> None:
        self.source = source
        names = _index_by_name(source.ids())
        records = [record.id for record in manifest]
        wanted = _index_by_name(records)
        self.names: dict[str, str] = {}
        for record in records:
            last = normalize_name(last_part(record))
            if record in source:
                self.names[record] = record
            elif last in names and last in wanted:
                self.names[record] = names[last]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def ids(self) -> Iterable[str]:
        """Ids of the records that have a label."""
        return self.names.keys()

    def label(self, name: str) -> NDArray[np.uint8]:
        """Label of the record."""
        return self.source.label(self.names[name])

    def confidence(self, name: str) -> NDArray[np.uint8] | None:
        """Confidence of the record."""
        return self.source.confidence(self.names[name])


class ShuffledLabels:
    """A `LabelSource` in which each image has the label of another one, brought to its size: the placebo of a
    comparison. As many pixels of each class are learnt as with the right labels, but they say nothing about the image.

    ids: of the images, at least two; seed: of the choice, a pure function of both.

    Raises:
        DataError: a single image.
    """

    def __init__(self, source: LabelSource, ids: Sequence[str], seed: int) -> None:
        if len(ids) < 2:
            raise DataError("ood.mode=placebo shuffles the labels among the OOD images, and there is only one")
        self._source = source
        order = np.random.default_rng([*b"placebo", seed]).permutation(len(ids))
        self._other = {ids[one]: ids[other] for one, other in zip(order, np.roll(order, 1), strict=True)}

    def __contains__(self, name: object) -> bool:
        return name in self._other and self._other[str(name)] in self._source

    def ids(self) -> Iterable[str]:
        """Ids of the images."""
        return self._other.keys()

    def label(self, name: str) -> NDArray[np.uint8]:
        """Label of another image, (H, W) of this one."""
        return self._fit(self._source.label(self._other[name]), name)

    def confidence(self, name: str) -> NDArray[np.uint8] | None:
        """Confidence of that other image, (H, W) of this one."""
        found = self._source.confidence(self._other[name])
        return None if found is None else self._fit(found, name)

    def _fit(self, values: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
        rows, columns = (
            np.arange(length) * there // length
            for length, there in zip(self._source.label(name).shape, values.shape, strict=True)
        )
        return values[np.ix_(rows, columns)]
