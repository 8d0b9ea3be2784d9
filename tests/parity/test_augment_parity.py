"""The reference augmentation, number by number, against arrays recorded from the published code."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from semiovs.data import Batch, Labeled, normalize
from semiovs.data.draws import ItemDraws
from semiovs.data.items import Augment, read_labeled, read_ood
from semiovs.data.label_source import MaskFiles
from semiovs.data.reference import crop, crop_labels, make_strong, to_tensor
from semiovs.data.transforms import Geometry, StrongLook, draw_cutmix_box, draw_radius, draw_size
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record

GOLDEN = np.load(Path(__file__).parent / "goldens/deeplab/augment.npz")
SCALE = (0.5, 2.0)
SEEDS = (100, 101, 105)
ITEMS = [(k, s) for k in (0, 1) for s in SEEDS]


def source(k: int) -> tuple[Image.Image, np.ndarray]:
    return Image.fromarray(GOLDEN[f"src/img{k}"]), GOLDEN[f"src/mask{k}"]


def fixed(size: tuple[int, int], crop: int, x: int = 0, y: int = 0, *, flip: bool = False) -> Geometry:
    return Geometry(size, crop, x, y, flip)


def hwc(image: torch.Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


def test_draws_equal_the_global_generators_and_leave_them_alone():
    state = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    draws = ItemDraws(5)
    own = [
        draws.integer(0, 99),
        draws.chance(),
        draws.uniform(0, 1),
        draws.below(50),
        draws.permutation(4),
        draws.torch_uniform(),
    ]
    assert random.getstate() == state[0]
    assert np.array_equal(np.random.get_state()[1], state[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), state[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        py, generator = random.Random(5), np.random.RandomState(5)
        ours = [py.randint(0, 99), py.random(), generator.uniform(0, 1), generator.randint(0, 50)]
        assert own == [*ours, torch.randperm(4).tolist(), torch.rand(1).item()]


@pytest.mark.parametrize(("k", "seed"), [(k, s) for k in (0, 1) for s in (0, 1, 2)])
def test_random_resize(k, seed):
    image, mask = source(k)
    size = draw_size(image.size, SCALE, ItemDraws(seed))
    assert size == tuple(GOLDEN[f"resize/img{k}_seed{seed}_size"])
    if f"resize/img{k}_seed{seed}" in GOLDEN:
        resized = image.resize(size, Image.Resampling.BILINEAR)
        assert np.array_equal(np.asarray(resized), GOLDEN[f"resize/img{k}_seed{seed}"])
        expected = GOLDEN[f"resize/mask{k}_seed{seed}"]
        side = max(size)
        resized = crop_labels(mask, fixed(size, side), 255)[: size[1], : size[0]]
        assert np.array_equal(resized, expected)


@pytest.mark.parametrize(("k", "seed"), [(k, s) for k in (0, 1) for s in (0, 1, 2)])
def test_crop_with_padding(k, seed):
    image, mask = source(k)
    draws = ItemDraws(seed)
    x, y = (draws.integer(0, max(side, 81) - 81) for side in image.size)
    geometry = fixed(image.size, 81, x, y)
    pad = 254 if seed % 2 else 255
    expected = GOLDEN[f"crop81/mask{k}_seed{seed}"]
    assert np.array_equal(crop_labels(mask, geometry, pad), expected)
    assert (expected[~geometry.valid()] == pad).all()
    if pad == 254:  # occurs in no mask, so it marks exactly the padding
        assert np.array_equal(geometry.valid(), expected != pad)
    if seed == 0:
        assert np.array_equal(np.asarray(crop(image, geometry)), GOLDEN[f"crop81/img{k}_seed0"])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_flip(seed):
    assert (ItemDraws(seed).chance() < 0.5) == bool(GOLDEN[f"hflip/img0_seed{seed}_flipped"])
    image, mask = source(0)
    geometry = fixed(image.size, 100, flip=True)
    assert np.array_equal(np.asarray(crop(image, geometry))[:75], GOLDEN["src/img0"][:, ::-1])
    assert np.array_equal(crop_labels(mask, geometry, 255)[:75], GOLDEN["src/mask0"][:, ::-1])
    assert geometry.valid()[:75].all()
    assert not geometry.valid()[75:].any()


@pytest.mark.parametrize("radius", [0.1, 0.5, 1.0, 1.7, 2.0])
def test_gaussian_blur(radius):
    blurred = np.asarray(source(0)[0].filter(ImageFilter.GaussianBlur(radius)))[:40, :40]
    assert np.array_equal(blurred, GOLDEN[f"gauss/img0_radius{radius}"])


@pytest.mark.parametrize("seed", range(6))
def test_random_blur(seed):
    blurred = np.asarray(make_strong(source(0)[0], StrongLook(radius=draw_radius(ItemDraws(seed))))).astype(np.int64)
    assert blurred.sum() == GOLDEN[f"blur/img0_seed{seed}_sum"]


def test_cutmix_boxes():
    boxes = GOLDEN["cutmix_box/S_seed_y0_y1_x0_x1"].tolist()
    assert len(boxes) == 48
    for side, seed, y0, y1, x0, x1 in boxes:
        assert draw_cutmix_box(side, ItemDraws(seed)) == (x0, y0, x1, y1), (side, seed)


def test_normalize():
    image = to_tensor(source(0)[0])[None]
    batch = normalize(Batch(Labeled(image, image[:, 0])), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert batch.labeled.mask.dtype == torch.int64
    flat = batch.labeled.image.double().numpy().ravel()
    assert np.array_equal(batch.labeled.image.numpy().ravel()[::997][:23], GOLDEN["normalize/img0_sample"])
    assert np.allclose([flat.sum(), np.linalg.norm(flat)], GOLDEN["normalize/img0_stats"], rtol=1e-6)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    root = tmp_path_factory.mktemp("items")
    made = []
    for k in (0, 1):
        image, mask = source(k)
        image.save(root / f"{k}.png")
        Image.fromarray(mask).save(root / f"{k}_m.png")
        made.append(Record(str(k), root / f"{k}.png", root / f"{k}_m.png"))
    return made


MASKS = MaskReader(tuple(f"c{i}" for i in range(21)))


@pytest.mark.parametrize(("k", "seed"), ITEMS)
def test_labelled_item(records, k, seed):
    item = Augment(65, SCALE).labeled(*read_labeled(records[k], MASKS), 0, ItemDraws(seed))
    key = f"dataset/train_l_item{k}_seed{seed}"
    assert np.array_equal(item.mask.numpy(), GOLDEN[f"{key}/mask"])
    assert np.array_equal(hwc(item.image)[::4, ::4], GOLDEN[f"{key}/img_u8"])
    assert item.image.long().sum() == GOLDEN[f"{key}/img_u8_sum"]


def assert_views(key, weak, strong):
    assert np.array_equal(hwc(weak)[::4, ::4], GOLDEN[f"{key}/w_u8_s4"])
    assert weak.long().sum() == GOLDEN[f"{key}/w_u8_sum"]
    for name, view in zip(("s1", "s2"), strong, strict=True):
        difference = hwc(view)[::4, ::4].astype(int) - GOLDEN[f"{key}/{name}_u8_s4"]
        assert np.abs(difference).max() <= 2
        assert view.long().sum().item() == pytest.approx(int(GOLDEN[f"{key}/{name}_u8_sum"]), abs=view.numel())


@pytest.mark.parametrize(("k", "seed"), ITEMS)
def test_unlabelled_item(records, k, seed):
    image, _ = read_labeled(records[k], MASKS)
    item = Augment(65, SCALE).unlabeled(image, 2, ItemDraws(seed))
    key = f"dataset/train_u_item{k}_seed{seed}"
    assert_views(key, item.weak, item.strong)
    assert np.array_equal(item.valid.numpy(), GOLDEN[f"{key}/ignore_mask"] != 255)
    for name, box in zip(("box1", "box2"), item.boxes, strict=True):
        y0, y1, x0, x1 = GOLDEN[f"{key}/{name}"].tolist()
        assert box.tolist() == [x0, y0, x1, y1]


@pytest.mark.parametrize(("k", "seed"), ITEMS)
def test_ood_item(records, k, seed):
    files = MaskFiles({r.id: r.mask for r in records}, MASKS)
    image, label, confidence = read_ood(records[k], files, scores=False)
    item = Augment(65, SCALE).ood(image, label, confidence, 2, ItemDraws(seed))
    key = f"dataset/train_u_ood_item{k}_seed{seed}"
    assert_views(key, item.weak, item.strong)
    assert np.array_equal(item.label.numpy(), GOLDEN[f"{key}/label"])
    assert np.array_equal(item.valid.numpy(), GOLDEN[f"{key}/ignore_mask"] != 255)
    assert bool((item.confidence == 255).all())


@pytest.mark.parametrize(("k", "seed"), ITEMS)
def test_one_strong_view_equals_the_first_of_two(records, k, seed):
    image, _ = read_labeled(records[k], MASKS)
    one, two = (Augment(65, SCALE).unlabeled(image, views, ItemDraws(seed)) for views in (1, 2))
    assert torch.equal(one.strong[0], two.strong[0])
    assert torch.equal(one.boxes[0], two.boxes[0])
