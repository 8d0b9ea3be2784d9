"""What a folder of predictions holds and how it was made, so that the same command does the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from semiovs.files import parse_json
from semiovs.images.containers.container import split_path

#: File of the record in the folder of results: a JSON object a line, the last one of a picture counts.
RECORD_FILE = "predictions.jsonl"
_IMAGES = (".png", ".jpg", ".tif")


class PredictionRecord:
    """The record of a folder of results.

    key: what results are made with (`Predictor.fingerprint`). A picture is noted when it is begun, and again with its
    files when it is done, so that a process that is killed leaves nothing unknown.
    """

    def __init__(self, folder: Path, key: str = "") -> None:
        self.key = key
        self._path, self._lock = folder / RECORD_FILE, Lock()
        self._begun: set[str] = set()
        self._done: dict[str, dict[str, Any]] = {}
        self._sizes: dict[str, int] = {}
        if self._path.is_file():
            for line in self._path.read_text("utf-8", errors="replace").splitlines():
                self._read_line(line)

    def _read_line(self, line: str) -> None:
        """A line of the file; one that was cut off tells nothing."""
        try:
            found = parse_json(line)
            name = str(found["name"])
            sizes = {str(file): int(size) for file, size in found.get("files", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        self._begun.add(name)
        if "result" in found:
            self._done[name] = found
            self._sizes |= sizes

    def owns(self, name: str) -> bool:
        """Whether results for a picture of this name (`PredictionJob.name`) were begun here."""
        return name in self._begun

    def is_changed(self, path: Path) -> bool:
        """Whether a file is another one than was written, and no damaged one."""
        size = self._sizes.get(self._relative(path))
        if size is None or path.stat().st_size == size or path.suffix.lower() not in _IMAGES:
            return False
        try:
            with Image.open(path) as image:
                image.load()
        except Exception:  # whatever the decoder says of it
            return False
        return True

    def find_done(self, name: str, image: Path, files: Sequence[Path]) -> dict[str, Any] | None:
        """What is known of a picture whose results are there, whole, and made of the same file with the same model and
        settings; else None.
        """
        found = self._done.get(name)
        if found is None or found.get("made_by") != self.key or found.get("image") != _describe(image):
            return None
        for path in files:
            size = found["files"].get(self._relative(path))
            if size is None or not path.is_file() or path.stat().st_size != size:
                return None
        result = found["result"]
        return result if isinstance(result, dict) else None

    def begin(self, names: Sequence[str]) -> None:
        """Note pictures whose results are about to be written."""
        self._append([{"name": name} for name in names if name not in self._begun])
        self._begun.update(names)

    def finish(self, name: str, image: Path, files: Sequence[Path], result: Mapping[str, Any]) -> None:
        """Note a picture whose results are written."""
        sizes = {self._relative(path): path.stat().st_size for path in files}
        self._append(
            [{"name": name, "made_by": self.key, "image": _describe(image), "files": sizes, "result": dict(result)}]
        )

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        if not lines:
            return
        text = "".join(json.dumps(line) + "\n" for line in lines)
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            torn = self._path.is_file() and self._path.stat().st_size > 0 and not _ends_a_line(self._path)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(("\n" if torn else "") + text)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._path.parent).as_posix()


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


def _describe(image: Path) -> list[Any]:
    """Path, bytes and time of an image file, or of the container that it lies in."""
    outer = split_path(image)
    file = Path(outer[0]) if outer else image
    try:
        found = file.stat()
    except OSError:
        return [str(image.absolute())]
    return [str(image.absolute()), found.st_size, found.st_mtime_ns]
