"""What grows, for `python -m benchmarks growth`: each case is made for a value of its axis and gives an action to be
measured.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks import label, step
from benchmarks.measure import Size
from semiovs.audit.audit import audit
from semiovs.config import load_config
from semiovs.config.schema import Config
from semiovs.data import loader
from semiovs.engine.distributed import World, join_processes
from semiovs.engine.experiment import Experiment
from semiovs.engine.loop import fit
from semiovs.images.manifest import Manifest
from semiovs.models import build_segmenter
from semiovs.peak_memory import find_peak_memory

#: Batches that are loaded, and steps of each rank.
_BATCHES, _STEPS = 12, 6
_CLASSES = ("sky", "road", "car")

Action = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """make: an action for a value and a folder to work in; values: of the axis, ascending; tiny: of a rehearsal; work:
    pieces in one action; wall: time by the clock on the wall, where several processes work; memory: whether it is told.
    """

    name: str
    axis: str
    make: Callable[[int, Path], Action]
    values: tuple[int, ...]
    tiny: tuple[int, ...]
    work: int = 1
    wall: bool = False
    memory: bool = True


def aggregated(concepts: int, side: int) -> Action:
    with torch.inference_mode():
        given = label.inputs(concepts, side)
    return lambda: label.ours(given)


def learnt(side: int, count: int) -> Action:
    """A UniMatch step with OOD images."""
    torch.manual_seed(0)
    model = build_segmenter("deeplabv3plus", num_classes=21, encoder="small")
    return step.ours(model, step.batch(side, count), ood=True)


def read(count: int, folder: Path) -> Action:
    world = _world(folder, count, distinct=False)
    return lambda: Manifest.read(world / "list.txt", world)


def started(count: int, folder: Path) -> Action:
    """All that comes before the first step, but for the check of the data."""
    config = _config(_world(folder, count, distinct=False))

    def run() -> None:
        with join_processes("cpu") as world:
            Experiment.build(config, world, check=False)

    return run


def checked(count: int, folder: Path) -> Action:
    config = _config(_world(folder, count))
    with join_processes("cpu") as world:
        sources = Experiment.build(config, world, check=False).sources
    return lambda: audit(sources, threads=1)


def loaded(workers: int, folder: Path) -> Action:
    """`_BATCHES` batches, with the start of the loader processes."""
    config = _config(_world(folder, 64, side=256), "data.crop_size=129", "train.batch_size=8", "train.steps=1000")
    with join_processes("cpu") as world:
        stream = Experiment.build(config, world, check=False).stream

    def run() -> None:
        with closing(loader(stream, 0, len(stream), workers=workers)) as batches:
            assert sum(1 for _ in islice(batches, _BATCHES)) == _BATCHES

    return run


def ranked(ranks: int, folder: Path) -> Action:
    """`_STEPS` steps of each rank, with batches of their own, from the moment at which all are ready."""
    root = str(_world(folder, 64))

    def run() -> float:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with context.Pool(ranks) as pool:
            return max(pool.starmap(_rank, [(rank, ranks, port, root) for rank in range(ranks)], chunksize=1))

    return run


def _rank(rank: int, ranks: int, port: int, root: str) -> float:
    """Seconds of a rank's steps, the first of them not counted."""
    torch.set_num_threads(1)
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": port}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place.items()}}
    with join_processes("cpu") as world:
        return _fit(Experiment.build(_config(Path(root), f"train.steps={1 + _STEPS}"), world, check=False), world)


def _fit(experiment: Experiment, world: World) -> float:
    ends: list[float] = []
    with closing(experiment.batches()) as batches:
        fit(experiment.learner, batches, experiment.recipe, world, [lambda _: ends.append(time.perf_counter())])
    return ends[-1] - ends[0]


def _config(world: Path, *settings: str) -> Config:
    chosen = ["data.crop_size=33", "data.workers=0", "train.batch_size=2", "train.device=cpu", *settings]
    return load_config(
        "quick", [f"data.root={world}", "data.labeled=list.txt", "data.unlabeled=bare.txt", *chosen]
    ).config


def _world(root: Path, count: int, *, side: int = 32, distinct: bool = True) -> Path:
    """So many labelled pictures of noise and as many without labels, and a list of each.

    distinct: no two pictures are alike; where nobody looks at them, which is soon written, they all are.
    """
    folder = Path(tempfile.mkdtemp(dir=root))
    rng = np.random.default_rng(0)
    for name in ("images", "masks", "bare"):
        (folder / name).mkdir()
    (folder / "classes.txt").write_text("\n".join(_CLASSES))
    files = _picture(rng, side)
    for index in range(count):
        for name, data in files.items():
            (folder / name.format(index)).write_bytes(data)
        if distinct:
            files = _picture(rng, side)
    listed = [f"images/{index}.jpg masks/{index}.png" for index in range(count)]
    (folder / "list.txt").write_text("\n".join(listed) + "\n")
    (folder / "bare.txt").write_text("\n".join(f"bare/{index}.jpg" for index in range(count)) + "\n")
    return folder


def _picture(rng: np.random.Generator, side: int) -> dict[str, bytes]:
    """Name of a file with a place for the number -> its bytes."""
    pixels, bare = rng.integers(0, 256, (2, side // 8, side // 8, 3), dtype=np.uint8)
    return {
        "images/{}.jpg": _encoded(pixels, side, "JPEG"),
        "masks/{}.png": _encoded(pixels[..., 0] % len(_CLASSES), side, "PNG"),
        "bare/{}.jpg": _encoded(bare, side, "JPEG"),
    }


def _encoded(pixels: NDArray[np.uint8], side: int, form: str) -> bytes:
    resample = Image.Resampling.NEAREST if form == "PNG" else Image.Resampling.BILINEAR
    with io.BytesIO() as buffer:
        Image.fromarray(pixels).resize((side, side), resample).save(buffer, form)
        return buffer.getvalue()


#: Side of SED-B's map: of an image a 32nd as large a side.
_STRIDE = 32
_MANY = (100, 1000, 10_000, 100_000)

CASES = (
    Case("SED-B aggregator, 12 concepts", "side of the image, pixels", lambda side, _: aggregated(12, side // _STRIDE),
         (192, 384, 768, 1152, 1536), (64, 96, 128)),
    Case("SED-B aggregator, 768x768", "concepts", lambda count, _: aggregated(count, 24),
         (3, 6, 12, 24, 48, 96, 171), (2, 3, 4)),
    Case("UniMatch + OOD step, small, 2 images", "side of the crop, pixels", lambda side, _: learnt(side, 2),
         (33, 65, 129, 193, 257), (33, 41, 49)),
    Case("UniMatch + OOD step, small 64²", "images of a stream", lambda count, _: learnt(64, count),
         (1, 2, 4, 8, 16), (1, 2, 3)),
    Case("loading a batch of 8", "loader processes", loaded, (1, 2, 4), (1, 2), _BATCHES, wall=True, memory=False),
    Case("UniMatch step of each rank", "ranks (gloo)", ranked, (1, 2), (1, 2), _STEPS, wall=True, memory=False),
    Case("reading a list", "records", read, _MANY, (3, 6, 12)),
    Case("start of a training", "records of each list", started, _MANY, (3, 6, 12)),
    Case("data check, 32x32", "records of each list", checked, _MANY[:3], (3, 6, 12)),
)  # fmt: skip


@dataclass(frozen=True)
class Point:
    """Seconds of one piece of work; megabytes by which the first run raised the peak of a process (None: not told)."""

    value: int
    seconds: float
    megabytes: float | None


def points(case: Case, size: Size) -> list[Point]:
    """One point after the other, each in a process of its own, so that memory of one is not hidden in another's."""
    if size.tiny:
        return [_point(case, value, size) for value in case.tiny]
    context = multiprocessing.get_context("spawn")
    found = []
    for value in case.values:
        if case.wall:  # it starts processes itself
            found.append(_point(case, value, size))
            continue
        with context.Pool(1) as pool:
            found.append(pool.apply(_named_point, (case.name, value, size)))
    return found


def _named_point(name: str, value: int, size: Size) -> Point:
    torch.set_num_threads(1)
    return _point(next(case for case in CASES if case.name == name), value, size)


def _point(case: Case, value: int, size: Size) -> Point:
    with tempfile.TemporaryDirectory() as folder:
        if not size.tiny and not case.wall:
            case.make(case.tiny[0], Path(folder))()  # libraries are loaded, kernels built
        action = case.make(value, Path(folder))
        before = find_peak_memory() or 0
        times, raised = [], 0
        clock = time.perf_counter if case.wall else time.process_time
        for _ in range(size.runs):
            begin = clock()
            told = action()
            times.append(told if isinstance(told, float) else clock() - begin)
            if len(times) == 1:
                raised = (find_peak_memory() or 0) - before
    memory = max(raised, 2**12) / 2**20 if case.memory else None
    return Point(value, max(min(times), 1e-9) / case.work, memory)
