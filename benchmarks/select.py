"""`semiovs select` at a million images: the decision over rows that are made up, its time and its memory.

``python -m benchmarks.select [ROWS] [BUDGET]``. Rows are written as a scan writes them and read back: pictures in crowds of a few
that look alike, one in fifty a copy, one in a thousand a leak.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from semiovs.data.descriptor import quantized
from semiovs.data.scan import CHUNK, Rows, Scan
from semiovs.study.choice import REASONS, Rules, decide

CLASSES, REFERENCES = 19, 3000


def made_up(count: int, seed: int, near: Rows | None = None) -> Rows:
    """Rows of pictures that nobody has seen; some are copies of earlier ones or of those of `near`."""
    rng = np.random.default_rng(seed)
    rows = Rows.empty(count, CLASSES, 0)
    rows.key[:] = rng.integers(0, 2**64, count, dtype=np.uint64)
    rows.digest[:] = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    rows.hash[:] = rng.integers(0, 2**64, count, dtype=np.uint64)
    rows.size[:] = rng.integers(200, 2000, (count, 2))
    fall = 1 / np.sqrt(1 + np.arange(64))
    crowd = rng.standard_normal((max(1, count // 50), 64)) * fall
    own = rng.standard_normal((count, 64)) * fall
    rows.picture[:] = quantized(0.7 * crowd[rng.integers(0, len(crowd), count)] + own)
    rare = np.geomspace(0.5, 0.001, CLASSES)
    rows.presence[:] = np.where(rng.random((count, CLASSES)) < rare, rng.integers(100, 256, (count, CLASSES)), 0)
    rows.seen[:] = np.packbits(rows.presence > 0, axis=1)
    source = rows if near is None else near
    copies = rng.choice(count, count // (50 if near is None else 1000), replace=False)
    origins = rng.integers(0, len(source), len(copies))
    rows.picture[copies] = np.clip(source.picture[origins] + rng.integers(-3, 4, (len(copies), 64)), -127, 127)
    rows.hash[copies] = source.hash[origins] ^ (np.uint64(1) << rng.integers(0, 64, len(copies), dtype=np.uint64))
    return rows


def main(count: int, budget: int) -> None:
    """Print what each part takes."""
    folder = Path(tempfile.mkdtemp(prefix="select-"))
    try:
        scan, marks = Scan(folder, "pool", ""), []
        references = made_up(REFERENCES, 1)
        block = 64 * CHUNK
        for first in range(0, count, block):
            rows = made_up(min(block, count - first), 2 + first)
            leaks = np.arange(0, len(rows), 1000)
            origins = leaks % REFERENCES
            rows.picture[leaks], rows.hash[leaks] = references.picture[origins], references.hash[origins]
            for start in range(0, len(rows), CHUNK):
                some = Rows(**{name: getattr(rows, name)[start : start + CHUNK] for name in Rows.__dataclass_fields__})
                number = (first + start) // CHUNK
                marks.append(str(number))
                texts = [
                    f'{{"id":"images/{number:08d}-{i}","image":"pool/images/{number:08d}-{i}.jpg"}}'
                    for i in range(len(some))
                ]
                scan.write(number, marks[-1], some, texts)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"scan: {len(marks)} files, {size / count:.0f} bytes an image on disk, {_peak():.0f} MiB peak so far")
        started = time.monotonic()
        rows = scan.rows(marks)
        print(f"read: {time.monotonic() - started:.1f} s, {rows.bytes_each} bytes a row, {_peak():.0f} MiB peak")
        started = time.monotonic()
        done = decide(
            rows, references, np.ones(count, bool), np.full(CLASSES, 128, np.uint8), np.arange(CLASSES), Rules(budget)
        )
        print(f"decision: {time.monotonic() - started:.1f} s, {_peak():.0f} MiB peak")
        print({name: done.count(place) for place, name in enumerate(REASONS)}, done.present[done.order].sum(axis=0))
    finally:
        shutil.rmtree(folder)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(*(int(value) for value in (*sys.argv[1:], *("1000000", "10000")[len(sys.argv) - 1 :])))
