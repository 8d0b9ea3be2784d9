"""Teacher `masks`: ready-made masks or score maps in a folder, found by image id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from semiovs.errors import DataError, UsageError
from semiovs.images.conventions import MASK_SUFFIXES
from semiovs.images.discover.layouts import IMAGE_FOLDERS, MASK_FOLDERS
from semiovs.images.file_names import normalize_name
from semiovs.images.folder_walk import walk_files
from semiovs.images.masks import MaskReader
from semiovs.ovs.base import OpenVocabModel
from semiovs.ovs.score_maps import read_score_map
from semiovs.vocab.vocabulary import Vocabulary

_SCORE_SUFFIXES = (".npz", ".npy")
_SUFFIXES = (*MASK_SUFFIXES, *_SCORE_SUFFIXES)
_PLAIN_FOLDERS = frozenset({*IMAGE_FOLDERS, *MASK_FOLDERS})


class MasksTeacher(OpenVocabModel):
    """Labels made elsewhere: by another model, another tool, or by hand.

    root: folder with ``<id><suffix>.png`` (any mask that `MaskReader` reads) or ``<id><suffix>.npy`` / ``.npz`` with
    class scores (K, H, W), see `read_score_map`. Where the id itself is not there, a file of the same name is taken, if
    one of the two paths ends with the other (folders called ``images``, ``masks`` and the like aside), and there is
    only one; a file belongs to one image. encoding, map: as in the configuration section `data.masks`.

    Confidence is 1 everywhere for a mask, and the highest score for a score map. Masks must have the size of their
    images; score maps may be smaller.

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
        self._owners: dict[Path, str] = {}

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
        """Score maps at the image's size; masks as 1 for the class and 0 for the others (all 0 where ignored)."""
        found = []
        for image, path in zip(images, self._find_all(ids, len(images)), strict=True):
            if path.suffix.lower() in _SCORE_SUFFIXES:
                found.append(read_score_map(path, len(vocabulary), _get_size(image)))
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
                scores = read_score_map(path, len(vocabulary), _get_size(image))
                confidence, label = scores.max(dim=0)
            else:
                label = self._read_mask(path, image, vocabulary)
                confidence = torch.ones(label.shape)
            labels.append(label.to(torch.uint8))
            confidences.append(confidence)
        return labels, confidences

    def find(self, identifier: str) -> Path:
        """File of an image's mask or scores.

        Raises:
            DataError: none, several, or one that is another image's already.
        """
        exact = (self.root / f"{identifier}{self.suffix}{suffix}" for suffix in _SUFFIXES)
        found = [path for path in exact if path.is_file()]
        stem = f"{identifier.rpartition('/')[2]}{self.suffix}"
        alike: list[Path] = []
        if not found:
            alike = self._by_stem.get(normalize_name(stem), [])
            found = [path for path in alike if self._fits(path, identifier)]
        if len(found) > 1:
            several = " and ".join(str(path.relative_to(self.root)) for path in found[:2])
            raise DataError(f"{self.root}: two masks could belong to image '{identifier}': {several}")
        if found:
            if (owner := self._owners.setdefault(found[0], identifier)) != identifier:
                raise DataError(
                    f"{found[0]}: could belong to image '{owner}' and to '{identifier}'; put it into a folder"
                )
            return found[0]
        raise DataError(
            f"{self.root}: no mask for image '{identifier}' (looked for {stem}.png, .npy, "
            f".npz){self._suggest_example(alike)}"
        )

    def _fits(self, path: Path, identifier: str) -> bool:
        """Whether the path of a file of an image's name ends with the image's path, or the other way round."""
        folders, wanted = (_list_folders(Path(given)) for given in (path.relative_to(self.root), identifier))
        least = min(len(folders), len(wanted))
        return folders[len(folders) - least :] == wanted[len(wanted) - least :]

    @cached_property
    def _by_stem(self) -> dict[str, list[Path]]:
        """Files by stem, in the Unicode form of `normalize_name`."""
        table: dict[str, list[Path]] = defaultdict(list)
        for path in walk_files(self.root, _SUFFIXES):
            table[normalize_name(path.stem)].append(path)
        return dict(table)

    def _suggest_example(self, alike: Sequence[Path]) -> str:
        """Name an example of what the folder holds, for error messages. alike: files of that name in other folders."""
        if alike:
            return f"; {alike[0].relative_to(self.root)} lies in another folder than the image"
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


def _list_folders(path: Path) -> list[str]:
    """Folders of a path, but those that say what its files are."""
    return [normalize_name(name) for name in path.parent.parts if name not in _PLAIN_FOLDERS]


def _get_size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def _require_size(path: Path, shape: Sequence[int], image: Tensor) -> None:
    if tuple(shape[-2:]) != image.shape[-2:]:
        raise DataError(
            f"{path}: {shape[-1]}x{shape[-2]}, but its image is {image.shape[-1]}x{image.shape[-2]}; "
            "sizes must be equal (resize masks with nearest neighbour)"
        )
