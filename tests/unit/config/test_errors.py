"""What a user sees when a configuration does not hold: key, problem, file and line; nothing else, ever."""

from __future__ import annotations

import contextlib
import string
import time

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from semiovs.config import load_config
from semiovs.config.error_messages import MOST
from semiovs.config.layers import sections
from semiovs.errors import ConfigError


def problems_of(text: str | None = None, *overrides: str, folder=None, name: str = "my.yaml") -> list[str]:
    source = None
    if text is not None:
        (folder / name).write_text(text)
        source = name
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides, cwd=folder)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "train:\n  batch_size: 4\n\n  epohcs: 3\n",
            "config: train.epohcs: unknown key (did you mean 'epochs'?) in my.yaml:4",
        ),
        ("\n\ntrian:\n  epochs: 3\n", "config: trian: unknown key (did you mean 'train'?) in my.yaml:3"),
        ("epochs: 3\n", "config: epochs: unknown key (did you mean 'train.epochs'?) in my.yaml:1"),
        ("train: {epochs: ten}\n", "config: train.epochs: expected an integer, got 'ten' in my.yaml:1"),
        ("train: {epochs: 1.5}\n", "config: train.epochs: expected an integer, got 1.5 in my.yaml:1"),
        ("data: {bands: [1.5]}\n", "config: data.bands: expected an integer, got 1.5 in my.yaml:1"),
        (
            "data: {bands: []}\n",
            "config: data.bands: tuple should have at least 1 item after validation, not 0, got [] in my.yaml:1",
        ),
        ("optim: {lr: fast}\n", "config: optim.lr: expected a number, got 'fast' in my.yaml:1"),
        ("optim: {lr: -1}\n", "config: optim.lr: must be more than 0, got -1 in my.yaml:1"),
        ("optim: {lr: .nan}\n", "config: optim.lr: expected a finite number, got nan in my.yaml:1"),
        ("train: {compile: maybe}\n", "config: train.compile: expected true or false, got 'maybe' in my.yaml:1"),
        ("run: {name: 5}\n", "config: run.name: expected text, got 5 in my.yaml:1"),
        ("data: {classes: 5}\n", "config: data.classes: expected a list or text, got 5 in my.yaml:1"),
        ("data: {scale: [a, b]}\n", "config: data.scale: expected a number, got 'a' in my.yaml:1"),
        (
            "data:\n  scale: [2, 1]\n",
            "config: data.scale: the range must be positive and ordered, like [0.5, 2.0] in my.yaml:2",
        ),
        ("data: {crop_size: 3}\n", "config: data.crop_size: must be at least 16, got 3 in my.yaml:1"),
        ("train: 3\n", "config: train: expected keys with values, got 3 in my.yaml:1"),
        ("ood: 3\n", "config: ood: expected keys with values, got 3; write images: … in my.yaml:1"),
        ("method: unimtch\n", "config: method.name: unknown method 'unimtch' (did you mean 'unimatch'?) in my.yaml:1"),
        ("data: {name: foldr}\n", "config: data.name: unknown data set 'foldr' (did you mean 'folder'?) in my.yaml:1"),
        (
            "method:\n  conf_tresh: 0.9\n",
            "config: method.conf_tresh: method 'unimatch' has no such option (did you mean 'conf_thresh'?) in "
            "my.yaml:2",
        ),
        (
            "method: {conf_thresh: hi}\n",
            "config: method.conf_thresh: expected a number, or a list with one a class, got 'hi' in my.yaml:1",
        ),
        ("method: {conf_thresh: [0.9, 95]}\n", "config: method.conf_thresh: must be from 0 to 1, got 95 in my.yaml:1"),
        (
            "method: {conf_thresh: [null]}\n",
            "config: method.conf_thresh: expected a number, or a list with one a class, got [None] in my.yaml:1",
        ),
        ("train: {epochs: true}\n", "config: train.epochs: expected an integer, got True in my.yaml:1"),
        ("optim: {clip_norm: false}\n", "config: optim.clip_norm: expected a number, got False in my.yaml:1"),
        ("data: {scale: [true, 2]}\n", "config: data.scale: expected a number, got True in my.yaml:1"),
        ("model: {encoder: [1]}\n", "config: model.encoder: expected text, got [1] in my.yaml:1"),
        ("model: {dilations: 6}\n", "config: model.dilations: expected a list like [6, 12, 18], got 6 in my.yaml:1"),
        (
            "model: {dilations: [a]}\n",
            "config: model.dilations: expected a list like [6, 12, 18], got ['a'] in my.yaml:1",
        ),
        ("method: {ema_decay: a}\n", "config: method.ema_decay: expected a number, got 'a' in my.yaml:1"),
        (
            "method: {class_weights: [a]}\n",
            "config: method.class_weights: expected 'auto' or a list like [1.0], got ['a'] in my.yaml:1",
        ),
        (
            "eval: {mode: sliding,\n  stride: 400}\n",
            "config: eval.stride: must be at most the window, 321, got 400 in my.yaml:2",
        ),
        ("ood: {weight: -1}\n", "config: ood.weight: must be at least 0, got -1 in my.yaml:1"),
        ("ood: {weight: hi}\n", "config: ood.weight: expected a number or 'auto', got 'hi' in my.yaml:1"),
        ("data: {rare_crops: 10}\n", "config: data.rare_crops: must be at most 1, got 10 in my.yaml:1"),
        ("data: {copy_paste: 0}\n", "config: data.copy_paste: must be more than 0, got 0 in my.yaml:1"),
        (
            "data: {copy_paste: 0.5}\ntrain: {batch_size: 1}\n",
            "config: data.copy_paste: regions come from another labelled image of the batch, which needs "
            "train.batch_size=2 or more, got 1",
        ),
        ("method: {label_smoothing: 2}\n", "config: method.label_smoothing: must be from 0 to 1, got 2 in my.yaml:1"),
        ("method: {thresh_quantile: q}\n", "config: method.thresh_quantile: expected a number, got 'q' in my.yaml:1"),
        ("train:\n  seed: 1\n  seed: 2\n", "config: train.seed: given twice in my.yaml:3"),
        ("train: {seed: 1}\ntrain: {seed: 2}\n", "config: train: given twice in my.yaml:2"),
        (
            "data:\n  masks:\n    map:\n      0: a\n      0: b\n",
            "config: my.yaml:5: key '0' is given twice",
        ),
        (
            "eval: {mode: slidin}\n",
            "config: eval.mode: must be 'whole', 'sliding', 'center_crop' or 'resize', got 'slidin' (did you mean "
            "'sliding'?)"
            " in my.yaml:1",
        ),
        ("- a\n- b\n", "config: my.yaml: expected sections like 'data:' and 'train:', got one value"),
        (
            "run: {name: !!python/name:os.system x}\n",
            "config: my.yaml:1: tag 'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("data: {classes: &a [x, *a]}\n", "config: my.yaml:1: a value that contains itself"),
        ("? [a, b]\n: 3\n", "config: my.yaml:1: a key must be a word, not a list or mapping"),
        ("extends: {a: b}\n", "config: extends: expected a preset or file, got {'a': 'b'} in my.yaml:1"),
        (
            "\nextends: pascal/29\n",
            "config: no preset or file 'pascal/29' (did you mean 'pascal/92'?) (extends) in my.yaml:2",
        ),
        ("extends: my.yaml\n", "config: extends: my.yaml extends itself"),
    ],
)
def test_one_line_says_what_and_where(text, expected, tmp_path):
    lines = problems_of(text, folder=tmp_path)
    assert len(lines) == 1
    assert lines[0].startswith(expected)


def test_syntax_errors_have_line_and_column(tmp_path):
    assert problems_of("train:\n\tepochs: 3\n", folder=tmp_path)[0].startswith("config: my.yaml:2:1: not valid YAML: ")
    assert "indent with spaces, not tabs" in problems_of("train:\n\tepochs: 3\n", folder=tmp_path)[0]
    assert problems_of("a: [1,\nb: 2\n", folder=tmp_path)[0].startswith("config: my.yaml:3:1: not valid YAML")
    assert problems_of("a: 1\n---\nb: 2\n", folder=tmp_path)[0].startswith("config: my.yaml:2:1: not valid YAML")
    assert problems_of("a: \x07\n", folder=tmp_path)[0].startswith("config: my.yaml: not valid YAML")


def test_hostile_files_are_refused(tmp_path):
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert "more than 100000 values" in problems_of(bomb, folder=tmp_path)[0]
    begin = time.process_time()
    assert "nested too deeply" in problems_of("data: " + "[" * 50_000, folder=tmp_path)[0]
    assert time.process_time() - begin < 0.5


def test_cycles_through_files(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(ConfigError, match=r"^config: extends: a\.yaml extends itself \(through 2 file"):
        load_config("a.yaml", cwd=tmp_path)


def test_a_value_of_a_preset_names_the_preset(tmp_path):
    lines = problems_of("extends: pascal/92\ndata: {masks: {encoding: rbg}}\noptim: {name: adam}\n", folder=tmp_path)
    assert [line.rpartition(" in ")[2] for line in lines] == ["my.yaml:2", "my.yaml:3"]


def test_all_problems_are_told_but_not_without_end(tmp_path):
    lines = problems_of("train: {epohcs: 1, batch_size: x}\n", "optim.lr=0", "nonsense", "seed", folder=tmp_path)
    assert len(lines) == 5
    many = problems_of(None, *[f"x{i}=1" for i in range(30)], folder=tmp_path)
    assert len(many) == MOST
    assert many[-1] == "config: … and 21 more problems"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epohcs=1", "config: train.epohcs: unknown key (did you mean 'epochs'?) on the command line"),
        ("--epochs", "config: '--epochs': expected key=value on the command line"),
        ("=3", "config: '=3': expected key=value on the command line"),
        ("optim.lr=[", "config: optim.lr: '[' is not valid YAML: "),
        ("data.labeled=*.txt", "config: data.labeled: '*.txt' is not valid YAML: "),
        (
            "data.masks.map.7=car",
            "config: data.masks.map: it is one value, give it whole on the command line",
        ),
        ("train={epohcs: 1}", "config: train.epohcs: unknown key (did you mean 'epochs'?) on the command line"),
        ("extends=7", "config: extends: expected a preset or file, got '7' on the command line"),
    ],
)
def test_problems_of_the_command_line(override, expected):
    (line,) = problems_of(None, override)
    assert line.startswith(expected)


def test_sources_that_are_not_there(tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\xfe")
    for name, expected in {
        "pascal/93": "config: no preset or file 'pascal/93' (did you mean 'pascal/92'?)",
        "mien.yaml": "config: no preset or file 'mien.yaml' (did you mean 'mine.yaml'?)",
        "folder": "config: 'folder' is a directory without config.yaml",
        "folder/x.yaml": "config: no preset or file 'folder/x.yaml'",
        "latin.yaml": "config: latin.yaml: cannot be read: it is not UTF-8 text",
        "": "config: no preset or file ''",
        "x\0y": "config: no preset or file 'x\0y'",
        "z" * 5000: "config: no preset or file 'z",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load_config(name, cwd=tmp_path)
        assert str(caught.value).startswith(expected)
        assert "\n" not in str(caught.value)


WORDS = st.sampled_from(
    [*(k for s in sections().values() for k in s.model_fields), *sections(), "extends", "x", "${", "a.b"]
)
KEYS = st.builds(".".join, st.lists(WORDS, min_size=1, max_size=3))
SCALARS = st.one_of(
    st.text(alphabet=string.printable, max_size=12), st.integers(), st.floats(), st.booleans(), st.none(), WORDS
).map(str)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(st.lists(st.one_of(st.tuples(KEYS, SCALARS).map("=".join), st.text(max_size=20)), max_size=4))
def test_any_override_loads_or_is_a_config_error(overrides):
    try:
        loaded = load_config("quick", overrides)
    except ConfigError:
        event("refused")
    else:
        assert set(loaded.origins) == set(loaded.values())


TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)


@QUICK
@given(TREES)
def test_any_yaml_loads_or_is_a_config_error(tmp_path, tree):
    import yaml

    (tmp_path / "fuzz.yaml").write_text(yaml.safe_dump(tree, allow_unicode=True), encoding="utf-8")
    with contextlib.suppress(ConfigError):
        load_config("fuzz.yaml", cwd=tmp_path)


@QUICK
@given(st.text(alphabet="abt:{}[]&*!|>'\"%@`#-?, \n\t\0é😀", max_size=40))
def test_any_text_loads_or_is_a_config_error(tmp_path, text):
    (tmp_path / "fuzz.yaml").write_text(text, encoding="utf-8")
    with contextlib.suppress(ConfigError):
        load_config("fuzz.yaml", cwd=tmp_path)


@QUICK
@given(st.text(max_size=30).filter(lambda t: "\0" not in t))
def test_text_survives_the_dump(tmp_path, text):
    from semiovs.config.yaml_reader import format_inline, parse_yaml, to_plain

    node = parse_yaml(f"a: {format_inline([text, {'k': text}])}  # origin\n", "here")
    assert node is not None
    assert to_plain(node, "here") == {"a": [text, {"k": text}]}
