"""The predictor: every kind of picture, every mode, sizes as shown."""

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.config.schema import EvalConfig
from semiovs.errors import DataError, ResourcesError, SemiovsWarning, UsageError, WeightsError
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


def test_path_image_array_and_tensor_give_the_same(weights, pixels, tmp_path):
    predictor = Predictor.load(weights, device="cpu")
    Image.fromarray(pixels).save(tmp_path / "a.png")
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    given = (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(pixels), pixels, tensor, tensor.contiguous())
    found = [predictor(p) for p in given]
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
        np.zeros((4, 4), np.uint16),
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


NO_PICTURES = [
    *(b"x", bytearray(b"x"), [1], [[1, 2], [3, 4]], (1, 2), {"a": 1}, None, 7, 0.5, object(), np.uint8(3)),
    *("", "no such file", "a\0b"),
    *(np.zeros((4, 4, 3), kind) for kind in (object, bool)),
    *(np.zeros(shape, np.uint8) for shape in (0, (1, 4, 4, 3))),
    *(torch.zeros(shape, dtype=torch.uint8) for shape in ((4, 4, 3), (1, 3, 4, 4), (3,), (3, 0, 4))),
    *(torch.zeros(3, 4, 4, dtype=kind) for kind in (torch.float32, torch.bfloat16)),
    *(Image.new("RGB", (0, 4)), Image.new("F", (4, 4)), Image.new("I", (4, 4), -7)),
]


@pytest.mark.parametrize("picture", NO_PICTURES)
def test_whatever_is_no_picture_is_refused_alike(weights, picture):
    with pytest.raises(DataError) as caught:
        Predictor.load(weights, device="cpu")(picture)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_a_file_and_its_open_image_have_the_same_pixels_or_neither_is_taken(weights, tmp_path, mode):
    gray = np.random.default_rng(1).integers(0, 60000, (20, 30), np.uint16)
    eight = Image.fromarray((gray >> 8).astype(np.uint8))
    image = (
        Image.fromarray(gray)
        if mode == "I;16"
        else Image.fromarray(gray.astype(np.int32))
        if mode == "I"
        else eight.convert(mode)
    )
    suffix = "tif" if mode in ("CMYK", "YCbCr", "I") else "png"
    image.save(tmp_path / f"a.{suffix}")
    predictor, made = Predictor.load(weights, device="cpu"), []
    for picture in (tmp_path / f"a.{suffix}", Image.open(tmp_path / f"a.{suffix}")):
        try:
            made.append(np.asarray(predictor(picture).image))
        except DataError:
            made.append(None)
    assert (made[0] is None) == (made[1] is None)
    assert made[0] is None or (made[0] == made[1]).all()


def test_a_truncated_open_image_is_refused(weights, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:5000])
    with Image.open(tmp_path / "a.png") as image, pytest.raises(DataError, match="cannot be read"):
        Predictor.load(weights, device="cpu")(image)


NO_MEMORY = [
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    MemoryError(),
]


def limited(predictor, most, error=NO_MEMORY[0]):
    """The predictor on a machine that has no memory for inputs of more than `most` pixels."""

    def check(module, inputs):
        if inputs[0].shape[-1] * inputs[0].shape[-2] > most:
            raise error

    predictor.model.register_forward_pre_hook(check)
    return predictor


@pytest.mark.parametrize("error", NO_MEMORY)
def test_what_does_not_fit_as_a_whole_is_predicted_in_windows_and_told_once(weights, error, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (140, 150, 3), np.uint8)
    predictor = limited(Predictor.load(weights, device="cpu"), 128 * 128, error)
    with pytest.warns(
        SemiovsWarning,
        match=r"150x140 pixels do not fit .* windows of 128 \(eval\.mode=sliding eval\.window=128 eval\.stride=96\)",
    ) as told:
        first, found = predictor(large), predictor(large)
    assert len(told) == 1
    assert (first.labels == found.labels).all()
    assert found.scores.shape == (3, 140, 150)
    expected = Predictor.load(weights, device="cpu", mode="sliding", window=128, stride=96)(large)
    assert (found.labels == expected.labels).all()
    found.write_scores(tmp_path / "scores.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npz")["scores"], expected.scores.astype(np.float16))
    small = predictor(large[:100, :100])
    assert (small.labels == Predictor.load(weights, device="cpu")(large[:100, :100]).labels).all()


def test_what_does_not_fit_in_any_way_is_one_line(weights, pixels):
    predictor = limited(Predictor.load(weights, device="cpu"), 100)
    for mode in ("whole", "sliding"):
        predictor.settings = EvalConfig(mode=mode, window=32)
        with pytest.raises(ResourcesError, match=r"out of memory.*eval\.mode=sliding") as caught:
            predictor(pixels)
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)


def test_windows_that_do_not_fit_name_one_that_does(weights):
    large = np.zeros((300, 300, 3), np.uint8)
    predictor = limited(Predictor.load(weights, device="cpu", mode="sliding", window=280), 130 * 130)
    with pytest.raises(ResourcesError, match=r"300x300 pixels: out of memory; eval.mode=sliding eval\.window=128 fits"):
        predictor(large)


def test_pictures_that_do_not_fit_together_are_halved_and_told(weights, pixels):
    predictor, seen = Predictor.load(weights, device="cpu"), []

    def check(module, inputs):
        if len(inputs[0]) > 2:
            raise NO_MEMORY[0]
        seen.append(len(inputs[0]))

    predictor.model.register_forward_pre_hook(check)
    with pytest.warns(SemiovsWarning, match=r"pictures of 65x40 .* from here on \(--batch-size\)") as told:
        found = list(predictor.stream([pixels] * 8, batch_size=8))
    assert [str(one.message).split()[-5] for one in told] == ["4", "2"]
    assert seen == [2, 2, 2, 2]
    assert (found[7].labels == predictor(pixels).labels).all()


def test_a_stream_is_lazy_and_in_order_whatever_the_sizes(weights, pixels):
    predictor, taken = Predictor.load(weights, device="cpu"), []
    pictures = [pixels, pixels[:20], Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1), pixels[..., 0]]

    def give():
        for number, picture in enumerate(pictures):
            taken.append(number)
            yield picture

    stream = predictor.stream(give(), batch_size=2)
    first = next(stream)
    assert taken == [0, 1]
    found = [first, *stream]
    for one, picture in zip(found, pictures, strict=True):
        np.testing.assert_allclose(one.confidence, predictor(picture).confidence, atol=1e-5)
    gray = np.asarray(found[4].image)
    assert (gray == pixels[..., :1]).all()


@pytest.mark.parametrize("given", [None, 7, "a.png", np.zeros((4, 4, 3), np.uint8), torch.zeros(3, 4, 4), [1], [None]])
def test_wrong_streams(weights, given):
    with pytest.raises(DataError, match="picture"):
        list(Predictor.load(weights, device="cpu").stream(given))
    with pytest.raises(UsageError, match="batch_size 0"):
        next(Predictor.load(weights, device="cpu").stream([], batch_size=0))


def test_several_pictures_are_no_picture(weights, pixels):
    with pytest.raises(DataError, match=r"predictor\.stream"):
        Predictor.load(weights, device="cpu")([pixels])


def test_predictions_save_and_show_themselves(weights, pixels, tmp_path):
    found = Predictor.load(weights, device="cpu")(pixels)
    for name in ("a.png", "a.jpg", "a.npz"):
        found.save(tmp_path / name)
    with Image.open(tmp_path / "a.png") as mask, Image.open(tmp_path / "a.jpg") as picture:
        assert (np.asarray(mask) == found.labels).all()
        assert picture.width > 65
    assert np.load(tmp_path / "a.npz")["scores"].shape == (3, 40, 65)
    assert found.overlay(legend=False).size == (65, 40)
    assert found._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"\.png saves the labels"):
        found.save(tmp_path / "a.bmp")


def test_precision(weights, pixels):
    plain = Predictor.load(weights, device="cpu")(pixels)
    half = Predictor.load(weights, device="cpu", precision="bf16")(pixels)
    assert half.confidence.dtype == np.float32
    assert 0 < np.abs(half.confidence - plain.confidence).max() < 0.1
    with pytest.raises(UsageError, match="precision 'fp8'"):
        Predictor.load(weights, device="cpu", precision="fp8")
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        Predictor.load(weights, device="cpu", precision="fp16")


@pytest.mark.parametrize("mode", ["whole", "sliding", "center_crop"])
@pytest.mark.parametrize("held", [0, 1 << 20])
def test_scores_in_a_file_are_those_in_memory(weights, pixels, tmp_path, mode, held, monkeypatch):
    monkeypatch.setattr("semiovs.inference.score_file._HELD", held or 1)
    found = Predictor.load(weights, device="cpu", mode=mode, window=32, stride=20)(pixels)
    found.write_scores(tmp_path / "scores.npz")
    with np.load(tmp_path / "scores.npz") as file:
        np.testing.assert_array_equal(file["scores"], found.scores.astype(np.float16))
    assert [path.name for path in tmp_path.iterdir()] == ["scores.npz"]


def test_scores_that_do_not_fit_are_begun_again_in_windows(weights, tmp_path):
    large = np.random.default_rng(0).integers(0, 256, (140, 150, 3), np.uint8)
    predictor = Predictor.load(weights, device="cpu")
    found = predictor(large)
    limited(predictor, 128 * 128)
    with pytest.warns(SemiovsWarning, match="windows of 128"):
        found.write_scores(tmp_path / "scores.npz")
    expected = Predictor.load(weights, device="cpu", mode="sliding", window=128, stride=96)(large).scores
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npz")["scores"], expected.astype(np.float16))


def test_other_errors_of_a_model_stay_what_they_are(weights, pixels):
    predictor = Predictor.load(weights, device="cpu")
    predictor.model.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predictor(pixels)


def test_a_card_whose_evaluation_does_not_hold_is_refused(segmenter, tmp_path):
    card = ModelCard("deeplabv3plus", 3, CLASSES, {"encoder": "tiny"}, evaluation={"mode": 7})
    save_model(tmp_path / "m.safetensors", segmenter, card)
    with pytest.raises(WeightsError, match=r"model card cannot be read \(eval\.mode"):
        Predictor.load(tmp_path / "m.safetensors", device="cpu")
