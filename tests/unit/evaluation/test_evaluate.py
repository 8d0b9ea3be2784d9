"""Scoring a model on images with masks."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import pil_to_tensor

from semiovs.config.schema import EvalConfig
from semiovs.errors import DataError, SemiovsWarning, UsageError
from semiovs.evaluation import EvaluationStoppedError, evaluate
from semiovs.evaluation.evaluate import normalize_image
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.models import Normalization
from unit import toy_data

NAMES = ("dark", "bright", "never")
MASKS = MaskReader(NAMES)
RAW = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Brightness(nn.Module):
    """Class 1 above 0.5, class 0 below; has a BatchNorm so that training mode would show."""

    def __init__(self, classes=3):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.classes, self.sizes = classes, []

    def forward(self, image):
        self.sizes.append(tuple(image.shape))
        assert not torch.is_grad_enabled()
        bright = image.mean(1, keepdim=True) - 0.5 + 0 * self.norm(image).mean()
        return torch.cat([-bright, bright, *[bright - 9] * (self.classes - 2)], 1)


@pytest.fixture
def records(tmp_path):
    return toy_data.write_bright_and_dark(tmp_path)


def score(records, model=None, **changes):
    settings = EvalConfig(**changes.pop("settings", {}))
    given = {"masks": MASKS, "normalization": RAW, "settings": settings, **changes}
    return evaluate(model or Brightness(), records, **given)


def test_pixels_lie_in_memory_as_torchvision_lays_them():
    """Convolutions add up in an order that depends on it."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8))
    ours, theirs = normalize_image(image, RAW, "cpu"), pil_to_tensor(image)[None].float() / 255
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()


def test_what_does_not_fit_into_memory_is_scored_in_windows_and_told(records, tmp_path):
    class Small(Brightness):
        def forward(self, image):
            if image.shape[-1] > 128:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(image)

    pixels = np.random.default_rng(0).integers(0, 256, (20, 140, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray((pixels.astype(float).mean(2) > 127.5).astype(np.uint8)).save(tmp_path / "wide_m.png")
    given = [*records, Record("wide", tmp_path / "wide.png", tmp_path / "wide_m.png")]
    with pytest.warns(SemiovsWarning, match=r"140x20 pixels do not fit .* eval\.window=128"):
        found = score(given, Small())
    assert found.iou == score(given).iou
    assert found.as_json()["in_windows"] == 1
    assert "in_windows" not in score(given).as_json()


def test_it_ends_within_an_image_when_it_is_asked_to(records):
    model = Brightness().train()
    with pytest.raises(EvaluationStoppedError):
        score(records, model, stopping=lambda: len(model.sizes) == 2)
    assert len(model.sizes) == 2
    assert model.norm.training


@pytest.mark.parametrize("settings", [{}, {"batch_size": 3}, {"mode": "center_crop", "window": 16}])
def test_images_that_are_asked_for_come_back_with_truth_and_prediction(records, settings):
    found = score(records, settings=settings, shown=["5", "2", "missing"])
    assert [example.record.id for example in found.examples] == ["2", "5"]
    for example in found.examples:
        truth = MASKS(example.record.mask)
        assert np.array_equal(example.truth, truth)
        said = example.predicted != 255
        assert said.all() if not settings.get("mode") else said.sum() == 16 * 16
        right = (np.asarray(Image.open(example.record.image), float).mean(2) > 127.5).astype(np.uint8)
        assert np.array_equal(example.predicted[said], right[said])
    assert score(records, settings=settings).examples == ()


def test_each_view_is_one_look_and_mirrored_looks_agree(records):
    plain, often = Brightness(), Brightness()
    once = score(records[:1], plain)
    more = score(records[:1], often, settings={"flip": True, "scales": [1.0, 2.0]})
    assert plain.sizes == [(1, 3, 20, 33)]
    assert often.sizes == [(1, 3, 20, 33)] * 2 + [(1, 3, 40, 66)] * 2
    assert (
        score(records[:1], settings={"flip": True}).iou == once.iou
    )  # a pixel's class does not depend on its neighbours here
    assert more.pixels == once.pixels


def test_scores_are_those_of_the_pixels(records):
    model = Brightness()
    result = score(records, model)
    right = sum(33 * (20 + i - 4) for i in range(7))
    assert result.pixels == sum(33 * (20 + i - 1) for i in range(7))
    assert result.pixel_accuracy == pytest.approx(100 * right / result.pixels)
    assert result.present == (True, True, False)
    assert result.iou[2] == 0
    assert result.miou == pytest.approx(sum(result.iou) / 3)
    assert result.miou_present == pytest.approx(sum(result.iou[:2]) / 2)
    assert result.images == 7
    assert model.sizes[3] == (1, 3, 23, 33)  # native size
    plain = result.as_json(NAMES)
    assert plain["iou"]["bright"] == result.iou[1]
    assert plain["absent"] == ["never"]
    assert 0 <= plain["miou"] <= 100


def test_every_modules_own_mode_is_put_back(records):
    model = Brightness().train()
    model.norm.eval()
    before = model.norm.running_mean.clone()
    score(records, model)
    assert model.training
    assert not model.norm.training
    assert torch.equal(model.norm.running_mean, before)
    with pytest.raises(DataError):
        score(records, model, masks=MaskReader(NAMES[:2]))
    assert model.training


def test_modes_of_inference(records):
    model = Brightness()
    whole = score(records)
    assert score(records, model, settings={"mode": "sliding"}, crop_size=24).miou == pytest.approx(whole.miou)
    assert set(model.sizes) == {(1, 3, 24, 24)}
    cropped = score(records, settings={"mode": "center_crop", "window": 16})
    assert cropped.pixels < whole.pixels
    assert cropped.pixels >= 7 * 15 * 16
    with pytest.raises(UsageError, match="window"):
        score(records, settings={"mode": "sliding"})


def test_normalisation_reaches_the_model(records):
    shifted = score(records, normalization=Normalization((0.9,) * 3, (1.0,) * 3))
    assert shifted.iou[1] < 20  # nearly all looks dark


def test_shares_of_ranks_are_disjoint_and_complete(records):
    seen = []
    for rank in range(3):
        model = Brightness()
        score(records, model, rank=rank, world_size=3)
        seen += [size[2] for size in model.sizes]
    assert sorted(seen) == [20 + i for i in range(7)]


def test_autocast_and_progress_are_used(records):
    entered, told = [], []

    @contextmanager
    def autocast():
        entered.append(1)
        with torch.autocast("cpu", torch.bfloat16):
            yield

    score(records, autocast=autocast, progress=lambda done, total: told.append((done, total)))
    assert len(entered) == 7
    assert told == [(i, 7) for i in range(1, 8)]


@pytest.mark.parametrize("damage", ["image", "mask", "size", "value", "ignored"])
def test_bad_data_is_named(records, damage):
    target = records[5]
    if damage == "image":
        target.image.write_bytes(b"x")
    elif damage == "mask":
        target.mask.unlink()
    elif damage == "size":
        Image.fromarray(np.zeros((3, 4), np.uint8)).save(target.mask)
    elif damage == "value":
        Image.fromarray(np.full((25, 33), 3, np.uint8)).save(target.mask)
    else:
        for record in records:
            with Image.open(record.mask) as mask:
                void = Image.new("L", mask.size, 255)
            void.save(record.mask)
    with pytest.raises(DataError, match=r"5(_m)?\.png|ignored"):
        score(records)


def test_no_images_and_other_classes(records):
    with pytest.raises(DataError, match="no images to evaluate"):
        score([])
    with pytest.raises(DataError, match="the model knows 4 classes, the masks have 3"):
        score(records, Brightness(4))


def test_images_of_one_size_are_evaluated_together(records, tmp_path):
    for name in "ab":  # three of 20 x 33 one after the other, one of 21 x 33 between them and two more
        Image.open(records[0].image).save(tmp_path / f"{name}.png")
        Image.open(records[0].mask).save(tmp_path / f"{name}_m.png")
    more = [Record(name, tmp_path / f"{name}.png", tmp_path / f"{name}_m.png") for name in "ab"]
    images, model = [records[0], *more, records[1], *more], Brightness()
    told = []
    together = score(images, model, settings={"batch_size": 2}, progress=lambda *done: told.append(done))
    assert [shape[0] for shape in model.sizes] == [2, 1, 1, 2]
    assert told == [(2, 6), (3, 6), (4, 6), (6, 6)]
    one_by_one = score(images)
    assert together.iou == one_by_one.iou
    assert together.pixels == one_by_one.pixels
