"""Downloads: written atomically, with checks of size and checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from semiovs.env import offline
from semiovs.files import atomic_write

#: Called with the amounts done and in total.
Progress = Callable[[int, int], None]

#: Seconds without data after which a download fails.
PATIENCE = 30.0
_CHUNK = 2**20


class DownloadError(Exception):
    """A download is incomplete, too large, has a wrong checksum, or is switched off (`SEMIOVS_OFFLINE`)."""


def read_url(url: str, *, most: int) -> bytes:
    """Return the content of `url`.

    Raises:
        DownloadError: more than `most` bytes; OSError, HTTPException: no connection, or no such file.
    """
    with _open_url(url) as answer:
        data: bytes = answer.read(most + 1)
    if len(data) > most:
        raise DownloadError(f"longer than {most:,} bytes")
    return data


def download(url: str, target: Path, *, sha256: str | None = None, progress: Progress | None = None) -> str:
    """Download `url` to `target`, atomically; returns its SHA-256. progress: called with MiB done and in total.

    Raises:
        DownloadError: incomplete, or with another SHA-256 than `sha256`; OSError, HTTPException: no connection.
    """
    size, digest = 0, hashlib.sha256()
    with _open_url(url) as answer, atomic_write(target) as file:
        expected = int(answer.headers.get("Content-Length") or 0)
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            if progress is not None:
                progress(size // _CHUNK, max(expected // _CHUNK, 1))
        if expected and size != expected:
            raise DownloadError(f"{url}: broke off after {size} of {expected} bytes; try again")
        if sha256 not in (None, digest.hexdigest()):
            raise DownloadError(f"{url}: has SHA-256 {digest.hexdigest()}, not {sha256}; nothing was kept")
    return digest.hexdigest()


def _open_url(url: str) -> Any:
    if offline():
        raise DownloadError(f"{url}: SEMIOVS_OFFLINE is set, so nothing is downloaded")
    return urlopen(Request(url, headers={"User-Agent": "semiovs"}), timeout=PATIENCE)
