"""Which of several teachers to use."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from semiovs.calibration.card import TeacherCard
from semiovs.calibration.counts import ScoreCounts
from semiovs.calibration.fit import fit
from semiovs.calibration.reliability import score_teacher
from semiovs.calibration.teacher_comparison import compare_teachers
from semiovs.calibration.verdict import Verdict
from semiovs.errors import UsageError
from semiovs.vocab import Vocabulary

WORDS = Vocabulary.of(["a", "b", "c"])


def card(right: float, seconds: float, images: int = 12, spread: float = 0.0, seed: int = 0) -> TeacherCard:
    """Of a teacher that labels this share of the pixels rightly; spread: between images."""
    rng, tally = np.random.default_rng(seed), ScoreCounts(3)
    for i in range(images):
        truth = np.random.default_rng(i).integers(0, 3, (30, 40)).astype(np.uint8)
        sure = rng.random(truth.shape) < right + spread * rng.uniform(-1, 1)
        label = np.where(sure, truth, rng.integers(0, 3, truth.shape)).astype(np.uint8)
        tally.add(f"i{i}", label, np.where(sure, 0.9, 0.4), truth)
    refit = partial(fit, vocabulary=WORDS, teacher={"name": "toy"}, risk=0.2)
    made, score = refit(tally), score_teacher(tally, refit, risk=0.2)
    return TeacherCard(score, made, (), (), Verdict.of(tally, made), tally=tally, seconds=seconds)


def compare(**cards: TeacherCard):
    return compare_teachers({name: (name, one) for name, one in cards.items()}, {})


def test_the_best_one_is_used_where_it_is_better_for_sure():
    made = compare(slow=card(0.9, 5.0), prototypes=card(0.6, 0.1, seed=1))
    assert made.chosen.title == "slow"
    assert made.teachers[1].is_told_apart
    assert made.advice.startswith("Use slow: ")
    assert "It beats prototypes, which need the labelled images alone, by " in made.advice
    assert [row["teacher"] for row in made.table()] == ["slow", "prototypes"]


def test_what_few_images_do_not_tell_apart_goes_to_the_cheaper_one():
    made = compare(slow=card(0.72, 5.0, spread=0.25), quick=card(0.7, 0.1, spread=0.25, seed=1))
    assert not made.teachers[1].is_told_apart
    assert made.chosen.title == "quick"
    assert "add them to the list" in made.advice  # the baseline was not measured


def test_a_cheaper_one_is_not_taken_for_a_little_time():
    made = compare(best=card(0.72, 1.0, spread=0.25), other=card(0.7, 0.9, spread=0.25, seed=1))
    assert not made.teachers[1].is_told_apart
    assert made.chosen is made.teachers[0]


def test_none_is_worth_it():
    made = compare(one=card(0.0, 1.0), other=card(0.0, 2.0, seed=1))
    assert made.chosen is None
    assert made.advice.startswith("None of them is worth using. ")
    assert made.advice.count("Do not use it") == 2
    assert made.as_json()["useless"] is True
    assert made.shown is made.teachers[0]


def test_the_baseline_itself():
    made = compare(text=card(0.5, 5.0), prototypes=card(0.9, 0.1, seed=1))
    assert made.chosen.title == "prototypes"
    assert "no other teacher is shown to know more" in made.advice


def test_one_image_says_nothing_about_noise():
    one, other = card(0.9, 1.0, images=6), card(0.8, 0.5, images=6, seed=1)
    cards = {"a": ("a", one), "b": ("b", other)}
    made = compare_teachers(cards, {f"i{i}": "film" for i in range(6)})
    assert made.teachers[1].noise is None
    assert made.chosen.title == "b"
    with pytest.raises(UsageError, match="two or more"):
        compare_teachers({"a": ("a", replace(one))}, {})
