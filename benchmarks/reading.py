"""Reading: images from a tar against files, a list of members against `tarfile`'s, decoded copies against decoding.

All files are in the memory of the system, so this is the processor's share of the work; a disk comes on top of it.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks import pictures
from benchmarks.measure import Row, Size, alternately, rate, repeated
from semiovs.data.draws import ItemDraws
from semiovs.data.items import Augment
from semiovs.images.containers.container import forget_container, open_container
from semiovs.images.containers.tar_index import index_tar
from semiovs.images.image import read_image
from semiovs.images.pixel_cache import PixelCache
from semiovs.images.readers import RGB, Picture


def rows(size: Size) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEMIOVS_CACHE"] = folder
        root = Path(folder)
        pairs = pictures.make(root, size.of(24, 3), (500, 375) if not size.tiny else (100, 75))
        files = [image for image, _ in pairs]
        return [
            *_tar(files, root, size),
            *_index(root, size),
            *_decoded(files, root, size),
            *_samples(files, root, size),
        ]


def of_images(files: Sequence[Path], folder: Path, size: Size) -> list[Row]:
    """The rows that depend on the images, for images of your own."""
    os.environ["SEMIOVS_CACHE"] = str(folder)
    return [*_tar(files, folder, size), *_decoded(files, folder, size), *_samples(files, folder, size)]


def _tar(files: Sequence[Path], root: Path, size: Size) -> list[Row]:
    tar = root / "images.tar"
    with tarfile.open(tar, "w") as packed:
        for number, file in enumerate(files):
            packed.add(file, f"{number}{file.suffix}")
    members = [tar / name for name in open_container(tar).names()]
    assert sorted(read_image(m).tobytes() for m in members) == sorted(read_image(f).tobytes() for f in files)
    turns, work = size.of(4, 1), size.of(4, 1) * len(files)
    times = alternately(size, file=_all(read_image, files, turns), tar=_all(read_image, members, turns))
    return [rate("image from a tar, against a file", times, "tar", "file", "images / CPU s", work=work)]


def _index(root: Path, size: Size) -> list[Row]:
    """Headers of a tar, checked and written down, and taken from the cache; the baseline only lists them."""
    tar, count = root / "many.tar", size.of(5000, 50)
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as packed:
        for number in range(count):
            packed.addfile(tarfile.TarInfo(f"{number:06d}.jpg"))
    open_container(tar)

    def known() -> None:
        forget_container(tar)
        open_container(tar)

    def listed() -> None:
        with tarfile.open(tar) as opened:
            opened.getmembers()

    times = alternately(size, ours=lambda: index_tar(tar), known=repeated(known, 10), plain=listed)
    times = {**times, "known": [seconds / 10 for seconds in times["known"]]}
    unit = "members / CPU s"
    return [
        rate("index of a tar, made", times, "ours", "plain", unit, work=count),
        rate("index of a tar, from the cache", times, "known", "plain", unit, work=count),
    ]


def _decoded(files: Sequence[Path], root: Path, size: Size) -> list[Row]:
    cached = _filled(files, root).read
    turns, work = size.of(4, 1), size.of(4, 1) * len(files)
    times = alternately(size, decoded=_all(read_image, files, turns), cached=_all(cached, files, turns))
    return [rate("image, decoded once", times, "cached", "decoded", "images / CPU s", work=work)]


def _samples(files: Sequence[Path], root: Path, size: Size) -> list[Row]:
    """A weak and two strong views of 321x321, as `loader` measures them."""
    cache, side = _filled(files, root), size.of(321, 65)
    found = []
    for pipeline in ("fast", "reference"):
        augment = Augment(side, pipeline=pipeline)
        decode, load = (RGB.read_lazily, cache.read_lazily) if pipeline == "fast" else (RGB, cache)

        def sample(read: Callable[[Path], Picture], path: Path, augment: Augment = augment) -> object:
            return augment.unlabeled(read(path), 2, ItemDraws(len(path.name)))

        times = alternately(
            size,
            decoded=_all(partial(sample, decode), files, 1),
            cached=_all(partial(sample, load), files, 1),
        )
        name = f"unlabelled sample, {pipeline} pipeline, decoded once"
        found.append(rate(name, times, "cached", "decoded", "samples / CPU s", work=len(files)))
    return found


def _filled(files: Sequence[Path], root: Path) -> PixelCache:
    cache = PixelCache.open(root / "decoded", 10**9)
    for file in files:
        assert cache.read(file).tobytes() == read_image(file).tobytes()
    return cache


def _all(read: Callable[[Path], object], paths: Sequence[Path], turns: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(turns):
            for path in paths:
                read(path)

    return run
