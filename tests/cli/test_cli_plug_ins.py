"""Separate packages, installed by pip: found and listed by name in a fresh process, trained, asked for labels."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from e2e.folders import settings, write
from plug_ins import blocks, installed, plugged
from semiovs.cli.app import main
from semiovs.config.schema import DataConfig
from semiovs.errors import DataError
from semiovs.ovs import build_ovs
from semiovs.registry import DATASETS, METHODS, TEACHERS
from semiovs.store import PseudoLabelStore

PAGES = ("new-method", "new-teacher", "new-dataset")


@pytest.fixture(scope="module")
def site():
    return installed(*PAGES)


@pytest.fixture
def semiovs(site, tmp_path):
    """The command line in a process of its own, in which the packages are installed."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])

    def run(*arguments):
        command = [sys.executable, "-m", "semiovs", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}
        )

    return run


def python(site, code):
    """Run code in a process of its own, in which the packages are installed."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_they_are_listed_with_their_packages(site):
    wanted = {
        "methods": ("mean-teacher", "semiovs-mean-teacher 1.0"),
        "teachers": ("colours", "semiovs-colours 1.0"),
        "datasets": ("tiles", "semiovs-tiles 1.0"),
    }
    code = (
        f"from semiovs.cli import run; [run(['list', kind, '--json']) for kind in {list(wanted)}]; run(['list', "
        f"'methods'])"
    )
    text, decoder = python(site, code).stdout.lstrip(), json.JSONDecoder()
    for name, package in wanted.values():
        rows, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        assert {row["name"]: row["package"] for row in rows if "package" in row} == {name: package}
    assert "An averaged student teaches the strong view. (from semiovs-mean-teacher 1.0)" in text


def test_nothing_is_imported_until_it_is_used(site):
    code = (
        "import sys; from semiovs.config import load_config; from semiovs.registry import METHODS;"
        "load_config('quick'); assert 'mean-teacher' in METHODS;"
        "sys.exit(any(m in sys.modules for m in ('mean_teacher', 'torch')))"
    )
    assert python(site, code).returncode == 0


def test_a_method_trains(site, tmp_path):
    values = settings(
        write(tmp_path / "data"), tmp_path / "run", method__name="mean-teacher", train__steps=4, train__eval_every=2
    )
    with plugged(site):
        assert main(["train", "quick", *values, "method.ramp=0.5"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines) == 4


def test_a_teacher_labels(site, tmp_path):
    images, out = str(write(tmp_path / "data") / "ood"), str(tmp_path / "labels")
    wanted = ["--classes", "black,red,blue", "--teacher", "colours", "--out", out]
    with plugged(site):
        assert main(["label", "--images", images, *wanted]) == 0
    store = PseudoLabelStore.open(tmp_path / "labels")
    assert set(store.ids()) == {f"o{i}" for i in range(5)}


def test_a_data_set_is_trained_on(site, tmp_path):
    names = {}
    exec(blocks("new-dataset", "python")[1], names)
    values = settings(tmp_path, tmp_path / "run", data__name="tiles", method__name="supervised", train__steps=2)
    with plugged(site):
        names["test_tiles"](tmp_path)  # which writes the small copy
        assert main(["train", *(value for value in values if not value.startswith("ood."))]) == 0
    with plugged(site), pytest.raises(DataError, match=r"no train images of tiles; is data\.root="):
        DATASETS["tiles"].load()(DataConfig(name="tiles", root=str(tmp_path / "run"))).read()


def test_unknown_names_are_compared_with_theirs(semiovs):
    done = semiovs("config", "show", "method=mean-teecher")
    assert done.returncode == 2
    assert "did you mean 'mean-teacher'?" in done.stderr


def test_they_are_built_by_name(site):
    with plugged(site):
        assert build_ovs("colours", softness=0.2).describe() == {"softness": 0.2}
        assert [METHODS["mean-teacher"].package, TEACHERS["colours"].package, DATASETS["tiles"].package] == [
            "semiovs-mean-teacher 1.0",
            "semiovs-colours 1.0",
            "semiovs-tiles 1.0",
        ]
