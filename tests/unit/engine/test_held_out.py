"""Labels kept aside: who is chosen, that nobody trains on them, and how the method hears of them."""

from __future__ import annotations

from typing import Any

import pytest

from semiovs.audit.check import check_collection
from semiovs.config.schema import DataConfig
from semiovs.datasets.folder import FolderDataset
from semiovs.engine.checkpoint_state import CheckpointIdentity, require_same_run
from semiovs.engine.experiment import _check_steering
from semiovs.engine.hooks import HeldOutHook
from semiovs.engine.loop import fit
from semiovs.errors import ConfigError, DataError
from unit.toy_data import changed, make
from unit.toy_learner import CPU, batches, learner_of, recipe_of


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make(tmp_path_factory.mktemp("data"), labeled=6)


def sources(root: Any, **values: Any) -> Any:
    return FolderDataset(DataConfig(root=str(root), **values)).read()


def ids(manifest: Any) -> list[str]:
    return [record.id for record in manifest]


def test_a_number_is_a_pure_choice_and_nobody_trains_on_it(root: Any) -> None:
    found = sources(root, held_out=2)
    assert len(found.held_out) == 2
    assert sorted(ids(found.held_out) + ids(found.labeled)) == [f"l{i}" for i in range(6)]
    assert ids(sources(root, held_out=2).held_out) == ids(found.held_out)
    assert set(ids(found.held_out)) < set(ids(sources(root, held_out=3).held_out))
    assert len(FolderDataset(DataConfig(root=str(root), held_out=2)).labeled().labeled) == 4
    check_collection(found)
    assert sources(root).held_out is None


def test_a_list(root: Any) -> None:
    (root / "aside.txt").write_text("images/l1.png masks/l1.png\nimages/l4.png masks/l4.png\n")
    found = sources(root, held_out="aside.txt")
    assert [record.image.stem for record in found.held_out] == ["l1", "l4"]
    assert ids(found.labeled) == ["l0", "l2", "l3", "l5"]
    check_collection(found)


@pytest.mark.parametrize("count", [0, -1, 6, 60])
def test_numbers_that_leave_nothing_are_refused(root: Any, count: int) -> None:
    with pytest.raises(ConfigError, match=rf"data\.held_out: {count} of 6 labelled images .* give 1 to 5"):
        sources(root, held_out=count)


def test_masks_are_needed_and_overlaps_found(root: Any) -> None:
    (root / "bare.txt").write_text("images/l1.png\n")
    with pytest.raises(DataError, match=r"bare\.txt:1: .*l1\.png: held-out images need a mask"):
        sources(root, held_out="bare.txt")
    (root / "val.txt").write_text("val/images/v0.png val/masks/v0.png\n")
    with pytest.raises(DataError, match=r"v0\.png: is both held-out and evaluation"):
        check_collection(sources(root, held_out="val.txt"))
    with pytest.raises(DataError, match=r"data\.held_out: no such list or folder"):
        sources(root, held_out="nothing.txt")
    found = sources(root, held_out=2)
    twice = changed(found, unlabeled=found.held_out.without_masks())
    with pytest.raises(DataError, match="held-out images must not be trained on"):
        check_collection(twice)


def test_the_hook_tells_the_student_s_score_and_the_method_alone() -> None:
    rows: list[Any] = []

    class Rows:
        def write(self, row: Any) -> None:
            rows.append(row)

    learner = learner_of()
    scores = iter([10.0, 30.0, 20.0])

    def evaluator(model: Any) -> dict[str, float]:
        assert model is learner.method.student
        model.eval()
        return {"miou": next(scores)}

    fit(learner, batches(), recipe_of(7), CPU, [HeldOutHook(evaluator, [Rows()], every=3, total_steps=7)])
    assert learner.method.heard == [
        {"step": 3, "held_out": 10.0}, {"step": 6, "held_out": 30.0}, {"step": 7, "held_out": 20.0},
    ]  # fmt: skip
    assert rows[0] == {"kind": "held_out", "step": 3, "model": "student", "miou": 10.0}
    assert learner.best is None
    assert learner.method.training


def test_a_method_that_waits_for_scores_gets_some(root: Any, caplog: pytest.LogCaptureFixture) -> None:
    from contract.toy import toy_method

    both = sources(root, held_out=2)
    neither = changed(both, val=None, held_out=None)
    _check_steering(toy_method("unimatch"), neither)
    _check_steering(toy_method("prevmatch", prev_snapshot="schedule"), neither)
    _check_steering(toy_method("prevmatch", prev_snapshot="held-out"), changed(both, val=None))
    with caplog.at_level("INFO", logger="semiovs"):
        _check_steering(toy_method("prevmatch"), changed(both, held_out=None))
    assert "no fair test" in caplog.text
    for rule, key in (("paper", "val"), ("held-out", "held_out")):
        with pytest.raises(ConfigError, match=rf"no data\.{key}, so no model would ever be kept"):
            _check_steering(toy_method("prevmatch", prev_snapshot=rule), neither)


def test_a_moving_ood_weight_needs_labels_kept_aside(root: Any) -> None:
    from contract.toy import toy_method

    both = sources(root, held_out=2)
    _check_steering(toy_method("unimatch", {"weight": "auto"}), both)
    _check_steering(toy_method("unimatch", {"weight": 1.0}), changed(both, held_out=None))
    with pytest.raises(ConfigError, match=r"ood\.weight: auto is lowered by .* give data\.held_out=N"):
        _check_steering(toy_method("unimatch", {"weight": "auto"}), changed(both, held_out=None))


def test_a_halved_ood_weight_is_told(caplog: pytest.LogCaptureFixture) -> None:
    from contract.toy import toy_method

    learner = learner_of()
    learner.method = toy_method("fixmatch", {"weight": "auto"})
    scores = iter([60.0, 50.0, 50.0, 50.0])
    hook = HeldOutHook(lambda model: {"miou": next(scores)}, [], every=1, total_steps=4)
    for step in (1, 2, 3, 4):
        learner.step = step
        hook(learner)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["step 3: mIoU on held-out labels fell behind its best in 2 evaluations: ood.weight 1 -> 0.5"]


def test_a_run_of_a_version_without_the_key_goes_on() -> None:
    card = {"vocabulary": None}
    saved = {"format": 1, "card": card, "settings": {"optim.lr": "0.1"}}
    require_same_run(saved, CheckpointIdentity(card, {"optim.lr": "0.1", "data.held_out": "null"}))
    with pytest.raises(ConfigError, match=r"data\.held_out: the run was started with null, now it is 2"):
        require_same_run(saved, CheckpointIdentity(card, {"optim.lr": "0.1", "data.held_out": "2"}))
