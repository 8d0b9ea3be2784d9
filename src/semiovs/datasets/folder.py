"""The user's own data: folders by convention, or lists and manifests named in the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from semiovs.config.schema import DataConfig, OodConfig
from semiovs.data.image_source import names_container
from semiovs.data.manifest import Manifest
from semiovs.data.masks import MaskReader
from semiovs.data.pictures import ImageReader, image_reader
from semiovs.data.pixel_cache import PixelCache
from semiovs.data.sources import LabelSource, MaskFiles, MaskFolder, NamedLabels, Sources
from semiovs.env import cache_dir, data_dir
from semiovs.errors import ConfigError, DataError
from semiovs.vocab.vocabulary import Vocabulary

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
        root, vocabulary = self.root, self.vocabulary()
        masks = MaskReader.from_config(self.data.masks, vocabulary)
        ood = None if self.ood is None else self._bare("ood.images", self.ood.images, root)
        labeled, held_out = self._labeled(root)
        return Sources(
            vocabulary,
            labeled=labeled,
            held_out=held_out,
            masks=masks,
            unlabeled=self._unlabeled(root),
            val=self._val(root),
            ood=None if ood is None else ood.without_masks(),
            ood_labels=None if ood is None else self._ood_labels(ood, root, vocabulary),
            images=self._image_reader(),
        )

    def labeled(self) -> Sources:
        """The labelled images that are trained on, alone: what is for evaluation is not even listed.

        Raises:
            DataError, ConfigError: as `sources`.
        """
        vocabulary = self.vocabulary()
        masks, images = MaskReader.from_config(self.data.masks, vocabulary), image_reader(self.data)
        return Sources(vocabulary, self._labeled(self.root)[0], masks, images=images)

    def unlabeled(self) -> Manifest | None:
        """The bare images, or None.

        Raises:
            DataError: as `sources`.
        """
        return self._unlabeled(self.root)

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

    def _labeled(self, root: Path) -> tuple[Manifest, Manifest | None]:
        """The labelled images that are trained on, and those that `data.held_out` keeps aside."""
        every, given = self._every_labeled(root), self.data.held_out
        if given is None:
            return every, None
        if isinstance(given, str):
            held_out = self._with_masks("data.held_out", given, root)
        elif 0 < given < len(every):
            held_out = every.aside(given)
        else:
            raise ConfigError(
                f"data.held_out: {given} of {len(every)} labelled images cannot be kept aside; give 1 to {len(every) - 1}"
            )
        return every.without(held_out), held_out

    def _every_labeled(self, root: Path) -> Manifest:
        if self.data.labeled is not None:
            return self._with_masks("data.labeled", self.data.labeled, root)
        if not (root / "images").is_dir():
            raise DataError(
                f"{root / 'images'}: no such folder; put images there and masks in masks/, or set data.labeled"
            )
        found = next((p for p in sorted(root.iterdir()) if p.suffix.lower() in _ANNOTATIONS), None)
        if found is not None and not (root / "masks").is_dir():
            raise DataError(
                f"{root / 'masks'}: no such folder, but {found} may hold annotations; {_import_hint(found)}"
            )
        return Manifest.from_folder(root / "images", root / "masks")

    def _unlabeled(self, root: Path) -> Manifest | None:
        if self.data.unlabeled is not None:
            return self._bare("data.unlabeled", self.data.unlabeled, root).without_masks()
        return Manifest.from_source("unlabeled", root) if (root / "unlabeled").is_dir() else None

    def _val(self, root: Path) -> Manifest | None:
        if self.data.val is not None:
            return self._with_masks("data.val", self.data.val, root)
        if not (root / "val" / "images").is_dir():
            return None
        return Manifest.from_folder(root / "val" / "images", root / "val" / "masks")

    def _with_masks(self, key: str, given: str, root: Path) -> Manifest:
        path = root / Path(given).expanduser()
        if path.is_file() and path.suffix.lower() in _ANNOTATIONS:
            raise DataError(f"{key}: {path} holds annotations and is no list; {_import_hint(path)}")
        if path.is_file():
            return Manifest.read(path, root)
        if not path.is_dir():
            return self._published(key, given, path)
        if (path / "images").is_dir():
            return Manifest.from_folder(path / "images", path / "masks")
        if (path.parent / "masks").is_dir():
            return Manifest.from_folder(path, path.parent / "masks")
        raise DataError(f"{key}: {path} has no images/ with masks/; name a list of 'image mask' lines otherwise")

    def _bare(self, key: str, given: str, root: Path) -> Manifest:
        path = root / Path(given).expanduser()
        if path.exists() or names_container(path):
            return Manifest.from_source(given, root, key=key)
        return self._published(key, given, path)

    def _published(self, key: str, given: str, path: Path) -> Manifest:  # noqa: ARG002 - benchmarks know lists by name
        """What stands for a list that is not there: nothing, for a folder of one's own."""
        raise _absent(key, path)

    def _ood_labels(self, images: Manifest, root: Path, vocabulary: Vocabulary) -> LabelSource | None:
        """The store, the folder of masks, or the masks of the list, in this order; None if the student labels."""
        assert self.ood is not None
        if self.ood.mode == "naive":
            return None
        path = root / Path(self.ood.labels).expanduser()
        if (path / "meta.json").is_file():
            from semiovs.data.store import PseudoLabelStore

            store = PseudoLabelStore.open(path, vocabulary)
            if self.ood.confidence == "calibrated" and "calibration" not in store.teacher:
                raise ConfigError(
                    f"ood.confidence: calibrated needs calibrated labels, and {path} holds raw ones; label with "
                    "`semiovs label --calibration FILE` (`semiovs calibrate` writes the file), or use score or ones"
                )
            return NamedLabels(store, images)
        if self.ood.confidence != "ones":
            raise ConfigError(
                f"ood.confidence: {self.ood.confidence} needs a pseudo-label store, and {path} is none; "
                "use ood.confidence=ones"
            )
        reader = MaskReader(
            vocabulary.names, origin="ood.labels", map_key="`semiovs label --map`", ignore=vocabulary.ignore
        )
        if path.is_dir():
            return NamedLabels(MaskFolder(path, reader), images)
        paths = {record.id: record.mask for record in images if record.mask is not None}
        if not paths:
            raise DataError(f"ood.labels: no such store or folder of masks: {path}; `semiovs label` writes a store")
        return MaskFiles(paths, reader)


def _import_hint(path: Path) -> str:
    return f"make masks and a list of them: semiovs labels import {path} --images DIR --out DIR"


def _absent(key: str, path: Path) -> DataError:
    return DataError(f"{key}: no such list or folder: {path}; set {key}, or data.root where the path starts")
