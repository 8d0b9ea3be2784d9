"""``semiovs select``: everything that was planted is found, all images are accounted for, and every mistake has its
line.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from semiovs.cli.app import main
from semiovs.config import load_config
from semiovs.datasets.folder import FolderDataset
from semiovs.files import sha256_of
from semiovs.images.manifest import Manifest
from unit import planted


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    return root, planted.plant(root)


@pytest.fixture(scope="module")
def small(world):
    """The selection by the teacher `small`: (folder, report)."""
    root, _ = world
    return root / "out", run(root, "out", "--teacher", "small", "--budget", "30")


def run(root, out, *more, pool="pool", code=0):
    pools = [pool] if isinstance(pool, str) else pool
    given = [part for name in pools for part in ("--from", str(root / name))]
    assert main(["select", f"data.root={root / 'world'}", *given, "--out", str(root / out), *more]) == code
    return json.loads((root / out / "select.json").read_text()) if code == 0 else None


def dropped(folder):
    return {row["id"]: row for row in map(json.loads, (folder / "dropped.jsonl").read_text().splitlines())}


def ids(folder):
    return [json.loads(line)["id"] for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_all_that_was_planted_is_found(world, small):
    folder, _ = small
    kinds, gone = world[1], dropped(folder)
    assert {i for i, row in gone.items() if row["reason"] == "leak"} == kinds["leaks"]
    assert {i for i, row in gone.items() if row["reason"] == "unreadable"} == kinds["unreadable"]
    off_topic = {i for i, row in gone.items() if row["reason"] == "off-topic"}
    assert kinds["off-topic"] <= off_topic
    for name in kinds["copies"]:  # of each group one stays at most
        origin = f"web/{name.rpartition('-')[2]}"
        group = [origin, *(other for other in kinds["copies"] if other.endswith(name.rpartition("-")[2]))]
        left = [i for i in group if i not in gone or gone[i]["reason"] == "over budget"]
        assert len(left) <= 1, (name, left)
    free = kinds["web"] - {f"web/{i:03d}" for i in range(5)}
    assert not [i for i in free if gone.get(i, {}).get("reason") in {"leak", "duplicate"}]  # no false alarm
    assert {row["role"] for row in gone.values() if row["reason"] == "leak"} == {"evaluation", "labelled"}
    assert all(row["of"] and Path(row["of_image"]).is_file() for row in gone.values() if row["reason"] == "duplicate")


def test_every_image_is_accounted_for(world, small):
    folder, data = small
    listed = sum(1 for path in (world[0] / "pool").rglob("*") if path.is_file())
    assert data["listed"] == listed == data["chosen"] + data["unreadable"] + sum(data["dropped"].values())
    assert len(ids(folder)) == data["chosen"] == 30
    assert len(dropped(folder)) == listed - 30
    assert data["files"]["manifest.jsonl"] == sha256_of(folder / "manifest.jsonl")
    assert data["without_license"] == listed
    assert data["calibrated_on"] == 12
    assert all(row["source"] in {"class", "all classes"} for row in data["thresholds"])


def test_the_manifest_is_read_by_labelling_and_training(world, small):
    folder, _ = small
    manifest = Manifest.read(folder / "manifest.jsonl", folder)
    assert all(record.image.is_file() and sha256_of(record.image) == record.sha256 for record in manifest)
    config = load_config(
        None,
        [f"data.root={world[0] / 'world'}", f"ood={folder / 'manifest.jsonl'}", "ood.mode=naive", "data.outside=true"],
    )
    assert len(FolderDataset(config.config.data, config.config.ood).read().ood) == 30
    labels = world[0] / "labels"
    said = [
        f"data.root={world[0] / 'world'}",
        f"ood={folder / 'manifest.jsonl'}",
        "data.outside=true",
        "--out",
        str(labels),
    ]
    assert main(["label", *said, "--teacher", "small", "--batch-size", "8"]) == 0
    again = run(world[0], "stored", "--scores", str(labels), "--budget", "10", "--rule", "paper")
    assert again["chosen"] == 10
    assert again["dropped"]["no answer"] > 0


def test_the_page_shows_it(small):
    folder, _ = small
    page = (folder / "report.html").read_text()
    assert "30 of" in page
    assert "http" not in page.replace("data:image", "")
    assert (folder / "chosen.png").stat().st_size > 1000
    assert (folder / "dropped-leak.png").is_file()
    assert (folder / "dropped-duplicate.png").is_file()


def test_the_choice_depends_on_ids_and_seed_alone(world):
    """Other order of files, threads, batches and shards: the same manifest; another seed: another one."""
    root = world[0]
    common = ["--scores", str(root / "truth"), "--budget"]
    run(root, "plain", *common, "15", pool="pool/web")
    first = ids(root / "plain")
    rows = [{"id": path.stem, "image": str(path)} for path in (root / "pool/web").iterdir()]
    rows.sort(key=lambda row: row["id"][::-1])
    (root / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [
        "select",
        f"data.root={root / 'world'}",
        "--from",
        str(root / "list.jsonl"),
        "--out",
        str(root / "sharded"),
    ]
    assert main([*given, *common, "15", "--shard", "0/1", "--threads", "3"]) == 0
    assert not (root / "sharded/manifest.jsonl").exists()
    data = run(root, "sharded", *common, "15", "--batch-size", "3", pool="list.jsonl")
    assert data["scanned"] == 0  # the shard has done it
    assert ids(root / "sharded") == first
    other = run(root, "sharded", *common, "15", "--seed", "1", pool="list.jsonl")
    assert other["scanned"] == 0
    assert ids(root / "sharded") != first
    run(root, "sharded", *common, "8", pool="list.jsonl")
    assert ids(root / "sharded") == first[:8]  # the first of many are the choice of few


def test_without_scores_and_with_licenses(world, capsys):
    root = world[0]
    files = sorted((root / "pool/web").iterdir())[:20]
    rows = [{"id": f.stem, "image": str(f), "source": "web", "license": "CC0" if i % 2 else "CC BY-NC 4.0"}
            for i, f in enumerate(files)]  # fmt: skip
    rows += [{"id": "twin", "image": str(files[1])}]
    (root / "licensed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\nno image\n")
    data = run(root, "free", "--scores", "none", "--license", "cc0", pool="licensed.jsonl")
    assert data["chosen"] == 10
    assert data["dropped"]["license"] == 11
    assert data["unreadable"] == 2
    assert data["without_license"] == 3
    assert data["sources"] == {"web": 10}
    run(root, "free", "--scores", "none", "--license", "cc0", "--budget", "11", pool="licensed.jsonl")
    out = capsys.readouterr().out
    run(root, "none", "--scores", "none", "--license", "gpl", pool="licensed.jsonl")
    assert capsys.readouterr().out.endswith("nothing was chosen, most are 'license': try other --license\n")
    assert "fewer than --budget 11" in out
    assert out.endswith(f"data.outside=true --out {root / 'free/labels'} --teacher NAME\n")  # nobody was asked yet
    assert all(
        "CC0" in line and '"source": "web"' in line for line in (root / "free/manifest.jsonl").read_text().splitlines()
    )
    assert [row["why"].split(": ")[0].rpartition(":")[2] for row in map(json.loads, (root / "free/dropped.jsonl").open())
            if row["reason"] == "unreadable"] == ["22", "23"]  # fmt: skip


def test_more_images_to_keep_away_from(world):
    root = world[0]
    data = run(root, "kept", "--scores", "none", "--against", str(root / "pool/copies"), pool="pool/web")
    assert data["dropped"]["leak"] == 5
    assert data["leaks_of"][f"--against {root / 'pool/copies'}"] == 5


def test_several_pools_and_the_output_among_them(world):
    root = world[0]
    folder = root / "pool/web/chosen"
    assert run(root, "pool/web/chosen", "--scores", "none", pool=["pool/web", "pool/empty"])["listed"] == 46
    assert run(root, "pool/web/chosen", "--scores", "none", pool=["pool/web", "pool/empty"])["listed"] == 46
    assert {i.split("/")[0] for i in ids(folder)} == {"web", "empty"}
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ([], 2, "say who sees the classes"),
        (["--scores", "none", "--teacher", "small"], 2, "say who sees the classes"),
        (["--scores", "none", "--rule", "paper"], 2, "asks for classes"),
        (["--scores", "none", "--rule", "best"], 2, "balanced or paper"),
        (["--scores", "none", "--near", "1.5"], 2, "--near 1.5"),
        (["--scores", "none", "--shard", "3/2"], 2, "0/2 to 1/2"),
        (["--scores", "none", "--targets", "dotz"], 2, "did you mean 'dots'"),
        (["--scores", "nowhere"], 3, "nowhere"),
        (["--scores", "truth", "--map", "0=dots", "--map", "1=dots,0=ignore"], 2, "--map: '0' is given twice"),
        (["--scores", "none", "--against", "nowhere"], 3, "no such folder or list"),
        (["--teacher", "smal"], 2, "did you mean 'small'"),
        (["--scores", "none", "--encoder", "resnet18=none.pth"], 4, "none.pth"),
    ],
)
def test_mistakes(world, capsys, more, code, words):
    run(world[0], "wrong", *more, pool="pool/web", code=code)
    assert words in capsys.readouterr().err


def test_pools_of_nothing(world, capsys, tmp_path):
    (tmp_path / "none").mkdir()
    run(world[0], "wrong", "--scores", "none", pool=str(tmp_path / "none"), code=3)
    assert "no images there" in capsys.readouterr().err
    run(world[0], "wrong", "--scores", "none", pool="pool/broken", code=3)
    assert "none of the 3 images" in capsys.readouterr().err
    assert main(["select", f"data.root={world[0] / 'world'}", "--scores", "none"]) == 2
