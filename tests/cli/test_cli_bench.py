"""`semiovs bench` times this machine on the user's data, and what it proposes can be typed."""

from __future__ import annotations

import json
import shlex

import pytest

from semiovs.cli.app import main
from unit import toy_data

TINY = ["data.crop_size=33", "model.encoder=tiny", "model.channels=16", "train.device=cpu", "train.batch_size=2"]


@pytest.fixture
def root(tmp_path):
    return toy_data.make(tmp_path / "set")


def test_it_measures_and_proposes_what_train_takes(root, capsys):
    before = sorted(path.relative_to(root) for path in root.rglob("*"))
    words = [f"data.root={root}", *TINY]
    assert main(["bench", *words, "--minutes", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {(one["workers"], one["pipeline"]) for one in found["loader"]} >= {(0, "fast")}
    assert all(one["seconds"] > 0 for one in (*found["loader"], *found["step"]))
    assert found["step"][0]["batch_size"] == 2
    keys = [setting.partition("=")[0] for setting in found["settings"]]
    assert keys == ["train.batch_size", "train.precision", "data.workers", "data.pipeline"]
    (command,) = found["next"]
    assert shlex.split(command) == ["semiovs", "train", *words, *found["settings"]]
    assert main([*shlex.split(command)[1:], "--dry-run", "--json"]) == 0
    assert sorted(path.relative_to(root) for path in root.rglob("*")) == before


def test_a_bare_folder_and_a_table(root, capsys):
    words = [*TINY, "method=supervised", "model.pretrained=false"]
    assert main(["bench", str(root), *words, "--minutes", "0.06"]) == 0
    told = capsys.readouterr().out
    assert "images a second" in told
    assert "train.precision=" in told
    assert f"next: semiovs init {root}" in told
    assert f"semiovs train {root} data.crop_size=33" in told
    assert not (root / "semiovs.yaml").exists()


@pytest.mark.parametrize(("words", "code", "said"), [
    ([], 2, "give a folder of images or a configuration"),
    (["nothing/here.yaml"], 2, "nothing/here.yaml"),
    (["data.root=nowhere"], 3, "nowhere"),
    (["data.root=nowhere", "--minutes", "0"], 2, "--minutes"),
])  # fmt: skip
def test_what_is_refused(words, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words]) == code
    assert said in capsys.readouterr().err


def test_memory_that_is_not_there_is_a_result(root, capsys, monkeypatch):
    from semiovs.bench import measurement

    def fail(experiment, precision):
        if experiment.config.train.batch_size > 2:
            raise MemoryError
        return [0.2, 0.1, 0.1]

    monkeypatch.setattr(measurement, "_time_steps", fail)
    assert main(["bench", f"data.root={root}", *TINY, "--minutes", "0.2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["problem"] for one in found["step"]][-1] == "out of memory"
    assert "train.batch_size=2" in found["settings"]
