"""Base of the published data sets: maps the file names of published lists to the layouts found on disk."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from semiovs.data.collection import KEYS, MASKED, OOD, Collection
from semiovs.datasets.file_index import FileIndex
from semiovs.datasets.folder import FolderDataset
from semiovs.datasets.parts import DatasetPart, MaskBuild
from semiovs.datasets.split_cache import SplitCache
from semiovs.errors import DataError
from semiovs.images.containers.container import exists
from semiovs.images.conventions import MASK_SUFFIXES
from semiovs.images.findings import of_error
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.images.record_lines import columns, record_of, relative
from semiovs.images.source import Reading
from semiovs.vocab.vocabulary import Vocabulary

_FEW = 3


@dataclass(frozen=True)
class MaskKind:
    """One form in which a benchmark's masks are distributed.

    what: description; places: maps the path of a mask in the lists to its possible paths in this form; options: of
    `MaskReader`.
    """

    what: str
    places: Callable[[str], list[str]]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark(FolderDataset):
    """A published data set under `data.root`, in one of its common layouts.

    Lists may be files under the root, or names of published lists (``splits/pascal/92/labeled.txt``), which are read
    from the user's cache (`SplitCache`). Without lists, the official parts are used.
    """

    #: Data set of the published lists.
    key: ClassVar[str] = ""
    #: Vocabulary where `data.classes` is not given.
    default_classes: ClassVar[str] = ""
    #: Folders below the root that may hold the content, in the order tried; `content_marks` names what they contain.
    content_folders: ClassVar[tuple[str, ...]] = (".",)
    content_marks: ClassVar[tuple[str, ...]] = ()
    #: Further folders of the root that hold a part of the content each.
    extra_folders: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def root(self) -> Path:
        """As `FolderDataset.root`."""
        return super().root

    @cached_property
    def home(self) -> Path:
        """The folder that paths in published lists are relative to."""
        root = self.root
        for inner in self.content_folders:
            for mark in self.content_marks:
                if (root / inner / mark).is_dir():
                    return root if inner == "." else root / inner
        return root

    @cached_property
    def files(self) -> FileIndex:
        """The files on disk."""
        return FileIndex(self.home, self.root, *(self.root / extra for extra in self.extra_folders))

    @abstractmethod
    def mask_kinds(self) -> Sequence[MaskKind]:
        """Supported forms of the masks, the preferred one first."""

    @abstractmethod
    def official_lines(self, part: str) -> list[str]:
        """Lines ("image mask") of the official part ``train`` or ``val``, for the files on disk."""

    @abstractmethod
    def parts(self) -> list[DatasetPart]:
        """The parts of the data set, with what is on disk and what is missing."""

    def mask_builds(self) -> list[MaskBuild]:
        """Masks that can be made from the files on disk."""
        return []

    def images(self, name: str) -> list[str]:
        """Paths that the image called `name` in the lists may have on disk."""
        return [name]

    def vocabulary(self) -> Vocabulary:
        """Classes of `data.classes`; the benchmark's own by default."""
        return super().vocabulary() if self.data.classes is not None else Vocabulary.load(self.default_classes)

    def list_streams(self, found: Collection, streams: Container[str], *, ood_labels: bool) -> None:
        """As `FolderDataset.list_streams`, with every file found where it is; files that are not there are findings."""
        super().list_streams(found, streams, ood_labels=ood_labels)
        kind = self._choose_mask_kind([found.manifest(name) for name in MASKED])
        found.masks = self._make_reader(kind, found.vocabulary)
        for name, stream in found.streams.items():
            if name == OOD:
                continue
            try:
                placed = self._locate(KEYS[name], stream.manifest, kind if name in MASKED else None)
            except DataError as error:
                found.findings += of_error(error, "image-missing", stream=name)
            else:
                found.streams[name] = replace(stream, manifest=placed)

    def complete_lines(self, part: str) -> list[str]:
        """Lines of the official part whose image and mask are both on disk."""
        lines = self.official_lines(part)
        records = [record_of(line, self.root) for line in lines]
        kind, gone = self._choose_mask_kind([Manifest(records, self.root)]), set(self.missing_images(lines))
        return [
            line
            for line, record in zip(lines, records, strict=True)
            if columns(line)[0] not in gone and self._find_mask(record, kind) is not None
        ]

    def missing_images(self, lines: Iterable[str]) -> list[str]:
        """Images named by lines ("image mask") that are not on disk."""
        names = (columns(line)[0] for line in lines)
        return [name for name in names if self.files.find(self.images(name)) is None]

    def check_masks(self, manifest: Manifest) -> list[str]:
        """Read the masks of a few records; one message for each that is unreadable or holds unknown values."""
        kind = self._choose_mask_kind([manifest])
        reader, problems = self._make_reader(kind, self.vocabulary()), []
        for record in manifest:
            path = self._find_mask(record, kind)
            try:
                if path is not None:
                    reader(path)
            except DataError as error:
                problems.append(str(error))
        return problems

    def _every_labeled(self, root: Path) -> Reading:
        """Without a list: the official part, or images/ with masks/ of a user's own folder."""
        if self.data.labeled is not None or self._is_own_folder:
            return super()._every_labeled(root)
        return self._read_official("train", root), ()

    def _val(self, root: Path) -> Reading | None:
        if self.data.val is not None or self._is_own_folder:
            return super()._val(root)
        return self._read_official("val", root), ()

    @cached_property
    def _is_own_folder(self) -> bool:
        """Whether the root is a user's folder (images/ and masks/) and not this benchmark."""
        return all((self.root / name).is_dir() for name in ("images", "masks")) and not self.official_lines("train")

    def _read_official(self, part: str, root: Path) -> Manifest:
        lines = self.official_lines(part)
        if not lines:
            raise DataError(f"{root}: no {part} images of {self.data.name}; {self._advice()}")
        return _make_manifest(lines, root)

    def _published(self, key: str, given: str, path: Path) -> Manifest:
        """Fallback for a missing list: a folder of the data set, or the published list that `given` names."""
        for place in self.images(given):
            if not Path(given).is_absolute() and (self.home / place).is_dir():
                return Manifest.from_folder(self.home / place)
        try:
            lines = self.published_lines(given)
        except DataError as error:
            raise DataError(f"{key}: no such file: {path}; {error}") from None
        return _make_manifest(lines, self.root) if lines is not None else super()._published(key, given, path)

    def published_lines(self, given: str) -> list[str] | None:
        """Lines of the published list that a path names, or None if it names none.

        Raises:
            DataError: the user has no copy of it yet.
        """
        name = _strip_splits_prefix(given)
        cache = SplitCache()
        return cache.lines(cache.known.lists[name]) if name in cache.known.lists else None

    def _choose_mask_kind(self, manifests: Iterable[Manifest | None]) -> MaskKind:
        """The first form in which all masks are on disk, else the one with most masks."""
        records = [record for manifest in manifests if manifest is not None for record in manifest]
        counts = []
        for kind in self.mask_kinds():
            found = sum(self._find_mask(record, kind) is not None for record in records)
            if found == len(records):
                return kind
            counts.append((found, kind))
        return max(counts, key=lambda pair: pair[0])[1]

    def _make_reader(self, kind: MaskKind, vocabulary: Vocabulary) -> MaskReader:
        """Reader for masks of the form; user settings (`data.masks`) override the layout."""
        if self.data.masks.map is not None or self._is_own_folder or not kind.options:
            return MaskReader.from_config(self.data.masks, vocabulary)
        return MaskReader(vocabulary.names, ignore=vocabulary.ignore, **kind.options)

    def _find_mask(self, record: Record, kind: MaskKind) -> Path | None:
        if record.mask is None:
            return None
        name = relative(record.mask, self.root)
        found = self.files.find(kind.places(name), MASK_SUFFIXES)
        return found or (record.mask if name.startswith("/") and record.mask.exists() else None)

    def _locate(self, key: str, manifest: Manifest, kind: MaskKind | None) -> Manifest:
        """The manifest with the paths of its files on disk; kind: form of the masks, None for unlabelled images."""
        records, lacking, unmasked = [], [], []
        for record in manifest:
            name = relative(record.image, self.root)
            image = self.files.find(self.images(name)) or (record.image if exists(record.image) else None)
            mask = None if kind is None else self._find_mask(record, kind)
            if image is None:
                lacking.append(name)
            elif mask is None and kind is not None and record.mask is not None:
                unmasked.append(relative(record.mask, self.root))
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


def _make_manifest(lines: Iterable[str], root: Path) -> Manifest:
    return Manifest((record_of(line, root, number) for number, line in enumerate(lines, 1)), root)


def _strip_splits_prefix(given: str) -> str:
    """``pascal/92/labeled.txt`` for a path that ends with ``splits/pascal/92/labeled.txt``."""
    parts = PurePosixPath(given.replace("\\", "/")).parts
    places = [place for place, part in enumerate(parts) if part == "splits"]
    return "/".join(parts[places[-1] + 1 :]) if places else ""
