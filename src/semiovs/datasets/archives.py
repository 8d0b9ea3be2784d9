"""Recognise official archives of benchmarks that were not unpacked yet: check them, and say how to unpack them.

The checksums are those published by data set loaders; none is known for Cityscapes, COCO's unlabelled images and stuff
maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from semiovs.errors import DataError
from semiovs.files import digest_of


@dataclass(frozen=True)
class OfficialArchive:
    """An official archive. algorithm: ``md5`` or ``sha1``; digest: of the official file."""

    name: str
    algorithm: str
    digest: str


#: Data set -> its archives.
ARCHIVES: Mapping[str, tuple[OfficialArchive, ...]] = MappingProxyType({
    "voc": (
        OfficialArchive("VOCtrainval_11-May-2012.tar", "md5", "6cd6e144f989b92b3379bac3b3de84fd"),
        OfficialArchive("benchmark.tgz", "md5", "82b4d87ceb2ed10f6038a1cba92111cb"),
    ),
    "context": (OfficialArchive("VOCtrainval_03-May-2010.tar", "md5", "da459979d0c395079b5c75ee67908abb"),),
    "coco": (
        OfficialArchive("train2017.zip", "sha1", "10ad623668ab00c62c096f0ed636d6aff41faca5"),
        OfficialArchive("val2017.zip", "sha1", "4950dc9d00dbe1c933ee0170f5797584351d2a41"),
        OfficialArchive("annotations_trainval2017.zip", "sha1", "8551ee4bb5860311e79dace7e79cb91e432e78b3"),
    ),
    "ade20k": (OfficialArchive("ADEChallengeData2016.zip", "sha1", "219e1696abb36c8ba3a3afe7fb2f4b4606a897c7"),),
})  # fmt: skip


@dataclass(frozen=True)
class ArchiveOnDisk:
    """An archive on disk. ok: whether it is the official one, byte for byte."""

    path: Path
    archive: OfficialArchive
    ok: bool

    @classmethod
    def read(cls, path: Path, archive: OfficialArchive) -> Self:
        """Compare the checksum of the whole file; takes about a minute for the largest.

        Raises:
            DataError: it cannot be read.
        """
        try:
            return cls(path, archive, digest_of(path, archive.algorithm) == archive.digest)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from None

    @property
    def text(self) -> str:
        """Advice: how to unpack it, or to download it again."""
        if not self.ok:
            return (
                f"{self.path} is damaged or incomplete ({self.archive.algorithm.upper()} differs from the official file's): "
                "get it again"
            )
        tool = "unzip -q {0} -d {1}" if self.path.suffix == ".zip" else "tar -xf {0} -C {1}"
        return f"{self.path} is here, packed, and whole: {tool.format(self.path.name, '.')} there"

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"path": str(self.path), "ok": self.ok, self.archive.algorithm: self.archive.digest}


def find_archives(name: str, root: Path) -> list[tuple[Path, OfficialArchive]]:
    """Archives of a data set in its folder, or in ``downloads/`` there."""
    places = [
        (folder / archive.name, archive) for archive in ARCHIVES.get(name, ()) for folder in (root, root / "downloads")
    ]
    return [(path, archive) for path, archive in places if path.is_file()]
