"""Tables and the page of results that are made up."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import numpy as np
import pytest

from semiovs.comparison.areas import ImageAreas
from semiovs.comparison.arms import ARMS
from semiovs.comparison.cell_files import CellFacts
from semiovs.comparison.files import write_files
from semiovs.comparison.results import ArmResult, Results, SeedResult
from semiovs.errors import DataError, UsageError
from semiovs.similarity.groups import find_groups

CLASSES = ("=cmd|' /C calc'!A0", "<b>road</b>", "$car$")


def make_results(seeds=6, images=12, names=("labels", "unlabeled", "ood"), shares=(0.5, 0.58, 0.66)):
    draws = np.random.default_rng(0)
    target = draws.integers(50, 200, (images, 3))
    arms = []
    for place, (name, share) in enumerate(zip(names, shares, strict=False)):
        arm = next(arm for arm in ARMS if arm.name == name)
        found = []
        for seed in range(seeds):
            hit = (target * (share + draws.uniform(-0.02, 0.02, target.shape))).astype(np.int64)
            areas = ImageAreas(tuple(f"film{i % 4}_{i}" for i in range(images)), target, hit + 10, hit)
            facts = CellFacts("student", 10, areas.miou(), areas.miou() + 1, 5, 3, 60.0 * (place + 1), {})
            found.append(SeedResult(seed, areas, (facts,)))
        arms.append(ArmResult(arm, tuple(found)))
    return Results(tuple(arms), CLASSES, 10)


def test_the_first_answer_is_about_the_ood_images():
    results = make_results()
    assert [(a.question.base, a.question.other) for a in results.answers] == [
        ("unlabeled", "ood"),
        ("labels", "unlabeled"),
        ("labels", "ood"),
    ]
    assert results.answers[0].comparison.verdict == "helped"
    assert results.as_json()["says"][0].startswith("OOD images with the teacher's labels helped: +")
    assert results.as_json()["cost"] == ["A training took 3 min, without them 2 min (+50%)."]


def test_a_gain_over_harmful_images_is_set_beside_the_labels_alone():
    results = make_results(shares=(0.6, 0.5, 0.6))
    verdict, _, whole, *_ = results.says
    assert verdict.startswith("OOD images with the teacher's labels helped: +")
    assert whole.startswith("Cannot tell whether unlabelled and OOD images together help or hurt: ")
    assert "together" not in " ".join(make_results().says)


def test_files_hold_all_of_it_and_nothing_harmful(tmp_path):
    files = write_files(make_results(), tmp_path / "out")
    page = files["page"].read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)|url\(\s*["']?http|@import|<script""", page)
    assert "<b>road</b>" not in page
    assert "&lt;b&gt;road" in page
    assert "nan" not in page
    rows = list(csv.reader(files["csv"].read_text().splitlines()))
    assert rows[0] == ["arm", "seed", "miou", "best", f"'{CLASSES[0]}", *CLASSES[1:]]
    assert len(rows) == 1 + 3 * 6
    markdown = files["markdown"].read_text()
    assert markdown.count("\n| OOD, teacher's labels") == 3
    assert "helped: +" in markdown


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_and_a_single_arm_have_a_page_too(tmp_path, seeds):
    page = write_files(make_results(seeds, images=1), tmp_path / "a")["page"].read_text()
    assert "Too few seeds for a verdict" in page
    page = write_files(make_results(seeds, names=("labels",)), tmp_path / "b")["page"].read_text()
    assert "There is nothing to compare yet" in page


def test_groups_by_pattern():
    ids = ("a_1", "a_2", "b_1")
    assert find_groups(ids, r"^(.)_", "--group-by") == {"a_1": "a", "a_2": "a", "b_1": "b"}
    with pytest.raises(DataError, match="does not fit the image 'b_1'"):
        find_groups(ids, "^(a)_", "--group-by")
    for pattern in ("(", "a"):
        with pytest.raises(UsageError, match="--group-by"):
            find_groups(ids, pattern, "--group-by")


def test_a_teacher_that_knows_the_ood_images_is_named_on_the_page(tmp_path):
    plain = make_results()
    told = replace(plain, leak="The teacher's <weights> know these images.")
    pages = [write_files(each, tmp_path / name)["page"].read_text() for each, name in ((plain, "a"), (told, "b"))]
    assert ["weights&gt; know these images." in page for page in pages] == [False, True]
    assert told.as_json()["leak"] == told.leak
    assert "leak" not in plain.as_json()
