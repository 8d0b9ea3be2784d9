"""Presence, thresholds, balance and the decision about each image, on numbers alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiovs.errors import DataError
from semiovs.ovs.base import OpenVocabModel
from semiovs.select.class_balance import choose_balanced
from semiovs.select.class_presence import ask_teacher, fit_thresholds, measure_presence
from semiovs.select.decision import REASONS, SelectionRules, decide
from semiovs.select.scan_table import READ, UNANSWERED, UNREADABLE, ScanRows
from semiovs.similarity.descriptor import quantize
from semiovs.vocab import Vocabulary


def test_presence_is_the_score_that_a_share_of_the_pixels_reaches():
    label, score = np.full((10, 10), 255, np.uint8), np.zeros((10, 10))
    label[0, :3], score[0, :3] = 1, (0.9, 0.8, 0.2)
    label[5:], score[5:] = 2, 0.6
    found = measure_presence(label, score, 4, share=0.02)
    assert found.level.tolist() == [0, 204, 153, 0]  # two pixels of class 1 reach 0.8
    assert found.seen.tolist() == [False, True, True, False]
    assert measure_presence(label, score, 4, share=0.05).level.tolist() == [0, 0, 153, 0]
    assert measure_presence(label, None, 4, share=0.02).level.tolist() == [0, 255, 255, 0]


class Moody(OpenVocabModel):
    """Fails for black images, and for more than two at once as if the memory were short."""

    def scores(self, images, vocabulary, *, ids=None):
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if any(not image.any() for image in images):
            raise DataError("black")
        return [torch.full((len(vocabulary), *image.shape[1:]), 0.5) for image in images]


def test_a_bad_image_and_a_short_memory_do_not_stop_the_others():
    images = [torch.ones(3, 4, 4, dtype=torch.uint8) for _ in range(5)]
    images[3] = torch.zeros(3, 4, 4, dtype=torch.uint8)
    found = ask_teacher(Moody(), images, Vocabulary.of(["a", "b"]), list("abcde"))
    assert [isinstance(one, DataError) for one in found] == [False, False, False, True, False]
    assert found[0].level.tolist() == [128, 0]


def test_thresholds_keep_the_recall_and_are_no_higher_than_helps():
    truth = np.zeros((100, 3), bool)
    truth[:40, 0] = truth[:3, 1] = True
    found = np.zeros((100, 3), np.uint8)
    found[:40, 0] = np.linspace(100, 250, 40)
    found[40:, 0] = 60  # false alarms
    found[:3, 1] = 200
    made = fit_thresholds(("a", "b", "c"), found, truth, 0.95)
    assert 60 < made[0].level <= 100  # nothing above 61 helps further
    assert (made[0].recall, made[0].precision, made[0].source) == (1.0, 1.0, "class")
    assert made[1].source == made[2].source == "all classes"
    assert made[2].images == 0
    assert made[2].as_json()["recall"] is None
    found[:40, 0], found[40:, 0] = np.linspace(1, 200, 40), 50
    low = fit_thresholds(("a", "b", "c"), found, truth, 0.95)[0]
    assert low.recall >= 0.95
    none = fit_thresholds(("a",), np.zeros((0, 1), np.uint8), np.zeros((0, 1), bool), 0.9)
    assert (none[0].level, none[0].source) == (128, "default")


def test_a_class_that_the_teacher_misses_counts_wherever_it_is_seen():
    truth = np.ones((20, 1), bool)
    found = np.zeros((20, 1), np.uint8)
    found[:10] = 90
    assert fit_thresholds(("a",), found, truth, 0.9)[0].level == 1


def test_classes_come_out_as_equal_as_the_pool_allows():
    rng = np.random.default_rng(0)
    shares = np.array([0.9, 0.3, 0.05, 0.01])
    present = rng.random((3000, 4)) < shares
    vectors = quantize(rng.standard_normal((3000, 16)))
    chosen, classes = choose_balanced(present, vectors, 200)
    counts, total = present[chosen].sum(axis=0), present.sum(axis=0)
    assert len(set(chosen.tolist())) == len(chosen) == len(classes) == 200
    assert counts[3] == total[3]  # the rarest: all there are
    assert counts[2] >= 50
    assert present[chosen, classes].all()
    by_chance = present[rng.permutation(3000)[:200]].sum(axis=0)
    assert counts[1:].min() > by_chance[1:].min()
    again = choose_balanced(present, vectors, 50)[0]
    assert again.tolist() == chosen[:50].tolist()


def test_images_are_spread_wider_than_by_chance():
    rng = np.random.default_rng(1)
    crowd = np.repeat(rng.standard_normal((20, 16)), [500, *[10] * 19], axis=0)
    vectors = quantize(crowd + 0.05 * rng.standard_normal(crowd.shape))[rng.permutation(len(crowd))]
    chosen, _ = choose_balanced(np.ones((len(vectors), 1), bool), vectors, 20)

    def apart(rows):
        unit = vectors[rows] / np.linalg.norm(vectors[rows].astype(float), axis=1, keepdims=True)
        return 1 - np.triu(unit @ unit.T, 1).max(axis=0)[1:].mean()

    assert apart(chosen) > 2 * apart(np.arange(20))


def test_fewer_than_the_budget_and_images_without_a_class():
    present = np.array([[True, False], [False, False], [True, True]])
    chosen, _ = choose_balanced(present, np.ones((3, 4), np.int8), 10)
    assert sorted(chosen.tolist()) == [0, 2]
    assert len(choose_balanced(present[:0], np.ones((0, 4), np.int8), 10)[0]) == 0


@pytest.fixture
def pool():
    """12 images: bad, unanswered, of one id, of a wrong license, a leak and its copy, off-topic, copies of three sizes, others."""
    rng = np.random.default_rng(4)
    rows = ScanRows.empty(12, 2, 0)
    rows.key[:] = np.arange(12) + 100
    rows.digest[:] = rng.integers(0, 256, (12, 32))
    rows.hash[:] = rng.integers(0, 2**64, 12, dtype=np.uint64)
    rows.picture[:] = quantize(rng.standard_normal((12, 64)))
    rows.size[:] = 100
    rows.presence[:] = 200
    rows.seen[:] = np.packbits([True, True])
    rows.status[0], rows.status[1] = UNREADABLE, UNANSWERED
    rows.key[3] = rows.key[2]
    references = ScanRows.empty(1, 0, 0)
    references.digest[:], references.hash[:] = rng.integers(0, 256, (1, 32)), 7
    references.picture[0] = rows.picture[5]
    rows.digest[6] = rows.digest[5]  # nothing tells it from a copy of the leak but the leak itself
    rows.presence[7] = 100
    rows.digest[9] = rows.digest[10] = rows.digest[8]
    rows.size[9, :2] = 200
    rows.size[8, 2] = 900
    return rows, references


LICENSED = np.arange(12) != 4


def reasons(found):
    return [REASONS[reason] for reason in found.reason]


def test_each_image_has_one_reason(pool):
    rows, references = pool
    found = decide(
        rows, references, LICENSED, np.array([128, 128], np.uint8), np.array([0, 1]), SelectionRules(budget=2)
    )
    told = reasons(found)
    assert told[:2] == ["unreadable", "no answer"]
    assert sorted(told[2:4]) in (["chosen", "repeated id"], ["over budget", "repeated id"])
    assert told[4:8] == ["license", "leak", "leak", "off-topic"]
    assert [told[8], told[10]] == ["duplicate", "duplicate"]  # number 9 is larger
    assert found.of[[8, 10]].tolist() == [9, 9]
    assert found.of[[5, 6]].tolist() == [0, 0]
    assert found.count(0) == 2
    assert len(told) == 12


def test_what_is_near_a_leak_alone_is_a_leak(pool):
    rows, references = pool
    rows.picture[6] = -rows.picture[5]
    found = decide(rows, references, LICENSED, np.array([128, 128], np.uint8), np.array([0, 1]), SelectionRules())
    assert reasons(found)[6] == "leak"
    assert (found.of[6], found.via[6]) == (0, 5)


def test_the_rule_of_the_paper_takes_all_with_a_target(pool):
    rows, references = pool
    rows.seen[11] = np.packbits([True, False])
    found = decide(
        rows, references, LICENSED, np.array([128, 128], np.uint8), np.array([1]), SelectionRules(rule="paper")
    )
    told = reasons(found)
    assert told[11] == "off-topic"
    assert told[5:11] == ["chosen"] * 6
    assert found.leaks.tolist() == [5]


def test_the_order_of_the_pool_does_not_matter(pool):
    rows, references = pool
    turn = np.random.default_rng(0).permutation(12)
    turned = ScanRows(**{name: getattr(rows, name)[turn] for name in ScanRows.__dataclass_fields__})
    levels, targets = np.array([128, 128], np.uint8), np.array([0, 1])
    one = decide(rows, references, LICENSED, levels, targets, SelectionRules(budget=2))
    other = decide(turned, references, LICENSED[turn], levels, targets, SelectionRules(budget=2))
    assert turn[other.order].tolist() == one.order.tolist()
    assert (other.reason == one.reason[turn]).all()
    assert (rows.status[one.order] == READ).all()
