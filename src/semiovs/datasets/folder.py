"""Data sets of folders by convention, or of lists and manifests named in the configuration."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from semiovs.data.collection import HELD_OUT, LABELED, OOD, UNLABELED, VAL, Collection, Stream
from semiovs.data.label_source import LabelSource, MaskFiles, MaskFolder, MatchedLabels
from semiovs.datasets.dataset import Dataset
from semiovs.env import cache_dir
from semiovs.errors import ConfigError, DataError
from semiovs.images.allowed_folders import AllowedFolders
from semiovs.images.findings import list_findings
from semiovs.images.folder_walk import is_empty
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.pixel_cache import PixelCache
from semiovs.images.readers import ImageReader
from semiovs.images.source import Reading, examine_list, examine_source, is_container
from semiovs.vocab.vocabulary import Vocabulary

_CLASS_FILES = ("classes.yaml", "classes.yml", "classes.txt")
#: Files of annotation programs, which `semiovs labels import` reads.
_ANNOTATIONS = (".json", ".xml")


@dataclass(frozen=True)
class FolderDataset(Dataset):
    """Images and masks under `data.root`.

    By convention ``images/`` with ``masks/``, ``unlabeled/``, ``val/images`` with ``val/masks``, ``ood/`` and
    ``classes.txt`` or ``classes.yaml``; each can be replaced by a folder, a list or a manifest in the configuration,
    relative to the root or absolute. An empty folder counts as absent.

    lists: stream -> records and findings to use instead of those that the configuration names, for lists that are not
    on disk.
    """

    lists: Mapping[str, Reading] = field(default_factory=dict)

    def list_streams(self, found: Collection, streams: Container[str], *, ood_labels: bool) -> None:
        """Read lists and folders (see `Dataset.list_streams`)."""
        root = self.root
        if LABELED in streams or HELD_OUT in streams:
            self._add_labeled(found, root)
            found.streams = {name: stream for name, stream in found.streams.items() if name in streams}
        if UNLABELED in streams:
            found.add(UNLABELED, lambda: self.lists.get(UNLABELED) or self._read_unlabeled(root))
        if VAL in streams:
            found.add(VAL, lambda: self.lists.get(VAL) or self._read_val(root))
        if self.ood is not None and OOD in streams:
            given = self.ood.images
            images = found.add(OOD, lambda: self._read_unmasked("ood.images", given, root))
            if images is not None and ood_labels:
                self._add_ood_labels(found, images, root)

    def vocabulary(self) -> Vocabulary:
        """Classes of `data.classes`, or of the class file in the root.

        Raises:
            ConfigError: there is none.
        """
        given = self.data.classes
        if isinstance(given, list):
            return Vocabulary.of(given)
        if given is not None:
            inside = self.root / Path(given).expanduser()
            return Vocabulary.load(inside if inside.is_file() else given)
        for name in _CLASS_FILES:
            if (self.root / name).is_file():
                return Vocabulary.load(self.root / name)
        raise ConfigError(
            f"data.classes: not given, and {self.root} holds no {' or '.join(_CLASS_FILES[::2])}; "
            "list the class names in the order of their ids, like data.classes=[road,car]"
        )

    def image_reader(self) -> ImageReader:
        """How image files are read: through the cache of decoded images where `data.cache` asks for one."""
        given = self.data.cache
        if not given.budget_gb:
            return super().image_reader()
        if self.data.bands is not None:
            raise ConfigError("data.cache: keeps RGB of 8 bits, not data.bands; leave one of the two away")
        folder = cache_dir() / "decoded" if given.dir is None else Path(given.dir).expanduser()
        return PixelCache.open(folder, int(given.budget_gb * 1e9))

    def _add_labeled(self, found: Collection, root: Path) -> None:
        """Add the labelled and the held-out images (`data.held_out`)."""
        labeled = found.add(LABELED, lambda: self.lists.get(LABELED) or self._read_all_labeled(root))
        if self.data.held_out is not None:
            self._set_aside(found, labeled, root)

    def _add_ood_labels(self, found: Collection, images: Manifest, root: Path) -> None:
        try:
            found.ood_labels = self._find_ood_labels(images, root, found.vocabulary)
        except DataError as error:
            found.findings += list_findings(error, "ood-labels", stream=OOD)

    def _set_aside(self, found: Collection, every: Manifest | None, root: Path) -> None:
        """Move the images of `data.held_out` from the labelled to the held-out stream."""
        given = self.data.held_out
        if isinstance(given, str):
            held_out = found.add(HELD_OUT, lambda: self._read_masked("data.held_out", given, root))
        elif every is None:
            return
        elif given is not None and 0 < given < len(every):
            held_out = every.choose_by_hash(given)
            found.streams[HELD_OUT] = Stream(HELD_OUT, held_out)
        else:
            raise ConfigError(
                f"data.held_out: {given} of {len(every)} labelled images cannot be kept aside; give 1 to "
                f"{len(every) - 1}"
            )
        if every is not None and held_out is not None:
            found.streams[LABELED] = replace(found.streams[LABELED], manifest=every.exclude(held_out))

    def _read_all_labeled(self, root: Path) -> Reading:
        if self.data.labeled is not None:
            return self._read_masked("data.labeled", self.data.labeled, root)
        if is_empty(root / "images"):
            what = "this folder is empty" if (root / "images").is_dir() else "no such folder"
            raise DataError(
                f"{root / 'images'}: {what}; put images there and masks in masks/, or set data.labeled",
                kind="list-missing",
            )
        found = next((p for p in sorted(root.iterdir()) if p.suffix.lower() in _ANNOTATIONS), None)
        if found is not None and not (root / "masks").is_dir():
            raise DataError(
                f"{root / 'masks'}: no such folder, but {found} may hold annotations; {_suggest_import(found)}"
            )
        return self._read_folder(root, root / "images", root / "masks")

    def _read_unlabeled(self, root: Path) -> Reading | None:
        if self.data.unlabeled is not None:
            return self._read_unmasked("data.unlabeled", self.data.unlabeled, root)
        return self._read_unmasked("data.unlabeled", "unlabeled", root) if not is_empty(root / "unlabeled") else None

    def _read_val(self, root: Path) -> Reading | None:
        if self.data.val is not None:
            return self._read_masked("data.val", self.data.val, root)
        if is_empty(root / "val" / "images"):
            return None
        return self._read_folder(root, root / "val" / "images", root / "val" / "masks")

    def _read_masked(self, key: str, given: str, root: Path) -> Reading:
        path = root / Path(given).expanduser()
        if path.is_file() and path.suffix.lower() in _ANNOTATIONS:
            raise DataError(f"{key}: {path} holds annotations and is no list; {_suggest_import(path)}")
        if path.is_file():
            return examine_list(path, root, outside=self.data.outside)
        if not path.is_dir():
            return self._read_published(key, given, path), ()
        if (path / "images").is_dir():
            return self._read_folder(root, path / "images", path / "masks")
        if (path.parent / "masks").is_dir():
            return self._read_folder(root, path, path.parent / "masks")
        raise DataError(f"{key}: {path} has no images/ with masks/; name a list of 'image mask' lines otherwise")

    def _read_unmasked(self, key: str, given: str, root: Path) -> Reading:
        path = root / Path(given).expanduser()
        if path.exists() or is_container(path):
            return examine_source(given, root, key=key, outside=self.data.outside)
        return self._read_published(key, given, path), ()

    def _read_published(self, key: str, given: str, path: Path) -> Manifest:  # noqa: ARG002 - benchmarks know lists by name
        """Fallback for a missing list; a folder has none."""
        raise _missing_error(key, path)

    def _read_folder(self, root: Path, images: Path, masks: Path) -> Reading:
        within = None if self.data.outside else AllowedFolders((root, images, masks))
        return Manifest.examine_folder(images, masks, within=within)

    def _find_ood_labels(self, images: Manifest, root: Path, vocabulary: Vocabulary) -> LabelSource | None:
        """Find the OOD labels: a store, a folder of masks, or the masks of the list, in this order.

        In naive mode they only tell which pixels are valid, and may be missing (None).
        """
        from semiovs.store.meta import is_store

        assert self.ood is not None
        naive, given = self.ood.mode == "naive", self.ood.labels
        path = None if given is None else root / Path(given).expanduser()
        if path is not None and is_store(path):
            return MatchedLabels(self._open_ood_store(path, vocabulary), images)
        if self.ood.confidence != "ones" and not naive:
            raise ConfigError(
                f"ood.confidence: {self.ood.confidence} needs a pseudo-label store, and {path} is none; "
                "use ood.confidence=ones"
            )
        reader = MaskReader(
            vocabulary.names, origin="ood.labels", map_key="`semiovs label --map`", ignore=vocabulary.ignore
        )
        if path is not None and path.is_dir():
            return MatchedLabels(MaskFolder(path, reader), images)
        paths = {record.id: record.mask for record in images if record.mask is not None}
        if paths:
            return MaskFiles(paths, reader)
        if naive:
            return None
        raise DataError(f"ood.labels: no such store or folder of masks: {path}; `semiovs label` writes a store")

    def _open_ood_store(self, path: Path, vocabulary: Vocabulary) -> LabelSource:
        from semiovs.store import PseudoLabelStore

        assert self.ood is not None
        store = PseudoLabelStore.open(path, vocabulary)
        wanted = self.ood.mode != "naive" and self.ood.confidence in ("calibrated", "soft")
        if wanted and "calibration" not in store.teacher:
            raise ConfigError(
                f"ood.confidence: {self.ood.confidence} needs calibrated labels, and {path} holds raw ones; label with "
                "`semiovs label --calibration FILE` (`semiovs calibrate` writes the file), or use score or ones"
            )
        return store


def _suggest_import(path: Path) -> str:
    return f"make masks and a list of them: semiovs labels import {path} --images DIR --out DIR"


def _missing_error(key: str, path: Path) -> DataError:
    return DataError(
        f"{key}: no such list or folder: {path}; set {key}, or data.root where the path starts", kind="list-missing"
    )
