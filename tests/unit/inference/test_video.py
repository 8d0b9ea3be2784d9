"""Videos: size, rate and number of frames are kept, ids come back exactly, smoothing is the documented mean."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from semiovs.errors import DataError, UsageError
from semiovs.inference import Predictor
from semiovs.inference.video import predict_video
from unit.inference.toy_students import CLASSES, PixelStudent

av = pytest.importorskip("av", reason="needs the extra video (av)")


def write(path, images, rate=Fraction(30000, 1001)):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def read(path, form):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.average_rate, [frame.to_ndarray(format=form) for frame in container.decode(stream)]


@pytest.fixture
def images():
    found = np.random.default_rng(0).integers(0, 256, (500, 3, 4, 3)).astype(np.uint8)
    return found.repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.parametrize("batch", [1, 7])
def test_every_frame_is_segmented(images, tmp_path, batch):
    write(tmp_path / "a.mkv", images)
    predictor, shown = Predictor(PixelStudent(), CLASSES), []
    files = ("ids", "overlay")
    told = predict_video(
        tmp_path / "a.mkv", tmp_path / "out", predictor, files, batch=batch, progress=lambda *now: shown.append(now)
    )
    assert (told["frames"], told["size"]) == (500, [24, 32])
    assert shown[-1] == (500, 500)
    rate, labels = read(tmp_path / "out/a_mask.mkv", "gray")
    assert len(labels) == 500
    assert float(rate) == pytest.approx(30000 / 1001, rel=1e-3)
    expected = [found.labels for found in predictor.stream(images[::50])]
    for found, wanted in zip(labels[::50], expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    rate, pictures = read(tmp_path / "out/a_overlay.mp4", "rgb24")
    assert (len(pictures), pictures[0].shape) == (500, (24, 32, 3))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_mask.mkv", "a_overlay.mp4"]


def test_smoothing_is_the_mean_of_scores(images, tmp_path):
    write(tmp_path / "a.mkv", images[:12])
    predictor = Predictor(PixelStudent(), CLASSES)
    predict_video(tmp_path / "a.mkv", tmp_path / "out", predictor, ("ids",), smooth=0.7)
    _, labels = read(tmp_path / "out/a_mask.mkv", "gray")
    mean = predictor(images[0]).scores
    for found, image in zip(labels[1:], images[1:12], strict=True):
        mean = 0.7 * mean + 0.3 * predictor(image).scores
        assert (found == mean.argmax(0)).mean() > 0.99  # rounding may decide ties
    plain = [predictor(image).labels for image in images[:12]]
    changes = lambda frames: sum((a != b).sum() for a, b in itertools.pairwise(frames))  # noqa: E731
    assert changes(labels) < changes(plain)


def test_odd_sizes_stay(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 21, 33, 3)).astype(np.uint8)
    write(tmp_path / "a.mkv", images)
    predict_video(tmp_path / "a.mkv", tmp_path / "out", Predictor(PixelStudent(), CLASSES), ("ids", "overlay"))
    assert read(tmp_path / "out/a_overlay.mp4", "rgb24")[1][0].shape == (21, 33, 3)


def test_what_is_no_video(tmp_path):
    predictor = Predictor(PixelStudent(), CLASSES)
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(DataError, match=r"a\.mp4: cannot be read as a video") as caught:
        predict_video(tmp_path / "a.mp4", tmp_path / "out", predictor, ("ids",))
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        predict_video(tmp_path / "b.mp4", tmp_path / "out", predictor, ("ids",))
    with pytest.raises(UsageError, match="ids and overlay"):
        predict_video(tmp_path / "a.mp4", tmp_path / "out", predictor, ("scores",))
    assert not (tmp_path / "out").exists()
