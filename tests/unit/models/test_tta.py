"""Several looks at one image, for any function from images to scores."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from semiovs.config.schema import EvalConfig
from semiovs.errors import UsageError
from semiovs.inference import Predictor
from semiovs.models import build_segmenter
from semiovs.models.tiling import average_windows, predict_logits, predict_probabilities
from semiovs.models.tta import mean_over_views, resize_image
from semiovs.vocab import Vocabulary


def lean(image):
    """A network that tells left from right: the mirrored look must be mirrored back."""
    columns = torch.linspace(-1, 1, image.shape[-1]).expand(len(image), 1, *image.shape[-2:])
    return torch.cat([columns, image[:, :1]], dim=1)


def test_flip_is_mirrored_back_and_averaged():
    image = torch.randn(1, 3, 6, 9)
    found = mean_over_views(lean, image, flip=True)
    torch.testing.assert_close(found[:, 0], torch.zeros(1, 6, 9))
    torch.testing.assert_close(found[:, 1], image[:, 0])


def test_every_scale_counts_once_and_answers_come_back_to_one_size():
    seen = []

    def scores(image):
        seen.append(tuple(image.shape[-2:]))
        return torch.full((1, 1, image.shape[-2] // 2, image.shape[-1] // 2), float(image.shape[-1]))

    found = mean_over_views(scores, torch.zeros(1, 3, 20, 40), scales=(0.5, 1, 2))
    assert sorted(seen) == [(10, 20), (20, 40), (40, 80)]
    torch.testing.assert_close(found, torch.full((1, 1, 10, 20), (20 + 40 + 80) / 3))
    assert mean_over_views(scores, torch.zeros(1, 3, 20, 40), scales=(2, 0.5), size=(7, 5)).shape == (1, 1, 7, 5)


def test_images_shrink_smoothly_keep_their_type_and_never_vanish():
    stripes = torch.tensor([0, 255], dtype=torch.uint8).repeat(32).expand(1, 3, 64, 64)
    half = resize_image(stripes, (32, 32))
    assert half.dtype == torch.uint8
    assert (half[..., 2:-2].float() - 127.5).abs().max() < 40  # without smoothing: 0 or 255
    mean_over_views(lean, torch.zeros(1, 3, 1, 1), scales=(0.1,))


def test_segmenters_average_probabilities_of_the_views():
    image = torch.randn(1, 3, 16, 24)
    found = predict_probabilities(lean, image, scales=(1, 0.5), flip=True, mode="sliding", window=12)
    views = []
    for scale, mirrored in ((1, False), (1, True), (0.5, False), (0.5, True)):
        view = resize_image(image, (int(16 * scale), int(24 * scale)))
        view = view.flip(-1) if mirrored else view
        answer = predict_probabilities(lean, view, mode="sliding", window=12)
        answer = answer.flip(-1) if mirrored else answer
        views.append(F.interpolate(answer, size=(16, 24), mode="bilinear", align_corners=False))
    torch.testing.assert_close(found, torch.stack(views).mean(dim=0))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 16, 24))


def test_switched_off_it_is_the_same_to_the_bit():
    image = torch.randn(2, 3, 17, 24)
    for how in ({"mode": "whole"}, {"mode": "sliding", "window": 8}, {"mode": "resize", "multiple": 7}):
        torch.testing.assert_close(
            predict_logits(lean, image, scales=(1.0,), flip=False, **how),
            predict_logits(lean, image, **how),
            rtol=0,
            atol=0,
        )


def test_a_centre_crop_is_looked_at_once():
    with pytest.raises(UsageError, match="looks once"):
        predict_logits(lean, torch.zeros(1, 3, 9, 9), mode="center_crop", window=4, flip=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": []}, "at least 1"),
        ({"scales": [0]}, "0 is not between 0.1 and 10"),
        ({"scales": [True]}, "no numbers"),
        ({"mode": "center_crop", "window": 16, "flip": True}, "looked at once"),
    ],
)
def test_settings_that_do_not_hold(settings, message):
    with pytest.raises(ValueError, match=message):
        EvalConfig.model_validate(settings)


def test_predictor_takes_them():
    torch.manual_seed(0)
    model = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny")
    classes = Vocabulary.of(["a", "b", "c"])
    picture = torch.randint(0, 256, (40, 56, 3), dtype=torch.uint8).numpy()
    mirrored = picture[:, ::-1].copy()
    predictor = Predictor(model, classes, EvalConfig(flip=True, scales=(1.0, 0.5)))
    np.testing.assert_allclose(predictor(picture).scores, predictor(mirrored).scores[:, :, ::-1], atol=1e-5)
    plain = Predictor(model, classes)
    assert np.abs(plain(picture).scores - plain(mirrored).scores[:, :, ::-1]).max() > 1e-3


def test_windows_of_a_coarser_answer():
    image = torch.randn(1, 3, 16, 40)

    def scores(part):
        return F.avg_pool2d(part, 4)

    found = average_windows(scores, image, window=12, stride=8, grain=4)
    torch.testing.assert_close(found, F.avg_pool2d(image, 4))
    narrow = image[..., :8, :]
    torch.testing.assert_close(average_windows(scores, narrow, window=12, stride=8, grain=4), F.avg_pool2d(narrow, 4))
