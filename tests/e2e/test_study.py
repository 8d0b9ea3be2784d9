"""The study of Pascal VOC on miniature trees: labelled once, trained, stopped in all ways, reported."""

from __future__ import annotations

import json
import shlex
import shutil
import time

import pytest

from cli.documented import Command, problem
from e2e import study_trees
from e2e.launcher import command, kill, start_command, wait_until
from semiovs.calibration.labelling import label_with
from semiovs.cli.app import main
from semiovs.engine.teacher_choice import TeacherChoice
from semiovs.engine.training import train
from semiovs.errors import PreemptedError
from semiovs.progress import show_progress
from semiovs.store import PseudoLabelStore
from semiovs.study import cost
from semiovs.study.needs import find_needs, is_labelled, make_labelling_task
from semiovs.study.plan import StudyPlan, StudyRequest


def arguments(tree, out, *further, seeds=2):
    """UniMatch with 92 labels, with and without OOD images."""
    sed = ["--weights", str(tree / "sed.safetensors"), "--out", str(out)]
    chosen = ["--learners", "unimatch", "--splits", "92", "--seeds", str(seeds)]
    return ["study", "voc", *study_trees.settings(tree), *sed, *chosen, *further]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return study_trees.write(tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def whole(tree, tmp_path_factory):
    """A study that ran to its end at once; returns its folder and what it printed."""
    root = tmp_path_factory.mktemp("whole")
    code = command(*arguments(tree, root / "out", "--json"), log=root / "log")
    assert code == 0, (root / "log.err").read_text()
    return root / "out", json.loads((root / "log").read_text())


def scores(out):
    lines = [line.split(",") for line in (out / "table.csv").read_text().splitlines()]
    seconds = lines[0].index("seconds")
    return [line[:seconds] + line[seconds + 1 :] for line in lines]


def test_every_cell_is_a_run_and_all_share_the_labels_of_sed(whole, tree):
    out, told = whole
    store = PseudoLabelStore.open(out / "sed-labels")
    assert (len(list(store.ids())), store.teacher["name"]) == (3, "sed")
    assert {path.parent.relative_to(out / "runs").as_posix() for path in out.rglob("cell.json")} == {
        f"unimatch/92/{arm}/seed-{seed}" for arm in ("base", "ood") for seed in (0, 1)
    }
    ood = (out / "runs/unimatch/92/ood/seed-1/config.yaml").read_text()
    assert f"labels: {out / 'sed-labels'}" in ood
    assert (told["finished"], told["left"], told["diverged"]) == (4, [], {})
    assert [(row["learner"], row["arm"]) for row in told["rows"]] == [("unimatch", "base"), ("unimatch", "ood")]
    assert told["rows"][1]["published"] == {"92": 80.4, "183": 81.3, "366": 81.6, "732": 81.7, "1464": 81.8}


def test_finished_it_trains_nothing_and_needs_no_teacher(whole, tree, capsys):
    out, told = whole
    before = {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")}
    words = [
        word for word in arguments(tree, out, "--json") if word not in ("--weights", str(tree / "sed.safetensors"))
    ]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert main(["study", "voc", "--report", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == told
    assert {path: path.stat().st_mtime_ns for path in out.rglob("cell.json")} == before


def test_what_it_proposes_next_works(whole, capsys):
    *commands, look = whole[1]["next"]
    assert look == f"# look at {whole[0] / 'table.md'}"
    assert [words[:2] for words in map(shlex.split, commands)] == [["semiovs", "compare"]]
    assert main(shlex.split(commands[0])[1:]) == 0
    assert "Too few seeds for a verdict" in capsys.readouterr().out


def test_killed_it_goes_on_and_ends_with_the_same_scores(whole, tree, tmp_path):
    out, words = tmp_path / "out", arguments(tree, tmp_path / "out", seeds=1)
    process = start_command(*words, log=tmp_path / "log")
    wait_until(lambda: any(out.rglob("cell.json")), process)
    kill(process)
    (first,) = out.rglob("cell.json")
    written = first.stat().st_mtime_ns
    assert command(*words, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    assert first.stat().st_mtime_ns == written
    assert scores(out) == [line for line in scores(whole[0]) if line[3] in ("seed", "0")]


def test_beside_a_report_nothing_is_asked_for(whole, capsys):
    assert main(["study", "voc", "--report", "--learners", "unimatch", "--out", str(whole[0])]) == 2
    assert "--learners has no meaning beside it" in capsys.readouterr().err


def test_other_settings_are_refused(whole, tree, capsys):
    assert main(arguments(tree, whole[0], "optim.lr=0.5")) == 3
    assert "optim.lr: 0.001 there, 0.5 now" in capsys.readouterr().err


def test_a_shard_labels_its_part_and_leaves_what_needs_the_others(tree, tmp_path, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr("semiovs.study.execution.train_cells", lambda plan, cells, *_: _finish(cells, seen))
    out = tmp_path / "out"
    assert main(arguments(tree, out, "--shard", "0/3")) == 75
    assert len(list(PseudoLabelStore.open(out / "sed-labels").ids())) == 1
    assert seen.pop() == ["unimatch/92/base/seed-0"]
    assert "1 trainings wait for labels" in capsys.readouterr().err
    for shard in ("1/3", "2/3"):
        main(arguments(tree, out, "--shard", shard))
    assert len(list(PseudoLabelStore.open(out / "sed-labels").ids())) == 3
    assert seen == [[], ["unimatch/92/base/seed-1"]]
    assert main(arguments(tree, out, "--shard", "0/3")) == 0
    assert seen.pop() == ["unimatch/92/base/seed-0", "unimatch/92/ood/seed-1"]


def _finish(cells, seen):
    from semiovs.comparison.workers import Outcome

    seen.append([cell.name for cell in cells])
    return Outcome([*cells])


def test_a_budget_stops_labelling_too(tree, tmp_path, capsys):
    out = tmp_path / "out"
    plan = StudyPlan.of(StudyRequest(["unimatch"], ["92"], settings=study_trees.settings(tree)), out)
    task, sed = make_labelling_task(plan), TeacherChoice("sed", tree / "sed.safetensors")

    def label(deadline):
        label_with(
            sed, task, plan.load_labelling().config, agree=lambda _: None, say=print, shard=(0, 1),
            show=show_progress, deadline=deadline,
        )  # fmt: skip

    with pytest.raises(PreemptedError, match="the time is over; 0 of 3 images are done"):
        label(time.monotonic())
    assert not is_labelled(task)
    label(time.monotonic() + 100)
    assert is_labelled(task)
    assert main(arguments(tree, out, "--budget", "0.01")) == 75
    assert "4 trainings of 4 are left; the same command goes on" in capsys.readouterr().err


def test_a_dry_run_tells_plan_cost_and_that_nothing_is_missing(whole, tree, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("semiovs.engine.dry_run.ENOUGH", 0.1)
    out = tmp_path / "out"
    assert main(arguments(tree, out, "--dry-run", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert not out.exists()
    assert (told["trainings"], told["missing"]) == (4, [])
    (length,) = told["lengths"]
    assert (length["steps"], length["labeled"], length["unlabeled"], length["val"]) == (2, 2, 6, 2)
    rows = told["cost"]["trainings"]
    assert [(row["arm"], row["trainings"], row["problem"]) for row in rows] == [("base", 2, ""), ("ood", 2, "")]
    for row in rows:
        assert row["seconds"]["92"] == pytest.approx(2 * row["step"] + 2 * row["image"])
        assert row["weights"] > 50_000
    assert told["cost"]["labels"]["images"] == 3
    assert told["cost"]["labels"]["image"] > 0
    (again,) = told["next"]
    moved = [str(whole[0]) if word == str(out) else word for word in shlex.split(again)]
    assert main(moved[1:]) == 0  # the command that it prints, where all is done


def test_a_dry_run_without_anything_says_where_all_of_it_belongs(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("SEMIOVS_CACHE", "SEMIOVS_WEIGHTS_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    seen = {
        "seconds_per_step": 0.5, "seconds_per_evaluation": 0.2, "finished_steps": 9, "parameters": 10**6,
        "disk_gib": 1.0, "device": "cuda:0",
    }  # fmt: skip
    monkeypatch.setattr(cost, "dry_run", lambda config, **_: seen)
    assert main(["study", "voc", "--splits", "92", "--learners", "unimatch", "--seeds", "1", "--dry-run"]) == 3
    said = capsys.readouterr()
    assert "2 trainings (1 learners x 1 splits x 2 arms x 1 seeds)" in said.out
    seconds = 2 * (104_880 * 0.5 + 80 * 1449 * 0.1)
    assert f"time: at least {seconds // 3600:.0f} h" in said.out  # the teacher is not here, so its time is not known
    assert (
        "labels of 118,287 OOD images, once for all trainings: not measured: teacher 'sed' has no weights" in said.out
    )
    for place in ("data/pascal/JPEGImages", "data/coco/images/train2017", "SEMIOVS_WEIGHTS_DIR/sed_model_large.pth"):
        assert f"belongs to {tmp_path / place}" in said.out
    lines = said.out.partition("\nnext: ")[2].splitlines()
    fetched = [line.strip() for line in lines if not line.strip().startswith("#")]
    assert fetched == ["semiovs splits fetch pascal", "semiovs weights pull resnet101-papers"]
    assert all(problem(Command(tuple(shlex.split(line)[1:]), line)) == "" for line in fetched)
    assert lines[-1].strip() == "# when that is done: semiovs study voc --learners unimatch --splits 92 --seeds 1"
    assert "6 things are missing" in said.err


@pytest.mark.parametrize("learner", ["supervised", "fixmatch", "prevmatch", "corrmatch"])
def test_other_learners_train_with_the_same_labels(learner, tree, tmp_path, whole):
    shutil.copytree(whole[0] / "sed-labels", tmp_path / "sed-labels")
    plan = StudyPlan.of(StudyRequest([learner], ["183"], ["ood"], 1, study_trees.settings(tree)), tmp_path)
    (cell,) = plan.cells()
    done = train(plan.load(cell), ["semiovs"])
    assert (done.step, len(done.images.labeled), len(done.images.ood or ())) == (2, 4, 3)


def test_semivl_learns_beside_the_labels_of_other_words(tree, tmp_path, whole):
    """Its classes are asked with other words than SED's, and a list has other names for the images than a folder."""
    listed = tree / "coco/ood.txt"
    listed.write_text("".join(f"images/train2017/{number:012}.jpg\n" for number in range(3)))
    shutil.copytree(whole[0] / "sed-labels", tmp_path / "sed-labels")
    kept = ("data.root", "ood", "train", "run", "data.workers")
    settings = [*(word for word in study_trees.settings(tree) if word.startswith(kept)), f"ood={listed}"]
    tiny = [
        "model.encoder=tiny", "model.image_size=32", "model.text=words", "model.taps=[0,1]", "model.channels=32",
        "model.up_channels=[16,8]", "model.skip_channels=[16,8]", "model.dilations=[1,2,3]", "model.pool=2",
        "model.pretrained=false", "model.trained=all", "method.guidance=[0.0,0.0]", "data.crop_size=32",
        "eval.window=32", "eval.stride=32", "eval.short_side=32",
    ]  # fmt: skip
    plan = StudyPlan.of(StudyRequest(["semivl"], ["92"], ["ood"], 1, [*settings, *tiny]), tmp_path)
    assert find_needs(plan, TeacherChoice("sed", tmp_path / "none")) == []
    (cell,) = plan.cells()
    done = train(plan.load(cell), ["semiovs"])
    assert (done.step, done.directory) == (2, plan.directory(cell))
    assert done.images.ood_labels is not None
