"""Loading: layers, short forms, paths, provenance, round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from semiovs.config import find_differences, load_config, split_source
from semiovs.config.paths import PATHS
from semiovs.errors import ConfigError
from semiovs.registry import SEGMENTERS


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    return write


def test_without_a_source_every_value_is_a_default():
    loaded = load_config(None)
    assert loaded.config.method.name == "unimatch"
    assert loaded.config.method.options["conf_thresh"] == 0.95
    assert set(loaded.origins.values()) == {"default"}
    assert set(loaded.origins) == set(loaded.values())
    assert loaded.config.run.name is None


def test_layers_and_origins(write, tmp_path):
    write("base.yaml", "optim: {lr: 0.5}\ntrain:\n  batch_size: 3\n  seed: 7\n")
    path = write("my.yaml", "# comment\nextends: [pascal/92, base.yaml]\ntrain:\n  seed: 8\n")
    loaded = load_config(path, ["optim.momentum=0"], cwd=tmp_path)
    config, origins = loaded.config, loaded.origins
    assert (config.data.crop_size, config.optim.lr, config.train.batch_size, config.train.seed) == (321, 0.5, 3, 8)
    assert origins["data.labeled"] == "preset pascal/92"
    assert origins["data.crop_size"] == "preset paper/voc"
    assert origins["optim.lr"] == "base.yaml:1"
    assert origins["train.batch_size"] == "base.yaml:3"
    assert origins["train.seed"] == "my.yaml:4"
    assert origins["optim.momentum"] == "command line"
    assert origins["train.device"] == "default"
    assert config.run.name == "my"
    assert "seed: 8" in loaded.text


def test_of_two_values_for_one_key_the_later_counts():
    assert load_config(None, ["train.seed=1", "train.seed=2"]).config.train.seed == 2


def test_short_forms():
    config = load_config(None, ["method=fixmatch", "model=deeplabv3plus", "ood=elsewhere"]).config
    assert config.method.name == "fixmatch"
    assert config.ood is not None
    assert config.ood.images == "elsewhere"
    assert config.ood.labels == "ood-labels"


def test_ood_can_be_switched_off_and_on(write):
    path = write("my.yaml", "ood: {images: there, weight: 0.5}\n")
    assert load_config(path, ["ood=null"]).config.ood is None
    on = load_config(None, ["ood.weight=2"]).config.ood
    assert on is not None
    assert (on.images, on.weight) == ("ood", 2)
    both = load_config(path, ["ood=other"]).config.ood
    assert both is not None
    assert (both.images, both.weight) == ("other", 0.5)


def test_null_is_the_default_of_an_option():
    loaded = load_config(None, ["method.conf_thresh=null", "model.channels=null"])
    assert loaded.config.method.options["conf_thresh"] == 0.95
    assert loaded.config.model.options["channels"] == 256


def test_a_threshold_a_class():
    loaded = load_config(None, ["method.conf_thresh=[0.9, 0, 1]"])
    assert loaded.config.method.options["conf_thresh"] == [0.9, 0, 1]


def test_an_empty_section_is_no_section(write):
    assert load_config(write("my.yaml", "train:\n  # epochs: 3\nood:\n")).values() == {
        **load_config(None).values(),
        "run.name": "my",
    }


def test_an_empty_file_is_the_defaults(write):
    assert load_config(write("my.yaml", "# nothing yet\n")).config.train == load_config(None).config.train


def test_dotted_keys_in_a_file(write):
    assert load_config(write("my.yaml", "train.seed: 4\n")).config.train.seed == 4


def test_a_new_method_keeps_what_it_also_has(write):
    path = write("my.yaml", "method: {name: unimatch, conf_thresh: 0.0, loss: ohem}\n")
    same = load_config(path, ["method=unimatch"]).config.method.options
    other = load_config(path, ["method=fixmatch"]).config.method.options
    assert same["conf_thresh"] == other["conf_thresh"] == 0.0
    assert other["loss"] == "ohem"
    recipe = load_config("cityscapes/1_16", ["method=supervised"]).config.method.options
    assert recipe["loss"] == "ohem"


def test_a_new_segmenter_starts_afresh(write):
    path = write("my.yaml", "model: {encoder: mit_b0, channels: 64, pretrained: true}\n")
    model = load_config(path, ["model=segformer"]).config.model
    assert model.options == {"encoder": "mit_b5", "channels": 768}
    assert model.pretrained is True


def test_epochs_and_steps_displace_each_other():
    train = load_config("pascal/92", ["train.steps=10"]).config.train
    assert (train.epochs, train.steps) == (None, 10)
    with pytest.raises(ConfigError, match=r"config: train: give either epochs or steps, not both on the command line"):
        load_config(None, ["train.steps=10", "train.epochs=1"])


def test_a_map_is_replaced_as_a_whole(write):
    write("base.yaml", "data: {masks: {map: {0: background, 1: road}}}\n")
    path = write("my.yaml", "extends: base.yaml\ndata: {masks: {map: {'128,64,0': road}}}\n")
    assert load_config(path).config.data.masks.map == {"128,64,0": "road"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), (".5", 0.5), ("2", 2.0), ("1.5e2", 150.0)],
)
def test_numbers_are_those_of_yaml_1_2(text, value):
    assert load_config(None, [f"optim.lr={text}"]).config.optim.lr == value


@pytest.mark.parametrize("text", ["no", "on", "1_16", "0012", "2024-01-01", "12:30", "${oc.env:HOME}", "???", "${"])
def test_words_stay_words(text, write):
    assert load_config(None, [f"run.name={text}"]).config.run.name == text
    again = write("again.yaml", load_config(None, [f"run.name={text}"]).dump())
    assert load_config(again).config.run.name == text


def test_data_root_belongs_to_the_file_that_says_it(write, tmp_path):
    write("a/base.yaml", "data: {root: pictures}\n")
    path = write("b/my.yaml", "extends: ../a/base.yaml\n")
    assert load_config(path).config.data.root == str(tmp_path / "a/pictures")
    assert load_config(path, ["data.root=x"], cwd=tmp_path).config.data.root == str(tmp_path / "x")
    assert load_config("quick", cwd=tmp_path).config.data.root == str(tmp_path)


def test_other_paths_belong_to_data_root_unless_they_are_here(write, tmp_path):
    write("here.txt", "")
    path = write("b/my.yaml", "data: {val: here.txt, classes: names.txt}\n")
    data = load_config(path, ["data.labeled=here.txt", "data.unlabeled=there.txt"], cwd=tmp_path).config.data
    assert data.labeled == str(tmp_path / "here.txt")
    assert (data.unlabeled, data.val, data.classes) == ("there.txt", "here.txt", "names.txt")
    assert load_config(None, ["data.classes=voc21-plain"], cwd=tmp_path).config.data.classes == "voc21-plain"


def test_weights_belong_to_the_file_that_says_them(write, tmp_path):
    write("b/encoder.pth", "")
    path = write("b/my.yaml", "model: {pretrained: encoder.pth, init_from: nowhere.pt}\n")
    model = load_config(path, cwd=tmp_path).config.model
    assert model.pretrained == str(tmp_path / "b/encoder.pth")
    assert model.init_from == "nowhere.pt"
    assert load_config(path, ["model.pretrained=encoder.pth"], cwd=tmp_path).config.model.pretrained == "encoder.pth"
    given = load_config(path, ["model.pretrained=b/encoder.pth"], cwd=tmp_path).config.model.pretrained
    assert given == str(tmp_path / "b/encoder.pth")


def test_home_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config(None, ["data.root=~/x"]).config.data.root == str(tmp_path / "x")


def test_tars_and_data_sets_on_the_command_line(tmp_path):
    """As other paths: from the working directory if anything is there, else from `data.root`."""
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/01.tar").touch()
    there = ("shards/{00..01}.tar", "shards/*.tar", "hf:shards", "hf:shards:train")
    for given in (*there, "none/{00..01}.tar", "hf:none", "hf:user/name:train"):
        found = load_config(None, [f"ood='{given}'"], cwd=tmp_path).config.ood.images
        assert found == (str(tmp_path / given) if given in there else given)


def test_every_path_key_exists():
    known = {key for model in SEGMENTERS for key in load_config(None, ["ood=x", f"model.name={model}"]).values()}
    assert set(PATHS) <= known


def test_dump_is_read_back_with_origins_beside_it(write):
    first = load_config("pascal/92", ["ood=x", "data.masks.map={'0': a, '1,2,3': ignore}", "run.name='yes: #no'"])
    text = first.dump()
    assert any("crop_size: 321" in row and row.endswith("# preset paper/voc") for row in text.splitlines())
    assert any("images: x" in row and row.endswith("# command line") for row in text.splitlines())
    again = load_config(write("resolved.yaml", text))
    assert again.config == first.config
    assert not find_differences(first, again)
    assert "#" not in load_config("quick").dump(origins=False)


def test_a_run_directory_is_a_source(write, tmp_path):
    write("runs/x/config.yaml", load_config("pascal/92").dump())
    assert load_config(str(tmp_path / "runs/x")).config.run.name == "pascal/92"
    write("mine/semiovs.yaml", "train: {seed: 5}\n")
    assert load_config("mine", cwd=tmp_path).origins["train.seed"] == "mine/semiovs.yaml:1"


def test_diff_names_keys_in_the_order_of_the_schema():
    found = find_differences(
        load_config(None), load_config(None, ["train.seed=3", "data.crop_size=64", "method=supervised"])
    )
    assert [d.key for d in found if not d.key.startswith("method.")] == ["data.crop_size", "train.seed"]
    assert [(d.left, d.right) for d in found if d.key == "train.seed"] == [(0, 3)]


def test_the_loaded_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_config(None).config.train.seed = 3  # type: ignore[misc]


def test_split_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert split_source([]) == (None, [])
    assert split_source(["quick", "a=b"]) == ("quick", ["a=b"])
    assert split_source(["a=b", "c=d"]) == (None, ["a=b", "c=d"])
    Path("odd=name.yaml").write_text("")
    assert split_source(["odd=name.yaml", "a=b"]) == ("odd=name.yaml", ["a=b"])


def test_the_reference_page_is_up_to_date():
    from semiovs.config.describe import MARK, fill_page

    file = Path(__file__).parents[3] / "docs/reference/config.md"
    text = file.read_text("utf-8")
    assert MARK in text
    assert fill_page(text) == text, "run: python -m semiovs.config.describe docs/reference/config.md"


def test_the_reference_page_names_every_path():
    text = (Path(__file__).parents[3] / "docs/reference/config.md").read_text("utf-8")
    assert "data.root" in PATHS
    assert [key for key in PATHS if f"`{key}`" not in text] == []


def test_extends_on_the_command_line_lies_over_the_source_and_under_the_values(write, tmp_path):
    write("recipe.yaml", "extends: base.yaml\noptim: {lr: 0.5}\ntrain: {seed: 7}\n")
    write("base.yaml", "data: {crop_size: 99}\n")
    loaded = load_config("pascal/92", ["train.seed=8", "extends=recipe.yaml"], cwd=tmp_path)
    config = loaded.config
    assert (config.data.crop_size, config.optim.lr, config.train.seed, config.train.epochs) == (99, 0.5, 8, 80)
    assert loaded.origins["optim.lr"] == "recipe.yaml:2"
    assert loaded.origins["data.labeled"] == "preset pascal/92"
    assert config.run.name == "pascal/92"
    both = load_config("pascal/92", ["extends=[recipe.yaml, cityscapes/1_8]"], cwd=tmp_path).config
    assert (both.data.crop_size, both.train.seed) == (801, 7)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "extends=pascal/29",
            r"no preset or file 'pascal/29' \(did you mean 'pascal/92'\?\) \(extends\) on the command line",
        ),
        ("extends=3", "extends: expected a preset or file, got '3' on the command line"),
        ("extends=[a", "not valid YAML"),
    ],
)
def test_extends_on_the_command_line_that_cannot_be(argument, message):
    with pytest.raises(ConfigError, match=message):
        load_config("quick", [argument])
