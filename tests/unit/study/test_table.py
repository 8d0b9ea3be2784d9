"""The table of a study from the files of its trainings."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict

import pytest

from semiovs.comparison.cell_files import FACTS, CellFacts
from semiovs.errors import UsageError
from semiovs.study.plan import StudyCell, StudyPlan, StudyRequest
from semiovs.study.table import find_plan, read_table, write_table


def finish(plan, learner, split, arm, seed, best, last):
    directory = plan.directory(StudyCell(learner, split, arm, seed))
    directory.mkdir(parents=True)
    facts = CellFacts("student", 10, last, best, 5, 2, 1.5, {})
    (directory / FACTS).write_text(json.dumps(asdict(facts)))


@pytest.fixture
def plan(tmp_path):
    """Three seeds are asked for; of 92 labels there are two of each arm, of 183 one with OOD images."""
    plan = StudyPlan.of(StudyRequest(["unimatch", "corrmatch"], ["92", "183"], seeds=3), tmp_path)
    for seed, best in enumerate((75.0, 77.0)):
        finish(plan, "unimatch", "92", "base", seed, best, best - 1)
        finish(plan, "unimatch", "92", "ood", seed, best + 5, best + 3)
    finish(plan, "unimatch", "183", "ood", 0, 81.5, 81.0)
    return plan


def test_mean_and_spread_stand_beside_what_was_published(plan):
    head, rows = read_table(plan).list_rows()
    assert list(head) == ["learner", "OOD images", "mIoU %", "92", "183"]
    found = {tuple(row[:3]): row[3:] for row in rows}
    assert found["unimatch", "no", "best epoch"] == ["76.00 ± 1.41 (2 of 3)", ""]
    assert found["unimatch", "no", "last epoch"] == ["75.00 ± 1.41 (2 of 3)", ""]
    assert found["unimatch", "no", "best epoch, published elsewhere"] == ["75.2", "77.2"]
    assert found["unimatch", "yes", "best epoch"] == ["81.00 ± 1.41 (2 of 3)", "81.50 (1 of 3)"]
    assert found["corrmatch", "yes", "best epoch, published elsewhere"] == ["–", "–"]
    assert len(rows) == 2 * 2 * 3


def test_its_files(plan):
    files = write_table(read_table(plan), plan.root)
    results = json.loads(files["results"].read_text())
    assert (results["finished"], results["seeds"]) == (5, 3)
    assert results["rows"][1]["measured"]["183"] == [
        {"seed": 0, "best": 81.5, "best_step": 5, "last": 81.0, "steps": 10, "seconds": 1.5}
    ]
    assert "not ours" in results["published"]
    lines = list(csv.DictReader(files["csv"].open()))
    assert len(lines) == 5
    assert {line["published"] for line in lines if line["arm"] == "ood" and line["split"] == "92"} == {"80.4"}
    assert files["markdown"].read_text().startswith("| learner | OOD images | mIoU % | 92 | 183 |\n| --- |")


def test_a_folder_alone_says_what_is_there(plan):
    found = find_plan(plan.root)
    assert [learner.name for learner in found.learners] == ["unimatch"]
    assert (found.splits, found.arms, found.seeds) == (("92", "183"), ("base", "ood"), (0, 1))
    assert len(read_table(found).directories) == 5


def test_the_first_pair_with_two_seeds_is_the_one_to_compare(plan):
    pair = [path.relative_to(plan.root / "runs").as_posix() for path in read_table(plan).find_pair()]
    assert pair == [f"unimatch/92/{arm}/seed-{seed}" for arm in ("base", "ood") for seed in (0, 1)]


def test_an_empty_folder_is_no_study(tmp_path):
    with pytest.raises(UsageError, match="no finished training"):
        find_plan(tmp_path)
