"""Pictures of labels."""

import io

import numpy as np
import pytest
from PIL import Image

from semiovs.images.overlay import id_png, overlay, palette_png
from semiovs.vocab.default_colors import DEFAULT_COLORS


def stored(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return Image.open(io.BytesIO(file.getvalue()))


LABELS = np.array([[0, 1, 2], [255, 1, 1]], np.uint8)


def test_pngs_hold_the_ids():
    for make, mode in ((id_png, "L"), (palette_png, "P")):
        image = stored(make(LABELS))
        assert image.mode == mode
        assert (np.asarray(image) == LABELS).all()


def test_palette_colours_are_the_given_ones_then_the_default_ones():
    image = stored(palette_png(LABELS, [(1, 2, 3)])).convert("RGB")
    assert image.getpixel((0, 0)) == (1, 2, 3)
    assert image.getpixel((1, 0)) == DEFAULT_COLORS[1]
    assert image.getpixel((0, 1)) == (224, 224, 192)


def test_overlay_tints_classes_and_leaves_ignored_pixels():
    photo = Image.new("RGB", (3, 2), (100, 100, 100))
    picture = np.asarray(overlay(photo, LABELS, 0.5, colors=[(200, 0, 0), (0, 200, 0), (0, 0, 200)]))
    assert picture[0].tolist() == [[150, 50, 50], [50, 150, 50], [50, 50, 150]]
    assert picture[1, 0].tolist() == [100, 100, 100]
    assert (np.asarray(overlay(photo, LABELS, 0.0)) == 100).all()
    assert np.asarray(overlay(photo, LABELS, 1.0))[0, 1].tolist() == [*DEFAULT_COLORS[1]]


def test_legend_is_beside_the_photograph():
    photo = Image.new("RGB", (90, 60), (9, 9, 9))
    labels = np.zeros((60, 90), np.uint8)
    labels[:10] = 2
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    plain = overlay(photo, labels, colors=colors)
    with_legend = overlay(photo, labels, names=["sky", "road", "a car"], colors=colors)
    assert with_legend.width > 90
    assert (np.asarray(with_legend)[:60, :90] == np.asarray(plain)).all()
    legend = np.asarray(with_legend)[:, 90:]
    assert (legend == [255, 0, 0]).all(-1).any()
    assert (legend == [0, 0, 255]).all(-1).any()
    assert not (legend == [0, 255, 0]).all(-1).any()  # no road in the picture
    many = overlay(photo, np.arange(60, dtype=np.uint8)[:, None].repeat(90, 1), names=[str(i) for i in range(60)])
    assert many.height > 60


@pytest.mark.parametrize(("alpha", "shape"), [(1.5, (2, 3)), (0.5, (3, 2))])
def test_wrong_calls(alpha, shape):
    with pytest.raises(ValueError, match=r"alpha|labels"):
        overlay(Image.new("RGB", (3, 2)), np.zeros(shape, np.uint8), alpha)
