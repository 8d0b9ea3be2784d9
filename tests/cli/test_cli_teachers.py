"""``semiovs label`` with networks that are asked with words."""

import json
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.config import load_config
from semiovs.errors import UsageError
from semiovs.models.weight_catalog import Place, catalogue
from semiovs.ovs import at_hand
from semiovs.registry import TEACHERS, check_options, lookup
from semiovs.store import PseudoLabelStore
from unit import toy_data
from unit.tiny_clip import NAME, save_clip
from unit.tiny_huggingface import require_model, save_image_text


@pytest.fixture
def folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "web").mkdir()
    for i, size in enumerate([(30, 40, 3), (1, 1, 3), (600, 4, 3)]):
        Image.fromarray(rng.integers(0, 256, size, np.uint8)).save(tmp_path / "web" / f"{i}.png")
    (tmp_path / "classes.yaml").write_text("classes: [{name: rest, concepts: [wall, 'sky, air']}, car]\n")
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMON = ["label", "--images", "web", "--classes", "classes.yaml", "--out", "out"]


def test_clip_dense(folder, capsys):
    weights = save_clip(folder)
    options = ["--set", f"model={NAME}", "--set", "size=32", "--set", "device=cpu", "--set", "tile=32"]
    command = [*COMMON, "--teacher", "clip-dense", "--weights", str(weights), *options, "--batch-size", "2"]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labeled"] == 3
    store = PseudoLabelStore.open("out")
    assert [store.label(i).shape for i in store.ids()] == [(30, 40), (1, 1), (600, 4)]
    assert set(np.unique(store.label("0"))) <= {0, 1}
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["already"] == 3


@pytest.mark.filterwarnings("always:teacher 'metaclip2'")
@pytest.mark.parametrize("name", ["tipsv2", "siglip2", "metaclip2"])
def test_image_text_models_in_shards(folder, capsys, name):
    """Two jobs fill one store; a third finds nothing to do, and one with other options is refused."""
    require_model(name)
    weights = save_image_text(folder / "model", name)
    command = [*COMMON, "--teacher", name, "--weights", str(weights), "--set", "size=32", "--set", "device=cpu"]
    command += ["--set", "tile=32", "--set", "scales=[1.0,1.5]", "--json"]
    done = []
    for shard in ("0/2", "1/2"):
        assert main([*command, "--shard", shard]) == 0
        said = capsys.readouterr()
        done.append(json.loads(said.out)["labeled"])
        assert said.err.count("not for commercial use (CC-BY-NC-4.0)") == (name == "metaclip2")
    assert sorted(done) == [1, 2]
    store = PseudoLabelStore.open("out")
    assert [store.label(i).shape for i in store.ids()] == [(30, 40), (1, 1), (600, 4)]
    assert store.teacher["name"] == name
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["already"] == 3
    assert main([*command, "--set", "logit_scale=5"]) == 3
    assert "logit_scale" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("teacher", "code", "said"),
    [
        (["huggingface"], 2, "--weights DIR"),
        (["huggingface", "--weights", "nowhere/x"], 4, "nowhere/x: cannot be loaded"),
        (["siglip2", "--weights", "nowhere/x"], 4, "nowhere/x: cannot be loaded"),
        (["tipsv2", "--set", "size=1"], 2, "size 1 is not between"),
        (["clip-dense", "--weights", "nothing.pt"], 4, "--weights FILE"),
        (["ensemble"], 2, "needs a list of"),
        (["ensemble", "--set", "members=none.yaml"], 2, "none.yaml: cannot be read"),
        (["masks", "--set", "flip=true"], 2, "no option 'flip'"),
    ],
)
def test_what_is_missing_is_said_in_one_line(folder, capsys, teacher, code, said):
    if teacher[0] in ("huggingface", "siglip2"):
        pytest.importorskip("transformers")
    assert main([*COMMON, "--teacher", *teacher]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert not (folder / "out").exists()


@pytest.fixture
def asked(folder):
    """Teachers by name, as options of the command line, that need no download."""
    clip = ["--weights", str(save_clip(folder)), "--set", f"model={NAME}", "--set", "size=32", "--set", "device=cpu"]
    return {
        "small": [],
        "clip-dense": clip,
        "views": ["--set", "flip=true"],
        "ensemble": ["--set", "members=[{name: masks, options: {root: web}}, {name: small}]"],
    }


@pytest.mark.parametrize("teacher", ["small", "clip-dense", "views", "ensemble"])
@pytest.mark.parametrize("names", ["sky,class_1,class_2", "0,1"])
def test_placeholders_are_no_words(folder, asked, capsys, teacher, names):
    name = "small" if teacher == "views" else teacher
    options = ["--images", "web", "--classes", names, "--out", "out"]
    assert main(["label", *options, "--teacher", name, *asked[teacher]]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"cannot look for '{names.split(',')[-2]}', '{names.split(',')[-1]}': write the real names" in line
    assert "data.classes: classes.txt" in line
    assert not (folder / "out").exists()


@pytest.mark.parametrize("verb", ["card", "calibrate", "select"])
def test_placeholders_are_refused_before_images_are_read(folder, capsys, verb):
    for part in ("images", "masks"):
        (folder / part).mkdir()
    Image.new("RGB", (8, 8)).save(folder / "images/a.png")
    Image.new("L", (8, 8)).save(folder / "masks/a.png")
    more = ["--from", "web", "--out", "chosen"] if verb == "select" else []
    assert main([verb, "data.root=.", "data.classes=[class_0, label 1]", "--teacher", "small", *more]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "cannot look for 'class_0', 'label 1'" in line


@pytest.fixture
def nothing(monkeypatch, folder):
    """No weights anywhere, and no network; the working directory."""
    monkeypatch.setattr(at_hand, "locate", lambda _: None)
    monkeypatch.setattr(at_hand, "is_online", lambda: False)
    return folder


@pytest.mark.parametrize("row", [row for row in catalogue().values() if row.kind == "teacher"])
def test_the_catalogue_tells_how_each_teacher_is_called(nothing, row):
    known = at_hand._parse_use(row)
    check_options(
        lookup(TEACHERS, known.name, kind="teacher"), dict(pair.split("=") for pair in known.pairs), kind="teacher"
    )
    assert known.weights == (row.hub if row.hub_file is None else known.weights)


def test_what_is_here_is_taken(nothing, monkeypatch):
    here = {"clipseg": "hub cache", "clip-vit-b16-laion2b": "hub cache"}
    places = {name: Place(nothing / name, where) for name, where in here.items()}
    monkeypatch.setattr(at_hand, "locate", lambda row: places.get(row.name))
    found = at_hand.find_here()
    assert (found.name, found.weights, found.pairs) == ("clip-dense", "laion2b_s34b_b88k", ("model=ViT-B-16",))
    del places["clip-vit-b16-laion2b"]
    monkeypatch.setattr(at_hand, "find_spec", lambda _: True)
    assert at_hand.find_here().weights == "CIDAS/clipseg-rd64-refined"
    places["clipseg"] = Place(nothing / "clipseg", "weights directory")
    assert at_hand.find_here().weights == "clipseg-rd64-refined"
    places["tipsv2-l14"] = Place(nothing / "tipsv2-l14", "hub cache")
    assert at_hand.find_here().name == "huggingface"
    del places["clipseg"]
    found = at_hand.find_here()
    assert (found.name, found.weights) == ("tipsv2", "google/tipsv2-l14")
    monkeypatch.setattr(at_hand, "find_spec", lambda _: None)  # transformers is not installed
    assert at_hand.find_here() is None
    places["sed-base"] = Place(nothing / "sed_model_base.pth", "weights directory")
    assert at_hand.find_here().name == "sed"


AUTO = [*COMMON, "--teacher", "auto"]


def test_offline_it_says_what_to_do(nothing, capsys):
    assert main(AUTO) == 4
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert (
        "download open_clip_model.safetensors of https://huggingface.co/timm/vit_base_patch16_clip_224.openai" in line
    )
    assert "--teacher masks --from DIR" in line
    assert "docs/guides/choosing.md" in line
    assert not (nothing / "out").exists()


@pytest.mark.parametrize("answer", ["--yes", "y", "n", None])
def test_online_it_asks_once(nothing, monkeypatch, capsys, answer):
    """With size and licence; without a terminal nothing is fetched unless `--yes` says so."""
    fetched, asked = [], []
    monkeypatch.setattr(at_hand, "is_online", lambda: True)
    monkeypatch.setattr("semiovs.models.weight_files.pull", lambda row: fetched.append(row.name))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: answer in ("y", "n")))
    monkeypatch.setattr("typer.confirm", lambda text, **_: asked.append(text) or answer == "y")
    monkeypatch.setattr("semiovs.ovs.build_ovs", built := Mock(side_effect=UsageError("built")))
    assert main([*AUTO, *(["--yes"] if answer == "--yes" else [])]) == 2
    said = capsys.readouterr().err
    assert len(asked) == (answer in ("y", "n"))
    assert fetched == (["clip-vit-b16-openai"] if answer in ("--yes", "y") else [])
    assert built.call_count == len(fetched)
    assert "599 MB, licence MIT" in (asked or [said])[0]
    if answer is None:
        assert "agree with --yes" in said


def test_masks_of_the_user_come_first(nothing, capsys):
    for part in ("images", "masks", "ood-labels"):
        (nothing / part).mkdir()
    Image.new("RGB", (8, 8)).save(nothing / "images/a.png")
    for name in ("masks/a", "ood-labels/a", "ood-labels/0", "ood-labels/1", "ood-labels/2"):
        Image.new("L", (8, 8)).save(nothing / f"{name}.png")
    for name, size in (("0", (40, 30)), ("1", (1, 1)), ("2", (4, 600))):
        Image.new("L", size).save(nothing / f"ood-labels/{name}.png")
    images = ["data.root=.", "data.classes=[sky, road]", "ood=web"]
    more = ["--risk", "0.9", "--out", "c.json", "--json"]
    assert main(["calibrate", *images, "--teacher", "auto", *more]) in (0, 3)
    said = capsys.readouterr()
    assert "the masks in" in said.err
    assert json.loads(said.out)["teacher"]["name"] == "masks"
    assert main(["label", *images, "--teacher", "auto"]) == 2
    assert "ood-labels: holds a mask of every image" in capsys.readouterr().err
    assert main(["label", *images, "--teacher", "auto", "--out", "store"]) == 0
    assert PseudoLabelStore.open("store").teacher["name"] == "masks"


def test_options_belong_to_a_teacher(nothing, capsys):
    assert main([*AUTO, "--set", "size=32"]) == 2
    assert "name the teacher that these options are of" in capsys.readouterr().err


def test_placeholders_are_refused_before_a_download_is_offered(nothing, capsys):
    assert main(["label", "--images", "web", "--classes", "a,class_1", "--out", "out", "--teacher", "auto"]) == 2
    assert "cannot look for 'class_1'" in capsys.readouterr().err


@pytest.fixture
def planned(folder, monkeypatch, capsys):
    """Runs `ovs train`; returns the configuration that would be trained."""

    def plan(*words):
        seen = []
        monkeypatch.setattr("semiovs.engine.dry_run.dry_run", lambda config: seen.append(config) or {})
        monkeypatch.setattr("semiovs.engine.dry_run.format_dry_run", lambda _: "")
        assert main(["ovs", "train", *words, "--dry-run"]) == 0, capsys.readouterr().err
        return seen[0]

    toy_data.make(folder / "mine", ood=2)
    assert main(["init", "mine"]) == 0
    return plan


def test_a_teacher_is_trained_on_what_init_found(folder, planned):
    """The recipe of a teacher, on the images of the YAML file, whose own settings stay."""
    text = (folder / "mine/semiovs.yaml").read_text()
    assert "ood:" in text
    chosen = load_config("mine").config
    assert chosen.data.crop_size != load_config("modern/ovs-small").config.data.crop_size
    (folder / "mine/semiovs.yaml").write_text(text.replace(f"steps: {chosen.train.steps}", "steps: 123"))
    config, recipe = planned("mine"), load_config("modern/ovs-small").config
    assert config.model == recipe.model
    assert (config.method, config.optim) == (recipe.method, recipe.optim)
    assert config.ood is None
    assert config.data.root == str(folder / "mine")
    assert (config.data.crop_size, config.train.steps) == (chosen.data.crop_size, 123)
    assert planned("mine", "train.steps=7", "model.text=words").train.steps == 7
    assert planned("mine", "extends=modern/ovs-small").train.steps == 4000


def test_a_configuration_of_a_teacher_stays(planned):
    assert planned("modern/ovs-small") == load_config("modern/ovs-small").config
