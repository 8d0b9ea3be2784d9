"""`semiovs select` at a million images: the decision over rows that are made up, its time and its memory.

``python -m benchmarks.select [ROWS] [BUDGET]``. Rows are written as a scan writes them and read back: pictures in
crowds that look a little alike, one in fifty a copy, one in a thousand a leak. Memory is that of the process, with all
libraries.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.peak_memory import find_peak_memory
from semiovs.select.class_presence import fit_thresholds
from semiovs.select.decision import SelectionRules, decide
from semiovs.select.scan_table import CHUNK, ScanRows, ScanTable
from semiovs.select.selection import ReferenceImage, Selection, SelectionRequest
from semiovs.select.selection_files import write_selection
from semiovs.similarity.descriptor import WIDTH, quantize

CLASSES, REFERENCES = 19, 3000
_NAMES = tuple(f"class {k}" for k in range(CLASSES))


def made_up(count: int, seed: int) -> ScanRows:
    """Rows of pictures that nobody has seen."""
    rng = np.random.default_rng(seed)
    rows = ScanRows.empty(count, CLASSES, 0)
    rows.key[:] = rng.integers(0, 2**64, count, dtype=np.uint64)
    rows.digest[:] = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    rows.hash[:] = rng.integers(0, 2**64, count, dtype=np.uint64)
    rows.size[:] = rng.integers(200, 2000, (count, 3))
    fall = 1 / np.sqrt(1 + np.arange(WIDTH))
    crowd = rng.standard_normal((max(1, count // 50), WIDTH)) * fall
    own = rng.standard_normal((count, WIDTH)) * fall
    rows.picture[:] = quantize(0.7 * crowd[rng.integers(0, len(crowd), count)] + own)
    rare = np.geomspace(0.5, 0.001, CLASSES)
    shown = rng.random((count, CLASSES)) < rare
    rows.presence[:] = np.where(shown, rng.integers(100, 256, (count, CLASSES)), 0)
    rows.seen[:] = np.packbits(shown, axis=1)
    copies, origins = rng.choice(count, count // 50, replace=False), rng.integers(0, count, count // 50)
    rows.picture[copies], rows.hash[copies] = rows.picture[origins], rows.hash[origins] ^ np.uint64(1)
    return rows


def scanned(folder: Path, count: int, references: ScanRows) -> tuple[ScanTable, list[str]]:
    """Write the chunks of a pool."""
    scan, marks, block = ScanTable(folder, "pool", ""), [], 16 * CHUNK
    for first in range(0, count, block):
        rows = made_up(min(block, count - first), 2 + first)
        leaks = np.arange(0, len(rows), 1000)
        rows.picture[leaks], rows.hash[leaks] = (
            references.picture[leaks % REFERENCES],
            references.hash[leaks % REFERENCES],
        )
        for start in range(0, len(rows), CHUNK):
            some = ScanRows(
                **{name: getattr(rows, name)[start : start + CHUNK] for name in ScanRows.__dataclass_fields__}
            )
            names = [f"images/{first + start + i:09d}" for i in range(len(some))]
            marks.append(str(len(marks)))
            scan.write(len(marks) - 1, marks[-1], some, [f'{{"id": "{n}", "image": "pool/{n}.jpg"}}' for n in names])
    return scan, marks


@contextmanager
def told(what: str) -> Iterator[None]:
    """Print what the body takes."""
    wall, cpu = time.monotonic(), time.process_time()
    yield
    peak = (find_peak_memory() or 0) / 2**20
    print(
        f"{what}: {time.process_time() - cpu:.1f} s of CPU ({time.monotonic() - wall:.1f} s), peak {peak:.0f} MiB",
        flush=True,
    )


def main(count: int, budget: int) -> dict[str, int]:
    """Print what each part takes; returns the counts."""
    folder = Path(tempfile.mkdtemp(prefix="select-"))
    try:
        references = made_up(REFERENCES, 1)
        with told("(making rows up)"):
            scan, marks = scanned(folder, count, references)
        size = sum(path.stat().st_size for path in folder.iterdir())
        with told("reading rows"):
            rows = scan.rows(marks)
        print(f"{rows.bytes_each} bytes an image in memory, {size / count:.0f} on disk")
        with told("decision"):
            limits, rules = np.full(CLASSES, 128, np.uint8), SelectionRules(budget)
            done = decide(rows, references, np.ones(count, bool), limits, np.arange(CLASSES), rules)
        nothing = fit_thresholds(_NAMES, np.zeros((0, CLASSES), np.uint8), np.zeros((0, CLASSES), bool), 0.9)
        known = [ReferenceImage("evaluation", str(i), Path(f"/val/{i}.jpg")) for i in range(REFERENCES)]
        wanted = SelectionRequest(_NAMES, {}, Manifest([]), MaskReader(_NAMES), rules=rules)
        found = Selection(scan, marks, rows, known, done, nothing, wanted, Counter({"": count}), [], 0)
        with told("writing"):
            write_selection(folder / "out", found, {})
        print(found.counts(), [row["chosen"] for row in found.by_class()])
        return found.counts()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main(*(int(value) for value in (*sys.argv[1:], *("1000000", "10000")[len(sys.argv) - 1 :])))
