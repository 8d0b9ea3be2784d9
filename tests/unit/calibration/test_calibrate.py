"""From labelled images to a calibration, and from a calibration to labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semiovs.calibration.calibration import CalibratedTeacher, Calibration, identify_teacher
from semiovs.calibration.counts import ScoreCounts
from semiovs.calibration.fit import choose_candidate, count_answers, fit
from semiovs.calibration.risk_control import NEVER
from semiovs.errors import DataError, ResourcesError, UsageError
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.ovs.ensemble import Ensemble
from semiovs.ovs.label import label_images
from semiovs.ovs.masks import MasksTeacher
from semiovs.ovs.prompted import PromptedModel
from semiovs.similarity.groups import assign_folds
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary
from unit.toy_answers import NAMES, WHO, WORDS, noisy


def by_name(calibration: Calibration) -> dict:
    return {rule.name: rule for rule in calibration.classes}


def test_good_classes_get_a_threshold_and_a_bad_one_is_ignored():
    made = by_name(fit(noisy(30), WORDS, WHO, risk=0.1))
    for name in NAMES[:3]:
        rule = made[name]
        assert rule.status == "controlled"
        assert 150 < rule.threshold < 250
        assert rule.precision >= 0.9
        assert 0.05 < rule.coverage < 0.8
    assert made["sofa"].status == "unusable"
    assert made["sofa"].ignored
    strict = by_name(fit(noisy(30), WORDS, WHO, risk=0.05))
    assert strict["sky"].threshold > made["sky"].threshold


def test_the_confidence_is_the_probability():
    made = fit(noisy(60), WORDS, WHO)
    curve = np.array(by_name(made)["road"].curve) / 255
    for level in (128, 180, 220):
        assert curve[level] == pytest.approx(
            (level / 255) ** 2, abs=0.06
        )  # a wrong label is never right by chance here


def test_classes_with_few_images():
    """`sofa` occurs in 4 images: too few for 0.1."""
    tally = noisy(30, classes=(0, 1, 2))
    for i, image in enumerate(noisy(4, seed=7, classes=(0, 1, 2, 3)).images):
        tally.images.append(replace(image, id=f"few{i}"))
    kept = by_name(fit(tally, WORDS, WHO, rare="global"))["sofa"]
    assert kept.status == "unusable"  # its four images say that nothing is right
    assert by_name(fit(tally, WORDS, WHO, rare="ignore"))["sofa"].status == "few"
    never = noisy(30, classes=(0, 1, 2))
    unseen = by_name(fit(never, WORDS, WHO, rare="global"))["sofa"]
    assert (unseen.status, unseen.images) == ("global", 0)
    assert 0 < unseen.threshold < NEVER
    ignored = by_name(fit(never, WORDS, WHO, rare="ignore"))["sofa"]
    assert (ignored.status, ignored.threshold) == ("few", NEVER)


def test_too_few_images_for_the_risk():
    with pytest.raises(
        DataError, match=r"5 labelled images cannot support a risk of 0\.1: that takes 9.*--risk 0\.167"
    ):
        fit(noisy(5), WORDS, WHO)
    assert fit(noisy(5), WORDS, WHO, risk=0.167)
    for wrong in (0, 1, -1, 2):
        with pytest.raises(UsageError, match="between 0 and 1"):
            fit(noisy(5), WORDS, WHO, risk=wrong)


def test_presence_clears_images_where_the_class_is_not():
    """Road is right where it is sure of itself somewhere, and wrong where it never is, at overlapping scores."""
    rng = np.random.default_rng(0)
    tally = ScoreCounts(4)
    for i in range(40):
        there = i % 4 != 0
        truth = np.full((20, 20), 1 if there else 0, np.uint8)
        score = rng.uniform(0.4, 0.7, truth.shape).astype(np.float32)
        score[:2] = 0.95 if there else 0.7
        tally.add(f"i{i}", np.full((20, 20), 1, np.uint8), score, truth)
    rule = by_name(fit(tally, WORDS, WHO, risk=0.3))["road"]
    assert 178 < rule.presence <= 242
    assert rule.precision == 1
    assert rule.coverage == pytest.approx(0.75)


def test_pixels_and_counts_agree():
    """The calibration decides alike on pixels, on their counts, and on what a store kept."""
    tally = noisy(30)
    rules = fit(tally, WORDS, WHO).classes
    rules = tuple(replace(rule, presence=p) for rule, p in zip(rules, (0, 251, 252, 0), strict=True))
    made = replace(fit(tally, WORDS, WHO), classes=rules)
    rng, fresh, kept = np.random.default_rng(5), ScoreCounts(4), []
    for i in range(12):
        label = rng.choice(np.array([0, 1, 2, 255], np.uint8), (30, 30))
        score = rng.beta(4, 1.5, label.shape).astype(np.float32)
        truth = rng.choice(np.array([0, 1, 2], np.uint8), label.shape)
        fresh.add(f"{i}", label, score, truth)
        label_kept, confidence = made.apply(label, score)
        stored = made.apply(label, np.rint(score * 255).astype(np.uint8))
        assert (label_kept == stored[0]).all()
        assert (confidence == stored[1]).all()
        assert (confidence[label_kept == 255] == 0).all()
        kept.append((label_kept != 255).sum())
    rows = made.keep_rows(fresh.table)
    assert np.bincount(fresh.table.image[rows], fresh.table.count[rows], 12).tolist() == kept
    assert len({bool(k) for k in rows}) == 2


def test_it_is_plain_data(tmp_path):
    made = fit(noisy(20), WORDS, WHO, manifest="feed")
    made.save(tmp_path / "c.json")
    back = Calibration.load(tmp_path / "c.json")
    assert back == made
    assert back.hash == made.hash
    assert back.fitted_on["manifest"] == "feed"
    assert fit(noisy(20, seed=1), WORDS, WHO).hash != made.hash
    assert fit(noisy(20), WORDS, {**WHO, "weights": "other"}).hash != made.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-40], "no calibration"),
        (lambda text: "[]", "no calibration"),
        (lambda text: "{}", "'format' is missing"),
        (lambda text: text.replace('"format": 1', '"format": 9'), "format 9"),
        (lambda text: text.replace('"risk": 0.1', '"risk": 0.2'), "changed after it was written"),
        (lambda text: text.replace('"risk": 0.1', '"risk": NaN'), "between 0 and 1"),
        (lambda text: text.replace('"status": "controlled"', '"status": "fine"', 1), "out of range"),
        (lambda text: text.replace('"name": "sky"', '"name": "ski"', 1), "not those of the vocabulary"),
        (lambda text: "[" * 100_000, "no calibration"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    fit(noisy(20), WORDS, WHO).save(tmp_path / "c.json")
    (tmp_path / "c.json").write_text(change((tmp_path / "c.json").read_text()))
    with pytest.raises(DataError, match=message) as caught:
        Calibration.load(tmp_path / "c.json")
    assert str(tmp_path / "c.json") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_teacher_or_vocabulary_is_refused(tmp_path):
    made = fit(noisy(20), WORDS, WHO)
    made.require(WORDS, WHO)
    with pytest.raises(DataError, match=r"another teacher.*weights: 'abc' there, 'def' now"):
        made.require(WORDS, {**WHO, "weights": "def"})
    with pytest.raises(DataError, match="for other classes: class 0 is 'sky' there, 'sea' wanted"):
        made.require(Vocabulary.of(["sea", *NAMES[1:]]), WHO)
    with pytest.raises(DataError, match="semiovs calibrate"):
        Calibration.load(tmp_path / "none.json")


class Toy(PromptedModel):
    """Sees colours: prompt 'red' answers with the red channel; other words see nothing."""

    def __init__(self) -> None:
        self.calls = 0

    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        self.calls += len(images)
        channel = {"red": 0, "green": 1, "blue": 2}
        found = []
        for image in images:
            blank = torch.full_like(image[0], 60)
            maps = torch.stack([image[channel[p]] if p in channel else blank for p in vocabulary.prompts])
            found.append(maps.float() / 255)
        return found

    def describe(self) -> dict:
        return {"eyes": "rgb"}


class Broken(Toy):
    """One pixel of each last image scores what no score may be."""

    def __init__(self, fault: float) -> None:
        super().__init__()
        self.fault = fault

    def label(self, images, vocabulary, *, ids=None):
        labels, scores = super().label(images, vocabulary, ids=ids)
        scores[-1][3, 4] = self.fault
        return labels, scores


GOOD = Vocabulary(("a", "b", "c"), (("red",), ("green",), ("blue",)))
POOR = Vocabulary(("a", "b", "c"), (("red",), ("green",), ("turquoise",)))


@pytest.fixture
def labeled(tmp_path):
    """24 images whose strongest channel is the class, often."""
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i in range(24):
        truth = rng.integers(0, 3, (16, 20)).astype(np.uint8)
        pixels = rng.integers(0, 200, (16, 20, 3))
        np.put_along_axis(pixels, truth[..., None].astype(np.int64), rng.integers(90, 256, (16, 20, 1)), axis=2)
        truth[0, :5] = 255
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"images/i{i:02}.png")
        Image.fromarray(truth).save(tmp_path / f"masks/i{i:02}.png")
    return Manifest.from_folder(tmp_path / "images", tmp_path / "masks")


def test_a_calibrated_teacher_labels_into_a_store(labeled, tmp_path):
    teacher = Toy()
    tally = count_answers(teacher, labeled, MaskReader(GOOD.names), GOOD, batch_size=5)
    assert teacher.calls == 24
    assert tally.digest == count_answers(teacher, labeled, MaskReader(GOOD.names), GOOD).digest
    made = fit(tally, GOOD, identify_teacher("toy", teacher))
    calibrated = CalibratedTeacher(teacher, made)
    store = PseudoLabelStore.create(tmp_path / "s", GOOD, teacher={"name": "toy", **calibrated.describe()})
    label_images(calibrated, labeled.without_masks(), GOOD, store)
    right = total = ignored = 0
    for record in labeled:
        label, truth = store.label(record.id), np.asarray(Image.open(record.mask))
        kept = (label != 255) & (truth != 255)
        right, total, ignored = right + (label == truth)[kept].sum(), total + kept.sum(), ignored + (label == 255).sum()
        assert (store.confidence(record.id)[label == 255] == 0).all()
    assert right / total >= 0.9
    assert ignored > 500
    # what a raw store holds becomes the same by applying the calibration later
    raw = PseudoLabelStore.create(tmp_path / "raw", GOOD, teacher={"name": "toy", **teacher.describe()})
    label_images(teacher, labeled.without_masks(), GOOD, raw)
    for name in raw.ids():
        label, confidence = made.apply(raw.label(name), raw.confidence(name))
        assert (label == store.label(name)).all()
        assert (confidence == store.confidence(name)).all()
    with pytest.raises(DataError, match="another teacher"):
        PseudoLabelStore.create(tmp_path / "raw", GOOD, teacher={"name": "toy", **calibrated.describe()})
    with pytest.raises(DataError, match="use the calibration's own vocabulary"):
        calibrated.label([torch.zeros(3, 4, 4, dtype=torch.uint8)], POOR)


def test_scores_of_a_calibrated_teacher_are_its_labels(labeled):
    teacher = Toy()
    made = fit(count_answers(teacher, labeled, MaskReader(GOOD.names), GOOD), GOOD, WHO)
    image = torch.from_numpy(np.array(Image.open(labeled[0].image))).permute(2, 0, 1)
    calibrated = CalibratedTeacher(teacher, made)
    (scores,), (labels,), (confidences,) = calibrated.scores([image], GOOD), *calibrated.label([image], GOOD)
    assert scores.shape == (3, 16, 20)
    best, label = scores.max(dim=0)
    assert torch.equal(best, confidences)
    assert torch.equal(label[labels != 255].to(torch.uint8), labels[labels != 255])


def test_the_better_prompts_are_chosen(labeled):
    tallies = {n: count_answers(Toy(), labeled, MaskReader(v.names), v) for n, v in (("poor", POOR), ("good", GOOD))}
    choice = choose_candidate(tallies, folds=4)
    assert choice.name == "good"
    assert choice.winners == ("good",) * 4
    assert choice.scores["good"] > choice.scores["poor"] + 5
    assert choice.estimate == pytest.approx(choice.scores["good"])
    same = choose_candidate({"first": tallies["good"], "second": tallies["good"]})
    assert same.name == "first"


def test_choosing_pays_for_its_luck():
    """Among teachers that guess, the winner's own score flatters; the left-out estimate does not."""
    rng = np.random.default_rng(0)
    tallies = {}
    for n in range(30):
        tallies[f"{n}"] = ScoreCounts(2)
        for i in range(6):
            label, truth = (np.random.default_rng([s, i]).integers(0, 2, (3, 3)).astype(np.uint8) for s in (n, 999))
            tallies[f"{n}"].add(f"i{i}", label, rng.random((3, 3)).astype(np.float32), truth)
    choice = choose_candidate(tallies, folds=3)
    assert max(choice.scores.values()) > choice.estimate + 5


def test_folds_are_even_and_do_not_depend_on_the_order():
    names = [f"n{i}" for i in range(23)]
    folds = assign_folds(names, 5)
    assert sorted(np.bincount(folds).tolist()) == [4, 4, 5, 5, 5]
    back = assign_folds(names[::-1], 5)[::-1]
    assert (folds == back).all()
    assert assign_folds(["a", "b"], 5).max() == 1


def test_what_cannot_be_measured_is_told(labeled, tmp_path):
    reader = MaskReader(GOOD.names)
    with pytest.raises(DataError, match="no labelled images to calibrate on"):
        count_answers(Toy(), Manifest([]), reader, GOOD)

    with pytest.raises(DataError, match="image 'i00': the teacher's scores hold NaN"):
        count_answers(Broken(float("nan")), labeled, reader, GOOD)
    with pytest.raises(DataError, match=r"image 'i00'.*not within \[0, 1\]"):
        count_answers(Broken(1.5), labeled, reader, GOOD)
    teacher = CalibratedTeacher(Broken(float("nan")), fit(count_answers(Toy(), labeled, reader, GOOD), GOOD, WHO))
    with pytest.raises(DataError, match="hold NaN"):
        teacher.label([torch.zeros(3, 8, 8, dtype=torch.uint8)], GOOD)
    blank = ScoreCounts(3)
    blank.add("x", np.zeros((2, 2), np.uint8), np.ones((2, 2), np.float32), np.full((2, 2), 255, np.uint8))
    with pytest.raises(DataError, match="nothing to calibrate on"):
        fit(blank, GOOD, WHO)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), MemoryError()])
def test_a_batch_that_does_not_fit_is_halved(labeled, error):
    class Small(Toy):
        most = 2

        def maps(self, images, vocabulary):
            if len(images) > self.most:
                raise error
            return super().maps(images, vocabulary)

    reader = MaskReader(GOOD.names)
    want = count_answers(Toy(), labeled, reader, GOOD)
    assert count_answers(Small(), labeled, reader, GOOD, batch_size=8).digest == want.digest
    Small.most = 0
    with pytest.raises(ResourcesError, match="pixels do not fit the memory, even as a batch of one"):
        count_answers(Small(), labeled, reader, GOOD)


def test_a_teacher_without_scores_still_gets_rules():
    """Ready-made masks say 1 everywhere: one threshold, all or nothing, and the confidence is the class's precision."""
    rng = np.random.default_rng(0)
    tally = ScoreCounts(4)
    for i in range(30):
        truth = rng.integers(0, 2, (30, 30)).astype(np.uint8)
        label = np.where((rng.random(truth.shape) < 0.3) & (truth == 0), 1, truth).astype(np.uint8)
        tally.add(f"i{i}", label, np.ones(truth.shape, np.float32), truth)
    made = by_name(fit(tally, WORDS, WHO))
    assert (made["sky"].threshold, made["sky"].coverage, made["sky"].precision) == (0, 1, 1)
    assert made["road"].status == "unusable"
    assert made["road"].curve[255] / 255 == pytest.approx(1 / 1.3, abs=0.03)


def test_the_folder_of_ready_made_answers_is_no_part_of_the_teacher(tmp_path):
    """Those for the labelled images lie elsewhere than those to be labelled; other options count."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    here, there = (MasksTeacher(tmp_path / name) for name in ("a", "b"))
    assert identify_teacher("masks", here) == identify_teacher("masks", there)
    assert identify_teacher("masks", here) != identify_teacher("masks", MasksTeacher(tmp_path / "a", suffix="_x"))
    both = [Ensemble(members=[{"name": "masks", "options": {"root": str(tmp_path / name)}}]) for name in ("a", "b")]
    assert identify_teacher("ensemble", both[0]) == identify_teacher("ensemble", both[1])
    assert CalibratedTeacher(here, fit(noisy(20), WORDS, WHO)).reads_ids


def test_everything_is_json(tmp_path):
    made = fit(noisy(20), WORDS, {**WHO, "root": tmp_path})
    assert json.loads(json.dumps(made.as_json()))["teacher"]["root"] == str(tmp_path)
