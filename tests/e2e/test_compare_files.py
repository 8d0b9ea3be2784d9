"""``semiovs compare --runs`` with exported files beside runs and alone; of torch.export, which needs no extra."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import semiovs
from e2e.toy_export import CLASSES, write_run
from semiovs.cli.app import main
from semiovs.comparison.handed_in import model_scores
from semiovs.export import facts
from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, load_model, save_model

Compare = Callable[..., dict[str, Any]]


def write_seed(root: Path, seed: int) -> Path:
    """A run of this seed: the same images, and weights of its own."""
    run = write_run(root / f"seed-{seed}")
    if seed:
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("seed: 0", f"seed: {seed}"))
        segmenter, card = load_model(run)
        with torch.no_grad():
            segmenter.classifier.bias[0].add_(seed)
        save_model(run / "model.safetensors", segmenter, card)
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two seeds, each exported in 32 and in 16 bits."""
    root = tmp_path_factory.mktemp("runs")
    made = [write_seed(root, seed) for seed in (0, 1)]
    for run in made:
        for precision in ("fp32", "fp16"):
            assert main(["export", str(run), "--to", "torch", "--precision", precision]) == 0
    return made


@pytest.fixture
def compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Compare:
    """Compares these, and gives what ``--json`` tells."""

    def ask(*paths: Path, given: Sequence[str] = ()) -> dict[str, Any]:
        capsys.readouterr()
        words = [word for path in paths for word in ("--runs", str(path))]
        assert main(["compare", *given, *words, "--out", str(tmp_path / "out"), "--json"]) == 0
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        return found

    return ask


def export_of(run: Path, precision: str = "fp32") -> Path:
    return run / "export" / ("model.pt2" if precision == "fp32" else f"model-{precision}.pt2")


def test_files_are_compared_with_their_run(runs: list[Path], compare: Compare, tmp_path: Path) -> None:
    run = runs[0]
    found = compare(run, export_of(run, "fp16"), export_of(run))
    assert [arm["name"] for arm in found["arms"]] == ["run", "torch fp16", "torch fp32"]
    assert [arm["title"] for arm in found["arms"]] == ["the run", "torch archive fp16", "torch archive fp32"]
    assert [row["arms"] for row in found["differences"]] == [["run", "torch fp16"], ["run", "torch fp32"]]
    assert all(row["same_weights"] and row["images"] == 3 for row in found["differences"])
    half, whole = found["arms"][1:]
    assert whole["files"] == [str(export_of(run))]
    assert half["learns_from"].startswith("model-fp16.pt2, 0.")
    assert found["arms"][0]["learns_from"] == "model.safetensors"
    assert whole["mean"] == pytest.approx(found["arms"][0]["mean"], abs=0.01)
    assert found["says"][0].startswith("Torch archive fp16: ")
    assert "3 images are too few for any verdict; it needs 10." in found["says"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "What does the export cost?" in page
    assert "Did the images help?" not in page


def test_the_scores_are_those_of_evaluate(runs: list[Path], compare: Compare, capsys: Any) -> None:
    paths = [runs[1], export_of(runs[1], "fp16")]
    found = compare(*paths)
    scores = []
    for path in paths:
        assert main(["evaluate", str(path), "--json"]) == 0
        scores.append(next(iter(v for v in json.loads(capsys.readouterr().out).values() if isinstance(v, dict))))
    assert [arm["mean"] for arm in found["arms"]] == [pytest.approx(s["miou_present"], abs=1e-4) for s in scores]


def test_the_same_command_evaluates_nothing_again(
    runs: list[Path], compare: Compare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = [runs[0], export_of(runs[0])]
    before = compare(*paths)
    scored: list[Path] = []
    real = model_scores.score_weights

    def watch(path: Path, *given: Any, **options: Any) -> Any:
        scored.append(path)
        return real(path, *given, **options)

    monkeypatch.setattr(model_scores, "score_weights", watch)
    assert compare(*paths) == before
    assert scored == []
    kept = next((tmp_path / "out" / "scores").glob("model-*.npz"))
    kept.write_bytes(b"damaged")
    assert compare(*paths) == before
    assert len(scored) == 1
    scored.clear()
    compare(*paths, export_of(runs[0], "fp16"))
    assert scored == [export_of(runs[0], "fp16")]


def test_changed_images_are_evaluated_anew(runs: list[Path], compare: Compare, tmp_path: Path) -> None:
    data = shutil.copytree(runs[0].parent / "data", tmp_path / "data")
    paths, given = [runs[0], export_of(runs[0])], [f"data.root={data}"]
    before = compare(*paths, given=given)
    assert before["arms"] == compare(*paths)["arms"]
    shutil.copy(data / "images" / "6.png", data / "images" / "7.png")
    after = compare(*paths, given=given)
    assert after["arms"][0]["mean"] < before["arms"][0]["mean"] - 1
    assert after["arms"][1]["mean"] == pytest.approx(after["arms"][0]["mean"], abs=0.01)


def test_files_pair_with_their_run_by_seed_wherever_they_lie(
    runs: list[Path], compare: Compare, tmp_path: Path
) -> None:
    moved = [Path(shutil.copy(export_of(run), tmp_path / f"{run.parent.name}.pt2")) for run in runs]
    found = compare(*moved[::-1], *runs)
    assert [(arm["name"], arm["seeds"]) for arm in found["arms"]] == [("run", [0, 1]), ("torch fp32", [0, 1])]
    assert found["arms"][1]["files"] == [str(path) for path in moved]
    ours, theirs = (arm["by_seed"] for arm in found["arms"])
    assert abs(ours[0] - ours[1]) > 0.1
    assert theirs == pytest.approx(ours, abs=0.01)


def test_files_alone_are_compared_with_the_first_of_the_same_weights(
    runs: list[Path], compare: Compare, tmp_path: Path
) -> None:
    found = compare(*(export_of(run, bits) for bits in ("fp32", "fp16") for run in runs))
    assert [(arm["name"], arm["seeds"]) for arm in found["arms"]] == [("torch fp32", [0, 1]), ("torch fp16", [0, 1])]
    assert [row["arms"] for row in found["differences"]] == [["torch fp32", "torch fp16"]]
    moved = [Path(shutil.copy(export_of(runs[0], bits), tmp_path / f"{bits}.pt2")) for bits in ("fp32", "fp16")]
    again = compare(*moved, given=[str(runs[0] / "config.yaml")])
    assert [arm["by_seed"][0] for arm in again["arms"]] == [arm["by_seed"][0] for arm in found["arms"]]


def test_files_of_earlier_versions_find_their_run(
    runs: list[Path], compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "describe_run", lambda run: None)
    old = tmp_path / "old.pt2"
    assert main(["export", str(runs[1]), "--to", "torch", "--out", str(old)]) == 0
    found = compare(*runs, export_of(runs[0]), old)
    assert [(arm["name"], arm["seeds"]) for arm in found["arms"]] == [("run", [0, 1]), ("torch fp32", [0, 1])]
    given = [str(runs[0] / "config.yaml")]
    half = tmp_path / "half.pt2"
    assert main(["export", str(runs[1]), "--to", "torch", "--precision", "fp16", "--out", str(half)]) == 0
    assert [row["arms"] for row in compare(old, half, given=given)["differences"]] == [["torch fp32", "torch fp16"]]


def test_two_trainings_and_their_files(runs: list[Path], compare: Compare, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other")
    config = other / "config.yaml"
    config.write_text(config.read_text().replace("crop_size: 64", "crop_size: 48"))
    assert main(["export", str(other), "--to", "torch"]) == 0
    found = compare(runs[0], export_of(runs[0]), other, export_of(other))
    names = [f"data.crop_size={side}{form}" for side in (64, 48) for form in ("", ", torch fp32")]
    assert [arm["name"] for arm in found["arms"]] == names
    assert [row["arms"] for row in found["differences"]] == [names[:2], names[2:], names[::2], names[1::2]]
    assert found["differences"][3]["subject"].endswith(f"in the place of those of '{names[0]}', as torch fp32,")


def test_a_program_asks_in_the_same_way(runs: list[Path], tmp_path: Path) -> None:
    found = semiovs.compare(runs=[runs[0], export_of(runs[0])], out=tmp_path / "out", progress=False)
    assert [row["base"] for row in found.differences()] == ["run"]
    assert found.says[0].startswith("Torch archive fp32: ")


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    return line


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["{a}/export/model.pt2"], 2, "one is given; a comparison needs two arms, such as a run and a file"),
        (["{a}/export/model.pt2", "{moved}"], 2, "these 2 differ in their seeds alone"),
        (["{a}", "{b}"], 3, "this run was never evaluated"),
        (["{a}", "{a}/model.safetensors"], 2, "neither a run directory nor an exported file (.onnx, .xml, .pt2)"),
        (["{a}", "nowhere.pt2"], 4, "nowhere.pt2: no such file; semiovs export RUN"),
        (["{a}", "{a}/export/model.pt2", "{a}/export/model.pt2"], 2, "are the same arm and seed (0)"),
        (["{b}", "{b}/export/model.pt2", "{moved}"], 2, "are the same arm and seed (1)"),
        (["{moved}", "{moved-fp16}"], 2, "lies in no run, so the images to evaluate on are not known"),
        (["{a}", "{b}/export/model.pt2"], 2, "have no seed in common"),
        (["{a}", "{damaged}"], 4, "damaged"),
    ],
)
def test_mistakes_are_told_in_a_line(
    runs: list[Path], tmp_path: Path, capsys: Any, words: list[str], code: int, told: str
) -> None:
    names = {"a": runs[0], "b": runs[1], "moved": tmp_path / "moved.pt2", "moved-fp16": tmp_path / "half.pt2"}
    shutil.copy(export_of(runs[1]), names["moved"])
    shutil.copy(export_of(runs[1], "fp16"), names["moved-fp16"])
    names["damaged"] = tmp_path / "damaged.pt2"
    names["damaged"].write_bytes(b"nothing")
    asked = [word for each in words for word in ("--runs", each.format(**names))]
    assert main(["compare", *asked, "--out", str(tmp_path / "out")]) == code
    assert told in error_of(capsys)


def test_images_that_a_file_cannot_be_measured_on(runs: list[Path], tmp_path: Path, capsys: Any) -> None:
    paths = ["--runs", str(export_of(runs[0])), "--runs", str(export_of(runs[0], "fp16")), "--out", str(tmp_path)]
    faults = {
        "data.classes=[sky, road, bus]": "knows other classes than the masks have: class 2 is 'car' there, 'bus'",
        "data.bands=[1, 2]": "takes images of RGB; those to evaluate on are 2 bands",
        "data.root=nowhere": "nowhere",
        "data.val=nowhere.txt": "nowhere.txt",
    }
    for setting, told in faults.items():
        assert main(["compare", setting, *paths]) == 3
        assert told in error_of(capsys)
    assert main(["compare", str(runs[0]), "--runs", str(runs[0]), "--runs", str(runs[1])]) == 2
    assert "a configuration has a meaning beside exported files alone" in error_of(capsys)


def test_weights_that_a_run_holds_no_more(runs: list[Path], tmp_path: Path, capsys: Any) -> None:
    run = shutil.copytree(runs[0], tmp_path / "run")
    asked = ["compare", "--runs", str(run), "--runs", str(export_of(run)), "--out", str(tmp_path / "out")]
    segmenter = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny")
    card = ModelCard("deeplabv3plus", 3, CLASSES, {"encoder": "tiny"}, segmenter.normalization)
    save_model(run / "model.safetensors", segmenter, card)
    assert main(asked) == 3
    assert "was made of other weights than" in error_of(capsys)
    (run / "model.safetensors").unlink()
    assert main(asked) == 3
    assert "the weights that it was made of, model.safetensors of step None, are no longer in" in error_of(capsys)
