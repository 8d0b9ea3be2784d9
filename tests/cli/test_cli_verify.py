"""``semiovs verify``: real runs, comparisons, stores and exported files, whole and damaged."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2e import folders
from e2e.toy_export import write_run
from semiovs.cli.app import main
from semiovs.comparison.arms import ARMS
from semiovs.comparison.cell_files import finish
from semiovs.comparison.plan import Plan
from semiovs.config import load_config
from semiovs.engine.run import Run
from semiovs.engine.training import train
from semiovs.export.checksums import recording
from semiovs.files import sha256_of
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary
from unit.integrity.test_run_directory import flip, list_tree


class Verify:
    """Runs ``semiovs verify PATH --json``: exit code, report, and what stands on stderr."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, path: Path) -> tuple[int, dict[str, Any], str]:
        self._capsys.readouterr()
        code = main(["verify", str(path), "--json"])
        told = self._capsys.readouterr()
        return code, json.loads(told.out or "{}"), told.err

    def findings(self, path: Path, harm: str) -> list[tuple[str, str, str]]:
        """(file below the path, what, next) of one kind of finding."""
        found = [row for row in self(path)[1]["findings"] if row["harm"] == harm]
        return [(row["file"].removeprefix(f"{path}/"), row["what"], row["next"]) for row in found]


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    return Verify(capsys)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of this program."""
    root = tmp_path_factory.mktemp("trained")
    data = folders.write(root / "data")
    assert main(["train", *folders.settings(data, root / "run", train__steps=4, train__eval_every=2)]) == 0
    return root / "run"


def test_a_run_is_whole_after_training_and_after_an_evaluation(trained: Path, verify: Verify) -> None:
    before = list_tree(trained)
    code, report, _ = verify(trained)
    assert (code, report["kind"], report["ok"], report["findings"]) == (0, "run", True, [])
    assert report["checked"] > 8
    assert list_tree(trained) == before
    assert main(["evaluate", str(trained)]) == 0
    assert verify(trained)[:1] == (0,)


def test_a_damaged_run_is_mended_by_the_command_that_it_names(
    trained: Path, tmp_path: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained, tmp_path / "run", symlinks=True)
    flip(run / "model.safetensors")
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-9])
    assert main(["verify", str(run)]) == 3
    told = capsys.readouterr()
    assert told.out.startswith(f"{run}: run, damaged; ")
    assert f"  damaged: {run}/model.safetensors: " in told.out
    assert "error: " in told.err
    ((_, _, next_),) = verify.findings(run, "damage")
    assert next_ == f"semiovs resume {run}"
    assert main(["resume", str(run)]) == 0
    assert verify(run)[:1] == (0,)


@pytest.fixture(scope="module")
def compared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of two arms, trained in this process; one seed of each is finished, another was not begun."""
    root = tmp_path_factory.mktemp("compared") / "out"
    given = [text for text in folders.settings(trained.parent / "data", root) if not text.startswith("run.dir")]
    base = load_config(None, given)
    arms = tuple(arm for arm in ARMS if arm.name in ("labels", "unlabeled"))
    assert len(arms) == 2
    plan = Plan(root, arms, (0, 1), steps=2, eval_every=2)
    plan.write(base)
    for cell in plan.cells()[:2]:
        train(plan.load(cell), ["semiovs", "compare"])
        finish(Run(plan.directory(cell)))
    assert main(["report", str(root)]) == 0
    return root


@pytest.fixture
def comparison(compared: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy in the same place, since configurations name it; put back at the end."""
    kept = shutil.copytree(compared, tmp_path / "kept", symlinks=True)
    yield compared
    shutil.rmtree(compared)
    shutil.copytree(kept, compared, symlinks=True)


def test_a_comparison_is_whole_and_names_what_is_unfinished(comparison: Path, verify: Verify) -> None:
    before = list_tree(comparison)
    code, report, _ = verify(comparison)
    assert (code, report["kind"], report["ok"]) == (0, "comparison", True)
    unfinished = verify.findings(comparison, "unfinished")
    assert [name for name, _, _ in unfinished] == ["runs/labels/seed-1", "runs/unlabeled/seed-1"]
    assert {(what, next_[:2]) for _, what, next_ in unfinished} == {("was not begun yet", "# ")}
    assert len(report["findings"]) == 2
    assert list_tree(comparison) == before


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def edit_results(root: Path, **values: Any) -> None:
    told = json.loads((root / "results.json").read_text())
    told["arms"][0].update(values)
    (root / "results.json").write_text(json.dumps(told))


CELL = "runs/labels/seed-0"
DAMAGE: dict[str, Any] = {
    "plan": (lambda r: (r / "comparison.json").write_text("{"), "comparison.json", "not the description"),
    "no plan": (lambda r: (r / "comparison.json").unlink(), "comparison.json", "holds no comparison"),
    "configuration": (lambda r: (r / "config.yaml").write_text("a: ["), "config.yaml", ""),
    "counts": (lambda r: flip(r / CELL / "scores/last-ema.npz"), f"{CELL}/cell.json", "changed since"),
    "facts": (lambda r: (r / CELL / "cell.json").write_text("[]"), f"{CELL}/cell.json", "not what the training wrote"),
    "settings": (
        lambda r: edit(r / CELL / "config.yaml", "lr: 0.01", "lr: 0.5"),
        f"{CELL}/config.yaml",
        "trained with other settings",
    ),
    "no model": (lambda r: (r / CELL / "model.safetensors").unlink(), f"{CELL}/model.safetensors", "is not there"),
    "results": (lambda r: (r / "results.json").write_text("{}"), "results.json", "cannot be read"),
    "a score": (lambda r: edit_results(r, mean=99.0), "results.json", "arm 'labels' is not what its trainings found"),
    "a seed too many": (lambda r: edit_results(r, seeds=[0, 1]), "results.json", "tells of seed 1 of arm 'labels'"),
    "an arm too many": (lambda r: edit_results(r, name="ood"), "results.json", "tells of arm 'ood'"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_of_a_comparison_is_found(comparison: Path, verify: Verify, case: str) -> None:
    plant, file, what = DAMAGE[case]
    plant(comparison)
    code, report, error = verify(comparison)
    assert (code, report["ok"]) == (3, False)
    assert error.startswith(f"error: {comparison}: damaged, ")
    told = {name: (said, next_) for name, said, next_ in verify.findings(comparison, "damage")}
    assert what in told[file][0]
    assert told[file][1]


def test_results_that_are_out_of_date_are_no_damage(comparison: Path, verify: Verify) -> None:
    edit_results(comparison, seeds=[])
    assert verify(comparison)[0] == 0
    ((name, what, next_),) = verify.findings(comparison, "harmless")
    assert (name, next_) == ("results.json", f"semiovs report {comparison}")
    assert "does not know all finished trainings of arm 'labels'" in what
    (comparison / "results.json").unlink()
    assert ("results.json", "is not there, but trainings are finished") in [
        (name, what) for name, what, _ in verify.findings(comparison, "unfinished")
    ]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    made = PseudoLabelStore.create(tmp_path / "store", Vocabulary.of(["sky", "road"]), teacher={"name": "t"})
    for name in "ab":
        made.add(name, np.zeros((4, 5), np.uint8), np.ones((4, 5), np.float32))
    return tmp_path / "store"


def test_a_store_is_looked_into_as_labels_verify_does(store: Path, verify: Verify) -> None:
    with (store / "index.jsonl").open("a") as file:
        file.write('{"id": "c"')
    (store / "labels/note.txt").write_text("mine")
    before = list_tree(store)
    code, report, _ = verify(store)
    assert (code, report["kind"], report["checked"]) == (0, "store", 2)
    assert {name for name, _, _ in verify.findings(store, "harmless")} == {"index.jsonl", "labels/note.txt"}
    assert list_tree(store) == before  # the half-written line too
    flip(next(store.glob("labels/**/a.png")))
    next(store.glob("labels/**/b.png")).unlink()
    assert verify(store)[0] == 3
    damage = verify.findings(store, "damage")
    assert sorted(what for _, what, _ in damage) == [
        "the label of image 'a' is not what was written",
        "the label of image 'b' is missing",
    ]
    assert {next_ for _, _, next_ in damage} == {f"semiovs labels verify {store} --fix"}


def test_damaged_lines_of_a_store_and_its_description(store: Path, verify: Verify) -> None:
    edit(store / "index.jsonl", '"id"', '"di"')
    assert [what for _, what, _ in verify.findings(store, "damage")] == [
        "line 1 cannot be read",
        "line 2 cannot be read",
    ]
    (store / "meta.json").unlink()
    ((name, what, next_),) = verify.findings(store, "damage")
    assert name == "meta.json"
    assert "not a pseudo-label store" in what
    assert next_.startswith("# ")


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive beside its run that has all but a program; those of `semiovs export` are in `e2e/export_cases`."""
    run = write_run(tmp_path / "exported")
    (run / "export").mkdir()
    with zipfile.ZipFile(tmp_path / "made.pt2", "w") as archive:
        archive.writestr("weights", bytes(1000))
    path = run / "export" / "model.pt2"
    with recording(path, [shutil.move(tmp_path / "made.pt2", tmp_path / "model.pt2")]):
        shutil.move(tmp_path / "model.pt2", path)
    facts = {"weights": "model.safetensors", "weights_sha256": sha256_of(run / "model.safetensors")}
    monkeypatch.setattr("semiovs.integrity.exported_file.load_exported", lambda path: (facts, None))
    return path


def test_an_exported_file_is_whole_by_its_checksum(exported: Path, verify: Verify) -> None:
    before = list_tree(exported.parents[1])
    code, report, _ = verify(exported)
    assert (code, report["kind"], report["findings"], report["checked"]) == (0, "export", [], 2)
    assert list_tree(exported.parents[1]) == before


def test_a_bit_of_an_exported_file_is_noticed(exported: Path, tmp_path: Path, verify: Verify) -> None:
    """With its checksums, and without them by those inside the archive."""
    copy = tmp_path / "alone" / "model.pt2"
    shutil.copytree(exported.parent, copy.parent)
    assert verify(copy)[0] == 0
    flip(copy)
    ((_, what, next_),) = verify.findings(copy, "damage")
    assert what == "its SHA-256 is not that of model.pt2.sha256"
    assert next_.startswith("# copy it again")
    (copy.parent / "model.pt2.sha256").unlink()
    code, report, _ = verify(copy)
    assert code == 3
    assert [row["harm"] for row in report["findings"]] == ["unchecked", "damage"]
    shutil.copy(exported, copy)
    assert verify(copy)[0] == 0
    (copy.parent / "model.pt2.sha256").write_text("other\n")
    assert "checksums cannot be read" in verify.findings(copy, "damage")[0][1]


def test_a_run_that_learnt_on_since_an_export_is_told(exported: Path, tmp_path: Path, verify: Verify) -> None:
    run = shutil.copytree(exported.parents[1], tmp_path / "run")
    with (run / "model.safetensors").open("ab") as file:
        file.write(b" ")
    ((name, what, next_),) = verify.findings(run / "export/model.pt2", "harmless")
    assert name.endswith("model.pt2")
    assert what == "was made of an earlier model.safetensors: the run's is another one now"
    assert next_ == f"semiovs export {run} --to torch --out {run}/export/model.pt2 --overwrite"


def test_a_part_of_an_export_that_is_missing(tmp_path: Path, verify: Verify) -> None:
    (tmp_path / "model.xml").write_text("<net/>")
    (tmp_path / "model.xml.sha256").write_text(f"{'0' * 64}  model.bin\n{'1' * 64}  model.xml\n")
    damage = verify.findings(tmp_path / "model.xml", "damage")
    assert [(what) for _, what, _ in damage] == ["is not there", "its SHA-256 is not that of model.xml.sha256"]
    (tmp_path / "model.xml.sha256").unlink()
    assert [what for _, what, _ in verify.findings(tmp_path / "model.xml", "damage")] == ["is not there"]


def test_without_its_package_an_export_is_not_called_whole(
    exported: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    from semiovs.errors import MissingExtraError

    def fail(path: Path) -> None:
        raise MissingExtraError(f"{path}: needs onnx; pip install 'semiovs[export]'")

    monkeypatch.setattr("semiovs.integrity.exported_file.load_exported", fail)
    code, report, error = verify(exported)
    assert (code, report) == (4, {})
    assert "pip install 'semiovs[export]'" in error


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", "does not exist"),
        ("empty", "a run has config.yaml, a store of labels meta.json, a comparison comparison.json"),
        ("note.txt", "nothing that can be verified"),
        ("export/model.bin", "is a part of model.xml; verify that: semiovs verify "),
        ("run/model.safetensors", "is a part of a run; verify that: semiovs verify "),
    ],
)
def test_what_is_none_of_these_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    for folder in ("empty", "run", "export"):
        (tmp_path / folder).mkdir()
    for file in ("note.txt", "run/config.yaml", "run/model.safetensors", "export/model.bin", "export/model.xml"):
        (tmp_path / file).touch()
    assert main(["verify", str(tmp_path / name)]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.out == ""
