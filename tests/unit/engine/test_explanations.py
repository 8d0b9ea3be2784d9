"""Numbers that look wrong are explained, and nothing else."""

import logging

import pytest

from semiovs.engine.explanations import explain_metrics
from semiovs.engine.hooks import EstimateHook
from semiovs.engine.loop import fit
from unit.toy_learner import CPU, batches, learner_of, recipe_of


def train(*ratios):
    return [{"kind": "train", "step": i, "log/mask_ratio": ratio} for i, ratio in enumerate(ratios)]


def score(absent=(), **iou):
    return [{"kind": "eval", "model": "student", "iou": iou, "absent": list(absent)}]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (train(0.0, 0.0002), ["mask_ratio 0: no pixel"]),
        (train(0.3, 0.0), ["mask_ratio 0 at the end"]),
        (train(0.0, 0.2) + score(sky=50.0, road=1.0), []),
        (train(0.5) + score(sky=50.0, road=10.0) + score(sky=40.0, road=0.0), ["no class but 'sky' is"]),
        (score(sky=0.0, road=0.0), ["nothing learnt yet: no class is"]),
        (score(sky=9.0, car=0.0, absent=["car"]), []),
        (train(0.0) + score(sky=9.0, car=0.0), ["mask_ratio 0", "nothing learnt yet"]),
        ([{"kind": "train", "step": 1}], []),
    ],
)
def test_explanations(rows, said):
    found = list(explain_metrics(rows))
    assert [words in line for words, line in zip(said, found, strict=True)] == [True] * len(said)


@pytest.mark.parametrize(("steps", "said"), [(9, 1), (2, 0), (1, 0)])
def test_the_time_is_told_once(caplog, steps, said):
    recipe = recipe_of(steps)
    with caplog.at_level(logging.INFO, logger="semiovs"):
        fit(learner_of(), batches(), recipe, CPU, [EstimateHook(recipe, CPU)])
    told = [record.getMessage() for record in caplog.records if "without evaluations" in record.getMessage()]
    assert len(told) == said
    assert all(line.endswith("for 7 steps, without evaluations") for line in told)
