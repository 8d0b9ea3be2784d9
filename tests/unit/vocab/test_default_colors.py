"""Default colours of classes can be told apart, also by people with colour-blindness."""

from itertools import product

import numpy as np
import pytest

from semiovs.images.palette import build_palette, voc_palette
from semiovs.vocab import Vocabulary
from semiovs.vocab.colors import RGB, voc_color
from semiovs.vocab.default_colors import BLACK, DEFAULT_COLORS, complete_colors

#: Machado, Oliveira, Fernandes: A Physiologically-based Model for Simulation of Color Vision Deficiency (2009),
#: severity 1, for linear RGB.
VIEWS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE, IGNORED = (255, 255, 255), (224, 224, 192)


def to_lab(colors) -> np.ndarray:
    """sRGB (N, 3) as each kind of eye sees it: CIELAB (views, N, 3), white D65."""
    values = np.asarray(colors, float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    seen = np.stack([np.clip(linear @ view.T, 0, 1) for view in VIEWS.values()])
    xyz = seen @ _XYZ.T / np.array([0.95047, 1, 1.08883])
    x, y, z = np.moveaxis(np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def measure(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Distances in the worst view: (views, N, 3) and (views, M, 3) to (N, M)."""
    return np.linalg.norm(left[:, :, None] - right[:, None], axis=-1).min(0)


def find_least(colors) -> float:
    """Distance of the two colours that are the most alike."""
    lab = to_lab(colors)
    return float(measure(lab, lab)[np.triu_indices(len(colors), 1)].min())


def test_known_values():
    """The measure itself: red by Lindbloom's calculator, and that red and green are what two of the views confuse."""
    assert to_lab([(255, 0, 0)])[0, 0] == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    lab = to_lab([(200, 0, 0), (90, 100, 0)])
    apart = dict(zip(VIEWS, np.linalg.norm(lab[:, 0] - lab[:, 1], axis=-1), strict=True))
    assert apart["normal"] > 80
    assert max(apart["deuteranopia"], apart["protanopia"]) < 40


@pytest.mark.parametrize(("classes", "least"), [(8, 16), (12, 16), (21, 15), (60, 7)])
@pytest.mark.parametrize("background", [True, False])
def test_every_eye_tells_the_first_ones_apart(classes, least, background):
    assert find_least(complete_colors([None] * classes, background=background)) > least
    assert find_least(voc_palette()[:classes]) < 4  # what they replaced


def test_all_are_apart_and_none_is_one_of_vocs():
    """Masks with the old palette may lie beside new ones: no colour means one class here and another one there."""
    assert len({*DEFAULT_COLORS}) == 255
    assert find_least(DEFAULT_COLORS) > 3
    assert not {*DEFAULT_COLORS} & {voc_color(index) for index in range(256)}


def test_each_was_the_farthest_from_those_before():
    grid = np.array(list(product(range(0, 256, 17), repeat=3)))
    lab = to_lab(grid)
    keep = (lab[0, :, 0] >= 25) & (lab[0, :, 0] <= 90)
    grid, lab = grid[keep], lab[:, keep]
    places = {tuple(color): place for place, color in enumerate(grid.tolist())}
    nearest = measure(lab, to_lab([*DEFAULT_COLORS[1:8], BLACK, WHITE, IGNORED])).min(1)
    for color in (DEFAULT_COLORS[0], *DEFAULT_COLORS[8:]):
        place = places[color]
        assert nearest[place] > nearest.max() - 2e-3
        nearest = np.minimum(nearest, measure(lab, lab[:, place : place + 1])[:, 0])


@pytest.mark.parametrize(
    ("vocabulary", "black"),
    [
        (Vocabulary.of(["road", "car"]), False),
        (Vocabulary.of(["background", "car"]), True),
        (Vocabulary.of(["_Background_", "car"]), True),
        (Vocabulary(("rest", "car"), background=0.4), True),
        (Vocabulary.of(["backgrounds", "car"]), False),
    ],
)
def test_class_0_is_black_only_as_a_background(vocabulary, black):
    assert vocabulary.has_background is black
    assert (vocabulary.shown_colors[0] == BLACK) is black
    assert vocabulary.shown_colors[1] == DEFAULT_COLORS[1]  # whatever class 0 is
    assert vocabulary.colors == ()


def test_official_colours_stay():
    voc = [voc_color(index) for index in range(21)]
    for name in ("voc21", "voc21-plain", "voc21-semivl"):
        assert [*Vocabulary.load(name).shown_colors] == voc
    assert Vocabulary.load("cityscapes19-semivl").shown_colors[0] == (128, 64, 128)


def test_named_colours_are_not_given_twice():
    named: list[RGB | None] = [None, DEFAULT_COLORS[2], None, BLACK]
    for background in (True, False):
        found = complete_colors(named, background=background)
        assert len({*found}) == 4
        assert (found[1], found[3]) == (DEFAULT_COLORS[2], BLACK)
    full = complete_colors([*DEFAULT_COLORS[1:], None], background=False)
    assert full[254] == DEFAULT_COLORS[0]


def test_a_palette_has_vocs_colour_for_ignored_pixels():
    assert build_palette()[255].tolist() == [*IGNORED]
    assert build_palette()[0].tolist() == [*DEFAULT_COLORS[0]]
    assert build_palette([(1, 2, 3)])[:2].tolist() == [[1, 2, 3], [*DEFAULT_COLORS[1]]]
