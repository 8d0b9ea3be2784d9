"""What is said of a comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from semiovs.comparison.areas import ImageAreas
from semiovs.comparison.difference import compare_arms
from semiovs.comparison.verdict import (
    OOD_REMEDY,
    describe_comparison,
    describe_files,
    name_verdict,
    state_cost,
    state_verdict,
)


def compare(base, other, images: int = 20, *, groups=None, **options):
    """base, other: for each seed the shares of hits of each class, the same in all images."""
    total = np.array([100] * len(base[0]))
    ids = tuple(f"{i:03d}" for i in range(images))

    def make(hits):
        target = np.tile(total, (images, 1))
        hit = np.tile(np.array(hits), (images, 1))
        return ImageAreas(ids, target, hit, hit)

    return compare_arms(
        [make(hits) for hits in base],
        [make(hits) for hits in other],
        classes=["car", "pavement", "tree"],
        groups=groups and {name: groups[i] for i, name in enumerate(ids)},
        **options,
    )


BASE = [[50, 60, 70], [51, 60, 70], [50, 61, 70], [50, 60, 71], [49, 60, 70], [50, 60, 69]]
BETTER = [[60, 60, 70], [62, 60, 71], [60, 61, 71], [61, 60, 71], [59, 61, 70], [60, 60, 70]]
MIXED = [[65, 50, 70], [67, 50, 71], [65, 51, 70], [66, 50, 72], [64, 51, 70], [65, 50, 69]]


def test_helped_says_by_how_much_and_how_certain():
    said = describe_comparison(compare(BASE, BETTER), "OOD images")
    assert said == (
        "OOD images helped: +3.7 [3.4, 3.9] mIoU (from 60.1 to 63.7).",
        "Better in 6 of 6 seeds on 20 images; p = 0.031 over seeds, the smallest that so few seeds can give. "
        "Brackets are 95% intervals over other seeds and other images.",
        "OOD images helped car (+10.3 [9.6, 11.1]).",
        "The intervals of classes are widened, because 3 classes are compared.",
    )
    assert state_cost(4 * 3600, 6 * 3600) == "A training took 6 h 00 min, without them 4 h 00 min (+50%)."
    assert state_verdict(compare(BETTER, BASE), "OOD images").startswith("OOD images hurt: -3.7 [-3.9, -3.4] mIoU")


def test_classes_that_got_worse_have_advice():
    *_, last, _ = describe_comparison(compare(BASE, MIXED), "OOD images", remedy=OOD_REMEDY)
    assert last.startswith("OOD images helped car (+15.3 [14.6, 16.1]) and hurt pavement (-9.8 [")
    assert last.endswith("]): lower ood.weight, or select OOD images without pavement.")


def test_cannot_tell_says_what_could_have_been_seen():
    other = [[52, 60, 70], [50, 60, 70], [51, 61, 70], [49, 60, 71], [50, 60, 70], [50, 60, 69]]
    first, second, *rest = describe_comparison(compare(BASE, other), "OOD images")
    assert first.startswith("Cannot tell whether OOD images help or hurt: +0.1 [-0.")
    assert "A true difference of " in first
    assert second.startswith("Better in 3 of 6 seeds")
    assert "smallest that so few" not in second
    assert rest == []


def test_cannot_tell_says_when_it_is_for_the_seeds():
    mostly = compare(BASE, [[hits[0] + gain, *hits[1:]] for hits, gain in zip(BASE, [9, 9, 9, 9, 9, -1], strict=True)])
    assert mostly.difference.interval[0] > 0
    assert "The interval leaves out 0, but the seeds do not agree well enough." in state_verdict(mostly)


def test_few_seeds_are_described():
    said = describe_comparison(compare(BASE[:3], BETTER[:3]), "the images")
    assert said[0].startswith("The images: +3.")
    assert said[0].endswith("Too few seeds for a verdict.")
    assert said[2] == "3 seeds describe; a verdict needs 6."
    said = describe_comparison(compare(BETTER[:1], BASE[:1]), "the images")
    assert said[0].startswith("The images: -3.")
    assert said[1].startswith("Worse in 1 of 1 seed on 20 images. Brackets are 95% intervals over other images.")
    assert said[2].startswith("One seed describes")
    assert "The images: +0.0" in state_verdict(compare(BASE[:1], BASE[:1]))


def test_no_difference_is_no_negative_zero():
    found = compare(BASE[:3], BASE[:3])
    assert "The images: +0.0" in state_verdict(replace(found, difference=replace(found.difference, mean=-0.01)))


def test_a_subject_in_two_parts_loses_its_comma_before_a_colon():
    said = state_verdict(compare(BASE[:3], BETTER[:3]), "labels, in the place of the teacher alone,")
    assert said.startswith("Labels, in the place of the teacher alone: +3.")


@pytest.mark.parametrize(("images", "line"), [(5, "5 images are too few for any verdict"), (1, "One image is too few")])
def test_few_images_are_called_few(images, line):
    said = describe_comparison(compare(BASE, BETTER, images), "OOD images")
    assert said[0].startswith("Cannot tell whether OOD images help or hurt: +3.7")
    assert "would probably have been seen" not in said[0]
    assert any(sentence.startswith(line) for sentence in said)
    assert len(said) == 3  # and nothing of classes


def test_groups_are_named():
    said = describe_comparison(compare(BASE, BETTER, groups=[f"film {i // 5}" for i in range(20)]))
    assert "on 20 images in 4 groups" in said[1]
    assert "other seeds and other groups" in said[1]
    assert said[2] == "4 groups of images are too few for any verdict; it needs 10."


FORMS = {"same_weights": True, "names": ("the run", "ONNX int8")}


def test_a_file_costs_something_with_one_seed():
    said = describe_files(compare(BASE[:1], [[50, 59, 70]], **FORMS), "ONNX int8")
    assert said == (
        "ONNX int8 costs mIoU: -0.33 [-0.33, -0.33] points (from 60.00 to 59.67).",
        "Measured on 20 images, with the weights of one training. Brackets are 95% intervals over other images.",
        "One training was measured; what the same export costs another is not known.",
        "ONNX int8 loses in pavement (-1.0 [-1.0, -1.0]).",
        "The intervals of classes are widened, because 3 classes are compared.",
    )
    assert describe_files(compare(BASE[:1], [[51, 60, 70]], **FORMS), "ONNX int8")[0].startswith("ONNX int8 gains mIoU")


def test_a_file_is_the_same_or_costs_at_most_so_much():
    first, basis, *rest = describe_files(compare(BASE, BASE, **FORMS), "torch archive fp32")
    assert first.startswith(
        "Torch archive fp32 scores like the run, within 0.05 points of mIoU: +0.00 [0.00, 0.00] points"
    )
    assert basis.endswith("the weights of 6 seeds. Brackets are 95% intervals over other seeds and other images.")
    assert rest == []
    found = compare(BASE[:2], [[51, 60, 70], [49, 60, 70]], **FORMS)
    assert found.verdict == "cannot tell"
    most = -found.difference.interval[0]
    assert describe_files(found, "ONNX int8")[0].startswith(
        f"ONNX int8 costs at most {most:.2f} points of mIoU, perhaps"
    )


def test_a_setting_at_the_beginning_of_a_sentence_is_written_as_it_is():
    said = describe_files(compare(BASE[:1], [[50, 59, 70]], **FORMS), "optim.lr=0.1, ONNX int8")
    assert said[0].startswith("optim.lr=0.1, ONNX int8 costs mIoU")
    assert said[3].startswith("optim.lr=0.1, ONNX int8 loses in pavement")


def test_a_file_that_is_alike_on_few_images_is_not_called_the_same():
    found = compare(BASE[:1], BASE[:1], 5, **FORMS)
    assert "Too few images" in describe_files(found, "ONNX int8")[0]
    assert name_verdict(found, same_weights=True) == "cannot tell"
    assert {name_verdict(row, same_weights=True) for row in found.classes} == {"cannot tell"}
    assert name_verdict(compare(BASE[:1], BASE[:1], **FORMS), same_weights=True) == "same"


def test_a_file_on_few_images_has_no_verdict():
    said = describe_files(compare(BASE[:1], [[50, 50, 70]], 5, **FORMS), "ONNX int8")
    assert said[0].startswith("ONNX int8: -3.33 [-3.33, -3.33] points of mIoU (from 60.00 to 56.67). Too few images")
    assert said[3] == "5 images are too few for any verdict; it needs 10."
