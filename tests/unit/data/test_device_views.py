from __future__ import annotations

import numpy as np
import pytest
import torch

from semiovs.data import Batch, ViewRequest, batch_digest, fast, loader, make_missing_views, reference
from semiovs.data.device_views import LOOK_NUMBERS, encode_look, make_strong
from semiovs.data.draws import ItemDraws
from semiovs.data.items import Augment, stack_items
from semiovs.data.streams import StepStream
from semiovs.data.transforms import StrongLook
from semiovs.errors import ConfigError
from semiovs.images.readers import RGB
from unit import toy_data
from unit.data.test_fast import EACH_JITTER, FACTORS, difference, natural


def on_device(pixels, *looks):
    """Views of one image (H, W, 3), all in one batch."""
    images = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float().expand(len(looks), -1, -1, -1)
    made = make_strong(images, torch.stack([encode_look(look) for look in looks]))
    return made.to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.fixture(scope="module")
def picture():
    return natural(0, (200, 150))


@EACH_JITTER
def test_jitter_is_within_the_bounds_of_the_fast_pipeline(picture, operation, amounts, mean, most):
    looks = [StrongLook(((operation, amount),)) for amount in amounts]
    for look, got in zip(looks, on_device(picture, *looks), strict=True):
        off = difference(fast.make_strong(np.asarray(picture), look), got)
        assert off.mean() <= mean, look
        assert off.max() <= most, look
        exact = difference(np.asarray(reference.make_strong(picture, look)), got)
        assert exact.mean() <= 0.01, look
        assert exact.max() <= (4 if operation == "hue" else 1), look


def test_gray_blur_and_nothing_at_all(picture):
    radii = (0.1, 0.3, 0.5, 0.8, 1.3, 2.0)
    looks = [StrongLook(), StrongLook(gray=True), *(StrongLook(radius=radius) for radius in radii)]
    plain, gray, *blurred = on_device(picture, *looks)
    assert np.array_equal(plain, np.asarray(picture))
    assert difference(fast.make_strong(np.asarray(picture), looks[1]), gray).max() <= 1
    for radius, got in zip(radii, blurred, strict=True):
        off = difference(fast.blur(np.asarray(picture), radius), got)
        assert off.max() <= 2, radius
        assert off.mean() <= 0.3, radius


@pytest.mark.parametrize(
    ("operation", "amounts", "most"),
    [*((operation, FACTORS, 1) for operation in ("brightness", "contrast", "saturation")), ("hue", (-0.25, 0.25), 8)],
)
def test_colours_at_the_ends_of_the_scale(operation, amounts, most):
    corners = np.array([[r, g, b] for r in (0, 255) for g in (0, 255) for b in (0, 255)], np.uint8)[None].repeat(4, 0)
    looks = [StrongLook(((operation, amount),)) for amount in amounts]
    for look, got in zip(looks, on_device(corners, *looks), strict=True):
        assert difference(fast.make_strong(corners, look), got).max() <= most


def test_two_thousand_looks_have_the_distribution_of_the_fast_pipeline():
    """Means, spreads and quantiles of views whose looks are drawn, in their order, agree within a level."""
    images = [np.asarray(natural(seed, (32, 24))) for seed in range(8)]
    want, got = [], []
    for start in range(0, 2000, 200):
        looks = [StrongLook.draw(ItemDraws(seed)) for seed in range(start, start + 200)]
        chosen = [images[i % 8] for i in range(200)]
        want += [fast.make_strong(image, look) for image, look in zip(chosen, looks, strict=True)]
        batch = torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2).float()
        made = make_strong(batch, torch.stack([encode_look(look) for look in looks]))
        got += [*made.permute(0, 2, 3, 1).numpy()]
    a, b = np.stack(want).astype(np.float32), np.stack(got)
    off = np.abs(a - b).mean((1, 2, 3))
    assert off.mean() < 0.5
    assert off.max() < 4
    assert np.abs(a.mean((0, 1, 2)) - b.mean((0, 1, 2))).max() < 0.3
    assert np.abs(a.std((0, 1, 2)) - b.std((0, 1, 2))).max() < 0.3
    marks = np.linspace(0.01, 0.99, 25)
    assert np.abs(np.quantile(a, marks, axis=(0, 1, 2)) - np.quantile(b, marks, axis=(0, 1, 2))).max() <= 1
    means = np.abs(np.quantile(a.mean((1, 2)), marks, axis=0) - np.quantile(b.mean((1, 2)), marks, axis=0))
    assert means.max() <= 1


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return toy_data.sources(toy_data.make(tmp_path_factory.mktemp("device")))


def streams(sources, **options):
    views = ViewRequest(labeled=1, unlabeled=2, mixing=True, ood=2)
    given = {"crop_size": 33, "batch_size": 2, "seed": 3, "micro_steps_total": 4, "pipeline": "fast"}
    return [StepStream(sources, views, **given, **options, augment=where) for where in ("workers", "device")]


def test_a_stream_draws_alike_and_sends_the_weak_views_alone(sources):
    workers, device = streams(sources)
    for k in range(4):
        a, b = workers[k], device[k]
        assert {view.shape for view in (*b.unlabeled.strong, *b.ood.strong, *b.labeled.strong)} == {(2, LOOK_NUMBERS)}
        whole = make_missing_views(b)
        for one, other in ((a.labeled, whole.labeled), (a.unlabeled, whole.unlabeled), (a.ood, whole.ood)):
            for x, y in zip(one.strong, other.strong, strict=True):
                assert y.dtype == torch.uint8
                assert difference(x, y).mean() < 4
        assert torch.equal(a.unlabeled.weak, whole.unlabeled.weak)
        assert torch.equal(a.unlabeled.boxes[1], whole.unlabeled.boxes[1])
        assert torch.equal(a.ood.label, whole.ood.label)
        assert batch_digest(make_missing_views(a)) == batch_digest(a)
    sizes = []
    device[0].map(lambda tensor: sizes.append(tensor.numel() * tensor.element_size()) or tensor)
    assert device.count_bytes() == sum(sizes) < workers.count_bytes() / 2


def test_a_batch_depends_on_its_step_alone(sources):
    """Whatever was read before, and by which process: so a resumed run sees what it would have seen."""
    _, stream = streams(sources)
    whole = [batch_digest(make_missing_views(batch)) for batch in loader(stream, 0, 4)]
    assert [batch_digest(make_missing_views(batch)) for batch in loader(stream, 2, 4, workers=1)] == whole[2:]
    ranks = [streams(sources, rank=rank, world_size=2)[1][0].unlabeled.strong[0] for rank in (0, 1)]
    assert not torch.equal(*ranks)


def test_the_views_of_one_image_are_those_of_its_batch(tmp_path):
    """What is drawn for one image touches no other one."""
    toy_data.image(tmp_path / "a.png", 1, (60, 50))
    augment = Augment(33, pipeline="fast", looks_only=True)
    items = [augment.unlabeled(RGB.read_lazily(tmp_path / "a.png"), 2, ItemDraws(seed)) for seed in range(6)]
    together = make_missing_views(Batch(stack_labels(6), stack_items(items))).unlabeled
    for i, item in enumerate(items):
        alone = make_missing_views(Batch(stack_labels(1), stack_items([item]))).unlabeled
        for a, b in zip(alone.strong, together.strong, strict=True):
            assert difference(a[0], b[i]).max() <= 1


def stack_labels(count):
    from semiovs.data import Labeled

    return Labeled(torch.zeros(count, 3, 33, 33, dtype=torch.uint8), torch.zeros(count, 33, 33, dtype=torch.uint8))


def test_the_configuration_knows_it():
    from semiovs.config.load import load_config

    assert load_config(None, []).config.data.augment is None
    assert load_config(None, ["data.augment=device"]).config.data.augment == "device"
    with pytest.raises(ConfigError, match=r"data\.augment"):
        load_config(None, ["data.augment=gpu"])
    with pytest.raises(ConfigError, match="augment: device is for RGB"):
        load_config(None, ["data.augment=device", "data.bands=[1,2]"])
