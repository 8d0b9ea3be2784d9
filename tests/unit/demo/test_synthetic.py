"""The synthetic world: the same from the same seed, whole or not there, and what it promises about classes and
teachers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semiovs.config.ood_section import OodConfig
from semiovs.config.schema import DataConfig
from semiovs.datasets.folder import FolderDataset
from semiovs.demo import synthetic
from semiovs.demo.synthetic import CLASSES, COLORS, OOD, TARGET, VOCABULARY, WorldSize, render_scene, write_world
from semiovs.demo.textures import FOREIGN, NAMED, OTHER, Plane
from semiovs.errors import DataError, UsageError

SMALL = WorldSize(labeled=3, unlabeled=4, ood=5, val=2)


def _files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_world_is_a_pure_function_of_its_seed(tmp_path):
    a, b, c = (write_world(tmp_path / name, seed, size=SMALL) for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    assert _files(a) == _files(b)
    assert _files(a).keys() == _files(c).keys()
    assert _files(a)["images/labeled-0000.png"] != _files(c)["images/labeled-0000.png"]


def test_more_images_leave_the_first_ones_alone(tmp_path):
    few = _files(write_world(tmp_path / "few", 1, size=SMALL))
    more = _files(write_world(tmp_path / "more", 1, size=replace(SMALL, unlabeled=5, ood=6)))
    assert "unlabeled/unlabeled-0000.png" in few
    assert {name: more[name] for name in few} == few


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_class_is_labelled(tmp_path, seed):
    root = write_world(tmp_path / "w", seed, size=replace(SMALL, labeled=14))
    shown = [np.unique(np.asarray(Image.open(path))) for path in sorted((root / "masks").iterdir())]
    assert len(shown) == 14
    assert all(sum(label in ids for ids in shown) >= 2 for label in range(len(CLASSES)))


@pytest.mark.parametrize("seed", range(100, 105))
def test_no_class_is_without_labels_in_the_demo(tmp_path, seed):
    root = write_world(tmp_path / "w", seed, size=replace(WorldSize(), unlabeled=1, ood=1, val=1))
    pixels = sum(
        np.bincount(np.asarray(Image.open(path)).ravel(), minlength=len(CLASSES)) for path in (root / "masks").iterdir()
    )
    assert pixels.min() > 100


def test_world_is_a_folder_data_set(tmp_path):
    root = write_world(tmp_path / "w", 0, size=SMALL)
    sources = FolderDataset(DataConfig(root=str(root)), OodConfig(images="ood", mode="naive")).read()
    assert sources.vocabulary == VOCABULARY
    assert sources.vocabulary.names == CLASSES
    assert [len(m) for m in (sources.labeled, sources.unlabeled, sources.val, sources.ood)] == [3, 4, 2, 5]
    assert {p.name for p in (root / "ood-truth").iterdir()} == {p.name for p in (root / "ood").iterdir()}


def test_every_texture_draws_both_colours_on_any_plane():
    textures = {**NAMED, **FOREIGN, **OTHER}
    assert len(textures) == len(NAMED) + len(FOREIGN) + len(OTHER) > 20
    for name, texture in textures.items():
        for seed in range(3):
            pattern = texture(Plane.draw(64, (7, 12), np.random.default_rng(seed)))
            assert pattern.shape == (64, 64), name
            assert pattern.dtype == np.float32, name
            assert pattern.min() >= 0, name
            assert pattern.max() <= 1, name
            assert pattern.std() > 0.1, name


def test_no_texture_is_in_two_sets():
    """The encoder must not have been pretrained on what the demo asks for."""
    assert not set(NAMED) & set(FOREIGN)
    assert not (set(NAMED) | set(FOREIGN)) & set(OTHER)
    assert len(OTHER) >= 20
    assert len(CLASSES) == len(COLORS) == len(NAMED) + 1


def test_unnamed_objects_are_background_and_mostly_elsewhere():
    unnamed = {}
    for domain in (TARGET, OOD):
        scenes = [render_scene(domain, 64, np.random.default_rng(seed)) for seed in range(40)]
        assert not any(((s.objects == 0) & (s.mask > 0)).any() for s in scenes)
        objects = sum(len(np.unique(s.objects)) - 1 for s in scenes)
        unnamed[domain.name] = sum(len(np.unique(s.objects[s.mask == 0])) - 1 for s in scenes) / objects
    assert 0 < unnamed["target"] < 0.25
    assert 0.3 < unnamed["ood"] < 0.6


def test_colour_does_not_give_the_class_away():
    """Mean colours of a class's objects differ more among themselves than classes differ from each other."""
    colors = {label: [] for label in range(1, len(CLASSES))}
    for seed in range(60):
        scene = render_scene(TARGET, 64, np.random.default_rng(seed))
        for number in range(1, scene.objects.max() + 1):
            where = scene.objects == number
            if where.sum() > 50 and scene.mask[where][0]:
                colors[int(scene.mask[where][0])].append(scene.image[where].mean(0))
    within = np.mean([np.std(found, axis=0).mean() for found in colors.values()])
    between = np.std([np.mean(found, axis=0) for found in colors.values()], axis=0).mean()
    assert min(map(len, colors.values())) >= 5
    assert between < within / 2


@pytest.mark.parametrize("wrong", [{"labeled": 0}, {"val": -1}, {"side": 8}])
def test_size_that_cannot_be(wrong):
    with pytest.raises(UsageError, match=f"{next(iter(wrong))} .* must be at least"):
        WorldSize(**wrong)


def test_seed_below_zero(tmp_path):
    with pytest.raises(UsageError, match="seed -1"):
        write_world(tmp_path / "w", -1, size=SMALL)


def test_a_full_folder_is_left_alone(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_world(tmp_path / "w", 0, size=SMALL)
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_half_written(tmp_path, monkeypatch, error):
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) > 6:
            raise error

    monkeypatch.setattr(synthetic, "save_png", fail)
    expected = DataError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_world(tmp_path / "w", 0, size=SMALL)
    assert isinstance(error, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert not list(tmp_path.iterdir())
