"""What every teacher must do: scores and labels of a few small images, in seconds, on a CPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semiovs.images.conventions import IGNORE
from semiovs.ovs import OpenVocabModel, build_ovs
from semiovs.ovs.labeled_image import LabeledImage
from semiovs.testing.checks import Check, refuse_unknown, require
from semiovs.vocab import Vocabulary

#: What teachers are asked for by default.
VOCABULARY = Vocabulary(("sky", "grass", "road"))
SIZES = ((24, 36), (40, 25), (33, 33))


@dataclass(frozen=True)
class TeacherCase:
    """A teacher under test and what it is asked.

    images: uint8 RGB (3, H, W) each, of different sizes; ids: one an image; tolerance: by which scores that must
    agree may differ.
    """

    teacher: OpenVocabModel
    vocabulary: Vocabulary
    images: Sequence[Tensor]
    ids: Sequence[str]
    tolerance: float

    def scores(self, vocabulary: Vocabulary | None = None) -> list[Tensor]:
        """Of all images at once."""
        return self.teacher.scores(self._images(), vocabulary or self.vocabulary, ids=self.ids)

    def label(self) -> tuple[list[Tensor], list[Tensor]]:
        """Labels and confidences of all images at once."""
        return self.teacher.label(self._images(), self.vocabulary, ids=self.ids)

    def close(self, a: Tensor, b: Tensor) -> bool:
        """Whether two maps agree."""
        return a.shape == b.shape and bool(torch.allclose(a.float(), b.float(), rtol=0, atol=self.tolerance))

    def _images(self) -> list[Tensor]:
        return [image.clone() for image in self.images]


def toy_images() -> list[Tensor]:
    """Three images of different sizes: colour ramps with noise."""
    generator = torch.Generator().manual_seed(0)
    images = []
    for height, width in SIZES:
        ramp = torch.stack(
            [
                torch.linspace(0, 200, width).expand(height, width),
                torch.linspace(200, 0, height)[:, None].expand(height, width),
                torch.full((height, width), 90.0),
            ]
        )
        noise = torch.randint(0, 40, (3, height, width), generator=generator)
        images.append((ramp + noise).to(torch.uint8))
    return images


def toy_labeled(images: Sequence[Tensor], ids: Sequence[str], vocabulary: Vocabulary) -> list[LabeledImage]:
    """The images with masks for a teacher that learns: a band of rows for each class, the first row ignored."""
    found = []
    for image, name in zip(images, ids, strict=True):
        rows = torch.arange(image.shape[-2]) * len(vocabulary) // image.shape[-2]
        mask = rows[:, None].expand(image.shape[-2:]).to(torch.uint8).clone()
        mask[0] = IGNORE
        found.append(LabeledImage(name, name, partial(_copy_pair, image, mask)))
    return found


def teacher_checks(
    teacher: str | type[OpenVocabModel] | OpenVocabModel,
    *,
    vocabulary: Vocabulary = VOCABULARY,
    images: Sequence[Tensor] | None = None,
    ids: Sequence[str] | None = None,
    tolerance: float = 1e-4,
    skip: Collection[str] = (),
    weights: str | Path | None = None,
    **options: Any,
) -> list[Check]:
    """Return the checks of `check_teacher` one by one, for ``pytest.mark.parametrize("check", …, ids=str)``."""
    refuse_unknown(skip, [check.__name__ for check in CHECKS])
    asked = toy_images() if images is None else list(images)
    names = [f"image{i}" for i in range(len(asked))] if ids is None else list(ids)
    if isinstance(teacher, str):
        name, built = teacher, build_ovs(teacher, weights=weights, **options)
    elif isinstance(teacher, type):
        given = options if weights is None else {"weights": weights, **options}
        name, built = teacher.__name__, teacher(**given)
    else:
        name, built = type(teacher).__name__, teacher
    if built.learns:
        built = built.learn(toy_labeled(asked, names, vocabulary), vocabulary)
    case = TeacherCase(built, vocabulary, asked, names, tolerance)
    return [
        Check(check.__name__, f"teacher '{name}'", partial(check, case))
        for check in CHECKS
        if check.__name__ not in skip
    ]


def _copy_pair(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return image.clone(), mask.clone()


def check_teacher(teacher: str | type[OpenVocabModel] | OpenVocabModel, **choices: Any) -> None:
    """Run every check of a teacher; choices: keywords of `teacher_checks`. One that learns is taught with the images
    first.

    teacher: its name (``semiovs list teachers``), class, or one that is built already; vocabulary: classes that it
    knows; images: uint8 RGB (3, H, W) each, of different sizes; ids: theirs, for teachers that look answers up;
    tolerance: by which scores that must agree may differ; skip: names of checks that do not apply; weights, options:
    of the teacher.

    Raises:
        AssertionError: a check does not hold: which one, what was expected and what to do; UsageError: no such
        teacher or check.
    """
    for check in teacher_checks(teacher, **choices):
        check()


def scores_have_the_right_shape(case: TeacherCase) -> None:
    """One float map (K, H, W) an image, at its own size."""
    scores = case.scores()
    require(
        len(scores) == len(case.images), f"{len(scores)} score maps for {len(case.images)} images; return one for each"
    )
    for image, score in zip(case.images, scores, strict=True):
        wanted = (len(case.vocabulary), *image.shape[-2:])
        require(
            tuple(score.shape) == wanted, f"scores of shape {tuple(score.shape)}, expected (classes, H, W) = {wanted}"
        )
        require(score.is_floating_point(), f"scores are {score.dtype}; return floating-point numbers")


def scores_are_probabilities(case: TeacherCase) -> None:
    """Finite, and in [0, 1]."""
    for score in case.scores():
        require(bool(torch.isfinite(score).all()), "scores hold NaN or infinity")
        low, high = score.min().item(), score.max().item()
        require(low >= 0 and high <= 1, f"scores are from {low:g} to {high:g}; bring them into [0, 1]")


def labels_agree_with_scores(case: TeacherCase) -> None:
    """Labels are classes or 255 (no answer); a labelled pixel has the highest score as its confidence."""
    labels, confidences = case.label()
    require(
        len(labels) == len(confidences) == len(case.images),
        "label() must return one label and one confidence map an image",
    )
    for score, label, confidence in zip(case.scores(), labels, confidences, strict=True):
        size = tuple(score.shape[-2:])
        require(
            tuple(label.shape) == tuple(confidence.shape) == size,
            f"labels and confidences must have the image's size {size}",
        )
        require(label.dtype == torch.uint8, f"labels are {label.dtype}; return uint8 class ids")
        answered = label != 255
        require(bool((label[answered] < len(score)).all()), f"labels must be below {len(score)}, or 255 for no answer")
        require(bool(((confidence >= 0) & (confidence <= 1)).all()), "confidences must be in [0, 1]")
        best = score.max(dim=0).values.float()
        chosen = score.float().gather(0, label.long().clamp(max=len(score) - 1)[None])[0]
        require(
            case.close(chosen[answered], best[answered]),
            "labels must be the classes with the highest scores",
        )
        require(case.close(confidence[answered], best[answered]), "the confidence must be the score of the label")


def images_are_answered_one_by_one(case: TeacherCase) -> None:
    """An answer does not depend on the images that are asked about at the same time."""
    together = case.scores()
    for image, name, score in zip(case.images, case.ids, together, strict=True):
        alone = case.teacher.scores([image.clone()], case.vocabulary, ids=[name])[0]
        require(
            case.close(score, alone),
            "the scores of an image must not depend on the images beside it",
        )


def answers_are_repeated(case: TeacherCase) -> None:
    """The same question has the same answer."""
    same = all(a.equal(b) for a, b in zip(case.scores(), case.scores(), strict=True))
    require(
        same,
        "the same images get other scores the second time; put networks in evaluation mode and draw nothing at random",
    )


def classes_are_in_the_order_of_the_vocabulary(case: TeacherCase) -> None:
    """Score map k answers class k: with the classes in another order the maps are in that order."""
    given = case.vocabulary
    fixed = [0] if given.background is not None else []  # the background stays class 0
    order = [*fixed, *reversed(range(len(fixed), len(given)))]
    other = replace(
        given,
        names=tuple(given.names[i] for i in order),
        concepts=tuple(given.concepts[i] for i in order),
        colors=tuple(given.colors[i] for i in order) if given.colors else (),
    )
    for score, moved in zip(case.scores(), case.scores(other), strict=True):
        require(
            case.close(score[order], moved),
            "map k must answer class k of the vocabulary that is given",
        )


def images_are_not_changed(case: TeacherCase) -> None:
    """No image is written to."""
    given = [image.clone() for image in case.images]
    case.teacher.scores(given, case.vocabulary, ids=case.ids)
    same = all(a.equal(b) for a, b in zip(given, case.images, strict=True))
    require(same, "the teacher changed an image; make a copy before an in-place operation")


def description_is_plain_data(case: TeacherCase) -> None:
    """`describe` survives JSON: it is written into every store of labels."""
    try:
        text = json.dumps(case.teacher.describe())
    except (TypeError, ValueError) as error:
        raise AssertionError(f"describe() must return numbers, text, lists and mappings alone: {error}") from None
    require(
        json.loads(text) == json.loads(json.dumps(case.teacher.describe())), "describe() must return the same each time"
    )


CHECKS: tuple[Callable[[TeacherCase], None], ...] = (
    scores_have_the_right_shape,
    scores_are_probabilities,
    labels_agree_with_scores,
    images_are_answered_one_by_one,
    answers_are_repeated,
    classes_are_in_the_order_of_the_vocabulary,
    images_are_not_changed,
    description_is_plain_data,
)
