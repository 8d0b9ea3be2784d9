"""The study on photographs, prepared from a miniature of its data, and one comparison and its ablation trained."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from e2e import launcher

STUDY = Path(__file__).resolve().parents[2] / "examples/study"
NAMES = ["sky", "building", "road"]
SETTINGS = ["model.encoder=tiny", "model.pretrained=false", "model.channels=16", "train.steps=2", "train.batch_size=2",
            "train.eval_every=2", "train.unlabeled_batch_size=2", "data.crop_size=32"]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """2 to 23 images a set of 96 x 80 pixels, three bands of colour under blocks, and score maps of a quarter's side."""
    root, draw = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    mask = np.repeat(np.arange(3, dtype=np.uint8), (24, 32, 24))[:, None].repeat(96, axis=1)
    sets = {"camvid": 23, "labelmefacade": 6, "coco128": 2}
    for name, count in sets.items():
        for folder in ("images", "labels", "labels_camvid"):
            (root / name / folder).mkdir(parents=True)
        (root / "scores_ade20k" / name).mkdir(parents=True)
        for number in range(count):
            blocks = draw.integers(0, 130, (5, 6, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
            pixels = (mask * 60)[..., None] + blocks  # no two alike: `select` leaves out copies
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / "images" / f"{name}{number}.png")
            for folder in ("labels", "labels_camvid"):
                Image.fromarray(mask).save(root / name / folder / f"{name}{number}.png")
            scores = (mask[2::4, 2::4] == np.arange(3)[:, None, None]) * np.uint8(230)
            np.savez_compressed(root / "scores_ade20k" / name / f"{name}{number}.npz", scores=scores)
    (root / "camvid/classes.txt").write_text("\n".join(NAMES) + "\n")
    (root / "camvid/splits/1_16").mkdir(parents=True)
    lists = {
        "camvid/splits/1_16/labeled.txt": " ".join(map(str, range(18))),
        "camvid/splits/1_16/unlabeled.txt": "18 19 20",
        "camvid/splits/val.txt": "21 22",
    }
    (root / "labelmefacade/splits").mkdir()
    lists |= {"labelmefacade/splits/train.txt": "0 1", "labelmefacade/splits/test.txt": "2 3 4 5"}
    for path, numbers in lists.items():
        name = path.split("/")[0]
        lines = (f"images/{name}{n}.png labels/{name}{n}.png\n" for n in numbers.split())
        (root / path).write_text("".join(lines))
    return root


def in_folder(folder: str, words: list[str]) -> None:
    from semiovs.cli import run

    os.chdir(folder)
    sys.exit(run(words))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a script of the study here; each verb of `semiovs` that it runs is a process that imports nothing."""
    counter = itertools.count()

    def fork(command, *, cwd, check=False, **_):
        assert command[:3] == [sys.executable, "-m", "semiovs"]
        log = tmp_path / f"log-{next(counter)}"
        code = launcher.finish(launcher.start(in_folder, str(cwd), list(command[3:]), log=log), within=300)
        assert not (check and code), log.with_name(f"{log.name}.err").read_text()
        return subprocess.CompletedProcess(command, code, log.read_text())

    monkeypatch.setattr("subprocess.run", fork)

    def call(script: str, *words: object) -> tuple[int, str]:
        spec = importlib.util.spec_from_file_location(f"study_{script}", STUDY / f"{script}.py")
        monkeypatch.setitem(sys.modules, spec.name, importlib.util.module_from_spec(spec))
        spec.loader.exec_module(sys.modules[spec.name])
        capsys.readouterr()
        code = sys.modules[spec.name].main([str(word) for word in words])
        return code, capsys.readouterr().out

    return call


def test_the_study_is_prepared_and_its_queue_goes_on(data, tmp_path, run):
    work, out, queue = tmp_path / "work", tmp_path / "out", tmp_path / "queue.yaml"
    assert run("prepare", data, work)[0] == 0
    assert len((work / "data/ood-all.txt").read_text().splitlines()) == 8
    assert len((work / "data/labeled-12.txt").read_text().splitlines()) == 9  # every other of the 18
    assert len((work / "selected-23/manifest.jsonl").read_text().splitlines()) == 8
    queue.write_text(yaml.safe_dump([
        {"compare": "pair", "seeds": 1, "arms": ["unlabeled", "ood", "teacher"]},
        {"compare": "pair", "name": "pair-decisive", "seeds": 2, "arms": ["unlabeled", "ood"]},
        {"trainings": "ablation", "beside": "pair", "arms": ["unlabeled", "ood"], "seeds": 1,
         "variants": {"half": ["ood.weight=0.5"],
                      "selected": ["ood.images=../selected-23/manifest.jsonl", "data.outside=true"]}},
    ]))  # fmt: skip
    ask = ["--queue", queue, "--out", out]
    assert run("run", work, data, *SETTINGS, *ask, "--budget", "0.1")[0] == 75
    assert run("run", work, data, *SETTINGS, *ask)[0] == 0
    pair, ablation = (json.loads((out / f"{name}.json").read_text()) for name in ("pair", "ablation"))
    assert [arm["name"] for arm in pair["arms"]] == ["unlabeled", "ood", "teacher"]
    assert pair["arms"][2]["mean"] > 90  # its labels are the truth but for rounding
    assert list(ablation["trainings"]) == ["half", "selected"]
    assert [step for step, _ in ablation["trainings"]["half"]["0"]["curve"]] == [2]
    assert [len(arm["by_seed"]) for arm in json.loads((out / "pair-decisive.json").read_text())["arms"]] == [2, 2]
    assert ablation["machines"][0]["cpu"]["count"] >= 1
    assert str(tmp_path) not in (out / "pair.json").read_text()
    page = runpy.run_path(str(STUDY / "tables.py"))["draw"](["pair", "ablation", "later"], out)
    assert f"| teacher alone | {pair['arms'][2]['mean']:.1f} |" in page
    assert page.count("### ") == 2
    assert f"| half | {ablation['trainings']['half']['0']['miou']:.1f} | " in page
    assert page.endswith("*Not yet run*: `later`.\n")
    assert "3 of 3 items finished; left: none" in run("run", work, data, *ask, "--status")[1]


def test_the_queue_is_one_that_can_be_trained():
    from semiovs.config import load_config

    items = yaml.safe_load((STUDY / "queue.yaml").read_text())
    names = [item.get("name") or item.get("compare") or item["trainings"] for item in items]
    assert len(set(names)) == len(names) > 8
    loaded = [
        (name, load_config(str(STUDY / "study.yaml"), [*item.get("set", []), *own]).config)
        for name, item in zip(names, items, strict=True)
        for own in item.get("variants", {"": []}).values()
    ]
    settings = [config for name, config in loaded if name.endswith("-setting")]  # what the budget was chosen by
    others = [config for name, config in loaded if not name.endswith("-setting")]
    assert {config.method.name for config in settings} == {"supervised"}
    assert len({config.train.steps for config in settings}) == 4
    assert {config.method.name for config in others} == {"unimatch", "fixmatch", "unimatch-v2"}
    assert {config.train.steps for config in others} == {300}
