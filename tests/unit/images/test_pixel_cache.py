from __future__ import annotations

import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from semiovs.config import load_config
from semiovs.config.ood_section import OodConfig
from semiovs.config.schema import CacheConfig, DataConfig
from semiovs.data import StepStream, ViewRequest, batch_digest, loader
from semiovs.errors import ConfigError, DataError
from semiovs.images import pixel_cache
from semiovs.images.image import read_image
from semiovs.images.pixel_cache import PixelCache
from semiovs.registry import DATASETS, lookup
from unit import tars, toy_data

#: 40x30 RGB and a header, in whole disk blocks.
COST = 4096


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path_factory.mktemp("program-cache")))


@pytest.fixture
def files(tmp_path):
    for i in range(6):
        toy_data.image(tmp_path / f"in/{i}.png", i)
    return sorted((tmp_path / "in").iterdir())


@pytest.fixture
def decoded(monkeypatch):
    made = []

    def read(path):
        made.append(path.name)
        return read_image(path)

    monkeypatch.setattr(pixel_cache, "read_image", read)
    return made


def entries(root: Path) -> list[Path]:
    return sorted(root.glob("??/*"))


def used(root: Path) -> int:
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in entries(root))


def ledger(root: Path) -> int:
    return int((root / "bytes-used").read_text().splitlines()[-1])


def same(image, path) -> bool:
    return image.mode == "RGB" and np.array_equal(np.asarray(image), np.asarray(read_image(path)))


def test_each_image_is_decoded_once(tmp_path, files, decoded):
    cache = PixelCache.open(tmp_path / "cache", 10**6)
    for _ in range(3):
        assert all(same(cache.read(path), path) for path in files)
    assert decoded == [path.name for path in files]
    other = PixelCache.open(tmp_path / "cache", 10**6)
    assert same(other.read(files[0]), files[0])
    assert len(decoded) == 6
    assert used(tmp_path / "cache") == ledger(tmp_path / "cache") == 6 * COST


def test_never_above_the_budget(tmp_path, files, decoded):
    cache = PixelCache.open(tmp_path / "cache", 4 * COST + 100)
    for _ in range(2):
        assert all(same(cache.read(path), path) for path in files)
    assert used(tmp_path / "cache") == 4 * COST
    assert len(decoded) == 6 + 2
    PixelCache.open(tmp_path / "cache", 2 * COST)
    assert used(tmp_path / "cache") == ledger(tmp_path / "cache") == 2 * COST
    again = PixelCache.open(tmp_path / "cache", 3 * COST)
    assert all(same(again.read(path), path) for path in files)
    assert used(tmp_path / "cache") == 3 * COST


def test_a_changed_file_is_decoded_again(tmp_path, files, decoded):
    cache = PixelCache.open(tmp_path / "cache", 10**6)
    cache.read(files[0])
    toy_data.image(files[0], 77)
    os.utime(files[0], ns=(5, 5))
    assert same(cache.read(files[0]), files[0])
    assert decoded == ["0.png", "0.png"]


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:7], lambda d: b"", lambda d: d[:100] + b"?" + d[101:], lambda d: d + b"0"]
)
def test_damaged_entries_are_dropped(tmp_path, files, decoded, damage):
    cache = PixelCache.open(tmp_path / "cache", 10**6)
    cache.read(files[0])
    (entry,) = entries(tmp_path / "cache")
    entry.write_bytes(damage(entry.read_bytes()))
    assert same(cache.read(files[0]), files[0])
    assert len(decoded) == 2
    assert same(cache.read(files[0]), files[0])
    assert len(decoded) == 2
    assert used(tmp_path / "cache") <= ledger(tmp_path / "cache") <= 2 * COST


@pytest.mark.parametrize("text", [b"", b"12", b"none\n", b"-5\n", b"\xff\n"])
def test_a_torn_count_is_made_again(tmp_path, files, text):
    cache = PixelCache.open(tmp_path / "cache", 3 * COST)
    cache.read(files[0])
    (tmp_path / "cache/bytes-used").write_bytes(text)
    for path in files:
        cache.read(path)
    assert used(tmp_path / "cache") == ledger(tmp_path / "cache") == 3 * COST


def test_what_a_killed_process_left(tmp_path, files):
    cache = PixelCache.open(tmp_path / "cache", 3 * COST)
    cache.read(files[0])
    (part,) = [path.with_suffix(".part") for path in entries(tmp_path / "cache")]
    part.write_bytes(b"half")
    (tmp_path / "cache/notes.txt").write_text("not ours")
    PixelCache.open(tmp_path / "cache", 3 * COST)
    assert not part.exists()
    assert (tmp_path / "cache/notes.txt").exists()


def test_a_process_that_dies_leaves_the_count_too_high(tmp_path, files, monkeypatch):
    cache = PixelCache.open(tmp_path / "cache", 3 * COST)

    def die(*_):
        raise SystemExit

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(SystemExit):
        cache.read(files[0])
    monkeypatch.undo()
    assert ledger(tmp_path / "cache") == COST
    PixelCache.open(tmp_path / "cache", 3 * COST)
    assert ledger(tmp_path / "cache") == used(tmp_path / "cache") == 0


def _read_all(root: Path, budget: int, files: list[Path]) -> int:
    cache = PixelCache.open(root, budget)
    return sum(cache.read(path).width for path in files)


def test_many_processes_share_a_budget(tmp_path):
    for i in range(40):
        toy_data.image(tmp_path / f"in/{i:02d}.png", i)
    files = sorted((tmp_path / "in").iterdir())
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        jobs = [pool.submit(_read_all, tmp_path / "cache", 25 * COST, files[i:] + files[:i]) for i in (0, 0, 10, 20)]
        assert [job.result() for job in jobs] == [40 * 40] * 4
    assert used(tmp_path / "cache") == ledger(tmp_path / "cache") == 25 * COST


def test_a_full_disk_ends_the_taking_in(tmp_path, files, monkeypatch):
    cache = PixelCache.open(tmp_path / "cache", 10**6)

    def full(self, *_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert same(cache.read(files[0]), files[0])
    monkeypatch.undo()
    assert same(cache.read(files[1]), files[1])
    assert entries(tmp_path / "cache") == []


def test_the_folder_may_be_removed_at_any_time(tmp_path, files):
    cache = PixelCache.open(tmp_path / "cache", 10**6)
    cache.read(files[0])
    shutil.rmtree(tmp_path / "cache")
    assert all(same(cache.read(path), path) for path in files)
    assert not (tmp_path / "cache").exists()


def test_bad_images_are_told_as_without_a_cache(tmp_path, files):
    cache = PixelCache.open(tmp_path / "cache", 10**6)
    files[0].write_bytes(b"x")
    tar = tars.write(tmp_path / "s.tar", [("a.png", tars.picture())])
    for path in (files[0], tmp_path / "none.png", tar / "none.png"):
        with pytest.raises(DataError) as plain:
            read_image(path)
        with pytest.raises(DataError) as cached:
            cache.read(path)
        assert str(plain.value) == str(cached.value)
    assert same(cache.read(tar / "a.png"), tar / "a.png")
    assert len(entries(tmp_path / "cache")) == 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data\.cache\.dir: .* cannot be written"):
        PixelCache.open(tmp_path / "file/cache", 10)


def test_the_same_batches_with_a_cache(tmp_path):
    root = toy_data.make(tmp_path)
    make = lookup(DATASETS, "folder", kind="data set").load()
    digests = []
    for gigabytes in (0, 5 * COST / 1e9, 1):
        cache = CacheConfig(dir=str(root / "cache"), budget_gb=gigabytes)
        sources = make(DataConfig(root=str(root), cache=cache), OodConfig()).read()
        stream = StepStream(
            sources, ViewRequest(unlabeled=2, ood=2), crop_size=32, batch_size=2, seed=1, micro_steps_total=6
        )
        digests += [[batch_digest(b) for b in loader(stream, 0, 6, workers=workers)] for workers in (0, 2)]
        assert used(root / "cache") <= gigabytes * 1e9
    assert len(entries(root / "cache")) == 16  # labelled, unlabelled and OOD
    assert all(found == digests[0] for found in digests)


def test_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = load_config(None, ["data.cache.budget_gb=2.5", "data.cache.dir=fast"])
    assert loaded.config.data.cache == CacheConfig(dir=str(tmp_path / "fast"), budget_gb=2.5)
    assert load_config(None).config.data.cache.budget_gb == 0
    with pytest.raises(ConfigError, match="budget_gb"):
        load_config(None, ["data.cache.budget_gb=-1"])


def test_bands_are_not_cached(tmp_path):
    root = toy_data.make(tmp_path)
    make = lookup(DATASETS, "folder", kind="data set").load()
    data = DataConfig(root=str(root), cache=CacheConfig(dir=str(root / "cache"), budget_gb=1), bands=(1,))
    with pytest.raises(ConfigError, match=r"data\.cache: keeps RGB"):
        make(data, None).read()
