"""A training in which something goes wrong says so, once, in its log and its metrics; and weighs classes by itself."""

import numpy as np
import pytest
from PIL import Image

from e2e.folders import settings, write
from e2e.launcher import command
from semiovs.config import load_config
from semiovs.engine import training
from semiovs.engine.run import read_metrics

#: Every pixel of the unlabelled images is taken from the start.
SURE = {"method__conf_thresh": 0.01, "train__log_every": 1}


@pytest.fixture
def unlabelled_blue(tmp_path):
    """A data set whose evaluation masks show "blue", and no label does."""
    root = write(tmp_path / "data")
    for path in (*root.glob("masks/*.png"), *root.glob("ood-labels/*.png")):
        ids = np.array(Image.open(path))
        Image.fromarray(np.where(ids == 2, 255, ids).astype(np.uint8)).save(path)
    return root


def notes(run):
    return [row for row in read_metrics(run / "metrics.jsonl") if row["kind"] == "note"]


def test_notes_are_told_once_and_a_resumed_run_has_the_same_rows(unlabelled_blue, tmp_path):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert command("train", *settings(unlabelled_blue, straight, **SURE), log=tmp_path / "log") == 0
    found = notes(straight)
    assert [(row["step"], row["note"]) for row in found][:2] == [(0, "class-unlabelled"), (6, "all-pseudo-labels")]
    assert "shows 'blue', and the evaluation masks do" in found[0]["text"]
    shown, kept = (tmp_path / "log.err").read_text(), (straight / "log.txt").read_text()
    assert [text.count(row["text"]) for row in found for text in (shown, kept)] == [1] * 2 * len(found)

    load = load_config(None, settings(unlabelled_blue, stopped, **SURE, train__save_every=4))
    training.train(load, ["test"])
    for path in stopped.glob("checkpoints/step-00000012*"):
        path.unlink()
    for name in ("last.pt", "best.pt"):
        (stopped / "checkpoints" / name).unlink(missing_ok=True)
    before = (stopped / "log.txt").read_text()
    training.resume(stopped, [], ["test"])
    assert [row["text"] for row in notes(stopped)] == [row["text"] for row in found]
    again = (stopped / "log.txt").read_text().removeprefix(before)
    assert [row["step"] for row in found if row["text"] in again] == [row["step"] for row in found if row["step"] > 8]


@pytest.fixture
def rare_blue(tmp_path):
    """A data set of which one labelled mask shows "blue", and "red" is in all."""
    root = write(tmp_path / "data")
    for path in sorted(root.glob("masks/*.png"))[1:]:
        ids = np.array(Image.open(path))
        Image.fromarray(np.where(ids == 2, 0, ids).astype(np.uint8)).save(path)
    return root


def test_measured_class_weights_are_part_of_the_run(rare_blue, tmp_path):
    auto, given = tmp_path / "auto", tmp_path / "given"
    arguments = settings(rare_blue, auto, method__class_weights="auto", train__save_every=4)
    assert command("train", *arguments, log=tmp_path / "log") == 0, (tmp_path / "log.err").read_text()
    (line,) = [line for line in (auto / "config.yaml").read_text().splitlines() if "class_weights:" in line]
    assert line.endswith("# measured on the training images")
    ground, red, blue = weights = load_config(str(auto / "config.yaml")).config.method.options["class_weights"]
    assert ground < red < blue
    assert sum(weights) == pytest.approx(3, rel=1e-3)
    assert f"class weights (method.class_weights): blue {blue:.3g}, red {red:.3g}" in (auto / "log.txt").read_text()

    training.train(load_config(None, settings(rare_blue, given, method__class_weights=weights)), ["test"])
    last = "checkpoints/step-00000012.pt"
    assert (auto / last).read_bytes() == (given / last).read_bytes()

    whole = (auto / last).read_bytes()
    for path in auto.glob("checkpoints/step-00000012*"):
        path.unlink()
    training.resume(auto, [], ["test"])
    assert (auto / last).read_bytes() == whole

    plain = tmp_path / "plain"
    training.train(load_config(None, settings(rare_blue, plain)), ["test"])
    assert "class weights" not in (plain / "log.txt").read_text()
    assert read_metrics(plain / "metrics.jsonl")[0]["term/x"] != read_metrics(auto / "metrics.jsonl")[0]["term/x"]
