"""Which mask files are read as what, and which are refused and why; the user guide shows both tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semiovs.errors import DataError

#: Kind of file -> what it is read as.
READ_AS: Mapping[str, str] = {
    "palette (PNG, BMP, GIF, TIFF)": "indices; with `encoding: rgb` the colours of the palette",
    "gray of 1, 2, 4, 8, 16, 32 or 64 bits, signed or not": "the values as they are stored, never stretched",
    "floats (TIFF)": "whole numbers; NaN is `nan` in the map",
    "RGB of 8 bits": "colours, which need a map; values where all three channels are equal",
    "RGB of 16 bits": "as RGB of 8 bits, where it holds no more than these",
    "RGBA, gray or a palette with alpha": "as without alpha",
    "TIFF of 64 bits, or of several channels of 16 bits": "as above, with the extra `geo`",
    "TIFF with an orientation": "turned as it is shown",
}


@dataclass(frozen=True)
class Refusal:
    """A kind of mask file that is refused. kind: as in findings (``mask-<kind>``); what: the files; why: the message
    about one of them; fix: what to do.
    """

    kind: str
    what: str
    why: str
    fix: str = "save class ids as an 8-bit PNG"

    def refuse(self, path: Path, **facts: object) -> DataError:
        """Make the error for a file. facts: the names in `why`."""
        return DataError(f"{path}: {self.why.format(**facts)}; {self.fix}", kind=self.kind)


LOSSY = Refusal(
    "jpeg",
    "JPEG, lossy WebP, TIFF with lossy compression",
    "a {what} cannot hold a mask, it changes the values",
    "save masks as PNG",
)
PAGES = Refusal("pages", "several pages or frames", "has {pages} pages, but a mask has one", "save each as a file")
INVERTED = Refusal(
    "inverted",
    "WhiteIsZero (TIFF)",
    "is stored as WhiteIsZero, so that its values may be inverted",
    "save class ids as PNG, or as BlackIsZero",
)
FRACTIONS = Refusal("values", "fractions", "holds {value:.6g} ({pixels:,} such pixels), but a mask holds whole numbers")
TOO_LARGE = Refusal("values", "numbers beyond 63 bits", "holds {value}, which is no class id")
RENUMBERED = Refusal(
    "values",
    "gray GIF with indices of its own",
    "a GIF whose indices are not its gray values, so that either may be meant",
    "save class ids as PNG",
)
MODE = Refusal("mode", "other modes (CMYK, YCbCr, LAB)", "mode {mode} is not a mask")
CHANNELS = Refusal("mode", "two channels without alpha, four or more", "{channels} channels are not a mask")
DEEP_COLORS = Refusal(
    "mode",
    "colours of more than 8 bits",
    "colours of more than 8 bits are not a mask",
    "save class ids as gray PNG of 8 or 16 bits",
)
PACKED_BMP = Refusal("mode", "gray BMP of 2 or 4 bits", "a gray BMP of unusual depth")

#: All of them, in the order of the table.
REFUSALS = (
    LOSSY,
    PAGES,
    INVERTED,
    FRACTIONS,
    TOO_LARGE,
    RENUMBERED,
    MODE,
    CHANNELS,
    DEEP_COLORS,
    PACKED_BMP,
)
