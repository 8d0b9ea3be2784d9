"""`python -m benchmarks.packing [--images N]`: a store of files beside the same store in tars, as paired ratios.

Both are read by turns in one process, each turn in another random order; a ratio is the packed store's labels a second
over the folder's, the median of the turns with the smallest and the largest. *cold*: the kernel was asked to forget the
files' pages (it keeps names and inodes).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks import machine
from semiovs.store import PseudoLabelStore, verify
from semiovs.store.pack import pack_store
from semiovs.vocab import Vocabulary

TURNS = 7
NAMES = [f"c{number}" for number in range(11)]


def make_store(root: Path, images: int) -> PseudoLabelStore:
    """Labels in patches and soft confidences, 480x360, of sizes like those of a network for 11 classes."""
    rng = np.random.default_rng(0)
    store = PseudoLabelStore.create(root, Vocabulary.of(NAMES), teacher={"name": "made up"})
    batch = []
    for number in range(images):
        rough = cv2.resize(rng.random((9, 12, 11), np.float32), (480, 360), interpolation=cv2.INTER_CUBIC)
        confidence = np.clip(rough.max(2) + rng.normal(0, 0.004, (360, 480)), 0, 1).astype(np.float32)
        batch.append(store.prepare(f"{number // 1000:03d}/{number:07d}", rough.argmax(2).astype(np.uint8), confidence))
        if len(batch) == 100 or number == images - 1:
            store.commit(batch)
            batch.clear()
    store.settle()
    return store


def forget(root: Path) -> None:
    """Ask the kernel to drop the pages of all files."""
    for path in root.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(store: PseudoLabelStore, ids: Sequence[str]) -> None:
    for name in ids:
        row = store.row(name)
        store.read("labels", row)
        store.read("confidence", row)


def decode(store: PseudoLabelStore, ids: Sequence[str]) -> None:
    for name in ids:
        store.label(name)
        store.confidence(name)


def compare(
    name: str, both: Sequence[PseudoLabelStore], work: Callable[[PseudoLabelStore, Sequence[str]], object], **how: bool
) -> None:
    """Print labels a second of both, and the ratio."""
    rates: list[tuple[float, float]] = []
    for turn in range(TURNS):
        ids = both[0].ids()
        if how.get("shuffled"):
            random.Random(turn).shuffle(ids)
        pair = [0.0, 0.0]
        for which in (0, 1) if turn % 2 else (1, 0):
            if how.get("cold"):
                os.sync()
                forget(both[which].root)
            started = time.perf_counter()
            work(both[which], ids)
            pair[which] = len(ids) / (time.perf_counter() - started)
        rates.append((pair[0], pair[1]))
    ratios = sorted(packed / folder for folder, packed in rates)
    folder, packed = (statistics.median(column) for column in zip(*rates, strict=True))
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    print(f"| {name} | {folder:,.0f} | {packed:,.0f} | {spread} |", flush=True)


def copy(store: PseudoLabelStore, ids: Sequence[str]) -> None:  # noqa: ARG001 - called like the others
    with tempfile.TemporaryDirectory(dir=store.root.parent) as folder:
        shutil.copytree(store.root, Path(folder) / "copy")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packing", description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    images = parser.parse_args(arguments).images
    print(machine.hardware(), machine.load())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = make_store(root / "files", images)
        started = time.perf_counter()
        done = pack_store(store.root, root / "packed", size=500)
        taken = time.perf_counter() - started
        print(f"packed: {images / taken:,.0f} labels a second; {done.bytes / images:,.0f} bytes an image in tars")
        files = sum(path.stat().st_size for part in ("labels", "confidence") for path in (store.root / part).rglob("*"))
        blocks = sum(path.stat().st_blocks * 512 for path in store.root.rglob("*"))
        print(f"bytes of files an image: {files / images:,.0f}, on the disk {blocks / images:,.0f}")
        both = (store, PseudoLabelStore.open(root / "packed"))
        print("| labels a second | folder | packed | packed / folder |\n|---|---:|---:|---:|")
        compare("read at random, in memory", both, read, shuffled=True)
        compare("read at random, cold", both, read, shuffled=True, cold=True)
        compare("read in order, cold", both, read, cold=True)
        compare("read and decoded at random, in memory", both, decode, shuffled=True)
        compare("verified, cold", both, lambda each, _: verify(each), cold=True)
        compare("copied as a folder, cold", both, copy, cold=True)


if __name__ == "__main__":
    main()
