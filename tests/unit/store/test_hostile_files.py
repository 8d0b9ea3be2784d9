"""Index lines and descriptions that no writer of ours wrote: found, healed by `repair`, or refused in one line."""

import json

import numpy as np
import pytest

from semiovs.cli.app import main
from semiovs.errors import ConfigError, DataError, SemiovsError
from semiovs.store.meta import StoreMeta
from semiovs.store.pseudo_labels import PseudoLabelStore
from semiovs.store.verify import inspect, repair
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", "road"])


def line(**changes):
    row = {"id": "x", "label": "0" * 64, "confidence": None, "size": [2, 3], "pixels": {"0": 6}} | changes
    return json.dumps(row, separators=(",", ":")).encode()


HOSTILE = {
    "infinity": line(size=[float("inf"), 3]),
    "a huge exponent": line().replace(b"[2,3]", b"[1e999,3]"),
    "NaN": line(pixels={"0": float("nan")}),
    "deep nesting": b'{"id":' + b"[" * 10_000,
    "deep nesting behind": line()[:-1] + b',"more":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "a way out": line(id="../x"),
    "a way out inside": line(id="a/../../x"),
    "an absolute path": line(id="/etc/x"),
    "an empty id": line(id=""),
    "a control character": line(id="a\x07"),
    "a raw control character": line(id="a#b").replace(b"#", b"\x1b"),
    "a NUL": line(id="a\0b"),
    "half a character": line(id="\ud800"),
    "bytes that are no text": line(id="a#b").replace(b"#", b"\xff"),
    "an id that is a number": line(id=7),
    "a class that cannot be": line(pixels={"999": 6}),
    "a number without end": line(size=[2, 3]).replace(b"[2,3]", b"[" + b"9" * 6000 + b",3]"),
    "a checksum that is a list": line(image=[1]),
    "a list": b"[1]",
    "a word": b"null",
}


@pytest.fixture
def store(tmp_path):
    made = PseudoLabelStore.create(tmp_path / "store", CLASSES, teacher={"name": "t"})
    for name in ("a", "b"):
        made.add(name, np.zeros((2, 3), np.uint8))
    made.settle()
    return tmp_path / "store"


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_lines_are_removed(store, name):
    index = store / "index.jsonl"
    before = index.read_bytes()
    first, second = before.splitlines(keepends=True)
    index.write_bytes(first + HOSTILE[name] + b"\n" + second)
    assert inspect(store).lines == [2]
    with pytest.raises(DataError, match=r"index\.jsonl.*labels verify .* --fix"):
        list(PseudoLabelStore.open(store).rows())
    assert repair(store).lines == [2]
    assert index.read_bytes() == before
    assert PseudoLabelStore.open(store).ids() == ["a", "b"]


def test_the_command_heals_all_of_them(store, capsys):
    index = store / "index.jsonl"
    before = index.read_bytes()
    index.write_bytes(b"\n".join(HOSTILE.values()) + b"\n" + before)
    assert main(["labels", "verify", str(store)]) == 3
    assert f"{len(HOSTILE)} damaged index lines; next: semiovs labels verify" in capsys.readouterr().err
    assert main(["labels", "verify", str(store), "--fix"]) == 0
    assert main(["labels", "verify", str(store)]) == 0
    assert index.read_bytes() == before


def places(value, path=()):
    yield path
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(item, (*path, key))


def test_descriptions_are_refused_in_one_line(store):
    """Any value of meta.json replaced by what does not belong there: read, or one DataError that names the file."""
    path, good = store / "meta.json", json.loads((store / "meta.json").read_text())
    junk = (
        None,
        True,
        -1,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "\x1b[31m",
        [],
        {},
        [[]],
        {"a": 1},
        "\ud800",
        10**400,
    )
    texts = [
        "[" * 10_000,
        '{"format": 1, "teacher": ' + "[" * 10_000,
        "",
        "null",
        "7",
        "NaN",
        '"x"',
        "\xff",
        '{"format": 1}',
    ]
    for at in filter(None, places(good)):
        for value in junk:
            changed = json.loads(json.dumps(good))
            inner = changed
            for key in at[:-1]:
                inner = inner[key]
            inner[at[-1]] = value
            texts.append(json.dumps(changed))
    said = []
    for text in texts:
        path.write_text(text, "latin-1", errors="replace")
        try:
            StoreMeta.read(store)
        except SemiovsError as error:
            said.append(str(error))
    assert len(said) > len(texts) / 2
    assert all(str(path) in text and "\n" not in text and len(text) < 1000 for text in said)


def test_teachers_whose_options_no_file_can_hold(tmp_path):
    with pytest.raises(ConfigError, match="an option of the teacher is NaN or infinite"):
        PseudoLabelStore.create(tmp_path / "s", CLASSES, teacher={"name": "t", "scale": float("inf")})
