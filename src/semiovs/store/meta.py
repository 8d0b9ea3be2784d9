"""Metadata of a pseudo-label store (`meta.json`), and the check whether a folder may become a store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import ConfigError, DataError
from semiovs.files import parse_json, sweep_temporaries, write_bytes
from semiovs.object_store import find_url, show_path
from semiovs.store.store_folder import INDEX, META, open_folder
from semiovs.vocab.vocabulary import Vocabulary

__all__ = ["INDEX", "META", "StoreMeta", "is_store", "prepare_folder"]

FORMAT = 1
#: End of error messages about a folder without labels.
HINT = "`semiovs label` writes one"


@dataclass(frozen=True)
class StoreMeta:
    """Vocabulary of the labels and the teacher that made them (plain JSON data); data: the bytes of the file."""

    vocabulary: Vocabulary
    teacher: dict[str, Any]
    data: bytes

    @classmethod
    def of(cls, vocabulary: Vocabulary, teacher: Mapping[str, Any]) -> StoreMeta:
        """Meta data of a new store."""
        try:
            given = json.loads(json.dumps(dict(teacher), allow_nan=False))
        except ValueError:
            raise ConfigError(
                f"an option of the teacher is NaN or infinite, which no file can hold: {dict(teacher)}"
            ) from None
        meta = {
            "format": FORMAT,
            "vocabulary": {"hash": vocabulary.hash, **vocabulary.as_json()},
            "teacher": given,
        }
        return cls(vocabulary, given, (json.dumps(meta, indent=2, ensure_ascii=False) + "\n").encode())

    @classmethod
    def read(cls, root: Path) -> StoreMeta:
        """Raises DataError: no store, or not one that can be read."""
        folder = open_folder(root)
        path = folder.path(META)
        try:
            data = folder.read(META)
            meta = parse_json(data)
        except FileNotFoundError:
            raise DataError(f"{show_path(root)}: not a pseudo-label store (no {META}); {HINT}") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        found = meta.get("format") if isinstance(meta, dict) else None
        if found != FORMAT:
            raise DataError(f"{path}: store format {found!r}; this version reads format {FORMAT}")
        try:
            return cls(Vocabulary.from_json(meta["vocabulary"]), dict(meta["teacher"]), data)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ConfigError) as error:
            raise DataError(f"{path}: not the description of a pseudo-label store: {error!r}") from None

    def matches(self, root: Path) -> bool:
        """Whether the file in `root` has the same bytes."""
        try:
            return (root / META).read_bytes() == self.data
        except OSError:
            return False

    def write(self, root: Path) -> None:
        """Write the file, unless it is the same already."""
        if not self.matches(root):
            write_bytes(root / META, self.data)

    def require_same(self, root: Path, other: StoreMeta) -> None:
        """Raise DataError if vocabulary or teacher differ from `other`; root: the store that `self` describes."""
        if difference := self.vocabulary.difference(other.vocabulary):
            raise DataError(f"{root}: its labels are of other classes: {difference}")
        if self.vocabulary.hash != other.vocabulary.hash:
            raise DataError(
                f"{root}: labelled with other concepts of the same classes (vocabulary {self.vocabulary.hash} there, "
                f"{other.vocabulary.hash} now); choose another folder"
            )
        if self.teacher != other.teacher:
            raise DataError(
                f"{root}: labelled by another teacher ({_describe_difference(self.teacher, other.teacher)}); "
                "choose another folder"
            )


def is_store(root: Path) -> bool:
    """Whether a store of labels, of files or packed, lies in a folder or at a URL; what is wrong with a URL is told
    when it is opened.
    """
    return find_url(root) is not None or (root / META).is_file()


def prepare_folder(root: Path) -> None:
    """Remove temporary files of killed jobs from a store; a folder that is not a store must be empty.

    Raises:
        DataError: `root` is a file, or a folder with other content.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: a file, where a folder for pseudo-labels is wanted")
    strangers = [path for path in root.iterdir() if not _is_unfinished(path)] if root.is_dir() else []
    if (root / META).exists():  # checked after the listing, as another job may be making the store
        sweep_temporaries(root)
        sweep_temporaries(root / "incoming")
    elif strangers:
        first = min(path.name for path in strangers)
        raise DataError(f"{root}: not empty and no pseudo-label store (holds '{first}'); choose another folder")


def _is_unfinished(path: Path) -> bool:
    """Whether a file was left by a job that was killed while it made the store."""
    return path.name.startswith(META) or (path.name == INDEX and path.is_file() and path.stat().st_size == 0)


def _describe_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    old, new = _flatten(old), _flatten(new)
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return ", ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in keys)


def _flatten(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts with those of inner mappings under dotted names."""
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        inner = {f"{key}.{name}": each for name, each in value.items()} if isinstance(value, Mapping) else {key: value}
        flat |= inner
    return flat
