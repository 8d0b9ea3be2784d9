from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.audit.band_statistics import list_training_images, measure_bands
from semiovs.audit.check import check_collection
from semiovs.config.schema import DataConfig
from semiovs.data import Batch, Labeled, Views, bands, batch_digest, fast, normalize, reference
from semiovs.data.collection import Collection
from semiovs.data.dataset import Augment
from semiovs.data.draws import Draws
from semiovs.data.streams import StepStream
from semiovs.data.transforms import Geometry, Look
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.readers import RGB, BandImage, BandReader, image_reader
from semiovs.images.record import Record
from semiovs.vocab import Vocabulary
from unit import toy_data

RNG = np.random.default_rng(0)
SMOOTH = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (12, 16, 3), np.uint8)).resize((128, 96), Image.Resampling.BICUBIC)
)


def as_bands(pixels: np.ndarray) -> BandImage:
    """An 8-bit (H, W, C) picture as its reader gives it."""
    return BandImage(np.ascontiguousarray(pixels.transpose(2, 0, 1) / np.float32(255)).astype(np.float32))


@pytest.mark.parametrize("fit", [None, (160, 90)])
@pytest.mark.parametrize("seed", range(12))
def test_crops_are_those_of_the_reference(seed, fit):
    """One geometry: large and small, at the border, flipped, padded; within rounding of 8 bits."""
    geometry = Geometry.draw((128, 96), 64, (0.4, 2.0), Draws(seed), fit=fit)
    ours = bands.to_tensor(bands.crop(as_bands(SMOOTH), geometry)).to(torch.float32) / 257
    theirs = reference.to_tensor(reference.crop(Image.fromarray(SMOOTH), geometry)).float()
    assert ours.shape == theirs.shape == (3, 64, 64)
    assert (ours - theirs).abs().max() <= (
        1.01 if fit is None else 2.6
    )  # PIL rounds twice, OpenCV to 1/2048 of a pixel
    assert (ours - theirs).abs().mean() < 0.34  # of two roundings: 1/3


def test_sixteen_bits_survive_the_whole_way():
    values = RNG.integers(0, 65536, (2, 40, 40), np.uint16)
    picture = BandImage(values.astype(np.float32) / np.float32(65535))
    whole = Geometry((40, 40), 40, 0, 0, flip=False)
    tensor = bands.to_tensor(bands.crop(picture, whole))
    assert tensor.dtype == torch.uint16
    assert np.array_equal(tensor.numpy(), values)
    batch = normalize(Batch(Labeled(tensor[None], torch.zeros(1, 40, 40, dtype=torch.uint8))), (0.5, 0.25), (0.5, 0.1))
    assert batch.labeled.image.dtype == torch.float32
    expected = (values[None] / 65535 - np.array([0.5, 0.25]).reshape(2, 1, 1)) / np.array([0.5, 0.1]).reshape(2, 1, 1)
    np.testing.assert_allclose(batch.labeled.image.numpy(), expected, atol=2e-6)


def test_strong_views_of_bands():
    crop = bands.crop(as_bands(SMOOTH), Geometry((128, 96), 96, 0, 0, flip=False))
    brighter = bands.strong(crop, Look(jitter=(("brightness", 1.5),)))
    np.testing.assert_allclose(brighter, np.clip(crop * 1.5, 0, 1), atol=1e-6)
    flat = bands.strong(crop, Look(jitter=(("contrast", 0.0),)))
    np.testing.assert_allclose(flat, np.broadcast_to(crop.mean((1, 2), keepdims=True), crop.shape), atol=1e-6)
    gained = bands.strong(crop, Look(gains=(0.5, 1.0, 0.75)))
    np.testing.assert_allclose(gained, crop * np.array([0.5, 1, 0.75], np.float32)[:, None, None], atol=1e-6)
    levels = (crop.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    blurred = bands.strong(crop, Look(radius=1.7))
    as_fast = np.abs(blurred * 255 - fast.strong(levels, Look(radius=1.7)).transpose(2, 0, 1))
    assert as_fast.max() < 1.5
    theirs = np.asarray(reference.strong(Image.fromarray(levels), Look(radius=1.7))).transpose(2, 0, 1)
    assert np.abs(blurred * 255 - theirs)[:, 6:-6, 6:-6].max() < 2.5
    assert np.array_equal(bands.strong(crop, Look()), crop)


def test_looks_hold_what_they_say():
    """`color` draws what it always drew; the others never touch a colour."""
    for seed in range(200):
        plain, color = Look.draw(Draws(seed)), Look.draw(Draws(seed), "color")
        assert plain == color
        assert Look.draw(Draws(seed), "none", 4) == Look()
        blur = Look.draw(Draws(seed), "blur", 4)
        assert (blur.jitter, blur.gray, blur.gains) == ((), False, ())
        for channels in (None, 4):
            tone = Look.draw(Draws(seed), "tone", channels)
            assert {name for name, _ in tone.jitter} in (set(), {"brightness", "contrast"})
            assert (tone.gray, tone.gains) == (False, ())
        of_bands = Look.draw(Draws(seed), "color", 4)
        assert not of_bands.gray
        assert {name for name, _ in of_bands.jitter} <= {"brightness", "contrast"}
        assert len(of_bands.gains) == 4
        assert all(0.75 <= gain <= 1.25 for gain in of_bands.gains)


def test_tone_of_rgb_keeps_gray_gray_and_blue_blue(tmp_path):
    toy_data.make(tmp_path)
    blue = np.zeros((64, 64, 3), np.uint8)
    blue[..., 2] = 120
    for seed in range(30):
        item = Augment(32, look="tone").unlabeled(Image.fromarray(blue), 2, Draws(seed))
        for view in item.strong:
            assert view.dtype == torch.uint8
            assert view[0].equal(view[1])  # red and green stay alike; hue and saturation would part them from blue


def toy_sources(root, dtype=np.uint16, bands_=4, **changes) -> Collection:
    """Labelled, unlabelled and evaluation images as arrays in .tif files, of values that differ a lot between the parts."""
    tifffile = pytest.importorskip("tifffile")
    records = {}
    for part, count, level in (("l", 3, 1000), ("u", 4, 3000), ("v", 2, 60000)):
        records[part] = []
        for i in range(count):
            values = np.random.default_rng(ord(part) + i).integers(level, level + 999, (40, 30, bands_)).astype(dtype)
            path = root / f"{part}{i}.tif"
            tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
            toy_data.mask(root / f"{part}{i}.png", i, (30, 40))
            mask = None if part == "u" else root / f"{part}{i}.png"
            records[part].append(Record(f"{part}{i}", path, mask))
    given = {
        "vocabulary": Vocabulary.of(toy_data.NAMES), "masks": MaskReader(toy_data.NAMES),
        "labeled": Manifest(records["l"]), "unlabeled": Manifest(records["u"]), "val": Manifest(records["v"]),
        "images": BandReader((4, 1)),
    }  # fmt: skip
    return Collection.of(**(given | changes))


def test_statistics_are_of_training_images_alone(tmp_path):
    sources = toy_sources(tmp_path)
    records = list_training_images(sources)
    found = measure_bands(records, sources.images, threads=3)
    assert found == measure_bands(records, sources.images, threads=1)
    import tifffile

    for band, row in zip((4, 1), found, strict=True):
        raw = np.stack([tifffile.imread(record.image)[..., band - 1] for record in records]).astype(np.float64)
        assert row.band == band
        assert row.mean == pytest.approx((raw / 65535).mean(), rel=1e-5)
        assert row.std == pytest.approx((raw / 65535).std(), rel=1e-4)
        assert (row.minimum, row.maximum, row.nodata) == (raw.min(), raw.max(), 0)
        assert raw.min() <= row.low < raw.min() + 40
        assert raw.max() - 40 < row.high <= raw.max()
        assert row.maximum < 60000


def test_statistics_leave_out_what_was_not_measured(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = np.full((20, 20, 2), 4.0, np.float32)
    values[:10, :, 0] = 8.0
    values[5:15, :, 0] = np.nan
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    first, second = measure_bands([Record("a", path)], BandReader((1, 2), ((0.0, 8.0), (0.0, 8.0))))
    assert (first.mean, first.std, first.nodata) == (0.75, 0.25, 0.5)
    assert (second.mean, second.std) == (0.5, 1.0)  # a constant band is left alone
    raw = measure_bands([Record("a", path)], BandReader((1,)), scaled=False)[0]
    assert (raw.minimum, raw.maximum, raw.as_json()["mean"]) == (4.0, 8.0, None)
    with pytest.raises(DataError, match=r"set data\.range"):
        measure_bands([Record("a", path)], BandReader((1,)))


def test_batches_of_bands_are_a_function_of_the_step(tmp_path):
    stream = StepStream(
        toy_sources(tmp_path), Views(unlabeled=2), crop_size=24, batch_size=2, seed=3, micro_steps_total=5, look="color"
    )
    batch = stream[3]
    assert batch.labeled.image.shape == (2, 2, 24, 24)
    assert batch.labeled.image.dtype == torch.uint16
    assert batch.labeled.mask.dtype == torch.uint8
    assert batch_digest(batch) == batch_digest(stream[3]) != batch_digest(stream[2])
    assert not batch.unlabeled.strong[0].equal(batch.unlabeled.strong[1])


def test_the_check_names_every_file_with_other_channels(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    sources = toy_sources(tmp_path)
    check_collection(sources)
    for name, channels in (("u1", 6), ("v0", 6), ("u2", 3)):
        tifffile.imwrite(
            tmp_path / f"{name}.tif",
            np.zeros((40, 30, channels), np.uint16),
            photometric="minisblack",
            planarconfig="contig",
        )
    with pytest.raises(DataError) as told:
        check_collection(sources)
    text = str(told.value)
    assert "u2.tif: has 3 channel(s), but data.bands asks for 4" in text
    assert "2 image(s) have 6 channels, the other 6 have 4" in text
    assert "u1.tif" in text
    assert "v0.tif" in text


def test_the_reader_of_a_configuration():
    assert image_reader(DataConfig()) is RGB
    reader = image_reader(DataConfig(bands=(4, 3), range=(0.0, 10000.0), rgb=(3, 2, 1)))
    assert reader == BandReader((4, 3), ((0.0, 10000.0),) * 2, (3, 2, 1))
    assert BandReader.from_json(reader.as_json()) == reader
    each = image_reader(DataConfig(bands=(1, 2), range=((0, 1), (-30, 0))))
    assert each == BandReader((1, 2), ((0.0, 1.0), (-30.0, 0.0)))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"range": (0, 1)}, "range: needs bands"),
        ({"mean": (0.5,)}, "mean: needs bands"),
        ({"bands": (0, 1)}, "bands: channels are counted from 1"),
        ({"bands": ()}, "at least 1"),
        ({"bands": (1,), "rgb": (1, 2, 0)}, "rgb: channels"),
        ({"bands": (1, 2), "mean": (0.5,), "std": (0.5,)}, "mean: 1 values for 2 bands"),
        ({"bands": (1,), "mean": (0.5,)}, "give mean and std together"),
        ({"bands": (1, 2), "range": (5, 5)}, "lo comes first"),
        ({"bands": (1, 2), "range": ((0, 1),)}, "one pair"),
        ({"bands": (1, 2), "range": (1,)}, r"expected \[lo, hi\]"),
        ({"bands": (1, 2), "range": ((0, 1), 3)}, r"expected \[lo, hi\]"),
        ({"bands": (1, 2), "range": "all"}, r"expected \[lo, hi\]"),
    ],
)
def test_keys_that_do_not_hold(given, told):
    with pytest.raises(ValueError, match=told):
        DataConfig(**given)


def test_what_a_teacher_and_a_person_see(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    values = RNG.integers(0, 10001, (20, 30, 5), np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    reader = BandReader((5, 4), ((0.0, 10000.0),) * 2, (3, 2, 1))
    seen = np.asarray(reader.rgb(path))
    np.testing.assert_allclose(seen, values[..., [2, 1, 0]] / 10000 * 255, atol=0.51)
    gray = np.asarray(BandReader((5,), ((0.0, 10000.0),)).rgb(path))
    np.testing.assert_allclose(gray, np.repeat(values[..., 4:], 3, 2) / 10000 * 255, atol=0.51)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sixteen_bits_are_normalised_on_the_gpu():
    pixels = torch.from_numpy(RNG.integers(0, 65536, (2, 4, 8, 8), np.uint16))
    batch = Batch(Labeled(pixels, torch.zeros(2, 8, 8, dtype=torch.uint8)))
    here = normalize(batch, (0.5,) * 4, (0.2,) * 4).labeled.image
    there = normalize(batch.pin_memory().to("cuda", non_blocking=True), (0.5,) * 4, (0.2,) * 4).labeled.image
    torch.testing.assert_close(there.cpu(), here)
