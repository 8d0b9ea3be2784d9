"""``semiovs splits``, with made-up lists."""

from __future__ import annotations

import json

import pytest

from semiovs import download
from semiovs.cli.app import main
from semiovs.datasets import split_cache
from unit import benchmark_trees as trees
from unit.split_toys import catalogue_of, write_lists

COCO = {
    "coco/1_512/labeled.txt": "train2017/000000000025.jpg masks/000000000025.png",
    "coco/val.txt": "val2017/000000000139.jpg masks/000000000139.png",
}
TEXTS = {
    **trees.voc_lists(),
    **COCO,
    "pascal/183/labeled.txt": trees.voc_lists()["pascal/92/labeled.txt"] + "\nJPEGImages/a.jpg SegmentationClass/a.png",
}


@pytest.fixture(autouse=True)
def _published(monkeypatch, tmp_path):
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(split_cache, "load_catalogue", lambda: catalogue_of(TEXTS))


@pytest.fixture
def source(tmp_path):
    return write_lists(tmp_path / "source", TEXTS)


def _json(capsys, *arguments: str):
    code = main(["splits", *arguments, "--json"])
    caught = capsys.readouterr()
    return code, json.loads(caught.out), caught.err


def test_from_nothing_to_lists_that_verify(source, capsys):
    code, rows, error = _json(capsys, "verify")
    assert code == 3
    assert {row["name"]: (row["count"], row["ok"]) for row in rows} == {
        n: (t.strip().count("\n") + 1, False) for n, t in TEXTS.items()
    }
    assert {row["get"] for row in rows} == {"semiovs splits fetch pascal", "semiovs splits fetch coco"}
    assert "next: semiovs splits fetch pascal; semiovs splits fetch coco" in error
    code, done, _ = _json(capsys, "fetch", "--from", str(source))
    assert (code, sorted(done["added"])) == (0, sorted(TEXTS))
    code, rows, _ = _json(capsys, "verify")
    assert (code, [row["ok"] for row in rows]) == (0, [True] * len(TEXTS))


def test_a_changed_file_is_refused_and_the_others_kept(source, capsys):
    path = source / "clone/splits/pascal/92/labeled.txt"
    path.write_text(path.read_text().replace("2007_000032", "2007_000033", 1))
    code, done, error = _json(capsys, "fetch", "--from", str(source))
    assert code == 3
    assert [row["file"] for row in done["refused"]] == ["clone/splits/pascal/92/labeled.txt"]
    assert len(done["added"]) == len(TEXTS) - 1
    assert "1 files were refused and 1 lists are missing" in error
    assert main(["splits", "verify", "coco"]) == 0
    assert main(["splits", "fetch", "--from", str(source)]) == 3
    text = capsys.readouterr().out
    assert "refused: clone/splits/pascal/92/labeled.txt: SHA-256" in text


def test_list_and_show(source, capsys):
    assert main(["splits", "list"]) == 0
    caught = capsys.readouterr()
    assert "pascal/92   labeled 2, unlabeled 2  one           no" in caught.out
    assert "next: semiovs splits fetch" in caught.err
    main(["splits", "fetch", "--from", str(source)])
    capsys.readouterr()
    _, rows, _ = _json(capsys, "show", "pascal/92")
    assert rows[0]["nested in"] == ["pascal/183"]
    assert rows[0]["sources"] == [
        f"https://raw.githubusercontent.com/someone/one/{'a' * 40}/splits/pascal/92/labeled.txt"
    ]
    assert _json(capsys, "show", "pascal/183")[1][0]["contains"] == ["pascal/92"]
    assert main(["splits", "show", "pascal/92"]) == 0
    assert "nested in pascal/183" in capsys.readouterr().out


def test_export_writes_what_the_presets_name(source, tmp_path, capsys):
    main(["splits", "fetch", "--from", str(source)])
    out = tmp_path / "out"
    assert main(["splits", "export", "pascal/92", "--out", str(out)]) == 0
    for name in ("pascal/92/labeled.txt", "pascal/92/unlabeled.txt", "pascal/val.txt"):
        assert (out / "splits" / name).read_text() == TEXTS[name]
    assert len(list(out.rglob("*.txt"))) == 3
    assert main(["splits", "export", "pascal/92", "--out", str(out)]) == 0
    (out / "splits/pascal/val.txt").write_text("mine")
    assert main(["splits", "export", "pascal/92", "--out", str(out)]) == 3
    assert "val.txt: is there and differs" in capsys.readouterr().err
    assert (out / "splits/pascal/val.txt").read_text() == "mine"
    assert main(["splits", "export", "pascal/92", "--out", str(out), "--force"]) == 0


def test_export_of_coco_makes_the_bare_images_where_the_data_are(source, tmp_path, capsys):
    main(["splits", "fetch", "--from", str(source)])
    trees.coco(tmp_path / "coco", masks="png")
    assert main(["splits", "export", "coco", "--out", str(tmp_path / "coco")]) == 0
    lines = (tmp_path / "coco/splits/coco/1_512/unlabeled.txt").read_text().split("\n")
    assert lines == [
        "train2017/000000000009.jpg masks/000000000009.png",
        "train2017/000000000030.jpg masks/000000000030.png",
        "",
    ]
    (tmp_path / "empty").mkdir()
    assert main(["splits", "export", "coco", "--out", str(tmp_path / "empty")]) == 0
    assert "holds no train2017/" in capsys.readouterr().err
    assert not (tmp_path / "empty/splits/coco/1_512/unlabeled.txt").exists()


def test_export_without_lists_names_the_command(tmp_path, capsys):
    assert main(["splits", "export", "pascal/92", "--out", str(tmp_path / "out")]) == 3
    assert "next: semiovs splits fetch pascal" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_offline(monkeypatch, capsys):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["splits", "fetch"]) == 3
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err


def test_what_came_before_the_network_broke_is_kept(monkeypatch, capsys):
    import io

    asked = []

    def breaks(request, timeout):
        asked.append(request.full_url)
        if len(asked) > 2:
            raise TimeoutError("timed out")
        return io.BytesIO(TEXTS[request.full_url.partition("/splits/")[2]].encode())

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(download, "urlopen", breaks)
    assert main(["splits", "fetch"]) == 3
    assert "no connection (timed out)" in capsys.readouterr().err
    assert sum(row["ok"] for row in _json(capsys, "verify")[1]) == 2


def test_unknown_names(capsys):
    assert main(["splits", "verify", "pascal/93"]) == 2
    assert "did you mean 'pascal/92'" in capsys.readouterr().err
