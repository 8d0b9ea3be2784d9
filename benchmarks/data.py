"""`data check`: images a CPU second and a second (500x375 JPEG with PNG mask), peak memory, and the search for near
copies.

The baseline decodes image and mask with Pillow and nothing else, one after the other: a check that finds less and tells
less.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import pictures
from benchmarks.measure import Row, Size, alternately, counted, rate, row
from semiovs.audit.audit import Audit, audit
from semiovs.cli.data_input import audit_data, find_data
from semiovs.data.collection import LABELED, Collection, Stream
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.similarity.hashes import Hashes, distance, find_near_hashes
from semiovs.vocab import Vocabulary

_CLASSES = tuple(str(i) for i in range(21))
#: Goals: images a second on two cores; seconds for 100,000 hashes.
_IMAGES_A_SECOND, _CORES, _SEARCH = 300.0, 2, 20.0


def rows(size: Size) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        files = pictures.make(Path(folder), size.of(64, 3), (500, 375) if not size.tiny else (100, 75))
        return [*_check(files, size), *_folders(files, size), *_memory(files, size), *_near(size)]


def _check(files: list[tuple[Path, Path]], size: Size) -> list[Row]:
    work = size.of(192, 6)
    collection = _collection(files, work)
    times = alternately(size, plain=lambda: _plain(files, work), check=lambda: _audited(collection, 1))
    two = alternately(size, check=lambda: _audited(collection, _CORES))
    share = {**two, "goal": [work / _IMAGES_A_SECOND * _CORES] * size.runs}
    clock = alternately(size, time.perf_counter, check=lambda: _audited(collection, _CORES))
    wall = {**clock, "goal": [work / _IMAGES_A_SECOND] * size.runs}
    unit = "images / CPU s"
    return [
        rate("data check, one thread, against decoding alone", times, "check", "plain", unit, work=work),
        rate("data check, one of two cores", share, "check", "goal", unit, work=work),
        row("data check, an image, two cores, wall time", wall, "check", "goal", "ms", work=work),
    ]


def _folders(files: list[tuple[Path, Path]], size: Size) -> list[Row]:
    """Twenty folders without a configuration, one after the other: what lies where is found out first."""
    count, images = size.of(20, 2), len(files) // 3
    with tempfile.TemporaryDirectory() as place:
        folders = [_lay_out(Path(place) / str(number), files[:images], files[images:]) for number in range(count)]
        times = alternately(
            size,
            plain=lambda: [_plain(files, len(files)) for _ in folders],
            check=lambda: [audit_data(find_data([str(folder)]), threads=1, shown=False) for folder in folders],
        )
    return [row(f"data check, {count} folders as found, against decoding alone", times, "check", "plain", "s")]


def _lay_out(folder: Path, labeled: list[tuple[Path, Path]], bare: list[tuple[Path, Path]]) -> Path:
    """A folder in the layout that `init` knows, without errors."""
    for name in ("images", "masks", "unlabeled"):
        (folder / name).mkdir(parents=True)
    for image, mask in labeled:
        shutil.copy(image, folder / "images")
        shutil.copy(mask, folder / "masks")
    for image, _ in bare:
        shutil.copy(image, folder / "unlabeled")
    (folder / "classes.txt").write_text("\n".join(_CLASSES))
    assert audit_data(find_data([str(folder)]), threads=1, shown=False).ok
    return folder


def _memory(files: list[tuple[Path, Path]], size: Size) -> list[Row]:
    few, many = size.of(500, 3), size.of(5000, 6)
    return [counted(f"data check, memory of {many} images, against {few}", _peak(files, many), _peak(files, few), "MB")]


def _near(size: Size) -> list[Row]:
    hashes = _hashes(size.of(100_000, 500))
    few = hashes[: size.of(4000, 100)]
    assert {tuple(p) for p in find_near_hashes(few).tolist()} == _by_hand(few)
    times = alternately(size, search=lambda: find_near_hashes(hashes), goal=lambda: None)
    goal = {"search": times["search"], "goal": [_SEARCH] * size.runs}
    return [row(f"near copies among {len(hashes):,} hashes", goal, "search", "goal", "s")]


def _hashes(number: int) -> Hashes:
    """Random hashes; one in ten is a near copy of the one before."""
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, number, np.uint64) * np.uint64(2) + rng.integers(0, 2, number, np.uint64)
    for place in range(1, number, 10):
        flips = np.bitwise_or.reduce(np.uint64(1) << rng.choice(64, 6, replace=False).astype(np.uint64))
        hashes[place] = hashes[place - 1] ^ flips
    return hashes


def _by_hand(hashes: Hashes) -> set[tuple[int, int]]:
    return {
        (i, i + 1 + int(j))
        for i in range(len(hashes) - 1)
        for j in np.flatnonzero(distance(hashes[i + 1 :], hashes[i]) <= 10)
    }


def _collection(files: list[tuple[Path, Path]], work: int) -> Collection:
    pairs = (files[k % len(files)] for k in range(work))
    records = [Record(str(k), image, mask) for k, (image, mask) in enumerate(pairs)]
    return Collection(Vocabulary(_CLASSES), MaskReader(_CLASSES), {LABELED: Stream(LABELED, Manifest(records))})


def _audited(collection: Collection, threads: int) -> Audit:
    result = audit(collection, threads=threads)
    assert result.ok
    return result


def _plain(files: list[tuple[Path, Path]], work: int) -> None:
    for k in range(work):
        for path in files[k % len(files)]:
            with Image.open(path) as image:
                image.load()


def _peak(files: list[tuple[Path, Path]], work: int) -> float:
    """MB that a process of its own takes at most."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(files, work, send.send))
    process.start()
    send.close()
    found: float = receive.recv()
    process.join()
    return found


def _measure(files: list[tuple[Path, Path]], work: int, tell: Callable[[float], None]) -> None:
    _audited(_collection(files, work), _CORES)
    tell(_resident())


def _resident() -> float:
    """Peak resident memory of this process in MB (the unit is bytes on macOS, KiB elsewhere)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if os.uname().sysname == "Darwin" else peak / 2**10
