"""``semiovs data check`` on more than 200 malformed inputs, and on what people have."""

import json

import pytest

from semiovs.cli.app import main
from unit import malformed


def checked(capsys, *arguments):
    code = main(["data", "check", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("build", malformed.BUILDERS, ids=lambda build: build.__name__)
def test_every_malformed_input_is_told(tmp_path, capsys, build):
    root = tmp_path / "own"
    root.mkdir()
    corpus = malformed.Corpus(root)
    corpus.good(4)
    build(corpus)
    corpus.good(2, "val")
    path = corpus.write()
    before = malformed.snapshot(tmp_path)
    code, found = checked(capsys, path)
    told = [(row["kind"], row["where"]) for row in found["list"]]
    assert not [expected for expected in corpus.expected if expected not in told]
    assert all(row["text"] and "\n" not in row["text"] and len(row["text"]) < 2000 for row in found["list"])
    wrong = len(corpus.expected) if corpus.severity == "error" else 0
    assert code == (3 if wrong else 0)
    errors = [row for row in found["list"] if row["severity"] == "error"]
    assert len(errors) == wrong
    streams = found["streams"].values()
    assert sum(s["bad"] for s in streams) == wrong
    assert all(s["good"] + s["bad"] == s["listed"] for s in streams)
    lines = sum(bool(line.strip()) for lines in corpus.lines.values() for line in lines)
    assert sum(s["listed"] for s in streams) == lines
    assert malformed.snapshot(tmp_path) == before


def test_the_corpus_is_large(tmp_path):
    kinds, number = set(), 0
    for build in malformed.BUILDERS:
        corpus = malformed.Corpus(tmp_path / build.__name__)
        corpus.root.mkdir()
        corpus.good(4)
        build(corpus)
        kinds |= {kind for kind, _ in corpus.expected}
        number += len(corpus.expected)
    assert number >= 200
    assert len(kinds) >= 20
