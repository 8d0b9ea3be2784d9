"""The tables of the user guide about folders, class files and masks, from the tables that the code uses.

``python -m semiovs.images.discover.guide docs/your-data.md`` writes them anew after a change.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from semiovs.images.discover import layouts
from semiovs.images.discover.class_files import CLASS_FILES, COLOR_FILES, NNUNET_CLASSES, ROBOFLOW_CLASSES
from semiovs.images.discover.known_colors import list_known_tables
from semiovs.images.discover.near_misses import FOREIGN
from semiovs.images.mask_kinds import READ_AS, REFUSALS
from semiovs.vocab.class_list import FORMS

_TABLE = re.compile(r"(<!-- generated (\w+): [^\n]*-->\n).*?(?=\n<!-- end -->)", re.DOTALL)


def fill_page(text: str) -> str:
    """Replace what stands between ``<!-- generated NAME: … -->`` and ``<!-- end -->`` by the current tables."""
    tables = {
        "layouts": _format_layouts(),
        "class_files": _format_class_files(),
        "class_forms": _format_forms(),
        "masks_read": _format_table(("mask files", "are read as"), READ_AS.items()),
        "masks_refused": _format_table(
            ("refused", "do instead"), ((refusal.what, refusal.fix) for refusal in REFUSALS)
        ),
    }
    return _TABLE.sub(lambda match: f"{match[1]}\n{tables[match[2]]}\n", text)


def _format_table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _format_layouts() -> str:
    further = [place for place in layouts.LABELED_PLACES if "/" not in place and place not in layouts.IMAGE_FOLDERS]
    shown = ["the folder itself" if place == "." else f"`{place}`" for place in further]
    rows = [
        ("folders of images", f"{_quote(layouts.IMAGE_FOLDERS)}; {', '.join(shown)}"),
        (
            "their masks",
            f"{_quote(layouts.MASK_FOLDERS)}; also inside, or appended (`train_masks`, `trainannot`)",
        ),
        (
            "with parts",
            f"{_quote(layouts.TRAIN_PARTS)}: `images/train` with `masks/train`, `train/images` with `train/masks`; "
            f"to measure on {_quote(layouts.VAL_PARTS)}, `imagesTs` with `labelsTs`",
        ),
        (
            "names of masks",
            f"`a.png` (in another folder, or beside a JPEG), `a.jpg.png`; `a` and {_quote(layouts.MASK_ENDINGS)}; "
            f"{_quote(layouts.MASK_STARTS)} and `a`",
        ),
        (
            "names of images",
            f"endings that the mask has not: {_quote(layouts.IMAGE_ENDINGS)} (`_0000`: nnU-Net's, with one channel); "
            f"beginnings: {_quote(layouts.IMAGE_STARTS)}",
        ),
        ("without masks", _quote(("unlabeled", *layouts.UNLABELED_FOLDERS))),
        ("images that are not read, but told", _quote(sorted(FOREIGN))),
    ]
    return _format_table(("layout", "names"), rows)


def _format_class_files() -> str:
    *known, last = (table.source for table in list_known_tables())
    rows = [
        (_quote(CLASS_FILES), "class names, see below"),
        (_quote(ROBOFLOW_CLASSES), "Roboflow's names"),
        (_quote(COLOR_FILES), "names with colours (CVAT, CamVid), where every class has one"),
        (f"`{NNUNET_CLASSES}`", "nnU-Net's `labels`; regions of several ids have no names"),
        ("no file", f"colours of {', '.join(known)} and {last} are known; others are asked about, black too"),
    ]
    return _format_table(("found by itself", "is read as"), rows)


def _format_forms() -> str:
    rows = []
    for texts, meaning, _ in FORMS:
        shown = (" ".join(f"`{line}`" for line in text.splitlines() if line) for text in texts)
        rows.append(("; ".join(shown), meaning))
    return _format_table(("lines", "are read as"), rows)


def _quote(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(fill_page(page.read_text("utf-8")), "utf-8")
