"""``semiovs demo``: the whole of it on a very small world, and the folder it may and may not touch."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.cli.demo import MARKER, fresh_folder
from semiovs.demo import demo as study
from semiovs.demo import synthetic
from semiovs.demo.synthetic import WorldSize
from semiovs.errors import DataError, InterruptedRunError, UsageError

ARMS = ["labels", "unlabeled", "naive", "ood"]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    monkeypatch.setattr(study, "SIZE", WorldSize(labeled=10, unlabeled=9, ood=9, val=3))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unlearned(tiny, monkeypatch):
    """A demo whose trainings cost nothing, for all that happens around them."""
    monkeypatch.setattr(study, "compare_arms", lambda *_: None)
    monkeypatch.setattr(study, "read_curve", lambda run: study.TrainingCurve([5], [50.0], {"background": 50.0}, 0.1))
    monkeypatch.setattr(study, "make_examples", lambda *_: ([], []))
    monkeypatch.setattr("semiovs.demo.page.write_demo_page", lambda path, *_: path.write_text("report"))
    monkeypatch.setattr("semiovs.demo.image_strips.write_strips", lambda path, *_: path.write_text("picture"))
    return tiny


@pytest.mark.slow
def test_the_whole_demo(tiny, capsys):
    assert main(["demo", "--out", "d", "--seed", "3", "--steps", "5", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((tiny / "d" / "results.json").read_text())
    assert printed.pop("next")[0] == "semiovs predict d/comparison/runs/ood/seed-3 d/world/ood"
    assert printed == written
    assert (written["seed"], written["steps"]) == (3, 5)
    assert all(0 < written[arm] < 100 for arm in ARMS)
    assert 40 < written["teacher"] < 100
    labels = written["teacher_labels"]
    assert (labels["images"], labels["concepts"]) == (9, len(synthetic.VOCABULARY.prompts))
    assert sum(labels["share"].values()) == pytest.approx(1, abs=1e-3)
    assert set(labels["confidence"]) <= set(synthetic.CLASSES)
    card = (tiny / "d" / "teacher.html").read_text()
    assert "Is a 90 % a 90 %?" in card
    assert written["seconds"] > 0

    page = (tiny / "d" / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!data:|#)|url\(\s*["']?http|@import|<script""", page)
    assert all(
        title in page
        for title in (
            "labels alone",
            "unlabelled images",
            "OOD, own labels",
            "OOD, teacher&#39;s labels",
            "The teacher",
        )
    )
    with Image.open(tiny / "d" / "predictions.png") as picture:
        assert picture.width > 6 * 100
    assert page.count('<img src="data:image/png') == 6 * (3 + 5)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page)

    runs = {name: (tiny / "d/comparison/runs" / name / "seed-3/config.yaml").read_text() for name in ARMS}
    assert "mode: naive" in runs["naive"]
    assert "mode: ovs" in runs["ood"]
    assert len({re.sub(r"(?s)ood:.*?\nmodel:|name: \w+|dir: \S+|#.*", "", text) for text in runs.values()}) == 1
    assert len(list((tiny / "d" / "world" / "ood-labels" / "labels").iterdir())) == 9


def test_table_and_report_are_named(unlearned, capsys):
    assert main(["demo", "--steps", "5"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"OOD, teacher's labels +50\.0", out)
    assert "semiovs-demo/report.html" in out
    assert (unlearned / "semiovs-demo" / "report.html").read_text() == "report"


def test_json_names_the_same_next_commands(unlearned, capsys):
    assert main(["demo", "--steps", "5", "--out", "a demo"]) == 0
    shown = capsys.readouterr().out.partition("next: ")[2].splitlines()
    assert main(["demo", "--steps", "5", "--out", "a demo", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["next"]
    assert told == [line.strip() for line in shown]
    assert told[0] == "semiovs predict 'a demo/comparison/runs/ood/seed-0' 'a demo/world/ood'"


def test_second_demo_replaces_the_first_wholly(unlearned):
    assert main(["demo", "--steps", "5"]) == 0
    (unlearned / "semiovs-demo" / "stale.txt").write_text("from before")
    assert main(["demo", "--steps", "5", "--seed", "1"]) == 0
    assert not (unlearned / "semiovs-demo" / "stale.txt").exists()
    assert json.loads((unlearned / "semiovs-demo" / "results.json").read_text())["seed"] == 1
    assert [p.name for p in unlearned.iterdir()] == ["semiovs-demo"]


def test_folder_that_is_no_demo_is_refused(unlearned, capsys):
    (unlearned / "mine").mkdir()
    (unlearned / "mine" / "thesis.tex").write_text("years of work")
    assert main(["demo", "--out", "mine"]) == 2
    assert "not an earlier demo" in capsys.readouterr().err
    assert [p.name for p in (unlearned / "mine").iterdir()] == ["thesis.tex"]


def test_folder_that_cannot_be_made(unlearned, capsys):
    (unlearned / "file").write_text("a file")
    assert main(["demo", "--out", "file/demo"]) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[0].startswith("error: --out: file/demo cannot be")
    assert "Traceback" not in err


@pytest.mark.parametrize(("option", "value"), [("--seed", "-1"), ("--seed", "x"), ("--steps", "0")])
def test_values_that_cannot_be_taken(unlearned, capsys, option, value):
    assert main(["demo", option, value]) == 2
    assert option in capsys.readouterr().err
    assert not list(unlearned.iterdir())


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (KeyboardInterrupt(), 130, "demo stopped; nothing is left"),
        (InterruptedRunError("stopped by SIGINT; step 3 is saved"), 130, "demo stopped; nothing is left"),
        (OSError(28, "No space left on device"), 3, "No space left on device"),
    ],
)
def test_a_demo_that_stops_leaves_nothing(unlearned, monkeypatch, capsys, error, code, told):
    def fail(*_):
        raise error

    monkeypatch.setattr(study, "compare_arms", fail)
    assert main(["demo", "--steps", "5"]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert told in last
    assert not list(unlearned.iterdir())


def _interrupted(out):
    with fresh_folder(out):
        (out / "results.json").write_text("second")
        raise KeyboardInterrupt


def test_a_demo_that_stops_gives_the_earlier_one_back(tmp_path):
    out = tmp_path / "d"
    with fresh_folder(out):
        (out / "results.json").write_text("first")
    with pytest.raises(InterruptedRunError, match="as it was"):
        _interrupted(out)
    assert (out / "results.json").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_a_demo_that_is_terminated_leaves_nothing(unlearned, monkeypatch, capsys):
    monkeypatch.setattr(study, "compare_arms", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert main(["demo", "--steps", "5"]) == 75
    assert "demo stopped by a signal; nothing is left" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    assert not list(unlearned.iterdir())


def test_what_a_killed_demo_left_is_swept(tmp_path):
    left, foreign = tmp_path / ".d.0123", tmp_path / ".d.cache"
    for folder in (left, foreign):
        folder.mkdir()
    (left / MARKER).write_text("")
    with fresh_folder(tmp_path / "d"):
        pass
    assert not left.exists()
    assert foreign.is_dir()


def test_marker_is_there_from_the_start(tmp_path):
    with fresh_folder(tmp_path / "d"):
        assert (tmp_path / "d" / MARKER).is_file()
    with pytest.raises(UsageError, match="not an earlier demo"), fresh_folder(tmp_path):
        pass


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ((50, 53, 48, 60), ["Yes, they helped: 60.0", "(they do harm, -5.0", "worth +12.0)", "(they help, +3.0)"]),
        ((50, 51, 52, 52), ["No difference: 52.0", "(no difference, +1.0", "(no difference, +1.0)"]),
        ((50, 47, 50, 44), ["No, they did harm: 44.0", "worth -6.0)", "(they do harm, -3.0)"]),
    ],
)
def test_the_verdict_is_that_of_the_numbers(tmp_path, scores, words):
    curves = {name: study.TrainingCurve([5], [score], {}, 1.0) for name, score in zip(ARMS, scores, strict=True)}
    told = " ".join(study.DemoResult(tmp_path, WorldSize(), 0, 5, None, curves).judge())
    assert all(word in told for word in words)
    assert "one seed" in told


@pytest.mark.parametrize("cores", [1, 2])
def test_what_is_wrong_with_the_images_is_raised(monkeypatch, tmp_path, cores):
    monkeypatch.setattr(study, "count_cores", lambda: cores)
    (tmp_path / "semiovs.yaml").write_text("data: {root: nowhere}\n")
    with pytest.raises(DataError, match="nowhere"):
        study.compare_arms(tmp_path, lambda *_: None)
