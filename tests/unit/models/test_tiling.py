import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semiovs.errors import UsageError
from semiovs.models.tiling import covered, nearest_multiple, predict_logits, predict_probabilities, predict_strips


def pointwise(image):
    """A network without context: every mode must give its answer."""
    return torch.cat([image, -image], dim=1)


class Recorder:
    def __init__(self):
        self.sizes = []

    def __call__(self, image):
        self.sizes.append(tuple(image.shape[-2:]))
        return pointwise(image)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    window=st.integers(4, 24),
    part=st.floats(0.4, 1),
    edge=st.sampled_from(["shift", "truncate"]),
)
def test_sliding_covers_every_pixel_once_on_average(height, width, window, part, edge):
    stride = max(1, int(window * part))
    image = torch.randn(2, 3, height, width)
    probabilities = predict_probabilities(pointwise, image, mode="sliding", window=window, stride=stride, edge=edge)
    torch.testing.assert_close(probabilities, pointwise(image).softmax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("edge", ["shift", "truncate"])
@pytest.mark.parametrize(("size", "strips"), [((40, 30), 3), ((7, 30), 1), ((16, 5), 1)])
def test_strips_are_the_whole_row_by_row_of_windows(size, strips, edge, average):
    how = {"mode": "sliding", "window": 16, "stride": 12, "edge": edge, "average": average}
    torch.manual_seed(0)
    net, image = torch.nn.Conv2d(3, 2, 5, padding=2).requires_grad_(False), torch.randn(1, 3, *size)
    found = list(predict_strips(net, image, **how))
    assert torch.equal(torch.cat([part for _, part in found], dim=-2), predict_logits(net, image, **how))
    assert [rows.start for rows, _ in found] == [0, *(rows.stop for rows, _ in found[:-1])]
    assert len(found) == strips + (edge == "truncate" and size[0] > 12)
    ((rows, part),) = predict_strips(net, image, **{**how, "flip": True})
    assert rows == slice(0, size[0])
    assert torch.equal(part, predict_logits(net, image, **{**how, "flip": True}))


@pytest.mark.parametrize("size", [(48, 48), (49, 100), (20, 100), (20, 30)])
def test_shifted_windows_stay_full_size(size):
    seen = Recorder()
    predict_logits(seen, torch.zeros(1, 3, *size), mode="sliding", window=48)
    assert set(seen.sizes) == {(48, 48)}


def test_windows_at_the_border():
    shifted, truncated = Recorder(), Recorder()
    image = torch.zeros(1, 3, 48, 100)
    predict_logits(shifted, image, mode="sliding", window=48, stride=32)
    predict_logits(truncated, image, mode="sliding", window=48, stride=32, edge="truncate")
    assert len(shifted.sizes) == 3
    # rows start at 0 and 32, columns at 0, 32, 64 and 96
    assert truncated.sizes == [(h, w) for h in (48, 16) for w in (48, 48, 36, 4)]


def test_overlapping_windows_are_averaged_as_probabilities():
    answers = iter([torch.tensor([4.0, 0.0]), torch.tensor([0.0, 1.0])])

    def model(image):
        return next(answers).reshape(1, 2, 1, 1).expand(1, 2, *image.shape[-2:])

    out = predict_probabilities(model, torch.zeros(1, 3, 4, 6), mode="sliding", window=4, stride=2)
    first, second = torch.tensor([4.0, 0.0]).softmax(0), torch.tensor([0.0, 1.0]).softmax(0)
    torch.testing.assert_close(out[0, :, 0, 0], first)
    torch.testing.assert_close(out[0, :, 0, 5], second)
    torch.testing.assert_close(out[0, :, 0, 3], (first + second) / 2)


def test_half_precision_scores_are_averaged_in_single_precision():
    out = predict_probabilities(
        lambda x: pointwise(x).bfloat16(), torch.randn(1, 3, 9, 9), mode="sliding", window=4, stride=1
    )
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.sum(1), torch.ones(1, 9, 9))


@pytest.mark.parametrize(
    ("length", "multiple", "expected"), [(97, 14, 98), (7, 14, 14), (1, 14, 14), (21, 14, 28), (64, 32, 64)]
)
def test_nearest_multiple_rounds_halves_up_and_never_to_nothing(length, multiple, expected):
    assert nearest_multiple(length, multiple) == expected


def test_resize_feeds_multiples_and_returns_the_image_size():
    seen = Recorder()
    assert predict_logits(seen, torch.zeros(1, 3, 97, 130), mode="resize", multiple=14).shape == (1, 6, 97, 130)
    assert predict_logits(seen, torch.zeros(1, 3, 97, 130), mode="resize", size=(32, 48)).shape == (1, 6, 97, 130)
    assert seen.sizes == [(98, 126), (32, 48)]


def test_centre_crop_covers_the_middle():
    image = torch.randn(1, 3, 10, 7)
    rows, columns = covered((10, 7), mode="center_crop", window=4)
    assert (rows, columns) == (slice(3, 7), slice(1, 5))
    torch.testing.assert_close(
        predict_logits(pointwise, image, mode="center_crop", window=4), pointwise(image[..., 3:7, 1:5])
    )
    assert covered((3, 9), mode="center_crop", window=5) == (slice(0, 3), slice(2, 7))
    assert covered((3, 9), mode="whole") == (slice(0, 3), slice(0, 9))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"mode": "slidng"}, "did you mean 'sliding'"),
        ({"mode": "sliding"}, "needs eval.window"),
        ({"mode": "center_crop"}, "needs eval.window"),
        ({"mode": "sliding", "window": 8, "stride": 9}, "between 1 and the window"),
        ({"mode": "sliding", "window": 8, "stride": 0}, "between 1 and the window"),
        ({"mode": "resize", "multiple": 0}, "at least 1"),
    ],
)
def test_numbers_that_cannot_be(how, message):
    with pytest.raises(UsageError, match=message):
        predict_logits(pointwise, torch.zeros(1, 3, 9, 9), **how)
