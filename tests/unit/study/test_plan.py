"""Which trainings a study has, how long they are, and what is published of them; nothing is trained."""

from __future__ import annotations

import pytest

from semiovs.errors import ConfigError, UsageError
from semiovs.study.learners import LEARNERS
from semiovs.study.plan import StudyCell, StudyPlan, StudyRequest


def plan_of(root, **asked):
    return StudyPlan.of(StudyRequest(**asked), root)


def test_by_default_it_is_the_table_of_the_paper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_of(tmp_path / "out")
    cells = plan.cells()
    assert len(set(cells)) == len(cells) == 3 * 5 * 2 * 3
    assert [learner.name for learner in plan.learners] == ["unimatch", "prevmatch", "semivl"]
    assert {cell.seed for cell in cells[:30]} == {0}  # one seed makes a whole table
    assert [cell.name for cell in cells[:2]] == ["unimatch/92/base/seed-0", "unimatch/92/ood/seed-0"]
    assert plan.directory(cells[0]) == tmp_path / "out/runs/unimatch/92/base/seed-0"


def test_steps_are_those_of_the_published_lists_and_each_epoch_is_evaluated(tmp_path):
    plan = plan_of(tmp_path, learners=["supervised", "unimatch", "corrmatch"], splits=["92", "1464"])
    lengths = {key: (length.steps, length.eval_every, length.evaluations) for key, length in plan.lengths.items()}
    assert lengths["unimatch", "92"] == (80 * (10490 // 8), 10490 // 8, 80)
    assert lengths["unimatch", "1464"] == (80 * (9118 // 8), 9118 // 8, 80)
    assert lengths["corrmatch", "92"] == (80 * (10490 // 16), 10490 // 16, 80)
    assert lengths["supervised", "92"] == (80 * (92 // 16), 92 // 16, 80)
    config = plan.load(StudyCell("unimatch", "92", "ood", 0)).config
    assert (config.train.epochs, config.train.eval_every, config.train.save_every) == (80, 1311, 500)
    shorter = plan_of(tmp_path, learners=["unimatch"], settings=["train.steps=40", "train.eval_every=7"])
    assert shorter.lengths["unimatch", "92"].evaluations == 6
    assert shorter.load(StudyCell("unimatch", "92", "base", 0)).config.train.eval_every == 7


def test_the_two_arms_of_a_learner_differ_in_ood_images_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = plan_of(tmp_path / "out", learners=[learner.name for learner in LEARNERS], settings=["ood.weight=0.7"])
    for learner in plan.learners:
        base, ood = (plan.load(StudyCell(learner.name, "183", arm, 2)).values() for arm in plan.arms)
        differ = {key for key in {**base, **ood} if base.get(key) != ood.get(key)}
        assert {key.partition(".")[0] for key in differ} == {"ood", "run"}, learner.name
        assert ood["ood.images"] == str(tmp_path / "data/coco/images/train2017")
        assert (ood["ood.labels"], ood["ood.weight"]) == (str(tmp_path / "out/sed-labels"), 0.7)
        assert (base["train.seed"], base["data.labeled"]) == (2, "splits/pascal/183/labeled.txt")
    assert base["data.root"] == str(tmp_path / "data/pascal")


def test_learners_start_from_the_weights_of_the_papers(tmp_path):
    plan = plan_of(tmp_path, learners=["unimatch", "prevmatch", "semivl", "allspark"])
    found = {
        learner.name: plan.load(StudyCell(learner.name, "92", "base", 0)).config.model.pretrained
        for learner in plan.learners
    }
    assert found == {"unimatch": "resnet101.pth", "prevmatch": "resnet101.pth", "semivl": True, "allspark": True}


def test_published_numbers_stand_beside_their_arm():
    known = {learner.name: learner for learner in LEARNERS}
    assert known["unimatch"].published("base")["92"] == 75.2
    assert known["unimatch"].published("ood")["92"] == 80.4
    assert known["semivl"].published("ood")["1464"] == 88.0
    assert known["corrmatch"].published("base")["92"] == 76.4
    assert known["corrmatch"].published("ood") == known["fixmatch"].published("base") == {}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"learners": ["unimach"]}, r"--learners: 'unimach' is not known \(did you mean 'unimatch'\?\)"),
        ({"splits": ["93"]}, "--splits: '93' is not known"),
        ({"arms": ["ood", "ood"]}, "--arms: a name is there twice"),
        ({"settings": ["train.seed=3"]}, "train.seed=3: --seeds decides it"),
        ({"settings": ["method=ddfp"]}, "method=ddfp: --learners decides it"),
        ({"settings": ["ood=null"]}, "--arms base trains without OOD images"),
        ({"settings": ["my.yaml"]}, "'my.yaml': a study has its presets"),
    ],
)
def test_what_a_study_cannot_take(tmp_path, asked, said):
    with pytest.raises(UsageError, match=said):
        plan_of(tmp_path, **asked)


def test_a_setting_that_a_learner_does_not_have_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"model.text"):
        plan_of(tmp_path, settings=["model.text=words"])
