"""Teacher `masks`: ready-made masks or score maps in a folder, found by image id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from semiovs.array_files import read_array
from semiovs.errors import DataError, UsageError
from semiovs.images.conventions import MASK_SUFFIXES
from semiovs.images.file_names import normalize_name
from semiovs.images.folder_walk import walk_files
from semiovs.images.masks import MaskReader
from semiovs.ovs.base import OpenVocabModel
from semiovs.vocab.vocabulary import Vocabulary

_SCORE_SUFFIXES = (".npz", ".npy")
_SUFFIXES = (*MASK_SUFFIXES, *_SCORE_SUFFIXES)


class MasksTeacher(OpenVocabModel):
    """Labels made elsewhere: by another model, another tool, or by hand.

    root: folder with ``<id><suffix>.png`` (any mask that `MaskReader` reads) or ``<id><suffix>.npy`` / ``.npz`` with
    class scores (K, H, W) in [0, 1]. Where the id itself is not there, a file of the same name in any sub-folder is
    taken, if there is only one. encoding, map: as in the configuration section `data.masks`.

    Confidence is 1 everywhere for a mask, and the highest score for a score map. Sizes must be those of the images.

    Raises:
        UsageError: no folder is given; DataError: it is not there, or holds no such file.
    """

    reads_ids: bool = True

    def __init__(
        self,
        root: str | Path | None = None,
        suffix: str = "",
        encoding: Literal["auto", "id", "rgb"] = "auto",
        map: Mapping[str, int | str] | None = None,  # noqa: A002 - the name that users know from data.masks
    ) -> None:
        if root is None:
            raise UsageError("teacher 'masks' needs the folder of its masks: --from DIR")
        if encoding not in {"auto", "id", "rgb"}:
            raise UsageError(f"teacher 'masks': encoding '{encoding}' is not one of auto, id, rgb")
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(f"{root}: no such folder of masks")
        self.suffix, self.encoding, self.map = suffix, encoding, map
        self._readers: dict[str, MaskReader] = {}

    def describe(self) -> dict[str, Any]:
        """Folder of the masks, and how their values are read."""
        read = None if self.map is None else {str(key): value for key, value in self.map.items()}
        return {"root": str(self.root.absolute()), "suffix": self.suffix, "encoding": self.encoding, "map": read}

    def version(self, identifier: str) -> str:
        """File, size and time of the image's mask."""
        try:
            path = self.find(identifier)
            status = path.stat()
        except (DataError, OSError):
            return ""
        return f"{path}\0{status.st_size}\0{status.st_mtime_ns}"

    def scores(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> list[Tensor]:
        """Score maps unchanged; masks as 1 for the class and 0 for the others (all 0 where ignored)."""
        found = []
        for image, path in zip(images, self._find_all(ids, len(images)), strict=True):
            if path.suffix.lower() in _SCORE_SUFFIXES:
                found.append(self._read_score_map(path, image, vocabulary))
            else:
                mask = self._read_mask(path, image, vocabulary)
                found.append((mask[None] == torch.arange(len(vocabulary))[:, None, None]).float())
        return found

    def label(
        self, images: Sequence[Tensor], vocabulary: Vocabulary, *, ids: Sequence[str] | None = None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Masks unchanged, 255 = ignore; the best class of score maps."""
        labels, confidences = [], []
        for image, path in zip(images, self._find_all(ids, len(images)), strict=True):
            if path.suffix.lower() in _SCORE_SUFFIXES:
                confidence, label = self._read_score_map(path, image, vocabulary).max(dim=0)
            else:
                label = self._read_mask(path, image, vocabulary)
                confidence = torch.ones(label.shape)
            labels.append(label.to(torch.uint8))
            confidences.append(confidence)
        return labels, confidences

    def find(self, identifier: str) -> Path:
        """File of an image's mask or scores.

        Raises:
            DataError: none, or several in different sub-folders.
        """
        for suffix in _SUFFIXES:
            path = self.root / f"{identifier}{self.suffix}{suffix}"
            if path.is_file():
                return path
        stem = f"{identifier.rpartition('/')[2]}{self.suffix}"
        found = self._by_stem.get(normalize_name(stem), [])
        if len(found) == 1:
            return found[0]
        if found:
            several = " and ".join(str(path.relative_to(self.root)) for path in found[:2])
            raise DataError(f"{self.root}: two masks could belong to image '{identifier}': {several}")
        raise DataError(
            f"{self.root}: no mask for image '{identifier}' (looked for {stem}.png, .npy, "
            f".npz){self._suggest_example()}"
        )

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """Files by stem, in the Unicode form of `normalize_name`."""
        table: dict[str, list[Path]] = defaultdict(list)
        for path in walk_files(self.root, _SUFFIXES):
            table[normalize_name(path.stem)].append(path)
        return dict(table)

    def _suggest_example(self) -> str:
        """Name an example of what the folder holds, for error messages."""
        example = next(iter(self._by_stem), None)
        return (
            "; the folder holds no masks at all" if example is None else f"; the folder holds '{example}', for example"
        )

    def _find_all(self, ids: Sequence[str] | None, count: int) -> list[Path]:
        if ids is None or len(ids) != count:
            raise UsageError("teacher 'masks' looks masks up by image id: pass `ids`, one an image")
        return [self.find(identifier) for identifier in ids]

    def _read_mask(self, path: Path, image: Tensor, vocabulary: Vocabulary) -> Tensor:
        reader = self._readers.get(vocabulary.hash)
        if reader is None:
            reader = MaskReader(
                vocabulary.names, self.encoding, self.map, origin="--from", map_key="--map", ignore=vocabulary.ignore
            )
            self._readers[vocabulary.hash] = reader
        mask = torch.from_numpy(reader(path))
        _require_size(path, mask.shape, image)
        return mask

    def _read_score_map(self, path: Path, image: Tensor, vocabulary: Vocabulary) -> Tensor:
        def check(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
            if len(shape) != 3 or shape[0] != len(vocabulary) or not np.issubdtype(dtype, np.floating):
                raise DataError(
                    f"{path}: {dtype} array of shape {shape}; "
                    f"class scores must be floats of shape ({len(vocabulary)}, height, width)"
                )
            _require_size(path, shape, image)

        tensor = torch.from_numpy(read_array(path, "scores", check).astype(np.float32))
        if not bool(((tensor >= 0) & (tensor <= 1)).all()):
            raise DataError(f"{path}: scores must lie within [0, 1] (probabilities, not logits)")
        return tensor


def _require_size(path: Path, shape: Sequence[int], image: Tensor) -> None:
    if tuple(shape[-2:]) != image.shape[-2:]:
        raise DataError(
            f"{path}: {shape[-1]}x{shape[-2]}, but its image is {image.shape[-1]}x{image.shape[-2]}; "
            "sizes must be equal (resize masks with nearest neighbour)"
        )
