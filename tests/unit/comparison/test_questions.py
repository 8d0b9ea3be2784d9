"""What is asked of which arms."""

from __future__ import annotations

from semiovs.comparison.arms import ARMS, Arm
from semiovs.comparison.questions import ask

KNOWN = {arm.name: arm for arm in ARMS}


def files(training: str, *forms: str) -> list[Arm]:
    """An arm of runs, where a form is "", and of their files."""
    return [
        Arm(f"{training}, {form}" if form else training, f"{training}, {form}".strip(" ,"), "", (), training, form)
        for form in forms
    ]


def pairs(arms: list[Arm]) -> list[tuple[str, str, bool]]:
    return [(question.base, question.other, question.same_weights) for question in ask(arms)]


def test_trainings_alone_are_asked_what_their_images_did() -> None:
    assert pairs([KNOWN["labels"], KNOWN["unlabeled"]]) == [("labels", "unlabeled", False)]
    assert pairs([KNOWN["naive"], KNOWN["placebo"]]) == []
    assert pairs([KNOWN["labels"]]) == []


def test_each_file_is_asked_against_its_run_or_the_first_file() -> None:
    assert pairs(files("run", "onnx int8", "", "onnx fp32")) == [
        ("run", "run, onnx int8", True),
        ("run", "run, onnx fp32", True),
    ]
    assert pairs(files("run", "onnx fp32", "onnx int8")) == [("run, onnx fp32", "run, onnx int8", True)]


def test_what_images_did_is_also_asked_of_files_of_one_form() -> None:
    asked = ask([*files("unlabeled", "", "onnx int8"), *files("ood", "", "onnx int8")])
    assert [(question.base, question.other) for question in asked] == [
        ("unlabeled", "unlabeled, onnx int8"),
        ("ood", "ood, onnx int8"),
        ("unlabeled", "ood"),
        ("unlabeled, onnx int8", "ood, onnx int8"),
    ]
    assert asked[2].subject == "OOD images with the teacher's labels"
    assert asked[3].subject == "OOD images with the teacher's labels, as onnx int8,"


def test_a_run_and_a_file_of_another_training_differ_in_both() -> None:
    (question,) = ask([*files("optim.lr=0.1", ""), *files("optim.lr=0.2", "onnx int8")])
    assert not question.same_weights
    assert question.subject.startswith("the settings and the format of 'optim.lr=0.2, onnx int8', in the place of")
