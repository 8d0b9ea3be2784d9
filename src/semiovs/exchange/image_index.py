"""Find the images that names in annotation files refer to; the names are only looked up, never opened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from semiovs.errors import DataError, did_you_mean
from semiovs.exchange.annotation_file import shorten_text
from semiovs.images.file_names import normalize_name
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record


class ImageIndex:
    """An index of images by the names of annotation files, which may have more or fewer folders, another suffix, or
    underscores and nothing for blanks and signs, as uploads make them.

    origin: name of the images in messages.
    """

    def __init__(self, manifest: Manifest, origin: str) -> None:
        self.manifest = manifest
        self.origin = origin
        self._by_name: dict[str, list[tuple[tuple[str, ...], Record]]] = {}
        self._by_upload: dict[str, list[tuple[tuple[str, ...], Record]]] = {}
        for record in manifest:
            parts = _split_name(f"{record.id}{record.image.suffix}")
            for last in {parts[-1], _drop_suffix(parts[-1])}:
                self._by_name.setdefault(last, []).append((parts, record))
            if (upload := _make_upload_name(parts[-1])) != parts[-1]:
                self._by_upload.setdefault(upload, []).append(((*parts[:-1], upload), record))

    @classmethod
    def of(cls, images: Path, root: Path) -> ImageIndex:
        """Images of a folder, or of a list whose paths start from `root`.

        Raises:
            DataError: no such folder or list, or two images of one name.
        """
        manifest = Manifest.read(images, root) if images.is_file() else Manifest.from_folder(images)
        return cls(manifest, str(images))

    def find(self, *names: str) -> Record:
        """Find the image with the first of `names`, else the second, and so on.

        One of the two paths must end with the other: ``train/a.jpg`` is ``a.jpg``, but not ``val/a.jpg``. If there is
        none of any name, the file names are compared as uploads change them.

        Raises:
            DataError: there is none, or several.
        """
        for name in names:
            parts = _split_name(name)
            if parts and (found := self._find_candidates(parts)):
                return self._require_one(name, found)
        for name in names:
            parts = _split_name(name)
            if parts and (found := _match_ends(parts, self._by_upload.get(parts[-1], ()))):
                return self._require_one(name, found)
        last = (_split_name(names[0]) or ("",))[-1]
        near = did_you_mean(last, self._by_name) if len(self._by_name) < 10_000 else ""
        hint = near if near.startswith(" (did") else ""
        raise DataError(f"no image '{shorten_text(names[0])}' in {self.origin}{hint}")

    def _require_one(self, name: str, found: list[tuple[int, Record]]) -> Record:
        """The only image with the most equal path parts."""
        best = max(length for length, _ in found)
        chosen = [record for length, record in found if length == best]
        if len(chosen) > 1:
            few = ", ".join(f"'{record.id}'" for record in chosen[:3])
            raise DataError(f"'{shorten_text(name)}' may be any of {len(chosen)} images in {self.origin}: {few}")
        return chosen[0]

    def _find_candidates(self, parts: tuple[str, ...]) -> list[tuple[int, Record]]:
        """Find images of a name, each with the number of equal path parts; other suffixes only if there is no exact
        match.
        """
        for last in (parts[-1], _drop_suffix(parts[-1])):
            known = (
                (own if own[-1] == last else (*own[:-1], _drop_suffix(own[-1])), record)
                for own, record in self._by_name.get(last, ())
            )
            if found := _match_ends((*parts[:-1], last), known):
                return found
        return []


def _match_ends(wanted: tuple[str, ...], known: Iterable[tuple[tuple[str, ...], Record]]) -> list[tuple[int, Record]]:
    """The images whose path ends with the wanted one, or is its end, each with the number of equal parts."""
    lengths = ((min(len(path), len(wanted)), path, record) for path, record in known)
    return [(length, record) for length, path, record in lengths if path[-length:] == wanted[-length:]]


def _split_name(name: str) -> tuple[str, ...]:
    """Split a path into folders and file name, without ``..``, drives and doubled slashes."""
    pieces = normalize_name(name).replace("\\", "/").split("/")
    kept = tuple(piece for piece in pieces if piece not in {"", ".", ".."})
    return kept[1:] if kept and len(kept[0]) == 2 and kept[0][1] == ":" else kept


def _make_upload_name(name: str) -> str:
    """A file name as web programs store it: underscores for blanks, only letters, digits and ``-_.``."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


def _drop_suffix(name: str) -> str:
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name
