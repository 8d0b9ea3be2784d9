"""`semiovs hub`: what is shared of a run, and its way to a hub on the loopback and back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from e2e.folders import settings
from e2e.launcher import train
from semiovs.cli.app import main
from semiovs.config import load_config
from semiovs.inference import Predictor
from semiovs.models.weights import load_model
from semiovs.vocab import Vocabulary
from unit.fake_hub import TOKEN, serve

FILES = ["README.md", "model.safetensors", "recipe.yaml", "vocabulary.yaml"]


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run of 12 steps with OOD images, and an EMA teacher."""
    return train(data, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub, which programs started by `call` talk to; they know its token."""
    with serve() as server:
        for key, value in {"HF_ENDPOINT": server.address, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf")}.items():
            monkeypatch.setenv(key, value)
        for key in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "SEMIOVS_OFFLINE"):
            monkeypatch.delenv(key, raising=False)
        monkeypatch.chdir(tmp_path)
        yield server


def call(*arguments, code=0):
    """`semiovs ARGUMENTS` in a process of its own, because the hub's client reads its settings when it is imported."""
    command = [sys.executable, "-m", "semiovs", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_a_model_goes_to_the_hub_and_back(run, data, hub, tmp_path):
    told = json.loads(call("hub", "push", run, "me/streets", "--license", "apache-2.0", "--json"))
    assert sorted(hub.repositories["me/streets"]) == FILES
    assert told["url"] == f"{hub.address}/me/streets"
    assert not hub.private
    call("hub", "pull", "me/streets")
    assert sorted(path.name for path in (tmp_path / "streets").iterdir()) == FILES
    mine, card = load_model(run / "model.safetensors")
    theirs, same = load_model(tmp_path / "streets/model.safetensors")
    assert card == same
    pairs = zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True)
    assert [name for (name, a), b in pairs if not a.equal(b)] == []
    picture = data / "val/images/v0.png"
    call("predict", "hf:me/streets", picture, "--out", "seen")
    expected = Predictor.load(run / "model.safetensors", device="cpu")(picture).labels
    with Image.open("seen/v0.png") as ids:
        assert np.array_equal(np.asarray(ids), expected)


def test_a_training_starts_from_a_model_on_the_hub(run, data, hub, tmp_path):
    call("hub", "push", run, "me/streets", "--private")
    assert hub.private == {"me/streets"}
    call(
        "train", *settings(data, tmp_path / "second", train__steps=1, model__init_from="hf:me/streets", optim__lr=1e-30)
    )
    first, second = (load_model(path / "model.safetensors")[0].state_dict() for path in (run, tmp_path / "second"))
    weights = [name for name in first if name.endswith("weight")]
    assert weights
    assert [name for name in weights if not first[name].equal(second[name])] == []


def test_what_is_wrong_with_a_name_or_a_token(run, hub, monkeypatch):
    assert "no such model, or a private one" in call("hub", "pull", "me/nothing", code=4)
    assert "not the name of a model" in call("hub", "pull", "a/b/c", code=4)
    assert "may not write there" in call("hub", "push", run, "others/model", code=2)
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    assert "hf auth login" in call("hub", "push", run, "me/streets", code=2)
    assert hub.repositories == {}


def test_files_and_revisions_that_are_not_there(hub):
    hub.repositories["they/else"] = {"config.json": b"{}"}
    assert "holds no model.safetensors" in call("hub", "pull", "they/else", code=4)
    assert "no revision 'v2'" in call("hub", "pull", "they/else@v2", code=4)


def test_a_model_is_fetched_whole_or_not_at_all(run, hub, tmp_path):
    call("hub", "push", run, "me/streets")
    hub.locked.add("recipe.yaml")
    call("hub", "pull", "me/streets", code=4)
    assert not (tmp_path / "streets").exists()
    del hub.repositories["me/streets"]["recipe.yaml"]
    hub.locked.clear()
    call("hub", "pull", "me/streets")
    assert sorted(path.name for path in (tmp_path / "streets").iterdir()) == [f for f in FILES if f != "recipe.yaml"]


def test_without_a_network_the_folder_can_be_written(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["hub", "push", str(run), "me/streets", "--save", str(tmp_path / "folder"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["url"], told["miou"] > 0) == (None, True)
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == FILES
    assert "cannot be reached" in call("hub", "push", run, "me/streets", code=4)


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """The folder of the run's model."""
    out = tmp_path_factory.mktemp("shared") / "folder"
    assert main(["hub", "push", str(run), "me/streets", "--save", str(out)]) == 0
    return out


def test_the_page_says_scores_licences_and_limits(run, folder):
    _, metadata, text = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    data = yaml.safe_load(metadata)
    assert (data["library_name"], data["pipeline_tag"]) == ("semiovs", "image-segmentation")
    result = data["model-index"][0]["results"][0]["metrics"][0]
    scores = json.loads((run / "eval.json").read_text())["last"]["ema"]
    assert result["value"] == pytest.approx(scores["miou"], abs=0.01)
    assert f"mIoU **{scores['miou']:.1f} %** ±" in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| id |" not in line]
    assert [row.split(" | ")[1] for row in rows] == ["ground", "red", "blue"]
    assert "4 labelled, 6 unlabelled, 2 evaluation, 5 OOD" in text
    assert "its owner has stated no licence" in text
    assert "labels that programs gave" in text


def test_nothing_of_this_machine_is_shared(run, folder, data):
    places = [str(data), str(run.parent), str(Path.home())]
    texts = {path.name: path.read_bytes().decode("utf-8", "ignore") for path in folder.iterdir()}
    assert [(name, place) for name, text in texts.items() for place in places if place in text] == []


def test_the_recipe_is_a_configuration(folder, run):
    recipe = load_config(str(folder / "recipe.yaml")).config
    trained = load_config(str(run / "config.yaml")).config
    assert (recipe.method, recipe.optim, recipe.train) == (trained.method, trained.optim, trained.train)
    assert recipe.data.crop_size == trained.data.crop_size
    assert recipe.data.labeled is None
    assert Vocabulary.load(folder / "vocabulary.yaml").names == ("ground", "red", "blue")


def test_a_run_that_is_not_finished_is_not_shared(run, tmp_path, capsys):
    copy = shutil.copytree(run, tmp_path / "run", symlinks=True)
    (copy / "model.safetensors").unlink()
    assert main(["hub", "push", str(copy), "me/streets", "--save", str(tmp_path / "folder")]) == 2
    assert f"semiovs resume {copy}" in capsys.readouterr().err
    assert not (tmp_path / "folder").exists()


def test_the_best_checkpoint_can_be_shared(run, tmp_path):
    assert main(["hub", "push", str(run), "me/best", "--best", "--save", str(tmp_path / "folder")]) == 0
    best = json.loads((run / "eval.json").read_text())["best"]["miou"]
    assert f"mIoU **{best:.1f} %**" in (tmp_path / "folder/README.md").read_text("utf-8")
