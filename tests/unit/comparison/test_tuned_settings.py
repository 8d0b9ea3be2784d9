"""What ``--tune`` asks for, and its file."""

from __future__ import annotations

import pytest

from semiovs.comparison.tuned_settings import FILE, Trial, choose_best, parse_tune, read_tuned, write_tuned
from semiovs.errors import DataError, UsageError


def test_all_combinations_as_they_were_typed():
    assert parse_tune([]) == []
    assert parse_tune(["optim.lr=1e-3,0.01", "model.dilations=[1,2],[2,4]"]) == [
        ("optim.lr=1e-3", "model.dilations=[1,2]"),
        ("optim.lr=1e-3", "model.dilations=[2,4]"),
        ("optim.lr=0.01", "model.dilations=[1,2]"),
        ("optim.lr=0.01", "model.dilations=[2,4]"),
    ]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["optim.lr"], "expected KEY=V1,V2"),
        (["optim.lr=1,2", "optim.lr=3,4"], "each key once"),
        (["optim.lr=0.1"], "two or more different values"),
        (["optim.lr=0.1,0.1"], "two or more different values"),
        (["optim.lr=[0.1,"], "cannot be read"),
        (["train.steps=10,20"], "only optim"),
        (["ood.mode=naive,ovs"], "only optim"),
        (["optim.lr=1,2,3,4,5", "method.conf_thresh=1,2,3,4,5"], "25 combinations; at most 24"),
    ],
)
def test_what_cannot_be_tuned_is_refused(texts, said):
    with pytest.raises(UsageError, match=said):
        parse_tune(texts)


def test_the_best_is_chosen_and_of_equals_the_first():
    trials = [Trial(("a=1",), None), Trial(("a=2",), 40.0), Trial(("a=3",), 40.0)]
    assert choose_best(trials) == ("a=2",)
    assert choose_best([]) == ()


def test_the_file_is_read_as_it_was_written(tmp_path):
    tuned = {"labels": [Trial(("optim.lr=0.1",), 31.25), Trial(("optim.lr=1",), None)], "ood": []}
    write_tuned(tmp_path, tuned)
    assert read_tuned(tmp_path) == tuned
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(DataError, match="not what was tried"):
        read_tuned(tmp_path)
