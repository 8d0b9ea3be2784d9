"""Published data sets: lists that name files as the authors had them, and folders as people have them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from semiovs.data.collection import KEYS, MASKED, OOD, Collection
from semiovs.datasets.file_index import Shelf
from semiovs.datasets.folder import FolderDataset
from semiovs.datasets.parts import Making, Part
from semiovs.datasets.split_cache import SplitCache
from semiovs.errors import DataError
from semiovs.images.containers.container import image_exists
from semiovs.images.conventions import MASK_SUFFIXES
from semiovs.images.findings import list_findings
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.images.record_lines import parse_record, relative_path, split_columns
from semiovs.images.source import Reading
from semiovs.vocab.vocabulary import Vocabulary

_FEW = 3


@dataclass(frozen=True)
class MaskKind:
    """One form in which a benchmark's masks lie about.

    what: in words; places: path of a mask as lists name it -> paths that this form may have; options: how `MaskReader` reads it.
    """

    what: str
    places: Callable[[str], list[str]]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark(FolderDataset):
    """A published data set under `data.root`, in one of the layouts that people have.

    Lists may be files under the root, or be named as the presets name them (``splits/pascal/92/labeled.txt``): those that are no
    files are taken from the user's copies of the published lists (`SplitCache`). Without lists, the official parts are used.
    """

    #: Data set of the published lists.
    key: ClassVar[str] = ""
    #: Vocabulary where `data.classes` is not given.
    names: ClassVar[str] = ""
    #: Folders of the content below the root, the root itself first; what is in it tells.
    homes: ClassVar[tuple[str, ...]] = (".",)
    mark: ClassVar[tuple[str, ...]] = ()
    #: Further folders of the root that hold a part of the content each.
    asides: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def root(self) -> Path:
        """As `FolderDataset.root`."""
        return super().root

    @cached_property
    def home(self) -> Path:
        """The folder that paths of published lists start from."""
        root = self.root
        for inner in self.homes:
            for mark in self.mark:
                if (root / inner / mark).is_dir():
                    return root if inner == "." else root / inner
        return root

    @cached_property
    def shelf(self) -> Shelf:
        """The files on disk."""
        return Shelf(self.home, self.root, *(self.root / aside for aside in self.asides))

    @abstractmethod
    def kinds(self) -> Sequence[MaskKind]:
        """Forms of masks that are understood, the preferred one first."""

    @abstractmethod
    def official(self, part: str) -> list[str]:
        """Lines ("image mask") of the official part ``train`` or ``val``, for the files that are there."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """What is there and what is missing."""

    def makings(self) -> list[Making]:
        """Masks that can be made of what is there."""
        return []

    def images(self, name: str) -> list[str]:
        """Paths that an image may have which lists call `name`."""
        return [name]

    def vocabulary(self) -> Vocabulary:
        """Classes of `data.classes`; the benchmark's own by default."""
        return super().vocabulary() if self.data.classes is not None else Vocabulary.load(self.names)

    def examine(
        self,
        *,
        vocabulary: Vocabulary | None = None,
        masks: MaskReader | None = None,
        streams: Container[str] = KEYS,
        ood_labels: bool = True,
    ) -> Collection:
        """As `FolderDataset.examine`, with every file found where it is; files that are not there are findings."""
        listed = super().examine(vocabulary=vocabulary, masks=masks, streams=streams, ood_labels=ood_labels)
        kind = self._kind([listed.manifest(name) for name in MASKED])
        listed.masks = masks or self._reader(kind, listed.vocabulary)
        for name, stream in listed.streams.items():
            if name == OOD:
                continue
            try:
                found = self._placed(KEYS[name], stream.manifest, kind if name in MASKED else None)
            except DataError as error:
                listed.findings += list_findings(error, "image-missing", stream=name)
            else:
                listed.streams[name] = replace(stream, manifest=found)
        return listed

    def whole(self, part: str) -> list[str]:
        """Lines of the official part whose image and mask are both there."""
        lines = self.official(part)
        records = [parse_record(line, self.root) for line in lines]
        kind, gone = self._kind([Manifest(records, self.root)]), set(self.absent(lines))
        return [
            line
            for line, record in zip(lines, records, strict=True)
            if split_columns(line)[0] not in gone and self._mask(record, kind) is not None
        ]

    def absent(self, lines: Iterable[str]) -> list[str]:
        """Images named by lines ("image mask") that are not there."""
        names = (split_columns(line)[0] for line in lines)
        return [name for name in names if self.shelf.find(self.images(name)) is None]

    def misread(self, manifest: Manifest) -> list[str]:
        """What is wrong with the masks of a few records: one line each that cannot be read, or has other values than classes."""
        kind = self._kind([manifest])
        reader, problems = self._reader(kind, self.vocabulary()), []
        for record in manifest:
            path = self._mask(record, kind)
            try:
                if path is not None:
                    reader(path)
            except DataError as error:
                problems.append(str(error))
        return problems

    def _read_all_labeled(self, root: Path) -> Reading:
        """Without a list: the official part, or images/ with masks/ (a recipe of the benchmark on a folder of one's own)."""
        if self.data.labeled is not None or self._own:
            return super()._read_all_labeled(root)
        return self._official("train", root), ()

    def _read_val(self, root: Path) -> Reading | None:
        if self.data.val is not None or self._own:
            return super()._read_val(root)
        return self._official("val", root), ()

    @cached_property
    def _own(self) -> bool:
        """Whether the root is a folder by convention and not this benchmark."""
        return all((self.root / name).is_dir() for name in ("images", "masks")) and not self.official("train")

    def _official(self, part: str, root: Path) -> Manifest:
        lines = self.official(part)
        if not lines:
            raise DataError(f"{root}: no {part} images of {self.data.name}; {self._advice()}")
        return _manifest(lines, root)

    def _published(self, key: str, given: str, path: Path) -> Manifest:
        """The published list that `given` names, or a folder of the content, where there is no such file in the root."""
        for place in self.images(given):
            if not Path(given).is_absolute() and (self.home / place).is_dir():
                return Manifest.from_folder(self.home / place)
        try:
            lines = self.published(given)
        except DataError as error:
            raise DataError(f"{key}: no such file: {path}; {error}") from None
        return _manifest(lines, self.root) if lines is not None else super()._published(key, given, path)

    def published(self, given: str) -> list[str] | None:
        """Lines of the published list that a path names, or None: it names none.

        Raises:
            DataError: the user has no copy of it yet.
        """
        name = _after_splits(given)
        cache = SplitCache()
        return cache.lines(cache.known.lists[name]) if name in cache.known.lists else None

    def _kind(self, manifests: Iterable[Manifest | None]) -> MaskKind:
        """The first form in which all masks are there, else the one in which most are: one table has to hold for all."""
        records = [record for manifest in manifests if manifest is not None for record in manifest]
        counts = []
        for kind in self.kinds():
            found = sum(self._mask(record, kind) is not None for record in records)
            if found == len(records):
                return kind
            counts.append((found, kind))
        return max(counts, key=lambda pair: pair[0])[1]

    def _reader(self, kind: MaskKind, vocabulary: Vocabulary) -> MaskReader:
        """How masks of the form are read; a map or a folder of the user's own overrides the layout."""
        if self.data.masks.map is not None or self._own or not kind.options:
            return MaskReader.from_config(self.data.masks, vocabulary)
        return MaskReader(vocabulary.names, ignore=vocabulary.ignore, **kind.options)

    def _mask(self, record: Record, kind: MaskKind) -> Path | None:
        if record.mask is None:
            return None
        name = relative_path(record.mask, self.root)
        found = self.shelf.find(kind.places(name), MASK_SUFFIXES)
        return found or (record.mask if name.startswith("/") and record.mask.exists() else None)

    def _placed(self, key: str, manifest: Manifest, kind: MaskKind | None) -> Manifest:
        """The manifest with the paths that its files have here; kind: None for bare images."""
        records, lacking, unmasked = [], [], []
        for record in manifest:
            name = relative_path(record.image, self.root)
            image = self.shelf.find(self.images(name)) or (record.image if image_exists(record.image) else None)
            mask = None if kind is None else self._mask(record, kind)
            if image is None:
                lacking.append(name)
            elif mask is None and kind is not None and record.mask is not None:
                unmasked.append(relative_path(record.mask, self.root))
            records.append(replace(record, image=image or record.image, mask=mask))
        problems = [
            f"{key}: {len(names):,} of {len(manifest):,} {what} are not in {self.home} (like {', '.join(names[:_FEW])})"
            for what, names in (("images", lacking), ("masks", unmasked))
            if names
        ]
        if problems:
            raise DataError("; ".join(problems) + f"; {self._advice()}")
        return Manifest(records, manifest.root, origin=manifest.origin)

    def _advice(self) -> str:
        if not self.key:  # a plug-in, which `data prepare` does not know
            return f"is data.root={self.data.root} the right folder?"
        return f"next: semiovs data prepare {self.data.name} --root {self.data.root}"


def _manifest(lines: Iterable[str], root: Path) -> Manifest:
    return Manifest((parse_record(line, root, number) for number, line in enumerate(lines, 1)), root)


def _after_splits(given: str) -> str:
    """``pascal/92/labeled.txt`` for a path that ends with ``splits/pascal/92/labeled.txt``."""
    parts = PurePosixPath(given.replace("\\", "/")).parts
    places = [place for place, part in enumerate(parts) if part == "splits"]
    return "/".join(parts[places[-1] + 1 :]) if places else ""
