"""Arms, folds and plans of comparisons, without a training."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from e2e import folders
from semiovs.comparison.arms import ARMS, choose_arms
from semiovs.comparison.image_lists import choose_folds
from semiovs.comparison.plan import Plan
from semiovs.comparison.prepare import Request, prepare
from semiovs.comparison.tuning import list_different
from semiovs.config import load_config
from semiovs.errors import DataError, UsageError
from semiovs.files import temporary_beside


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folders.write(tmp_path_factory.mktemp("data"))


def load(data, **values):
    return load_config(None, folders.settings(data, data / "run", **values))


def find_arms(data, wanted=(), *, teacher=False, **values):
    loaded = load(data, **values)
    from semiovs.registry import DATASETS, lookup

    images = lookup(DATASETS, "folder", kind="data set").load()(loaded.config.data, loaded.config.ood).read()
    return [arm.name for arm in choose_arms(wanted, loaded.config, images, teacher=teacher)]


def test_arms_are_those_that_the_configuration_can_have(data):
    assert find_arms(data) == ["labels", "unlabeled", "naive", "ood", "placebo"]
    assert find_arms(data, ood="null") == ["labels", "unlabeled"]
    assert find_arms(data, teacher=True)[-1] == "teacher"
    assert find_arms(data, method__name="supervised") == ["labels", "naive", "ood", "placebo"]
    assert find_arms(data, ["probe", "labels"]) == ["labels", "probe"]


@pytest.mark.parametrize(
    ("wanted", "values", "said"),
    [
        (["label", "ood"], {}, "'label' is no arm"),
        (["ood", "ood"], {}, "named twice"),
        (["ood", "labels"], {"ood": "null"}, "no OOD images"),
        (["teacher", "labels"], {}, "--teacher NAME"),
        (["labels"], {}, "needs two arms"),
    ],
)
def test_arms_that_cannot_be_are_refused(data, wanted, values, said):
    with pytest.raises(UsageError, match=said):
        find_arms(data, wanted, **values)


def test_the_probe_takes_over_the_encoder(data):
    prepared = prepare(load(data), Request(["labels", "probe"], seeds=1), data / "probe")
    probe = prepared.plan.load(prepared.plan.cells()[1]).config
    assert (probe.model.name, probe.model.options["encoder"]) == ("linear-probe", "tiny")
    assert (probe.method.name, probe.ood) == ("supervised", None)


def test_a_plan_is_read_as_it_was_written_and_refuses_another_folder(data, tmp_path):
    made = prepare(load(data), Request(seeds=2, group="^(.)"), tmp_path / "out").plan
    again = Plan.read(tmp_path / "out")
    assert [cell.name for cell in again.cells()] == [cell.name for cell in made.cells()]
    assert again.load(again.cells()[0]).values() == made.load(made.cells()[0]).values()
    prepare(load(data), Request(seeds=3), tmp_path / "out")  # more seeds are added
    with pytest.raises(UsageError, match=r"train\.steps: 12 there, 8 now"):
        prepare(load(data, train__steps=8), Request(seeds=2), tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty and holds no comparison"):
        prepare(load(data), Request(), tmp_path / "mine")
    (tmp_path / "out" / "comparison.json").write_text("{}")
    with pytest.raises(DataError, match="changed by hand"):
        Plan.read(tmp_path / "out")


def test_what_a_killed_process_left_half_written_is_no_obstacle(data, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = temporary_beside(tmp_path / "out" / "config.yaml")
    left = left.with_name(left.name.replace(f"-{os.getpid()}-", f"-{ended.pid}-"))
    left.parent.mkdir()
    left.write_text("extends: ")
    assert prepare(load(data), Request(seeds=1), tmp_path / "out").plan.cells()
    assert not left.exists()


def test_folds_are_even_in_images_and_classes_and_keep_groups_whole():
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 50, (40, 5)) * (draws.random((40, 5)) < [1, 0.5, 0.5, 0.2, 0.15])
    ids = [f"image{i}" for i in range(40)]
    together = [[0, 1, 2], [7, 30]]
    folds = choose_folds(pixels, ids, 4, together)
    assert sorted(index for fold in folds for index in fold) == list(range(40))
    assert max(map(len, folds)) - min(map(len, folds)) <= 2
    for unit in together:
        assert sum(set(unit) <= set(fold) for fold in folds) == 1
    shown = np.array([(pixels[fold] > 0).sum(axis=0) for fold in folds])
    there = (pixels > 0).sum(axis=0)
    assert (shown >= np.minimum(1, there // 8)).all()
    order = draws.permutation(40)
    where = {int(old): new for new, old in enumerate(order)}
    moved = [[where[i] for i in unit] for unit in together]
    other = choose_folds(pixels[order], [ids[i] for i in order], 4, moved)
    assert [sorted(int(order[i]) for i in fold) for fold in other] == folds
    with pytest.raises(UsageError, match="give 2 to 37"):
        choose_folds(pixels, ids, 38, together)


def test_each_seed_chooses_other_labelled_images(data, tmp_path):
    plan = prepare(load(data), Request(["labels", "ood"], seeds=3, resplit=2), tmp_path / "out").plan
    chosen = []
    for seed in plan.seeds:
        lists = plan.lists[f"seed-{seed}"]
        labeled = (plan.root / lists["data.labeled"]).read_text().splitlines()
        bare = (plan.root / lists["data.unlabeled"]).read_text().splitlines()
        assert (len(labeled), len(bare)) == (2, 2 + 6)
        assert not any("mask" in line for line in bare)
        chosen.append(tuple(labeled))
    assert len(set(chosen)) > 1
    with pytest.raises(UsageError, match="give 1 to 3"):
        prepare(load(data), Request(resplit=4), tmp_path / "other")


def test_names_of_arms_are_those_of_the_documentation():
    assert [arm.name for arm in ARMS] == ["labels", "unlabeled", "naive", "ood", "placebo", "probe", "teacher"]


def test_values_are_tried_where_they_make_a_difference(data, tmp_path):
    labeled = folders.write(tmp_path / "six", labeled=6)
    wanted = Request(["labels", "ood"], seeds=1, tune=["ood.weight=1,2", "method.conf_thresh=0.5,0.9"])
    prepared = prepare(load(labeled), wanted, tmp_path / "out")
    labels, ood = prepared.plan.trained
    assert len(list_different(prepared.plan, labels)) == 2  # an OOD weight makes none
    assert len(list_different(prepared.plan, ood)) == 4
    with pytest.raises(DataError, match="4 labelled images are too few"):
        prepare(load(data), wanted, tmp_path / "four")
    with pytest.raises(UsageError, match="would also judge"):
        prepare(load(labeled), replace(wanted, folds=2), tmp_path / "folds")
