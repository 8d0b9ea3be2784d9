from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.data import ViewRequest, batch_digest, fast, reference
from semiovs.data.draws import ItemDraws
from semiovs.data.items import Augment
from semiovs.data.streams import StepStream
from semiovs.data.transforms import Geometry, StrongLook
from semiovs.errors import ConfigError
from semiovs.images.image import read_image
from semiovs.images.lazy_image import read_lazily
from unit import toy_data

CROP = 97


def natural(seed: int, size: tuple[int, int]) -> Image.Image:
    """Amplitudes that fall like 1/f with colours that go together, as in photographs; as JPEG makes it."""
    rng = np.random.default_rng(seed)
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectra = (rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(size=(3, *frequency.shape))) / frequency
    layers = np.fft.irfft2(spectra, s=(height, width))
    layers = 0.7 * layers[:1] + 0.4 * layers
    layers = (layers - layers.mean()) / layers.std() * 55 + rng.uniform(90, 150)
    file = io.BytesIO()
    Image.fromarray(np.clip(layers, 0, 255).astype(np.uint8).transpose(1, 2, 0)).save(file, "JPEG", quality=90)
    return Image.open(file).convert("RGB")


@pytest.fixture(scope="module")
def picture():
    return natural(0, (200, 150))


def difference(a, b):
    return np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int))


def both(picture, look):
    """Difference of the two pipelines in levels, over the whole picture."""
    return difference(reference.make_strong(picture, look), fast.make_strong(np.asarray(picture), look))


FACTORS = (0.5, 0.61, 0.93, 1.0, 1.27, 1.5)
#: Each operation with its bounds: mean and largest difference, levels.
EACH_JITTER = pytest.mark.parametrize(
    ("operation", "amounts", "mean", "most"),
    [
        ("brightness", FACTORS, 0.0, 0),
        ("contrast", FACTORS, 0.01, 1),
        ("saturation", FACTORS, 0.01, 1),
        ("hue", (-0.25, -0.13, -0.01, 0.0, 0.04, 0.25), 0.5, 8),
    ],
)


@pytest.mark.parametrize("seed", range(4))
@EACH_JITTER
def test_jitter_is_within_its_bounds(seed, operation, amounts, mean, most):
    image = natural(seed, (160, 120))
    assert len(amounts) == 6
    for amount in amounts:
        off = both(image, StrongLook(((operation, amount),)))
        assert off.mean() <= mean, amount
        assert off.max() <= most, amount


def test_gray_is_equal():
    values = np.arange(256, dtype=np.uint8)
    cube = np.stack(np.meshgrid(values[::3], values[::3], values, indexing="ij"), axis=-1).reshape(-1, 256, 3)
    off = both(Image.fromarray(cube), StrongLook(gray=True))
    assert off.max() <= 1  # releases of OpenCV before 5 weigh the channels with 14 bits
    assert off.mean() < 0.005


@pytest.mark.parametrize("radius", [0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 1.3, 1.7, 2.0])
def test_blur_is_within_its_bounds(picture, radius):
    off = both(picture, StrongLook(radius=radius))
    assert off.mean() <= 1
    assert off.max() <= 16
    flat = np.full((20, 30, 3), 77, np.uint8)
    assert np.array_equal(fast.blur(flat, radius), flat)


def test_colours_at_the_ends_of_the_scale():
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)[None].repeat(4, 0)
    for operation in ("brightness", "contrast", "saturation"):
        for amount in FACTORS:
            assert both(Image.fromarray(corners), StrongLook(((operation, amount),))).max() <= 1


SIZES = [(64, 48), (48, 64), (37, 91), (1, 1), (1, 200), (200, 1), (97, 97), (150, 100)]


@pytest.mark.parametrize("size", SIZES)
def test_labels_are_equal(size):
    labels = np.random.default_rng(1).integers(0, 256, size[::-1]).astype(np.uint8)
    for seed in range(150):
        geometry = Geometry.draw(size, CROP, (0.3, 3.0), ItemDraws(seed))
        got = fast.crop_labels(labels, geometry, 255)
        assert np.array_equal(got, reference.crop_labels(labels, geometry, 255)), geometry
        assert got.flags["C_CONTIGUOUS"]


def test_labels_are_equal_where_the_closed_formula_is_not():
    """PIL adds up the step of its nearest neighbour; somewhere along 1500 pixels that rounds to another index."""
    labels = np.arange(250, dtype=np.uint8)[None].repeat(2, 0)
    unlike = 0
    for width in range(600, 1500, 7):
        geometry = Geometry((width, 2), width, 0, 0, flip=False)
        want = reference.crop_labels(labels, geometry, 255)
        assert np.array_equal(fast.crop_labels(labels, geometry, 255), want)
        unlike += not np.array_equal(np.floor((np.arange(width) + 0.5) * (250 / width)), want[0])
    assert unlike


@pytest.mark.parametrize(("scale", "mean", "most"), [((0.4, 1.0), 0.1, 3), ((1.0, 1.0), 0.0, 0), ((1.0, 2.5), 0.5, 4)])
def test_crops_are_within_their_bounds(picture, scale, mean, most):
    for seed in range(40):
        geometry = Geometry.draw(picture.size, CROP, scale, ItemDraws(seed))
        got = fast.crop(picture, geometry)
        off = difference(reference.crop(picture, geometry), got)
        assert got.shape == (CROP, CROP, 3)
        assert not got[~geometry.valid()].any()
        assert off.mean() <= mean, geometry
        assert off.max() <= most, geometry


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    """A JPEG file with half of the colours' resolution, as cameras write it; its sides are no multiples of 8."""
    path = tmp_path_factory.mktemp("photograph") / "large.jpg"
    natural(5, (1237, 931)).save(path, quality=90)
    return path


@pytest.mark.parametrize(
    ("scale", "mean", "most"), [((0.3, 2.0), 0.5, 4), ((0.13, 0.25), 1.5, 16), ((0.07, 0.12), 1.5, 16)]
)
def test_crops_of_files_are_within_their_bounds(photograph, scale, mean, most):
    """From a quarter of the sides on, less than the whole JPEG file is decoded."""
    image, seen = read_lazily(photograph), set()
    whole = read_image(photograph)

    def decode(asked):
        pixels, divisor = image.decode(asked)
        seen.add(divisor)
        return pixels, divisor

    for seed in range(12):
        geometry = Geometry.draw(whole.size, CROP, scale, ItemDraws(seed))
        got = fast.crop(replace(image, decode=decode), geometry)
        off = difference(reference.crop(whole, geometry), got)
        assert off.mean() <= mean, geometry
        assert off.max() <= most, geometry
    assert seen == ({1} if scale[1] > 0.25 else {2} if scale[1] == 0.25 else {4, 8} & seen)


@pytest.mark.parametrize("size", SIZES)
def test_crops_of_odd_images(size):
    image = natural(3, size)
    for seed in range(40):
        geometry = Geometry.draw(size, CROP, (0.3, 3.0), ItemDraws(seed))
        assert difference(reference.crop(image, geometry), fast.crop(image, geometry)).max() <= 4, geometry


def pairs(count, views=2):
    images = [natural(i, size) for i, size in enumerate([(200, 150), (150, 200), (180, 180), (240, 120)])]
    for seed in range(count):
        image = images[seed % len(images)]
        yield tuple(
            Augment(CROP, (0.5, 2.0), name).unlabeled(image, views, ItemDraws(seed)) for name in ("reference", "fast")
        )


def test_the_whole_chain_stays_within_a_level_and_keeps_the_distribution():
    off, means, spreads = [], [], []
    for want, got in pairs(300):
        assert all(torch.equal(a, b) for a, b in zip(want.boxes, got.boxes, strict=True))
        assert torch.equal(want.valid, got.valid)
        for a, b in zip((want.weak, *want.strong), (got.weak, *got.strong), strict=True):
            assert b.dtype == torch.uint8
            assert b.is_contiguous()
            a, b = a.float(), b.float()
            off.append((a - b).abs().mean())
            means.append((a.mean((1, 2)) - b.mean((1, 2))).abs())
            spreads.append((a.std((1, 2)) - b.std((1, 2))).abs())
    assert torch.stack(off).mean() < 0.5
    assert torch.stack(off).max() < 4  # a jitter multiplies what the one before it rounded
    assert torch.stack(means).mean(0).max() < 0.3
    assert torch.stack(means).max() < 2
    assert torch.stack(spreads).mean(0).max() < 0.3


def test_both_pipelines_draw_alike():
    image, mask = natural(1, (120, 90)), np.zeros((90, 120), np.uint8)
    for seed in range(60):
        after = []
        for name in ("reference", "fast"):
            draws, augment = ItemDraws(seed), Augment(33, pipeline=name)
            augment.labeled(image, mask, 1, draws)
            augment.ood(image, mask, mask, 2, draws)
            after.append((draws.chance(), draws.uniform(0, 1), draws.torch_uniform()))
        assert after[0] == after[1]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return toy_data.sources(toy_data.make(tmp_path_factory.mktemp("fast")))


def test_a_stream_of_the_fast_pipeline(sources):
    views = ViewRequest(labeled=1, unlabeled=2, mixing=True, ood=2)
    given = {"crop_size": 33, "batch_size": 2, "seed": 3, "micro_steps_total": 6}
    slow, quick, again = (StepStream(sources, views, **given, pipeline=p) for p in ("reference", "fast", "fast"))
    for k in range(6):
        a, b = slow[k], quick[k]
        assert torch.equal(a.labeled.mask, b.labeled.mask)
        assert torch.equal(a.ood.label, b.ood.label)
        assert torch.equal(a.ood.valid, b.ood.valid)
        assert torch.equal(a.unlabeled.boxes[1], b.unlabeled.boxes[1])
        assert difference(a.mixing.weak, b.mixing.weak).max() <= 8
        assert batch_digest(b) == batch_digest(again[k])
    assert batch_digest(slow[0]) != batch_digest(quick[0])


def test_the_configuration_knows_it():
    from semiovs.config.load import load_config

    assert load_config(None, ["data.pipeline=fast"]).config.data.pipeline == "fast"
    with pytest.raises(ConfigError, match=r"data\.pipeline"):
        load_config(None, ["data.pipeline=fats"])
