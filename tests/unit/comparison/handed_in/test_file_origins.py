"""How exported files find their run, and the weights of a run that are compared with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from semiovs.comparison.handed_in.exported_files import ExportedFile
from semiovs.comparison.handed_in.file_origins import (
    HandedRun,
    Origin,
    Part,
    find_origin,
    find_weights,
    require_same_weights,
)
from semiovs.config import load_config
from semiovs.engine.checkpoint_state import identify_training
from semiovs.errors import DataError, UsageError
from semiovs.files import sha256_of
from semiovs.models import Normalization
from semiovs.models.weights import ModelCard
from semiovs.vocab import Vocabulary


def make_run(path: Path, seed: int = 0, weights: bytes = b"weights", *settings: str) -> HandedRun:
    loaded = load_config(None, [f"train.seed={seed}", "data.classes=[sky, road]", *settings])
    (path / "checkpoints").mkdir(parents=True)
    (path / "config.yaml").write_text(loaded.dump())
    (path / "checkpoints" / "best.pt").write_bytes(weights)
    return HandedRun(path, loaded.config, None)


def export(
    path: Path, run: HandedRun, *, old: bool = False, step: int | None = 300, model: str = "ema"
) -> ExportedFile:
    """What a file tells that was made of best.pt; old: by a version that told nothing of the run."""
    told = None if old else {"seed": run.seed, "settings_sha256": run.training}
    weights = run.path / "checkpoints" / "best.pt"
    facts = {"run": told, "weights": "best.pt", "weights_sha256": sha256_of(weights), "format": "onnx"}
    training = {"model": model} if step is None else {"model": model, "step": step}
    card = ModelCard("deeplabv3plus", 2, Vocabulary.of(["sky", "road"]), {}, Normalization(), training=training)
    return ExportedFile(path, facts, card)


def test_a_training_is_its_settings_without_seed_and_without_keys_that_are_not_set() -> None:
    ids = [
        identify_training(load_config(None, given).config)
        for given in (["train.seed=0"], ["train.seed=5"], ["data.root=elsewhere"], ["optim.lr=0.5"], ["eval.window=64"])
    ]
    assert len(set(ids[:3])) == 1
    assert len(set(ids)) == 3


def test_a_file_tells_its_run(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(seed), seed, bytes([seed])) for seed in range(3)]
    file = export(tmp_path / "moved.onnx", runs[2])
    assert find_origin(file, runs).run is runs[2]
    alone = find_origin(file, [])
    assert (alone.training, alone.seed, alone.config) == (runs[0].training, 2, None)


def test_an_old_file_is_found_by_the_weights_or_by_where_it_lies(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(seed), seed, bytes([seed])) for seed in range(3)]
    assert find_origin(export(tmp_path / "moved.onnx", runs[1], old=True), runs).run is runs[1]
    at_home = export(runs[2].path / "export" / "model.onnx", runs[2], old=True)
    found = find_origin(at_home, [])
    assert (found.training, found.seed, found.config) == (runs[2].training, 2, runs[2].config)
    (runs[2].path / "checkpoints" / "best.pt").unlink()
    assert find_origin(at_home, [HandedRun(runs[2].path, runs[2].config, None)]).run is not None
    lost = find_origin(export(tmp_path / "moved.onnx", runs[1], old=True), [])
    assert (lost.training[:8], lost.seed) == ("weights ", None)


@pytest.mark.parametrize("old", [False, True])
def test_a_run_whose_weights_are_others_now_is_refused(tmp_path: Path, old: bool) -> None:
    run = make_run(tmp_path / "run")
    file = export(run.path / "export" / "model.onnx", run, old=old)
    best = run.path / "checkpoints" / "best.pt"
    best.write_bytes(b"of a later step")
    with pytest.raises(DataError, match=r"made of other weights than .*best\.pt holds today; export the run again"):
        find_origin(file, [HandedRun(run.path, run.config, None)])


def test_the_weights_of_a_run_are_those_of_its_files(tmp_path: Path) -> None:
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "other", 1)
    last = other.path / "checkpoints" / "last.pt"
    last.write_bytes(b"last")
    best = run.path / "checkpoints" / "best.pt"
    file = export(tmp_path / "model.onnx", run)
    assert find_weights(run, [file], None) == (best, "ema")
    assert find_weights(other, [], "last.pt") == (last, None)
    assert find_weights(other, [], "step-5.pt") == (other.path / "checkpoints" / "best.pt", None)
    best.unlink()
    with pytest.raises(DataError, match=r"best\.pt of step 300, are no longer in"):
        find_weights(HandedRun(run.path, run.config, None), [file], None)


@pytest.mark.parametrize(("step", "model"), [(400, "ema"), (300, "student"), (None, "ema")])
def test_files_of_a_training_must_hold_the_same_weights(tmp_path: Path, step: int | None, model: str) -> None:
    run = make_run(tmp_path / "run")
    one, same = export(tmp_path / "a.onnx", run), export(tmp_path / "b.onnx", run)
    other = export(tmp_path / "c.onnx", run, step=step, model=model)
    parts = [Part(file.path, Origin(run.training, 0, run), 0, file) for file in (one, same, other)]
    require_same_weights(parts[:2])
    with pytest.raises(UsageError, match="of the same training; compare files of the same weights"):
        require_same_weights(parts)
