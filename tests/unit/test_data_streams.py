from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
from itertools import pairwise

import numpy as np
import pytest
import torch

from semiovs.data import (
    StepStream,
    Views,
    batch_digest,
    loader,
    normalize,
    reference,
    steps_per_epoch,
)
from semiovs.data.draws import Draws, item_seed
from semiovs.data.sampler import PartnerSampler, StreamSampler
from semiovs.data.transforms import Geometry, cutmix_box
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from unit import toy_data

ALL = Views(labeled=1, unlabeled=2, mixing=True, ood=2)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return toy_data.sources(toy_data.make(tmp_path_factory.mktemp("data")))


def stream(sources, views=ALL, **options):
    given = {"crop_size": 33, "batch_size": 2, "seed": 3, "micro_steps_total": 12}
    return StepStream(sources, views, **(given | options))


def rows(tensor):
    return [row.numpy().tobytes() for row in tensor]


def test_item_seeds_are_stable_and_differ():
    assert item_seed(0, "labeled", 0, 0) == 932010552
    seeds = {item_seed(s, n, e, i) for s in range(3) for n in ("a", "b") for e in range(5) for i in range(50)}
    assert len(seeds) == 3 * 2 * 5 * 50
    assert all(0 <= s < 2**32 for s in seeds)


def test_each_pass_is_a_permutation_of_its_own():
    sampler = StreamSampler(11, 4, seed=0, name="x")
    passes = [[sampler.at(p).item for p in range(e * 11, (e + 1) * 11)] for e in range(3)]
    assert all(sorted(order) == list(range(11)) for order in passes)
    assert passes[0] != passes[1] != passes[2]
    assert sampler.at(0) == (0, passes[0][0])
    assert sampler.at(25).epoch == 2
    assert [StreamSampler(11, 4, seed=0, name="y").at(p).item for p in range(11)] != passes[0]
    assert StreamSampler(11, 4, seed=0, name="x").at(25) == sampler.at(25)  # whatever was asked before


@pytest.mark.parametrize("world", [1, 2, 4])
def test_the_global_order_does_not_depend_on_the_number_of_ranks(world):
    sampler = StreamSampler(10, 8 // world, seed=0, name="x")
    order = [place for step in range(5) for rank in range(world) for place in sampler.batch(step, rank, world)]
    assert order == [sampler.at(p) for p in range(40)]


@pytest.mark.parametrize("length", [2, 3, 10])
def test_no_image_is_its_own_partner(length):
    own = StreamSampler(length, 3, seed=0, name="unlabeled")
    partners = PartnerSampler(StreamSampler(length, 3, seed=0, name="mixing"), own)
    pairs = [(a.item, b.item) for k in range(200) for a, b in zip(own.batch(k), partners.batch(k), strict=True)]
    assert all(a != b for a, b in pairs)
    assert len(set(pairs)) == length * (length - 1)


def test_parts_types_and_shapes(sources):
    batch = stream(sources, unlabeled_batch_size=3, ood_batch_size=1)[0]
    assert batch.labeled.image.shape == (2, 3, 33, 33)
    assert (batch.labeled.mask.shape, len(batch.labeled.strong)) == ((2, 33, 33), 1)
    assert batch.unlabeled.weak.shape == batch.mixing.strong[1].shape == (3, 3, 33, 33)
    assert batch.unlabeled.valid.shape == (3, 33, 33)
    assert [tuple(box.shape) for box in batch.unlabeled.boxes] == [(3, 4), (3, 4)]
    assert batch.ood.label.shape == batch.ood.confidence.shape == (1, 33, 33)
    images = [batch.labeled.image, *batch.labeled.strong, batch.unlabeled.weak, *batch.unlabeled.strong, batch.ood.weak]
    assert all(t.dtype == torch.uint8 for t in [*images, batch.labeled.mask, batch.ood.label, batch.ood.confidence])
    assert batch.unlabeled.valid.dtype == batch.ood.valid.dtype == torch.bool
    assert batch.unlabeled.boxes[0].dtype == torch.int64
    assert not batch.ood.label[~batch.ood.valid].any()


def test_only_what_is_asked_for(sources):
    batch = stream(sources, Views())[0]
    assert (batch.unlabeled, batch.mixing, batch.ood, batch.labeled.strong) == (None, None, None, ())
    batch = stream(sources, Views(unlabeled=0, ood=0))[0]
    assert (batch.unlabeled.strong, batch.unlabeled.boxes, batch.mixing, batch.ood.strong) == ((), (), None, ())
    two, one = stream(sources)[4], stream(sources, Views(unlabeled=1))[4]
    assert torch.equal(two.unlabeled.weak, one.unlabeled.weak)
    assert torch.equal(two.unlabeled.strong[0], one.unlabeled.strong[0])


def test_any_route_gives_the_same_batches(sources):
    want = [batch_digest(stream(sources)[k]) for k in range(12)]
    assert len(set(want)) == 12
    assert [batch_digest(stream(sources)[k]) for k in reversed(range(12))] == want[::-1]
    torch.manual_seed(99)
    for workers, start in ((0, 0), (1, 5), (2, 0), (2, 7)):
        assert [batch_digest(b) for b in loader(stream(sources), start, 12, workers=workers)] == want[start:]
    assert want != [batch_digest(stream(sources, seed=4)[k]) for k in range(12)]


def test_ranks_share_the_global_batch(sources):
    whole = [stream(sources, batch_size=4)[k] for k in range(3)]
    ranks = [[stream(sources, rank=r, world_size=2)[k] for r in range(2)] for k in range(3)]
    for one, parts in zip(whole, ranks, strict=True):
        for name in ("labeled", "unlabeled", "mixing", "ood"):
            field = "image" if name == "labeled" else "weak"
            joined = torch.cat([getattr(getattr(part, name), field) for part in parts])
            assert torch.equal(getattr(getattr(one, name), field), joined)


def test_no_global_generator_is_touched(sources):
    def state():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = state()
    list(loader(stream(sources), 0, 3, workers=0))
    list(loader(stream(sources), 0, 3, workers=1))
    assert state() == before


def test_every_stream_cycles_on_its_own(sources):
    batches = [stream(sources, micro_steps_total=100)[k] for k in range(35)]
    assert len({row for b in batches[:5] for row in rows(b.labeled.image)}) == 10  # passes of 5 images, drawn anew
    assert len(sources.labeled) == 5
    assert len(sources.unlabeled) == 7
    assert batches[34].unlabeled.weak.shape[0] == 2


def test_partners_are_other_images(tmp_path):
    root = toy_data.make(tmp_path)
    for i in range(3):
        toy_data.Image.new("RGB", (33, 33), (i + 1, 0, 0)).save(root / f"{i}.png")
    flat = toy_data.sources(root, unlabeled=Manifest.from_folder(root, recursive=False))
    for step in range(12):
        batch = stream(flat, Views(unlabeled=0, mixing=True), scale=(1.0, 1.0))[step]
        own, partner = (part.weak.amax((1, 2, 3)) for part in (batch.unlabeled, batch.mixing))
        assert (own != partner).all()


def test_confidences_follow_the_labels(sources):
    class Scored:
        def __contains__(self, name):
            return True

        def ids(self):
            return [r.id for r in sources.ood]

        def label(self, name):
            return np.tile(np.arange(40, dtype=np.uint8) % 3, (30, 1))

        def confidence(self, name):
            return self.label(name) * 50 + 7

    scored = toy_data.list_changes(sources, ood_labels=Scored())
    part = stream(scored, confidence="score")[0].ood
    assert torch.equal(part.confidence[part.valid], part.label[part.valid] * 50 + 7)
    assert bool((stream(scored)[0].ood.confidence == 255).all())
    ready = normalize(stream(scored, confidence="score")[0], (0.5,) * 3, (0.25,) * 3).ood
    assert ready.label.dtype == torch.int64
    assert torch.equal(ready.confidence[ready.valid], (ready.label[ready.valid] * 50 + 7).float() / 255)


def test_without_ood_labels_only_padding_is_not_valid(sources):

    part = stream(toy_data.list_changes(sources, ood_labels=None), crop_size=97)[0].ood
    assert not part.label.any()
    assert part.valid.any()
    assert not (part.weak.sum(1) > 0)[~part.valid].any()


def test_normalize_leaves_floats_alone(sources):
    batch = stream(sources)[0]
    once = normalize(batch, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    assert batch_digest(normalize(once, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))) == batch_digest(once)
    expected = (
        batch.mixing.strong[1].double() / 255 - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1).double()
    ) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1).double()
    assert torch.allclose(once.mixing.strong[1].double(), expected, atol=1e-5)
    assert torch.equal(once.unlabeled.boxes[0], batch.unlabeled.boxes[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_data_errors_come_out_of_workers_as_they_are(tmp_path, workers):
    broken = toy_data.sources(toy_data.make(tmp_path))
    (tmp_path / "unlabeled/u2.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        list(loader(stream(broken), 0, 12, workers=workers))
    assert str(caught.value) == f"{tmp_path}/unlabeled/u2.png: cannot be read as an image: empty file"


def test_killed_workers_are_replaced(sources):
    want = [batch_digest(stream(sources)[k]) for k in range(12)]
    got = []
    for index, batch in enumerate(loader(stream(sources), 0, 12, workers=1)):
        got.append(batch_digest(batch))
        if index == 1:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    assert got == want


@pytest.mark.parametrize("threads", [2, 1])
def test_signals_to_the_whole_job_do_not_end_workers(sources, threads):
    """With two threads torch starts one in the worker before our hook runs there; it must block SIGTERM too."""
    torch.set_num_threads(threads)
    batches = loader(stream(sources, micro_steps_total=40), 0, 40, workers=1)
    next(batches)
    (worker,) = multiprocessing.active_children()
    subprocess.run(["sh", "-c", f"kill -TERM {worker.pid}; kill -INT {worker.pid}"], check=True)
    assert len(list(batches)) == 39
    assert worker.exitcode == 0


def test_workers_that_die_again_and_again_end_with_one_line(sources, monkeypatch):
    monkeypatch.setattr("semiovs.data.workers.RESTARTS", 0)

    class Deadly(StepStream):
        def __getitem__(self, step):
            if multiprocessing.parent_process() is not None:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(step)

    deadly = Deadly(sources, Views(), crop_size=33, batch_size=1, seed=0, micro_steps_total=4)
    with pytest.raises(DataError, match=r"killed 1 times, now at micro-step 0 .*data\.workers=1"):
        list(loader(deadly, 0, 4, workers=2))


def test_streams_that_are_missing(sources):

    with pytest.raises(DataError, match=r"needs unlabelled images \(data\.unlabeled, or unlabeled/\)"):
        stream(toy_data.list_changes(sources, unlabeled=None))
    with pytest.raises(DataError, match=r"needs out-of-distribution images \(ood\.images\)"):
        stream(toy_data.list_changes(sources, ood=None))
    with pytest.raises(DataError, match="needs labelled images"):
        stream(toy_data.list_changes(sources, labeled=Manifest([])))
    with pytest.raises(DataError, match="there is only one"):
        stream(toy_data.list_changes(sources, unlabeled=sources.unlabeled[:1]))


def test_steps_outside_the_stream(sources):
    for step in (-1, 12):
        with pytest.raises(IndexError, match="of 12"):
            stream(sources)[step]


@pytest.mark.parametrize(
    ("views", "options", "expected"),
    [
        (Views(), {"batch_size": 2}, 2),
        (Views(), {"batch_size": 2, "accumulate": 2}, 1),
        (Views(unlabeled=2), {"batch_size": 2}, 3),
        (Views(unlabeled=2), {"batch_size": 2, "unlabeled_batch_size": 1}, 7),
        (Views(unlabeled=2), {"batch_size": 2, "world_size": 8}, 1),
        (Views(ood=2), {"batch_size": 1}, 5),
    ],
)
def test_steps_per_epoch(sources, views, options, expected):
    assert steps_per_epoch(sources, views, **options) == expected


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (33, 33), (20, 70)])
@pytest.mark.parametrize("scale", [(0.5, 2.0), (0.001, 0.01), (1.0, 1.0)])
def test_geometry_of_odd_images(size, scale):
    picture = toy_data.Image.new("RGB", size, (9, 9, 9))
    labels = np.ones(size[::-1], np.uint8)
    for seed in range(20):
        geometry = Geometry.draw(size, 33, scale, Draws(seed))
        crop, mask, valid = reference.crop(picture, geometry), reference.labels(labels, geometry, 255), geometry.valid()
        assert crop.size == (33, 33)
        assert np.array_equal(mask == 1, valid)
        assert np.array_equal(np.asarray(crop)[..., 0] == 9, valid)
        assert valid.any()


def test_boxes_lie_inside_and_have_the_published_area():
    boxes = np.array([cutmix_box(100, Draws(seed)) for seed in range(800)])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    filled = areas > 0
    assert 0.4 < filled.mean() < 0.6
    assert boxes.min() >= 0
    assert boxes.max() <= 100
    assert areas[filled].min() >= 100
    assert areas[filled].max() <= 4000
    assert all(a != b for a, b in pairwise(areas[filled].tolist()[:20]))


def test_workers_start_after_opencv_used_threads(sources):
    """A pool of OpenCV threads in the main process must not reach the workers, where nobody would run it."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3.0)
        assert len(list(loader(stream(sources), 0, 3, workers=1))) == 3
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)


def test_boxes_of_half_the_area_for_a_whole_batch_or_for_none(sources):
    views = Views(unlabeled=1, box="half")
    batches = [stream(sources, views, micro_steps_total=60)[k] for k in range(60)]
    cut = [bool(batch.unlabeled.boxes[0].any()) for batch in batches]
    assert 15 < sum(cut) < 45
    for batch, some in zip(batches, cut, strict=True):
        for x0, y0, x1, y1 in batch.unlabeled.boxes[0].tolist():
            if some:
                assert 0 <= x0 < x1 <= 33
                assert 0 <= y0 < y1 <= 33
                assert x1 - x0 >= 17
                assert abs((x1 - x0) * (y1 - y0) - 33 * 33 / 2) <= 17
            else:
                assert (x0, y0, x1, y1) == (0, 0, 0, 0)
    plain = stream(sources, Views(unlabeled=1), micro_steps_total=60)[7]
    assert torch.equal(plain.unlabeled.weak, batches[7].unlabeled.weak)
    assert torch.equal(plain.unlabeled.strong[0], batches[7].unlabeled.strong[0])
    assert batch_digest(stream(sources, views, micro_steps_total=60)[7]) == batch_digest(batches[7])
