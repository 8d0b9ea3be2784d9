"""Base class of data sets, which find images, masks and class names for a configuration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from semiovs.config.ood_section import OodConfig
from semiovs.config.schema import DataConfig
from semiovs.data.collection import KEYS, LABELED, OOD, UNLABELED, Collection
from semiovs.env import data_dir
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.readers import ImageReader, make_image_reader
from semiovs.vocab.vocabulary import Vocabulary


@dataclass(frozen=True)
class Dataset(ABC):
    """Base of all data sets; one of your own writes `vocabulary` and `list_streams`.

    data, ood: sections of the configuration; ood is None without OOD images.
    """

    data: DataConfig
    ood: OodConfig | None = None

    @property
    def root(self) -> Path:
        """`data.root`; a relative path that does not exist is searched in `SEMIOVS_DATA`.

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

    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """Class names in the order of their ids.

        Raises:
            ConfigError: there are none.
        """

    @abstractmethod
    def list_streams(self, found: Collection, streams: Container[str], *, ood_labels: bool) -> None:
        """Add the images of `streams` (keys of `KEYS`) to `found`, by `Collection.add`; no image or mask is opened.

        ood_labels: whether the labels of the OOD images are wanted too.

        Raises:
            DataError: no `data.root`.
        """

    def examine(
        self,
        *,
        vocabulary: Vocabulary | None = None,
        masks: MaskReader | None = None,
        streams: Container[str] = KEYS,
        ood_labels: bool = True,
    ) -> Collection:
        """List the images of `streams`; what is wrong comes as findings beside what is good.

        vocabulary, masks: used in the place of the configuration's; ood_labels: as `list_streams`.

        Raises:
            DataError: no `data.root`; ConfigError: no class list, or a map of mask values that does not hold.
        """
        vocabulary = vocabulary or self.vocabulary()
        reader = masks or MaskReader.from_config(self.data.masks, vocabulary)
        found = Collection(vocabulary, reader, images=self.image_reader())
        self.list_streams(found, streams, ood_labels=ood_labels)
        if masks is not None:
            found.masks = masks
        return found

    def read(self, streams: Container[str] = KEYS) -> Collection:
        """As `examine`, but problems of lists raise an error; images and masks are checked by `semiovs.audit.check`.

        Raises:
            DataError: missing or wrong lists and folders, all of them in one error; ConfigError: as `examine`.
        """
        return self.examine(streams=streams).require()

    def labeled(self) -> Collection:
        """Only the labelled images for training."""
        return self.read((LABELED,))

    def unlabeled(self) -> Manifest | None:
        """Only the unlabelled images, or None."""
        return self.read((UNLABELED,)).unlabeled

    def ood_images(self) -> Collection:
        """Only the OOD images, without their labels."""
        return self.examine(streams=(OOD,), ood_labels=False).require()

    def image_reader(self) -> ImageReader:
        """How image files are read."""
        return make_image_reader(self.data)
