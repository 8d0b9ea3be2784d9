"""Which files a list may name: only those in allowed folders, after following links.

So a list from an unknown source cannot make the program read other parts of the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from semiovs.errors import DataError
from semiovs.images.record_lines import shorten


class LinkResolver:
    """Follows links; each folder is resolved once and remembered, which makes many files cheap."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def resolve(self, path: Path) -> str:
        """Absolute path of the file once all links are followed."""
        text = str(path)
        folder, name = os.path.split(text)
        if os.path.islink(text) or name in {"", os.curdir, os.pardir}:  # noqa: PTH114 - never raises
            return _resolve_links(text)
        if folder not in self._folders:
            self._folders[folder] = _resolve_links(folder)
        return os.path.join(self._folders[folder], name)  # noqa: PTH118


class AllowedFolders:
    """The folders that files must lie in."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self.folders = tuple(folders)
        self._within = tuple(_resolve_links(folder).rstrip("/") + "/" for folder in self.folders)
        self._links = LinkResolver()

    def check(self, path: Path) -> None:
        """Raise DataError if a file lies outside of the folders."""
        real = self._links.resolve(path)
        if real.startswith(self._within):
            return
        named = any(str(path).startswith(f"{folder}{os.sep}") for folder in self.folders)
        what = f"{shorten(str(path))} leads to {shorten(real)}, which" if named else shorten(str(path))
        raise DataError(f"{what} lies outside of {self.folders[0]}; data.outside=true allows it", kind="outside")


def _resolve_links(path: Path | str) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # a name that no file can have: it will be missing
        return os.path.abspath(path)  # noqa: PTH100
