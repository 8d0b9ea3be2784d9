"""``semiovs labels pack``: packed stores through the commands, on a disk and by URL."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from e2e import folders
from semiovs.cli.app import main
from semiovs.object_store import find_url
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set whose OOD labels are the store `labels`."""
    made = folders.write(tmp_path / "data")
    store = PseudoLabelStore.create(made / "labels", Vocabulary.of(list(folders.CLASSES)), teacher={"name": "t"})
    for path in sorted((made / "ood-labels").iterdir()):
        label = np.asarray(Image.open(path))
        store.add(path.stem, label, np.full(label.shape, 0.9))
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def memory() -> Iterator[None]:
    fsspec = pytest.importorskip("fsspec")
    yield
    fsspec.filesystem("memory").store.clear()


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_training_reads_a_packed_store_as_it_reads_files(
    root: Path, memory: None, capsys: pytest.CaptureFixture[str]
) -> None:
    done = report(capsys, "labels", "pack", "labels", "packed", "--shard-size", "2")
    assert {key: done[key] for key in ("images", "shards", "kept")} == {"images": 5, "shards": 3, "kept": 0}
    report(capsys, "labels", "pack", "labels", "memory://bucket/packed", "--shard-size", "2")
    weights = {}
    for number, labels in enumerate(("labels", "packed", "memory://bucket/packed")):
        run = root / f"run{number}"
        given = folders.settings(
            root, run, train__steps=2, data__workers=1, ood__labels=labels, ood__confidence="score"
        )
        assert main(["train", *given]) == 0
        weights[labels] = [(run / name).read_bytes() for name in ("data.json", "model.safetensors")]
    assert weights["packed"] == weights["labels"] == weights["memory://bucket/packed"]


def test_the_verbs_on_stores(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", "pack", "labels", "packed"]) == 0
    wanted, found = (report(capsys, "labels", "stats", name) for name in ("labels", "packed"))
    assert {**wanted, "store": "", "bytes": 0} == {**found, "store": "", "bytes": 0}
    assert main(["labels", "view", "packed", "--images", "ood", "--out", "sheet.png"]) == 0
    exported = report(capsys, "labels", "export", "packed", "--images", "ood", "--to", "coco", "--out", "coco")
    assert len(exported["images"]) == 5
    assert report(capsys, "verify", "packed")["ok"]
    Path("my.yaml").write_text("data: {root: .}\nood: {images: ood, labels: packed}\n")
    checked = report(capsys, "data", "check", "my.yaml")
    assert checked["streams"]["OOD"]["listed"] == 5
    tar = Path("packed/000000.tar")
    whole = tar.read_bytes()
    place = whole.index(b"PLTE")  # of the first label
    tar.write_bytes(whole[:place] + b"plte" + whole[place + 4 :])
    assert main(["data", "check", "my.yaml"]) == 3
    assert "000000.tar: labels of 'o0' is damaged" in "".join(capsys.readouterr())
    tar.write_bytes(whole)
    given = ["--images", "ood", "--classes", "ground,red,blue", "--from", "ood-labels", "--out", "packed"]
    assert main(["label", *given]) == 3
    assert "packed: a packed store, to which nothing is added" in capsys.readouterr().err
    report(capsys, "labels", "merge", "again", "packed")
    assert main(["labels", "pack", "packed", "other"]) == 2


def test_a_store_by_url(root: Path, memory: None, capsys: pytest.CaptureFixture[str]) -> None:
    url = "memory://bucket/packed"
    report(capsys, "labels", "pack", "labels", url, "--shard-size", "2")
    report(capsys, "labels", "pack", "labels", "packed", "--shard-size", "2")
    assert report(capsys, "labels", "stats", url)["bytes"] == sum(p.stat().st_size for p in Path("packed").iterdir())
    assert report(capsys, "labels", "verify", url)["checked"] == 5
    assert report(capsys, "verify", url)["ok"]
    report(capsys, "labels", "merge", "again", url)
    names = [p.relative_to("labels") for p in Path("labels").rglob("*") if p.is_file()]
    assert all((Path("again") / name).read_bytes() == (Path("labels") / name).read_bytes() for name in names)
    assert main(["labels", "pack", "labels", url]) == 3
    assert "a packed store already; choose another folder" in capsys.readouterr().err
    assert main(["labels", "stats", f"file://{root}/packed"]) == 0
    assert main(["labels", "stats", "memory://bucket/none"]) == 3
    assert "memory://bucket/none: not a pseudo-label store" in capsys.readouterr().err
    assert main(["labels", "stats", f"file://{root}/labels"]) == 3
    assert "by URL once it is packed: semiovs labels pack STORE URL" in capsys.readouterr().err
    given = ["--images", "ood", "--classes", "ground,red,blue", "--from", "ood-labels", "--out", "memory://bucket/n"]
    assert main(["label", *given]) == 3
    assert "labels are written into a folder of this machine; then send them there" in capsys.readouterr().err


def test_a_job_that_was_stopped_goes_on_at_a_url(
    root: Path, memory: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fsspec

    files = type(fsspec.filesystem("memory"))
    put = files.put_file

    def fail(self: object, source: str, target: str, **options: object) -> None:
        if target.endswith("000001.tar"):
            raise OSError(28, "No space left on device")
        put(self, source, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "put_file", fail)
        assert main(["labels", "pack", "labels", "memory://b/p", "--shard-size", "2"]) == 3
    assert "memory://b/p: cannot be written: No space left on device" in capsys.readouterr().err
    assert main(["labels", "stats", "memory://b/p"]) == 3
    assert report(capsys, "labels", "pack", "labels", "memory://b/p", "--shard-size", "2")["kept"] == 1
    report(capsys, "labels", "pack", "labels", "memory://b/q", "--shard-size", "2")
    store = fsspec.filesystem("memory").store
    held = {name: bytes(file.getvalue()) for name, file in store.items()}
    first, second = ({n[5:]: data for n, data in held.items() if n.startswith(start)} for start in ("/b/p/", "/b/q/"))
    assert first == second
    assert sorted(first) == ["000000.tar", "000001.tar", "000002.tar", "index.jsonl", "meta.json", "shards.jsonl"]


def test_what_stands_in_the_way_of_a_url(
    root: Path, memory: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEMIOVS_OFFLINE", "1")
    assert main(["labels", "stats", "s3://bucket/labels"]) == 3
    assert "s3://bucket/labels: SEMIOVS_OFFLINE is set; copy it to a folder" in capsys.readouterr().err
    assert main(["labels", "pack", "labels", "memory://bucket/p"]) == 0
    monkeypatch.delenv("SEMIOVS_OFFLINE")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert main(["labels", "stats", "s3://bucket/labels"]) == 4
    assert "pip install 'semiovs[remote]'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert main(["labels", "pack", "labels", "memory://bucket/q"]) == 4
    assert "pip install 'semiovs[remote]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("Access Denied"), "Access Denied"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"), "set AWS_ACCESS_KEY_ID"),
        (TimeoutError("Connect timeout on endpoint URL\nmore"), "Connect timeout on endpoint URL"),
    ],
)
def test_failures_of_the_store_are_one_line(
    root: Path,
    memory: None,
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import fsspec

    def fail(*arguments: object, **options: object) -> bytes:
        raise error

    assert main(["labels", "pack", "labels", "memory://bucket/p"]) == 0
    store = PseudoLabelStore.open(Path("memory://bucket/p"))
    files = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(files, "cat_file", fail)
    with pytest.raises(Exception, match=r"000000\.tar: labels of 'o0' cannot be read") as caught:
        store.label("o0")
    assert said in str(caught.value)
    capsys.readouterr()
    assert main(["labels", "stats", "memory://bucket/p"]) == 3
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    monkeypatch.setattr(files, "put_file", fail)
    assert main(["labels", "pack", "labels", "memory://bucket/q"]) == 3
    assert said in capsys.readouterr().err


def test_which_paths_are_urls() -> None:
    found = {
        text: find_url(Path(text)) for text in ("a/b", "x/s3.d/c", "s3://b/c", "d/s3://b/c/", "file:///a/b", "hf:x")
    }
    assert found == {
        "a/b": None,
        "x/s3.d/c": None,
        "s3://b/c": "s3://b/c",
        "d/s3://b/c/": "s3://b/c",
        "file:///a/b": "file:///a/b",
        "hf:x": None,
    }
