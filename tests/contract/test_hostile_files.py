"""What `python -m benchmarks.fuzz` found, as small files: each is refused by an error of ours, or read."""

from __future__ import annotations

import difflib
import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from semiovs.array_files import read_array
from semiovs.calibration.calibration import Calibration
from semiovs.config import load_config
from semiovs.config.option_texts import parse_set
from semiovs.config.yaml_reader import MAX_DEPTH, parse_yaml
from semiovs.datasets.matlab_tags import require_sound
from semiovs.datasets.voc import read_sbd
from semiovs.errors import ConfigError, DataError
from semiovs.images.containers.container import image_exists
from semiovs.images.discover.class_files import read_numbered_classes
from semiovs.images.source import examine_source
from semiovs.run_page.run_record import RunRecord
from semiovs.vocab import Vocabulary

HEADERS = {
    "an open bracket": "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 6, 8",
    "deep signs": "-" * 5000 + "1",
    "a backslash at the end": "{'descr': '<f4', \\",
    "an index": "{'descr': [('a', '<f4', ())], 'fortran_order': False, 'shape': (2,)}",
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_arrays_that_cannot_be_parsed_are_data_errors(tmp_path, name):
    text = HEADERS[name].encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text)
    with pytest.raises(DataError, match=r"a\.npy"):
        read_array(tmp_path / "a.npy", "scores", lambda dtype, shape: None)


def test_damaged_archives_of_arrays_are_data_errors(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", scores=np.random.default_rng(0).random((3, 20, 20)))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[60:120] = b"\xff" * 60
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match="cannot be read as an array"):
        read_array(tmp_path / "a.npz", "scores", lambda dtype, shape: None)


@pytest.mark.parametrize("packed", [False, True])
def test_matlab_files_are_read(tmp_path, packed):
    mask = np.arange(6, dtype=np.uint8).reshape(2, 3)
    savemat(
        tmp_path / "a.mat",
        {"GTcls": {"Segmentation": mask, "Boundaries": [1.5, 2], "Name": "x"}},
        do_compression=packed,
    )
    assert (read_sbd(tmp_path / "a.mat") == mask).all()


def test_matlab_files_with_unknown_types_do_not_end_the_process(tmp_path):
    savemat(tmp_path / "a.mat", {"GTcls": {"Segmentation": np.ones((6, 8), np.uint8)}})
    good = (tmp_path / "a.mat").read_bytes()
    require_sound(good)
    places = [
        at for at in range(128, len(good) - 8, 8) if good[at : at + 2] in (b"\x06\0", b"\x05\0", b"\x02\0", b"\x01\0")
    ]
    refused = 0
    for at in places:
        data = bytearray(good)
        data[at : at + 2] = b"\x37\x30"
        (tmp_path / "b.mat").write_bytes(data)
        try:
            read_sbd(tmp_path / "b.mat")
        except DataError:
            refused += 1
    assert len(places) >= 5
    assert refused >= 5
    assert loadmat(str(tmp_path / "a.mat"))


@pytest.mark.parametrize("load", [load_config, Vocabulary.load])
def test_thousands_of_unknown_keys_are_counted_and_few_looked_up(tmp_path, monkeypatch, load):
    path, looked = tmp_path / "many.yaml", list[str]()
    path.write_text("".join(f"k{n}: {n}\n" for n in range(1000)))
    near = difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", lambda word, *a, **k: looked.append(word) or near(word, *a, **k))
    with pytest.raises(ConfigError, match=r"… and 99[01] more problems"):
        load(str(path))
    assert 0 < len(looked) <= 400


def test_yaml_is_nested_a_hundred_deep_at_most():
    assert parse_yaml("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), "a") is not None
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse_yaml("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "a")


@pytest.mark.parametrize(
    "text", ["a: 2001-99-99", f"a: {'9' * 20_000}", "a: !!timestamp x", "a: !!binary é", f"a: {'[' * 20_000}"]
)
def test_odd_values_are_no_class_file_and_plain_text_in_options(tmp_path, text):
    (tmp_path / "classes.yaml").write_text(text, "utf-8")
    assert read_numbered_classes(tmp_path / "classes.yaml") is None
    assert parse_set([f"x={text.removeprefix('a: ')}"]) == {"x": text.removeprefix("a: ")}


def test_numbered_classes_are_still_read(tmp_path):
    (tmp_path / "classes.yaml").write_text("classes: {1: person, 7: car}\n")
    found = read_numbered_classes(tmp_path / "classes.yaml")
    assert found is not None
    assert found.names == ("person", "car")


@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
def test_infinite_numbers_are_no_calibration(tmp_path, value):
    rule = {
        "name": "a",
        "threshold": value,
        "presence": 0,
        "curve": [[0, 0]],
        "status": "few",
        "images": 1,
        "coverage": 0,
        "precision": 0,
    }
    data = {"format": 1, "risk": 0.1, "rare": "global", "vocabulary": Vocabulary.of(["a"]).as_json(), "teacher": {}, "classes": [rule],
            "fitted_on": {}, "choice": None, "hash": ""}  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps(data).replace("Infinity", "1e999"))
    with pytest.raises(DataError, match="no calibration of `semiovs calibrate`"):
        Calibration.load(tmp_path / "c.json")


@pytest.mark.parametrize("model", [7, None, ["ema"]])
def test_evaluations_of_no_model_are_left_out(model):
    rows = [
        {"kind": "eval", "step": 1, "model": model, "miou": 3.0},
        {"kind": "eval", "step": 2, "model": "ema", "miou": 4.0},
    ]
    record = RunRecord(SimpleNamespace(), SimpleNamespace(), rows, 0, None)
    assert record.models == ["ema"]
    assert record.best == rows[1]


def test_names_longer_than_file_systems_take_are_missing(tmp_path):
    assert not image_exists(tmp_path / f"{'a' * 5000}.png")
    (tmp_path / "list.txt").write_text(f"{'a' * 5000}.png\n")
    assert len(examine_source(tmp_path / "list.txt", tmp_path)[0]) == 1
