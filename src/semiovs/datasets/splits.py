"""Catalogue of published image lists: names, counts, hashes and sources. Users fetch the lists themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Self

import yaml

from semiovs.errors import DataError, UsageError, did_you_mean

#: File names of labelled and unlabelled lists.
LABELED, UNLABELED = "labeled.txt", "unlabeled.txt"


@dataclass(frozen=True)
class ListRepository:
    """Where lists are published: a repository at a fixed commit."""

    key: str
    repository: str
    commit: str
    folder: str
    licence: str
    cite: str

    def url(self, path: str) -> str:
        """Address of a file below the folder of the lists."""
        return f"https://raw.githubusercontent.com/{self.repository}/{self.commit}/{self.folder}/{path}"


@dataclass(frozen=True)
class PublishedList:
    """Facts about one list.

    name: its path below ``splits/``, like ``pascal/92/labeled.txt``; count: lines; sha256: of the file; canonical: of
    its lines joined by LF; sorted: of its sorted lines joined by LF; path: in the folder of each of `repositories`.
    """

    name: str
    count: int
    sha256: str
    canonical: str
    sorted: str
    path: str
    repositories: tuple[str, ...]

    @property
    def dataset(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @property
    def split(self) -> str:
        """The name without the file: ``pascal/92``."""
        return self.name.rpartition("/")[0]

    def lines(self, data: bytes) -> list[str]:
        """The lines of a file that must be this list, byte for byte.

        Raises:
            DataError: the file differs; the message says how.
        """
        if sha256_hex(data) == self.sha256:
            return data.decode().removesuffix("\n").split("\n")
        found = data.replace(b"\r\n", b"\n").removesuffix(b"\n")
        lines = found.split(b"\n")
        if sha256_hex(found) == self.canonical:
            raise DataError("the lines are right, but line ends or the end of the file were changed (git's autocrlf?)")
        if len(lines) != self.count:
            raise DataError(f"{len(lines)} lines, and the published list has {self.count}")
        if sha256_hex(b"\n".join(sorted(lines))) == self.sorted:
            raise DataError("the lines of the published list in another order")
        raise DataError(f"SHA-256 {sha256_hex(data)[:16]}…, and the published list has {self.sha256[:16]}…")

    def text(self, lines: Sequence[str]) -> tuple[bytes, bool]:
        """The file of `lines`, and whether it is the published one byte for byte (else the same lines, sorted).

        Raises:
            DataError: the lines are not those of this list.
        """
        whole = "\n".join(lines).encode()
        for data in (whole, whole + b"\n"):
            if sha256_hex(data) == self.sha256:
                return data, True
        if len(lines) != self.count or sha256_hex("\n".join(sorted(lines)).encode()) != self.sorted:
            raise DataError(f"{self.name}: not the published list")
        return whole + b"\n", False


@dataclass(frozen=True)
class PublishedDataset:
    """A data set for which lists are published.

    name: as in ``data.name``; classes: the vocabulary; universe: images of its training set; family: lists of one
    family are about the same images.
    """

    key: str
    what: str
    name: str
    classes: str
    universe: int
    family: str


@dataclass(frozen=True)
class Catalogue:
    """All known repositories, data sets and lists, by name."""

    repositories: Mapping[str, ListRepository]
    datasets: Mapping[str, PublishedDataset]
    lists: Mapping[str, PublishedList]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From the document of ``data/splits.yaml``."""
        datasets = {
            key: PublishedDataset(key, row["what"], row["name"], row["classes"], row["universe"], row.get("path", key))
            for key, row in data["datasets"].items()
        }
        lists = {}
        for name, row in data["lists"].items():
            key, _, rest = name.partition("/")
            lists[name] = PublishedList(
                name, row["count"], row["sha256"], row["canonical"], row["sorted"],
                f"{datasets[key].family}/{rest}", tuple(row["in"]),
            )  # fmt: skip
        return cls({key: ListRepository(key, **row) for key, row in data["repositories"].items()}, datasets, lists)

    def select(self, names: Iterable[str] = ()) -> list[PublishedList]:
        """Lists by name: a list (with or without ``.txt``), a split (``pascal/92``) or a data set (``pascal``); no
        names: all.

        Raises:
            UsageError: unknown name; the message suggests the nearest one.
        """
        found: dict[str, PublishedList] = {}
        for name in names:
            wanted = name.strip("/").removeprefix("splits/").removesuffix(".txt")
            some = [one for one in self.lists.values() if f"{one.name.removesuffix('.txt')}/".startswith(f"{wanted}/")]
            if not some or not wanted:
                known = {*self.datasets, *(one.split for one in self.lists.values()), *self.lists}
                raise UsageError(
                    f"no published list is called '{name}'{_suggest(wanted, known)}; see semiovs splits list"
                )
            found.update((one.name, one) for one in some)
        return list(found.values()) if names else list(self.lists.values())

    def family(self, name: str) -> list[PublishedList]:
        """The lists over one set of images, which are cached in one file."""
        return [one for one in self.lists.values() if self.datasets[one.dataset].family == name]

    def families(self) -> list[str]:
        """Names for `family`."""
        return list(dict.fromkeys(row.family for row in self.datasets.values()))

    def pair(self, one: PublishedList) -> PublishedList | None:
        """The unlabelled list that belongs to a labelled one, and vice versa; None if there is none."""
        stem, _, file = one.name.rpartition("/")
        other = {LABELED: UNLABELED, UNLABELED: LABELED}.get(file, "")
        return self.lists.get(f"{stem}/{other}")


def _suggest(name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known)
    return near if "did you mean" in near else ""


@cache
def load_catalogue() -> Catalogue:
    """The published lists of VOC, Cityscapes, COCO, ADE20K and Pascal Context."""
    text = (resources.files("semiovs.datasets") / "data" / "splits.yaml").read_text("utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Catalogue.of(yaml.load(text, loader))  # a safe loader, in C where there is one


def sha256_hex(data: bytes) -> str:
    """SHA-256, as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()
