"""The user's own data: folders by convention, or lists and manifests named in the configuration."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semiovs.config.schema import DataConfig, OodConfig
from semiovs.data.audit.bounds import Bounds
from semiovs.data.audit.collection import HELD_OUT, LABELED, OOD, UNLABELED, VAL, Collection, Stream
from semiovs.data.audit.findings import Finding, of_error, refuse
from semiovs.data.containers.container import exists
from semiovs.data.image_source import names_container, read_source, require_open
from semiovs.data.manifest import Manifest
from semiovs.data.masks import MaskReader
from semiovs.data.pictures import ImageReader, image_reader
from semiovs.data.pixel_cache import PixelCache
from semiovs.data.sources import LabelSource, MaskFiles, MaskFolder, NamedLabels, Sources
from semiovs.env import cache_dir, data_dir
from semiovs.errors import ConfigError, DataError
from semiovs.vocab.vocabulary import Vocabulary

#: The good records of a list or folder, and what is wrong with the rest.
Reading = tuple[Manifest, Sequence[Finding]]

#: Folders in which data sets keep their lists.
_LIST_FOLDERS = ("splits", "lists")
_CLASS_FILES = ("classes.yaml", "classes.yml", "classes.txt")
#: Files of annotation programs, which `semiovs labels import` reads.
_ANNOTATIONS = (".json", ".xml")


@dataclass(frozen=True)
class FolderDataset:
    """Images and masks under `data.root`.

    By convention ``images/`` with ``masks/``, ``unlabeled/``, ``val/images`` with ``val/masks``, ``ood/`` and
    ``classes.txt`` or ``classes.yaml``; each can be replaced by a folder, a list or a manifest in the configuration, relative
    to the root or absolute.
    """

    data: DataConfig
    ood: OodConfig | None = None

    @property
    def root(self) -> Path:
        """`data.root`; a relative one that is not here is looked for in `SEMIOVS_DATA`.

        Raises:
            DataError: there is no such folder.
        """
        given = Path(self.data.root).expanduser()
        base = data_dir()
        if not given.is_dir() and not given.is_absolute() and base is not None and (base / given).is_dir():
            return base / given
        if not given.is_dir():
            raise DataError(f"data.root: no such folder: {given}")
        return given

    def sources(self) -> Sources:
        """Read lists and folders; images and masks are looked at by `check_sources`.

        Raises:
            DataError: missing or wrong lists and folders; ConfigError: no class list, or a mask map that does not hold.
        """
        return self.collect().sources()

    def collect(self, vocabulary: Vocabulary | None = None, masks: MaskReader | None = None) -> Collection:
        """As `sources`, but what is wrong with lists and folders comes as findings beside what is good.

        vocabulary, masks: used in the place of the configuration's.

        Raises:
            DataError: no `data.root`; ConfigError: as `sources`.
        """
        root, vocabulary = self.root, vocabulary or self.vocabulary()
        found = self._collection(vocabulary, masks)
        labeled = found.add(LABELED, lambda: self._every_labeled(root))
        if self.data.held_out is not None:
            self._set_aside(found, labeled, root)
        found.add(UNLABELED, lambda: self._unlabeled(root))
        found.add(VAL, lambda: self._val(root))
        if self.ood is not None:
            given = self.ood.images
            ood = found.add(OOD, lambda: self._bare("ood.images", given, root))
            try:
                found.labels = None if ood is None else self._ood_labels(ood, root, vocabulary)
            except DataError as error:
                found.findings += of_error(error, "ood-labels", stream=OOD)
        return found

    def labeled(self) -> Sources:
        """The labelled images that are trained on, alone: what is for evaluation is not even listed.

        Raises:
            DataError, ConfigError: as `sources`.
        """
        vocabulary, root = self.vocabulary(), self.root
        found = self._collection(vocabulary)
        labeled = found.add(LABELED, lambda: self._every_labeled(root))
        if self.data.held_out is not None:
            self._set_aside(found, labeled, root)
            found.streams.pop(HELD_OUT, None)
        return found.sources()

    def _collection(self, vocabulary: Vocabulary, masks: MaskReader | None = None) -> Collection:
        reader = masks or MaskReader.from_config(self.data.masks, vocabulary)
        return Collection(vocabulary, reader, images=self._image_reader())

    def unlabeled(self) -> Manifest | None:
        """The bare images, or None.

        Raises:
            DataError: as `sources`.
        """
        found = self._unlabeled(self.root)
        if found is None:
            return None
        manifest, findings = found
        refuse(findings)
        return manifest.without_masks()

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

    def _image_reader(self) -> ImageReader:
        given = self.data.cache
        if not given.budget_gb:
            return image_reader(self.data)
        if self.data.bands is not None:
            raise ConfigError("data.cache: keeps RGB of 8 bits, not data.bands; leave one of the two away")
        folder = cache_dir() / "decoded" if given.dir is None else Path(given.dir).expanduser()
        return PixelCache.open(folder, int(given.budget_gb * 1e9))

    def _set_aside(self, found: Collection, every: Manifest | None, root: Path) -> None:
        """Take the images of `data.held_out` from the labelled ones."""
        given = self.data.held_out
        if isinstance(given, str):
            held_out = found.add(HELD_OUT, lambda: self._with_masks("data.held_out", given, root))
        elif every is None:
            return
        elif given is not None and 0 < given < len(every):
            held_out = every.aside(given)
            found.streams[HELD_OUT] = Stream(HELD_OUT, held_out)
        else:
            raise ConfigError(
                f"data.held_out: {given} of {len(every)} labelled images cannot be kept aside; give 1 to {len(every) - 1}"
            )
        if every is not None and held_out is not None:
            found.streams[LABELED] = replace(found.streams[LABELED], manifest=every.without(held_out))

    def _every_labeled(self, root: Path) -> Reading:
        if self.data.labeled is not None:
            return self._with_masks("data.labeled", self.data.labeled, root)
        if not (root / "images").is_dir():
            raise DataError(
                f"{root / 'images'}: no such folder; put images there and masks in masks/, or set data.labeled",
                kind="list-missing",
            )
        found = next((p for p in sorted(root.iterdir()) if p.suffix.lower() in _ANNOTATIONS), None)
        if found is not None and not (root / "masks").is_dir():
            raise DataError(
                f"{root / 'masks'}: no such folder, but {found} may hold annotations; {_import_hint(found)}"
            )
        return self._folder(root, root / "images", root / "masks")

    def _unlabeled(self, root: Path) -> Reading | None:
        if self.data.unlabeled is not None:
            return self._bare("data.unlabeled", self.data.unlabeled, root)
        return self._bare("data.unlabeled", "unlabeled", root) if (root / "unlabeled").is_dir() else None

    def _val(self, root: Path) -> Reading | None:
        if self.data.val is not None:
            return self._with_masks("data.val", self.data.val, root)
        if not (root / "val" / "images").is_dir():
            return None
        return self._folder(root, root / "val" / "images", root / "val" / "masks")

    def _with_masks(self, key: str, given: str, root: Path) -> Reading:
        path = root / Path(given).expanduser()
        if path.is_file() and path.suffix.lower() in _ANNOTATIONS:
            raise DataError(f"{key}: {path} holds annotations and is no list; {_import_hint(path)}")
        if path.is_file():
            return Manifest.examine(path, root, within=self._bounds(root))
        if not path.is_dir():
            return self._published(key, given, path), ()
        if (path / "images").is_dir():
            return self._folder(root, path / "images", path / "masks")
        if (path.parent / "masks").is_dir():
            return self._folder(root, path, path.parent / "masks")
        raise DataError(f"{key}: {path} has no images/ with masks/; name a list of 'image mask' lines otherwise")

    def _bare(self, key: str, given: str, root: Path) -> Reading:
        path = root / Path(given).expanduser()
        if names_container(path) or names_container(path / "images"):
            return read_source(given, root, key=key), ()
        if path.is_dir():
            inner = path / "images"
            return self._folder(root, inner if inner.is_dir() else path)
        if path.is_file():
            return self._read_list(path, root)
        return self._published(key, given, path), ()

    def _published(self, key: str, given: str, path: Path) -> Manifest:  # noqa: ARG002 - benchmarks know lists by name
        """What stands for a list that is not there: nothing, for a folder of one's own."""
        raise _absent(key, path)

    def _read_list(self, path: Path, root: Path) -> Reading:
        """Read a list from elsewhere.

        Its paths start from the root of the data, or else from the folder the list is in, or the one above if it
        is a folder of lists.
        """
        starts = [root, path.parent, *([path.parent.parent] if path.parent.name in _LIST_FOLDERS else [])]
        readings = (Manifest.examine(path, start, within=self._bounds(root, start)) for start in starts)
        first = next(readings)
        found = next((r for r in itertools.chain([first], readings) if r[0] and exists(r[0][0].image)), first)
        require_open(found[0])
        return found

    def _folder(self, root: Path, images: Path, masks: Path | None = None) -> Reading:
        return Manifest.examine_folder(images, masks, within=self._bounds(root, images, *filter(None, [masks])))

    def _bounds(self, *folders: Path) -> Bounds | None:
        """Where files of a list or folder have to lie: in what the user named."""
        return None if self.data.outside else Bounds(folders)

    def _ood_labels(self, images: Manifest, root: Path, vocabulary: Vocabulary) -> LabelSource | None:
        """The store, the folder of masks, or the masks of the list, in this order.

        In naive mode they tell which pixels are valid, as in the other mode; None there if there are none at all.
        """
        assert self.ood is not None
        naive, given = self.ood.mode == "naive", self.ood.labels
        path = None if given is None else root / Path(given).expanduser()
        if path is not None and (path / "meta.json").is_file():
            return NamedLabels(self._ood_store(path, vocabulary), images)
        if self.ood.confidence != "ones" and not naive:
            raise ConfigError(
                f"ood.confidence: {self.ood.confidence} needs a pseudo-label store, and {path} is none; "
                "use ood.confidence=ones"
            )
        reader = MaskReader(
            vocabulary.names, origin="ood.labels", map_key="`semiovs label --map`", ignore=vocabulary.ignore
        )
        if path is not None and path.is_dir():
            return NamedLabels(MaskFolder(path, reader), images)
        paths = {record.id: record.mask for record in images if record.mask is not None}
        if paths:
            return MaskFiles(paths, reader)
        if naive:
            return None
        raise DataError(f"ood.labels: no such store or folder of masks: {path}; `semiovs label` writes a store")

    def _ood_store(self, path: Path, vocabulary: Vocabulary) -> LabelSource:
        from semiovs.data.store import PseudoLabelStore

        assert self.ood is not None
        store = PseudoLabelStore.open(path, vocabulary)
        wanted = self.ood.mode == "ovs" and self.ood.confidence == "calibrated"
        if wanted and "calibration" not in store.teacher:
            raise ConfigError(
                f"ood.confidence: calibrated needs calibrated labels, and {path} holds raw ones; label with "
                "`semiovs label --calibration FILE` (`semiovs calibrate` writes the file), or use score or ones"
            )
        return store


def _import_hint(path: Path) -> str:
    return f"make masks and a list of them: semiovs labels import {path} --images DIR --out DIR"


def _absent(key: str, path: Path) -> DataError:
    return DataError(
        f"{key}: no such list or folder: {path}; set {key}, or data.root where the path starts", kind="list-missing"
    )
