"""Windows, scales and mirrored looks for any teacher that is asked with words."""

import pytest
import torch
from torch.nn import functional as F

from semiovs.errors import UsageError
from semiovs.ovs import build_ovs
from semiovs.ovs.multi_view import GRAIN, MultiViewTeacher, ViewOptions
from semiovs.ovs.prompted import PromptedModel
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["red", "green"])


class Colours(PromptedModel):
    """Answers with the mean colour of the pixels, at an eighth of the resolution; notes what it is shown."""

    def __init__(self):
        self.sizes = []

    def describe(self):
        return {"who": "colours"}

    def maps(self, images, vocabulary):
        self.sizes += [tuple(image.shape[1:]) for image in images]
        assert all(image.dtype == torch.uint8 for image in images)
        return [F.adaptive_avg_pool2d(i[:2].float() / 255, [max(1, s // 8) for s in i.shape[1:]]) for i in images]


def smooth(height, width):
    rows, columns = torch.linspace(0, 255, height)[:, None], torch.linspace(0, 255, width)[None]
    red, green = rows.expand(height, width), columns.expand(height, width)
    return torch.stack([red, green, red]).round().to(torch.uint8)


@pytest.mark.parametrize(
    "views",
    [
        {"tile": 64},
        {"tile": 64, "stride": 20},
        {"flip": True},
        {"scales": [0.5, 1, 2]},
        {"tile": 64, "flip": True, "scales": [1, 1.5]},
    ],
)
@pytest.mark.parametrize("size", [(96, 160), (97, 83), (40, 200)])
def test_a_teacher_without_context_says_the_same(views, size):
    image = smooth(*size)
    (plain,) = Colours().scores([image], CLASSES)
    (found,) = MultiViewTeacher(Colours(), ViewOptions(**views)).scores([image], CLASSES)
    assert found.shape == plain.shape
    assert (found - image[:2] / 255).abs().max() < 10 / min(size)  # half a cell of the coarsest look
    assert (found - plain).abs().mean() < 0.02


def test_windows_cover_the_image_at_their_own_size():
    teacher = Colours()
    MultiViewTeacher(teacher, ViewOptions(tile=64, stride=48)).maps([smooth(64, 160)], CLASSES)
    assert teacher.sizes == [(64, 64)] * 3
    teacher.sizes.clear()
    MultiViewTeacher(teacher, ViewOptions(tile=64)).maps([smooth(20, 30)], CLASSES)
    assert teacher.sizes == [(20, 32)]  # sides become multiples of 4


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3000, 8)])
def test_images_of_any_size(size):
    ((label,), (confidence,)) = MultiViewTeacher(Colours(), ViewOptions(tile=64, flip=True, scales=(1.0, 0.5))).label(
        [smooth(*size)], CLASSES
    )
    assert label.shape == confidence.shape == size
    assert confidence.isfinite().all()


def test_averaged_maps_stay_small():
    (maps,) = MultiViewTeacher(Colours(), ViewOptions(tile=64)).maps([smooth(128, 256)], CLASSES)
    assert maps.shape == (2, 128 // GRAIN, 256 // GRAIN)


def test_only_what_was_changed_is_told():
    assert MultiViewTeacher(Colours(), ViewOptions(tile=64, scales=[1])).describe() == {"who": "colours", "tile": 64}
    assert ViewOptions(scales=(1,), flip=True).list_changes() == {"flip": True}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 333}, "tile=333: a multiple of 4 between 32 and 8192"),
        ({"tile": 16}, "tile=16"),
        ({"tile": "big"}, "tile: expected an integer"),
        ({"tile": 64, "stride": 65}, "stride=65: a multiple of 4 between 4 and 64"),
        ({"tile": 64, "stride": 0}, "stride=0"),
        ({"stride": 8}, "only together with tile"),
        ({"scales": []}, "scales="),
        ({"scales": "1"}, "scales: expected a list"),
        ({"scales": [0]}, "scales="),
        ({"scales": [True]}, "scales: expected a list"),
        ({"scales": 2}, "scales: expected a list"),
        ({"flip": 1}, "flip: expected true or false, got 1"),
        ({"tiel": 64}, "did you mean 'tile'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        build_ovs("clip-dense", **options)


def test_teachers_that_are_not_asked_have_no_views(tmp_path):
    with pytest.raises(UsageError, match="no option 'tile'"):
        build_ovs("masks", root=str(tmp_path), tile=64)
