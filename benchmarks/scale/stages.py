"""What each stage of a labelling job takes for one image, and what its files take, on photographs that are given.

CPU time is of one thread; the teacher is one that reads answers that exist, so no network is measured here.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks import machine
from semiovs.audit.image_facts import ImageFacts
from semiovs.images.image import read_image
from semiovs.images.record import Record
from semiovs.images.source import examine_source
from semiovs.ovs.label import label_images
from semiovs.ovs.masks import MasksTeacher
from semiovs.select.image_features import read_features
from semiovs.store.index import IndexRow, StoreIndex
from semiovs.store.pseudo_labels import PseudoLabelStore
from semiovs.vocab import Vocabulary

#: Side of the square that a teacher looks at (that of the published SED models), for the stage `resize`.
_SIDE = 768
Clock = Callable[[], float]


def measure(
    sets: Sequence[tuple[Path, Path]], classes: Sequence[str], *, count: int = 256, runs: int = 3, many: int = 100_000
) -> dict[str, Any]:
    """Medians of runs. sets: folders of images and of score maps of the same names; count: images of each set; many:
    files and lines, for what depends on their number alone.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    before = machine.load()
    rows = [_measure_set(images, scores, classes, count, runs) for images, scores in sets]
    with tempfile.TemporaryDirectory() as folder:
        numbers = {"listing": _measure_listing(Path(folder) / "files", many), "index": _measure_index(folder, many)}
    return {**machine.described(before, tiny=many < 10_000), "classes": len(classes), "sets": rows, **numbers}


def _measure_set(images: Path, scores: Path, classes: Sequence[str], count: int, runs: int) -> dict[str, Any]:
    records, _ = examine_source(images.name, images.parent)
    chosen = [record for record in records if (scores / f"{record.id}.npz").is_file()][:count]
    if not chosen:
        raise SystemExit(f"{images}: no image with a score map of the same name in {scores}")
    pictures = [np.asarray(read_image(record.image)) for record in chosen]
    stages = {
        "read": lambda: [record.image.read_bytes() for record in chosen],
        "decode": lambda: [np.asarray(read_image(record.image)) for record in chosen],
        "resize": lambda: [Image.fromarray(p).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR) for p in pictures],
        "check": lambda: [ImageFacts.read(record.image) for record in chosen],
        "features": lambda: [read_features(record) for record in chosen],
    }
    told = {name: _time(work, runs, time.process_time) / len(chosen) * 1e3 for name, work in stages.items()}
    store, written = _measure_store(chosen, scores, classes, runs)
    return {
        "name": images.parent.name,
        "images": len(chosen),
        "pixels": round(statistics.fmean(p.shape[0] * p.shape[1] for p in pictures)),
        "image_bytes": round(statistics.fmean(record.image.stat().st_size for record in chosen)),
        "cpu_ms": {name: round(value, 3) for name, value in (told | written["cpu_ms"]).items()},
        "write_wall_ms": round(written["wall_ms"], 3),
        **store,
    }


def _measure_store(
    records: Sequence[Record], scores: Path, classes: Sequence[str], runs: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes of a store that a job has written, and time of writing it."""
    teacher, vocabulary = MasksTeacher(root=scores), Vocabulary.of(list(classes))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = PseudoLabelStore.create(root / "job", vocabulary, teacher={"name": "masks"})
        label_images(teacher, records, vocabulary, store, batch_size=8, threads=1)
        answers = [(name, store.label(name), store.confidence(name)) for name in store.ids()]
        sizes = {part: _size(root / "job" / part) for part in ("labels", "confidence")}
        facts = {
            "label_bytes": round(sizes["labels"][0] / len(answers)),
            "confidence_bytes": round(sizes["confidence"][0] / len(answers)),
            "index_bytes": round((root / "job/index.jsonl").stat().st_size / len(answers)),
            "disk_bytes": round((sizes["labels"][1] + sizes["confidence"][1]) / len(answers)),
        }
        names = iter(range(10**6))

        def write() -> None:
            other = PseudoLabelStore.create(root / f"w{next(names)}", vocabulary, teacher={"name": "masks"})
            for first in range(0, len(answers), 8):
                other.commit([other.prepare(*answer) for answer in answers[first : first + 8]])

        cpu, wall = (_time(write, runs, clock) / len(answers) * 1e3 for clock in (time.process_time, time.monotonic))
    return facts, {"cpu_ms": {"write": cpu}, "wall_ms": wall}


def _time(work: Callable[[], object], runs: int, clock: Clock) -> float:
    """Median seconds, after one run that does not count."""
    work()
    found = []
    for _ in range(runs):
        begin = clock()
        work()
        found.append(clock() - begin)
    return statistics.median(found)


def _size(folder: Path) -> tuple[int, int]:
    """Bytes of all files, and of the blocks of the disk that they take."""
    status = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(s.st_size for s in status), sum(getattr(s, "st_blocks", -(-s.st_size // 512)) * 512 for s in status)


def _measure_listing(folder: Path, many: int) -> dict[str, Any]:
    """Walking a folder of files, a thousand in each folder below; nothing of them is opened."""
    for number in range(many):
        path = folder / f"{number // 1000:04}" / f"{number:07}.jpg"
        if number % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.touch()
    begin = time.process_time(), time.monotonic()
    records, _ = examine_source(folder.name, folder.parent)
    cpu, wall = time.process_time() - begin[0], time.monotonic() - begin[1]
    assert len(records) == many
    return {"files": many, "cpu_s": round(cpu, 3), "wall_s": round(wall, 3)}


def _measure_index(folder: str, many: int) -> dict[str, Any]:
    """Opening an index: time, and memory that stays."""
    path, row = (
        Path(folder) / "index.jsonl",
        IndexRow("", "0" * 64, "f" * 64, (360, 480), dict.fromkeys(range(11), 15000)),
    )
    lines = (replace(row, id=f"{number // 1000:04}/{number:07}").to_line() for number in range(many))
    path.write_bytes(b"".join(lines))
    begin = time.process_time()
    index = StoreIndex.open(path)
    seconds = time.process_time() - begin
    assert len(index) == many
    del index
    tracemalloc.start()
    index = StoreIndex.open(path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == many
    return {"lines": many, "cpu_s": round(seconds, 3), "bytes": path.stat().st_size, "memory_bytes": held}


def measure_dispatch(workers: int = 2, more: int = 40) -> dict[str, Any]:
    """What each task of Ray and each block costs on a cluster of this machine whose workers have nothing to do, in wall
    time and in CPU time of the process that hands them out: of as many blocks as Ray makes tasks, and of `more` times
    as many.
    """
    from semiovs.clusters.ray_blocks import TASKS, run_blocks
    from semiovs.clusters.ray_cluster import join_cluster

    tasks, begin = TASKS * workers, time.monotonic()
    with join_cluster(0, workers) as actors:
        started = time.monotonic() - begin
        few, many = (_time_blocks(run_blocks, NothingToDo(), blocks, actors) for blocks in (tasks, more * tasks))
    extra = (more - 1) * tasks
    wall, cpu = ((many[i] - few[i]) / extra * 1e3 for i in (1, 2))
    return {
        "workers": workers,
        "tasks": tasks,
        "blocks": more * tasks,
        "cluster_s": round(started, 2),
        "first_s": round(few[0], 2),
        "block_wall_ms": round(wall, 3),
        "task_wall_ms": round(few[1] / tasks * 1e3 - wall, 3),
        "block_cpu_ms": round(cpu, 3),
        "task_cpu_ms": round(few[2] / tasks * 1e3 - cpu, 3),
    }


def _time_blocks(run: Callable[..., Any], job: NothingToDo, blocks: int, actors: int) -> tuple[float, float, float]:
    """Seconds until the first answer, from there to the last, and CPU seconds of this process alone for those."""
    begin = time.monotonic()
    arrivals = [(time.monotonic(), time.process_time()) for _ in run(job, range(blocks), actors=actors)]
    (first, before), (last, after) = arrivals[0], arrivals[-1]
    return first - begin, last - first, after - before


class NothingToDo:
    """A job whose blocks are done at once."""

    def begin(self) -> None:
        return None

    def do(self, tools: None, number: int) -> int:  # noqa: ARG002
        return number
