"""`semiovs report`, and the page that a training leaves."""

import json
import shutil

import pytest

from e2e.folders import settings, write
from e2e.launcher import train
from semiovs.cli.app import main
from semiovs.comparison.arms import ARMS
from semiovs.comparison.cell_files import finish
from semiovs.comparison.plan import Plan
from semiovs.config import load_config
from semiovs.engine.run import Run


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run of 12 steps with OOD images, and an EMA teacher."""
    return train(data, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def run(trained, tmp_path):
    """A copy of it."""
    return shutil.copytree(trained, tmp_path / "run", symlinks=True)


@pytest.fixture
def report(capsys):
    def call(*arguments):
        code = main(["report", *map(str, arguments), "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if code == 0 else said.err

    return call


def test_a_training_leaves_its_page(trained):
    text = (trained / "report.html").read_text("utf-8")
    assert f"page: {trained}/report.html" in trained.with_name("log").read_text()
    titles = (
        "Curves",
        "Classes",
        "Boundaries and confidence",
        "Examples",
        "Pseudo-labels",
        "OOD images",
        "How it was made",
    )
    assert [title for title in titles if f"<h2>{title}</h2>" not in text] == []
    assert 'class="missing"' not in text
    assert text.count('alt="prediction of v') == 2
    assert text.count('alt="OOD image o') == 5
    assert "4 labelled, 6 unlabelled, 2 evaluation, 5 OOD" in text
    assert "share of the OOD pixels that were learnt from" in text


def test_the_page_measures_what_the_training_scored(run, report):
    (run / "report.html").unlink()
    code, told = report(run)
    assert code == 0
    assert (run / "report.html").is_file()
    scores = json.loads((run / "eval.json").read_text())
    assert (told["model"], told["last"]["step"]) == ("ema", 12)
    assert told["last"]["miou"] == scores["last"]["ema"]["miou"]
    assert told["best"]["miou"] == scores["best"]["miou"]
    assert told["measured"]["images"] == 2
    assert told["measured"]["miou_present"] == pytest.approx(scores["last"]["ema"]["miou_present"], abs=0.1)
    assert 0 < told["measured"]["boundary_miou"] < told["measured"]["miou_present"]
    assert 0 < told["measured"]["ece"] < 1
    assert told["missing"] == {}
    assert told["next"][0].startswith("semiovs predict ")


def test_without_checkpoints_the_weights_for_prediction_are_measured(run, report):
    shutil.rmtree(run / "checkpoints")
    code, told = report(run, "--out", run / "other.html")
    assert code == 0
    assert "best checkpoint" in told["measured"]["model"]
    assert "best checkpoint" in (run / "other.html").read_text("utf-8")


def test_without_weights_or_images_the_rest_is_shown(run, report, tmp_path):
    shutil.rmtree(run / "checkpoints")
    (run / "model.safetensors").unlink()
    code, told = report(run)
    assert code == 0
    assert told["measured"] is None
    assert "Nothing could be predicted" in told["missing"]["measurement"]
    assert told["finished"] is False
    config = run / "config.yaml"
    root = load_config(str(config)).config.data.root
    config.write_text(config.read_text("utf-8").replace(root, str(tmp_path / "moved")), "utf-8")
    code, told = report(run)
    assert code == 0
    assert "moved" in told["missing"]["images"]
    assert told["last"]["step"] == 12
    assert "<h2>Classes</h2>" in (run / "report.html").read_text("utf-8")


def test_labels_are_shown_as_they_were_learnt(run, report):
    config = run / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("mode: ovs", "mode: placebo"), "utf-8")
    assert report(run)[0] == 0
    assert "ood.mode=placebo" in (run / "report.html").read_text("utf-8")


def test_no_run_and_no_place_for_the_page_are_told(run, report, tmp_path):
    code, said = report(tmp_path)
    assert code == 2
    assert "not a run directory" in said
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    code, said = report(run)
    assert code == 3
    assert "report.html" in said
    assert len(said.strip().splitlines()) == 1


def test_a_page_that_fails_does_not_fail_the_training(data, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("no space\nleft")

    monkeypatch.setattr("semiovs.run_page.page.write_run_page", fail)
    assert main(["train", *settings(data, tmp_path / "run", train__steps=2), "--json"]) == 0
    said = capsys.readouterr()
    assert "warning: the page of the run was not written: no space left\n" in said.err
    assert json.loads(said.out)["page"] is None


def test_the_page_of_a_comparison_is_written_anew(trained, report, tmp_path, capsys):
    arms = tuple(arm for arm in ARMS if arm.name in {"unlabeled", "ood"})
    plan = Plan(tmp_path / "comparison", arms, (0,), 12, 5)
    plan.write(load_config(str(trained)))
    code, said = report(plan.root)
    assert code == 3
    assert "no training of this comparison is finished" in said
    for cell in plan.cells():
        shutil.copytree(trained, plan.directory(cell), symlinks=True)
        finish(Run(plan.directory(cell)))
    code, told = report(plan.root)
    assert code == 0
    assert [arm["name"] for arm in told["arms"]] == [arm.name for arm in arms]
    assert sorted(told["files"]) == ["csv", "markdown", "page", "results"]
    assert "Did the images help?" in (plan.root / "report.html").read_text("utf-8")
    code, told = report(plan.root, "--out", tmp_path / "page.html")
    assert told["files"] == {"page": str(tmp_path / "page.html")}


def test_a_run_without_evaluation_images_has_a_page(tmp_path):
    root = write(tmp_path / "data")
    shutil.rmtree(root / "val")
    run = train(root, tmp_path / "run", train__steps=2)
    assert "was not evaluated" in (run / "report.html").read_text("utf-8")
