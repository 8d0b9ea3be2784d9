"""Guess from one image whether the images of a folder hold more than RGB of 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from semiovs.errors import DataError, MissingExtraError
from semiovs.files import open_regular

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG, _PNG_DEPTH = b"\x89PNG", 24
#: Pixel types with a default range.
_RANGED = ("uint8", "uint16")


@dataclass(frozen=True)
class FoundBands:
    """Bands of an image. kind: type of its pixels; needed: whether reading it as RGB would fail or lose depth."""

    channels: int
    kind: str
    image: str
    needed: bool

    @property
    def take(self) -> list[int]:
        """All channels, counted from 1."""
        return list(range(1, self.channels + 1))

    def lines(self) -> list[str]:
        """Lines of YAML for section ``data:``; commented out where RGB is enough."""
        mark = "  " if self.needed else "  # "
        found = [f"{mark}bands: {self.take}   # {self.image}: {self.channels} channel(s) of {self.kind}"]
        if self.kind not in _RANGED:
            found.append(
                "  # range: [lo, hi]   # NEEDED: values that count as 0 and 1; semiovs data normalize THIS_FILE "
                "proposes them"
            )
        if self.channels >= 3:
            found.append("  # rgb: [1, 2, 3]   # the channels that are red, green and blue, for teachers and pictures")
        return found


def guess_bands(image: Path) -> FoundBands | str | None:
    """Guess the bands of an image: None if it is RGB of 8 bits, a note where that cannot be told."""
    try:
        with open_regular(image) as file:
            start = file.read(_PNG_DEPTH + 1)
    except OSError:
        return None
    deep_png = start.startswith(_PNG) and start[_PNG_DEPTH:] == b"\x10"
    if not deep_png and start[:4] not in _TIFF:
        return None
    from semiovs.images.image import read_image
    from semiovs.images.pixels import read_pixels

    try:
        read_image(image)
        refused = False
    except DataError:
        refused = True
    try:
        values = read_pixels(image).values
    except MissingExtraError as error:
        return f"{error}; then run semiovs init --force again" if refused else None
    except DataError:
        return None  # data check says what is wrong with it
    channels, kind = values.shape[2], values.dtype.name
    if kind == "uint8" and channels in (1, 3) and not refused:
        return None
    return FoundBands(channels, kind, image.name, needed=refused or (channels == 1 and kind != "uint8"))
