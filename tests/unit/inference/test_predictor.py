"""The predictor: every kind of picture, every mode, sizes as shown."""

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.config.schema import EvalConfig
from semiovs.errors import DataError, UsageError, WeightsError
from semiovs.inference import Predictor
from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, save_model
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary(("sky", "road", "car"), (), ((1, 2, 3), (4, 5, 6), (7, 8, 9)))


@pytest.fixture(scope="module")
def segmenter():
    torch.manual_seed(0)
    return build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny").eval()


@pytest.fixture(scope="module")
def weights(segmenter, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    card = ModelCard("deeplabv3plus", 3, CLASSES, {"encoder": "tiny"}, evaluation={"mode": "whole", "window": 64})
    save_model(path, segmenter, card)
    return path


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 65, 3), np.uint8)


def test_path_image_and_array_give_the_same(weights, pixels, tmp_path):
    predictor = Predictor.load(weights, device="cpu")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = [predictor(p) for p in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(pixels), pixels)]
    for prediction in found:
        assert prediction.labels.shape == (40, 65)
        assert prediction.labels.dtype == np.uint8
        assert (prediction.labels == found[0].labels).all()
    first = found[0]
    assert first.scores.shape == (3, 40, 65)
    assert first.scores.dtype == np.float32
    np.testing.assert_allclose(first.scores.sum(0), 1, rtol=1e-5)
    assert (first.scores.argmax(0) == first.labels).all()
    np.testing.assert_array_equal(first.scores.max(0), first.confidence)
    assert predictor.vocabulary == CLASSES


def test_labels_are_the_models(segmenter, weights, pixels):
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (segmenter.normalization.mean, segmenter.normalization.std))
    with torch.no_grad():
        expected = segmenter((x - mean) / std)[0].softmax(0)
    prediction = Predictor.load(weights, device="cpu")(pixels)
    np.testing.assert_allclose(prediction.scores, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_labels_fit_the_picture_as_shown(weights, pixels, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(pixels)
    stored.save(tmp_path / "a.png", exif=exif)
    predictor = Predictor.load(weights, device="cpu")
    by_path = predictor(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        by_image = predictor(image)
    assert by_path.labels.shape == ((65, 40) if orientation in (6, 8) else (40, 65))
    assert (by_path.labels == by_image.labels).all()
    assert by_path.image.size == by_path.labels.shape[::-1]


@pytest.mark.parametrize("kind", ["L", "RGBA", "P", "CMYK"])
def test_all_kinds_of_images(weights, pixels, kind):
    assert Predictor.load(weights, device="cpu")(Image.fromarray(pixels).convert(kind)).labels.shape == (40, 65)


def test_modes(weights, pixels):
    sliding = Predictor.load(weights, device="cpu", mode="sliding", window=32)(pixels)
    assert sliding.labels.shape == (40, 65)
    np.testing.assert_allclose(sliding.scores.sum(0), 1, rtol=1e-4)
    resized = Predictor.load(weights, device="cpu", mode="resize", multiple=32)(pixels)
    assert resized.scores.shape == (3, 40, 65)
    crop = Predictor.load(weights, device="cpu", mode="center_crop", window=32)(pixels)
    assert (crop.labels != 255).sum() == 32 * 32
    assert (crop.labels[4:36, 16:48] != 255).all()
    assert crop.confidence[0, 0] == 0
    assert crop.scores[:, 0, 0].tolist() == [0, 0, 0]
    assert Predictor.load(weights, mode=None).settings == EvalConfig(window=64)


def test_one_pixel(weights):
    assert Predictor.load(weights, device="cpu")(np.zeros((1, 1, 3), np.uint8)).labels.shape == (1, 1)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_wrong_arrays(weights, array):
    with pytest.raises(DataError, match="uint8 RGB"):
        Predictor.load(weights, device="cpu")(array)


def test_wrong_calls(weights, tmp_path):
    with pytest.raises(WeightsError):
        Predictor.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="device"):
        Predictor.load(weights, device="gpu0")
    with pytest.raises(UsageError, match=r"eval\.mode"):
        Predictor.load(weights, device="cpu", mode="tiles")
    with pytest.raises(UsageError, match=r"eval\.windw"):
        Predictor.load(weights, device="cpu", windw=3)
    with pytest.raises(DataError, match="no such file"):
        Predictor.load(weights, device="cpu")(tmp_path / "a.png")
