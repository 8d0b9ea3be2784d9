import hashlib
import logging
import os
import pickle
import random
import resource
import signal
from pathlib import Path

import pytest
import torch

from semiovs.config.schema import Config
from semiovs.engine.checkpoint import Checkpoints, Retention
from semiovs.engine.checkpoint_state import (
    CheckpointIdentity,
    canonicalize,
    collect_settings,
    pack,
    require_same_run,
    restore,
)
from semiovs.engine.loop import BestScore, Learner, fit
from semiovs.errors import ConfigError, WeightsError
from semiovs.models.weights import read_checkpoint
from unit.toy_learner import CPU, batches, learner_of, recipe_of

IDENTITY = CheckpointIdentity({"vocabulary": {"names": ["a", "b"], "concepts": [], "colors": []}}, {"optim.lr": "0.1"})


def trained(steps: int = 2, learner: Learner | None = None, **options) -> Learner:
    learner = learner or learner_of(**options)
    fit(learner, batches(learner.step), recipe_of(steps), CPU, ())
    return learner


def write(checkpoints: Checkpoints, *steps: int) -> None:
    learner = trained()
    for step in steps:
        learner.step = step
        checkpoints.save(pack(learner, IDENTITY), step)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("scaler", [False, True])
@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_resumed_run_ends_in_the_same_bytes(tmp_path, at, scaler):
    straight, broken = Checkpoints(tmp_path / "a"), Checkpoints(tmp_path / "b")
    learner = learner_of(scaler=scaler)
    fit(learner, batches(), recipe_of(8), CPU, ())
    expected = straight.save(pack(learner, IDENTITY), 8)

    def kill(learner: Learner) -> None:
        if learner.step == at:
            broken.save(pack(learner, IDENTITY), at)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(learner_of(scaler=scaler), batches(), recipe_of(8), CPU, [kill])
    torch.rand(3)
    again = learner_of(scaler=scaler)
    restore(again, broken.load_newest(), CPU.device)
    assert again.step == at
    fit(again, batches(at), recipe_of(8), CPU, ())
    assert digest(broken.save(pack(again, IDENTITY), 8)) == digest(expected)


def test_bytes_do_not_depend_on_the_route_to_a_state():
    name = "".join(["st", "ep"])
    first = canonicalize({"b": ["step", "step"], "a": {2: 1, 1: (torch.arange(4)[1:3],)}})
    second = canonicalize({"a": {1: (torch.tensor([1, 2]),), 2: 1}, "b": [name, "".join(["s", "tep"])]})
    assert pickle.dumps(list(first)) == pickle.dumps(list(second))
    assert first["b"][0] is first["b"][1] is second["b"][0]
    assert first["a"][1][0].untyped_storage().nbytes() == 16
    assert list(first["a"]) == [1, 2]


def test_retention_keeps_the_newest_the_multiples_and_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, Retention(last=2, every=30))
    learner = trained()
    for step in (10, 20, 30, 40, 50):
        learner.step = step
        checkpoints.save(pack(learner, IDENTITY), step, best=step == 20)
    assert checkpoints.steps() == [30, 40, 50]
    assert not (tmp_path / "step-00000010.pt.sha256").exists()
    assert (tmp_path / "last.pt").readlink() == Path("step-00000050.pt")
    assert read_checkpoint(tmp_path / "best.pt")["step"] == 20
    assert sorted(p.name for p in tmp_path.iterdir() if "tmp" in p.name) == []


def test_former_best_checkpoints_are_kept_and_remembered_by_the_next_process(tmp_path):
    learner = trained()
    for step in (10, 20, 30, 40, 50, 60):
        learner.step = step
        again = Checkpoints(tmp_path, Retention(last=1, best=2))
        again.save(pack(learner, IDENTITY), step, best=step in (10, 20, 40))
    assert again.steps() == [20, 40, 60]
    assert (tmp_path / "best-steps.txt").read_text().split() == ["10", "20", "40"]
    again.continue_from(30, 20)  # the run goes on from an earlier step: what came later is not of its course
    assert (tmp_path / "best-steps.txt").read_text().split() == ["10", "20"]


def test_a_budget_of_disk_removes_the_oldest_but_never_the_newest(tmp_path):
    write(Checkpoints(tmp_path), 10)
    size = Checkpoints(tmp_path).path(10).stat().st_size
    few = Checkpoints(tmp_path, Retention(last=9, every=10, most_gib=2.5 * size / 2**30))
    write(few, 20, 30, 40)
    assert few.steps() == [30, 40]
    none = Checkpoints(tmp_path, Retention(last=9, most_gib=1e-12))
    write(none, 50)
    assert none.steps() == [50]
    assert read_checkpoint(tmp_path / "last.pt")["step"] == 50


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "no sidecar", "empty sidecar", "text"])
def test_a_damaged_newest_checkpoint_is_named_and_skipped(tmp_path, caplog, damage):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 10, 20)
    newest = checkpoints.path(20)
    data = bytearray(newest.read_bytes())
    sidecar = newest.with_name(newest.name + ".sha256")
    if damage == "truncate":
        newest.write_bytes(data[: random.Random(1).randrange(1, len(data))])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)
    elif damage == "empty":
        newest.write_bytes(b"")
    elif damage == "no sidecar":
        sidecar.unlink()
    elif damage == "empty sidecar":
        sidecar.write_text("")
    else:
        newest.write_bytes(b"hello")
        sidecar.write_text(digest(newest))
    with caplog.at_level(logging.WARNING, logger="semiovs"):
        state = checkpoints.load_newest()
    assert state["step"] == 10
    assert "step-00000020.pt" in caplog.text


def test_all_damaged_is_an_error_and_none_is_none(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.load_newest() is None
    write(checkpoints, 10, 20)
    for step in (10, 20):
        checkpoints.path(step).write_bytes(b"")
    with pytest.raises(WeightsError, match="all 2 checkpoints are damaged"):
        checkpoints.load_newest()


def test_a_failing_disk_leaves_earlier_checkpoints_and_no_rubbish(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 10)
    before = {path.name: digest(path) for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"step-00000020\.pt.*No space left"):
        write(checkpoints, 20)
    monkeypatch.undo()
    after = {path.name: digest(path) for path in tmp_path.iterdir() if "tmp-" not in path.name}
    assert {name: after[name] for name in before} == before
    assert checkpoints.load_newest()["step"] == 10
    assert not list(tmp_path.glob("*.tmp-*"))


def test_a_full_disk_is_called_a_full_disk(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(WeightsError, match=r"could not be written: .*File too large; earlier ones are intact"):
            Checkpoints(tmp_path).save({"method": {"w": torch.zeros(100_000)}}, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.glob("step-*.pt"))


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    path = tmp_path / "step-00000001.pt"
    torch.save({"step": 1, "method": Evil()}, path)
    path.with_name(path.name + ".sha256").write_text(digest(path))
    with pytest.raises(WeightsError, match="could run code"):
        read_checkpoint(path)
    assert not marker.exists()


def test_other_classes_other_settings_and_other_models_are_refused():
    state = pack(trained(), IDENTITY)
    require_same_run(state, IDENTITY)
    with pytest.raises(WeightsError, match=r"other classes \(2: a, b\).*\(1: b\)"):
        require_same_run(
            state, CheckpointIdentity({"vocabulary": {"names": ["b"], "concepts": [], "colors": []}}, IDENTITY.settings)
        )
    with pytest.raises(ConfigError, match=r"optim\.lr: the run was started with 0\.1, now it is 0\.2"):
        require_same_run(state, CheckpointIdentity(IDENTITY.card, {"optim.lr": "0.2"}))
    with pytest.raises(WeightsError, match="format 7"):
        require_same_run({**state, "format": 7}, IDENTITY)
    other = learner_of()
    other.method.student[3] = torch.nn.Conv2d(4, 5, 1)
    with pytest.raises(WeightsError, match="another model or method"):
        restore(other, state, CPU.device)


def test_settings_hold_what_changes_the_mathematics_and_nothing_else():
    base = collect_settings(Config())
    assert "train.seed" in base
    assert not [key for key in base if key.startswith(("run.", "data.workers", "train.save_every"))]
    free = Config.model_validate(
        {"data": {"workers": 7, "root": "/elsewhere"}, "train": {"device": "cpu", "log_every": 3}}
    )
    assert collect_settings(free) == base
    assert collect_settings(Config.model_validate({"train": {"batch_size": 3}})) != base


def test_best_travels():
    learner = trained()
    learner.best = BestScore(0.5, 1)
    again = learner_of()
    restore(again, pack(learner, IDENTITY), CPU.device)
    assert again.best == BestScore(0.5, 1)


def killed_while_saving(directory: Path, learner: Learner, *, at: int) -> bool:
    """Save a new best in a process that is killed before its rename number `at`; whether it came that far."""
    child = os.fork()
    if child == 0:
        rename, count = Path.replace, iter(range(1000))

        def replace(self: Path, target: Path) -> Path:
            if next(count) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return rename(self, target)

        Path.replace = replace
        Checkpoints(directory).save(pack(learner, IDENTITY), learner.step, best=True)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


@pytest.mark.parametrize("links", [True, False])
def test_a_kill_at_any_moment_never_loses_the_best(tmp_path, monkeypatch, links):
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for at in range(20):
        directory, learner = tmp_path / str(at), trained()
        learner.step, learner.best = 10, BestScore(0.5, 10)
        Checkpoints(directory).save(pack(learner, IDENTITY), 10, best=True)
        learner.step, learner.best = 20, BestScore(0.6, 20)
        if not killed_while_saving(directory, learner, at=at):
            break
        assert read_checkpoint(directory / "best.pt", checksum_required=True)["step"] in (10, 20)
        again = Checkpoints(directory)
        state = again.load_newest()
        again.sweep()
        again.continue_from(state["step"], state["best"]["step"])
        assert read_checkpoint(directory / "best.pt", checksum_required=True)["step"] == state["best"]["step"]
        assert (directory / "last.pt").resolve() == again.path(state["step"])
        assert len((directory / "best.pt.sha256").read_text().splitlines()) == 1 or state["step"] == 20
        left = {p.name for p in directory.iterdir() if not p.name.endswith(".sha256")}
        assert left <= {"step-00000010.pt", "step-00000020.pt", "last.pt", "best.pt"}
    assert at >= 6  # step, its checksum, last, best's checksum twice, best


def test_what_old_versions_left_behind_is_swept(tmp_path):
    write(Checkpoints(tmp_path), 10)
    for name in ("best.pt.123", "last.pt.99999"):
        (tmp_path / name).write_text("")
    Checkpoints(tmp_path).sweep()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "step-00000010.pt", "step-00000010.pt.sha256"]


def test_damaged_later_checkpoints_do_not_push_fresh_ones_out(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, Retention(last=2))
    write(checkpoints, 10, 20, 30)
    for step in (20, 30):
        checkpoints.path(step).write_bytes(b"")
    learner = trained()
    learner.step = 10
    Checkpoints(tmp_path, Retention(last=3)).save(pack(learner, IDENTITY), 10)
    assert checkpoints.steps() == [10, 20, 30]
    again = Checkpoints(tmp_path, Retention(last=2))
    assert again.load_newest()["step"] == 10
    with caplog.at_level(logging.WARNING, logger="semiovs"):
        again.continue_from(10, None)
    assert "step-00000030.pt is damaged; set aside" in caplog.text
    assert (tmp_path / "last.pt").resolve() == again.path(10)
    write(again, 11, 12)
    assert again.steps() == [11, 12]
    assert again.load_newest()["step"] == 12
    assert len(list(tmp_path.glob("*.damaged"))) == 2


def test_a_best_checkpoint_that_is_gone_is_told(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 10, 20)
    with caplog.at_level(logging.WARNING, logger="semiovs"):
        checkpoints.continue_from(20, 5)
    assert "the checkpoint of the best evaluation (step 5) is gone" in caplog.text
