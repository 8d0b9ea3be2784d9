"""Class centres in the features of a frozen encoder, learnt from labelled images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiovs.errors import ConfigError, DataError, UsageError, WeightsError
from semiovs.ovs import build_ovs
from semiovs.ovs.class_cells import share_out
from semiovs.ovs.class_centres import TEMPERATURES
from semiovs.ovs.labeled_image import LabeledImage
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["wall", "grass", "sea", "unseen"])
COLOURS = ((200, 190, 180), (40, 160, 50), (30, 60, 190))


def scene(seed, order=(0, 1, 2)):
    """Image (3, 48, 96) of three fields, and its mask; the first columns are ignored."""
    rng = np.random.default_rng(seed)
    mask = np.repeat(rng.permutation(3), 32)[None].repeat(48, axis=0).astype(np.uint8)
    pixels = np.array(COLOURS)[mask] + rng.integers(-25, 25, (*mask.shape, 3))
    shown = np.array([*order], np.uint8)[mask]
    shown[:, :4] = 255
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous(), torch.from_numpy(shown)


def labeled(count, order=(0, 1, 2)):
    return [LabeledImage(f"i{seed}", f"i{seed}", lambda seed=seed: scene(seed, order)) for seed in range(count)]


def build(**options):
    return build_ovs("prototypes", encoder="small", device="cpu", output_stride=8, **options)


def accuracy(teacher, seeds=range(50, 53)):
    right = []
    for seed in seeds:
        image, mask = scene(seed)
        ((label,), _) = teacher.label([image], CLASSES)
        right.append((label == mask)[mask != 255].float().mean().item())
    return float(np.mean(right))


@pytest.fixture(scope="module")
def taught():
    return build(centres=2).learn(labeled(4), CLASSES)


def test_it_knows_the_classes_of_the_masks(taught):
    assert accuracy(taught) > 0.6  # chance: a third; fields are narrow beside the cells of the encoder


def test_labels_that_say_something_else_are_learnt_just_so(taught):
    assert accuracy(build(centres=2).learn(labeled(4, order=(1, 2, 0)), CLASSES)) < 0.15


def test_a_class_without_pixels_has_no_score(taught):
    (scores,) = taught.scores([scene(60)[0]], CLASSES)
    assert scores[3].max() == 0
    torch.testing.assert_close(scores.sum(dim=0), torch.ones(48, 96), rtol=0, atol=1e-4)
    assert taught.describe()["learnt"]["without_labels"] == ["unseen"]


def test_nothing_learnt_or_other_classes():
    fresh = build()
    with pytest.raises(UsageError, match="learns from labelled images, and was given none"):
        fresh.label([scene(0)[0]], CLASSES)
    with pytest.raises(UsageError, match=r"data\.labeled"):
        fresh.check_vocabulary(CLASSES)
    with pytest.raises(ConfigError, match="asked for 'sky'"):
        fresh.learn(labeled(2), CLASSES).check_vocabulary(Vocabulary.of(["wall", "sky"]))
    void = LabeledImage("void", "void", lambda: (scene(0)[0], torch.full((48, 96), 255, dtype=torch.uint8)))
    with pytest.raises(DataError, match="no class in the masks of 1 labelled images"):
        fresh.learn([void], CLASSES)
    assert fresh.learnt is None


def test_it_says_what_it_has_learnt_from(taught):
    facts = taught.describe()["learnt"]
    assert build(centres=2).learn(labeled(4), CLASSES).describe() == taught.describe()
    images = labeled(4)
    changed = [*images[:3], LabeledImage("i3", "i3", lambda: scene(3, order=(0, 1, 1)))]
    other = build(centres=2).learn(changed, CLASSES).describe()["learnt"]
    assert facts["images"] == other["images"] == 4
    assert facts["labeled"] != other["labeled"]
    assert facts["centres"] != other["centres"]


def test_the_temperature_is_chosen_or_given(taught):
    assert taught.learnt.temperature in TEMPERATURES
    given = build(temperature=0.4).learn(labeled(2), CLASSES)
    assert given.learnt.temperature == 0.4
    sure, unsure = (
        build(temperature=t).learn(labeled(2), CLASSES).label([scene(9)[0]], CLASSES)[1][0] for t in (0.05, 1)
    )
    assert sure.mean() > unsure.mean()


@pytest.mark.parametrize("centres", [0, 1, 3])
def test_each_class_has_its_mean_and_so_many_centres(centres):
    learnt = build(centres=centres, temperature=0.1).learn(labeled(3), CLASSES).learnt
    assert np.bincount(learnt.owners).tolist() == [1 + centres] * 3
    np.testing.assert_allclose(np.linalg.norm(learnt.centres, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"centres": -1}, {"short_side": 8}, {"temperature": 0.0}])
def test_options_that_do_not_hold(wrong):
    with pytest.raises(UsageError, match=f"teacher 'prototypes': {next(iter(wrong))}"):
        build(**wrong)


def test_cells_are_shared_out_by_area_and_ignored_pixels_are_nobodys():
    mask = torch.tensor([[0, 0, 1, 255], [0, 1, 1, 255]], dtype=torch.uint8)
    parts = share_out(mask, 2, (1, 2))
    torch.testing.assert_close(parts, torch.tensor([[[0.75, 0.0]], [[0.25, 0.5]]]))


def test_through_windows_and_scales_it_learns_from_what_it_will_see():
    views = build(tile=48, scales=[1.0, 0.5], temperature=0.1)
    assert views.learns
    images = labeled(3)
    taught = views.learn(images, CLASSES)
    assert taught.describe()["tile"] == 48
    assert taught.describe()["learnt"]["images"] == 3
    assert [len(views._cuts[image]) for image in images] == [3, 3, 3]  # two windows, and the small image
    assert accuracy(taught) > 0.45


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"short_side": "abc"}, "short_side: expected an integer, got 'abc'"),
        ({"short_side": [180]}, "short_side: expected an integer"),
        ({"temperature": True}, "temperature: expected a number, got True"),
        ({"temperature": float("nan")}, "temperature nan is not between"),
        ({"centres": 1.5}, "centres: expected an integer, got 1.5"),
        ({"encoder": [1]}, "encoder: expected text"),
        ({"output_stride": 7}, "teacher 'prototypes': output_stride 7: must be one of"),
        ({"encoder": "tiny"}, "give --weights FILE"),
    ],
)
def test_values_of_another_kind_are_one_line(options, said):
    with pytest.raises((UsageError, WeightsError)) as caught:
        build_ovs("prototypes", **{"encoder": "small", "device": "cpu", **options})
    assert said in str(caught.value)
    assert "model." not in str(caught.value)
