"""The images of a training: what is labelled, bare, for evaluation, and from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semiovs.data.listing import mask_files
from semiovs.data.manifest import Manifest
from semiovs.data.masks import MaskReader
from semiovs.data.pictures import RGB, ImageReader
from semiovs.errors import DataError
from semiovs.vocab.vocabulary import Vocabulary


class LabelSource(Protocol):
    """Labels that somebody made for images, by image id (`PseudoLabelStore`, `MaskFiles`)."""

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
        super().__init__(mask_files(root), reader)


class NamedLabels:
    """A `LabelSource` whose ids are those of a manifest: a record finds its label by its id, else by a unique last name.

    So ``ood/images/0001.jpg`` of a list meets the label ``0001`` of a store that was made from the folder.
    """

    def __init__(self, source: LabelSource, manifest: Manifest) -> None:
        self.source = source
        names = _unique_last_names(source.ids())
        records = [record.id for record in manifest]
        wanted = _unique_last_names(records)
        self.names: dict[str, str] = {}
        for record in records:
            last = _last(record)
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


@dataclass(frozen=True)
class Sources:
    """Everything a training reads.

    labeled, val and held_out need masks (read by `masks`), unlabeled and ood are bare; held_out: labelled images that are not
    trained on, for decisions while training; ood_labels: labels of the OOD images (with ``ood.mode: naive`` only the pixels that
    they ignore count; None there if there are none, so that every pixel is valid); images: reads the files of all of them.

    Raises:
        DataError: a record that needs a mask has none.
    """

    vocabulary: Vocabulary
    labeled: Manifest
    masks: MaskReader
    unlabeled: Manifest | None = None
    val: Manifest | None = None
    ood: Manifest | None = None
    ood_labels: LabelSource | None = None
    held_out: Manifest | None = None
    images: ImageReader = RGB

    def __post_init__(self) -> None:
        for stream, manifest in (("labelled", self.labeled), ("evaluation", self.val), ("held-out", self.held_out)):
            lacking = [record.id for record in manifest or () if record.mask is None]
            if lacking:
                few = ", ".join(lacking[:5]) + (", …" if len(lacking) > 5 else "")
                raise DataError(f"{len(lacking)} {stream} images have no mask in their list: {few}")


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _unique_last_names(names: Iterable[str]) -> dict[str, str]:
    """Last part -> name, without the parts that several names share."""
    found: dict[str, str] = {}
    shared: set[str] = set()
    for name in names:
        last = _last(name)
        if last in found:
            shared.add(last)
        found[last] = name
    return {last: name for last, name in found.items() if last not in shared}
