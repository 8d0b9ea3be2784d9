"""Pascal VOC 2012, and the larger training set with the masks of SBD ("augmented")."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from semiovs.datasets.benchmark import Benchmark, MaskKind
from semiovs.datasets.matlab_tags import require_sound
from semiovs.datasets.parts import DatasetPart, MaskBuild, find_first_folder, read_first_words
from semiovs.errors import DataError

_DEVKIT = "VOCtrainval_11-May-2012.tar, host.robots.ox.ac.uk/pascal/VOC/voc2012"
_SBD = (
    "SegmentationClassAug as PNGs (12,031 files), or benchmark.tgz of SBD, the Semantic Boundaries Dataset of "
    "Hariharan et al. "
    "2011 (its dataset/cls/*.mat), from which `semiovs data prepare voc --write` makes them"
)
_AUG = "SegmentationClassAug"
#: Masks of the devkit, and together with those that SBD adds.
_FINE, _WITH_SBD = 2913, 12031
_MATS = (
    "dataset/cls", "cls", "SBD/dataset/cls", "SBD/cls", "sbd/dataset/cls", "sbd/cls", "benchmark_RELEASE/dataset/cls",
    "SBD/benchmark_RELEASE/dataset/cls", "sbd/benchmark_RELEASE/dataset/cls",
)  # fmt: skip


class Voc(Benchmark):
    """``JPEGImages/`` with ``SegmentationClass/`` and ``SegmentationClassAug/``: the devkit's folder, or what is in it.

    The published lists call every mask ``SegmentationClass/…``; those that are not of the devkit are looked for in
    ``SegmentationClassAug/``.
    """

    key: ClassVar[str] = "pascal"
    default_classes: ClassVar[str] = "voc21"
    content_folders: ClassVar[tuple[str, ...]] = (
        ".",
        "VOC2012",
        "VOCdevkit/VOC2012",
        "VOCtrainval_11-May-2012/VOCdevkit/VOC2012",
    )
    content_marks: ClassVar[tuple[str, ...]] = ("JPEGImages",)

    def mask_kinds(self) -> Sequence[MaskKind]:
        """Class ids; palette PNGs of the devkit and gray ones of SBD are read alike."""
        return (MaskKind("class ids", _list_mask_paths),)

    def official_lines(self, part: str) -> list[str]:
        """Images of ``ImageSets/Segmentation/train.txt`` or ``val.txt``."""
        return [f"JPEGImages/{stem}.jpg SegmentationClass/{stem}.png" for stem in self._read_official_list(part)]

    def parts(self) -> list[DatasetPart]:
        """Images, masks of the devkit, masks of SBD, official lists."""
        own, augmented = self.files.stems("SegmentationClass"), self.files.stems(_AUG)
        train, val = (len(self.official_lines(part)) for part in ("train", "val"))
        fine = {stem for part in ("train", "val") for stem in self._read_official_list(part)}
        whole = len(own | augmented) >= _WITH_SBD  # then the devkit's are among them
        masks = _FINE if whole and len(own) < _FINE else len(own | (augmented & fine))
        return [
            DatasetPart("images", "JPEGImages", self.files.count("JPEGImages"), 17125, _DEVKIT, enough=_WITH_SBD),
            DatasetPart("masks", "SegmentationClass", masks, _FINE, _DEVKIT),
            DatasetPart(
                "masks with SBD's (lists 1_16, 1_8, 1_4, u2pl_*)",
                _AUG,
                len(own | augmented),
                _WITH_SBD,
                _SBD,
                needed=False,
            ),
            DatasetPart(
                "official training list", "ImageSets/Segmentation/train.txt", train, 1464, _DEVKIT, needed=False
            ),
            DatasetPart("official evaluation list", "ImageSets/Segmentation/val.txt", val, 1449, _DEVKIT, needed=False),
        ]

    def mask_builds(self) -> list[MaskBuild]:
        """PNGs of SBD's masks that the devkit does not have."""
        if self._mats is None:
            return []
        stems = sorted({path.stem for path in self._mats.glob("*.mat")} - self.files.stems("SegmentationClass"))
        names = tuple(f"{stem}.png" for stem in stems)
        return [MaskBuild(f"masks of SBD ({self._mats})", self.home / _AUG, names, self._paint)]

    def _read_official_list(self, part: str) -> list[str]:
        return read_first_words(self.home / "ImageSets" / "Segmentation" / f"{part}.txt")

    @cached_property
    def _mats(self) -> Path | None:
        return find_first_folder(base / place for base in (self.home, self.root) for place in _MATS)

    def _paint(self, name: str) -> NDArray[np.uint8]:
        assert self._mats is not None
        return read_sbd(self._mats / f"{PurePosixPath(name).stem}.mat")


def _list_mask_paths(name: str) -> list[str]:
    return [name, name.replace("SegmentationClass/", f"{_AUG}/")] if "SegmentationClass/" in name else [name]


def read_sbd(path: Path) -> NDArray[np.uint8]:
    """Class ids (H, W) of a ``cls`` file of SBD, its ``GTcls.Segmentation``.

    Raises:
        DataError: unreadable, or no such file of SBD.
    """
    values = read_mat(path, "GTcls")
    mask = np.asarray(getattr(values, "Segmentation", None))
    if mask.ndim != 2 or not mask.size or mask.dtype.kind not in "ui" or mask.min() < 0 or mask.max() > 20:
        raise DataError(f"{path}: holds no GTcls.Segmentation with class ids 0..20")
    return mask.astype(np.uint8)


def read_mat(path: Path, variable: str) -> Any:
    """A variable of a MATLAB file, structures as objects.

    Raises:
        DataError: unreadable, or without the variable.
    """
    from scipy.io import loadmat

    try:
        require_sound(path.read_bytes())
        return loadmat(str(path), squeeze_me=True, struct_as_record=False)[variable]
    except KeyError:
        raise DataError(f"{path}: holds no '{variable}'") from None
    except Exception as error:  # the reader raises many kinds on damaged files
        raise DataError(f"{path}: cannot be read as a MATLAB file: {error}") from None
