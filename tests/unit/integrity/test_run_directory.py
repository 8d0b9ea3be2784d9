"""Each kind of damage of a run is planted, found, and named with its file and the next command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2e.toy_export import write_run
from semiovs.engine.checkpoint import Checkpoints
from semiovs.engine.data_fingerprint import DataFingerprint
from semiovs.engine.run import Run
from semiovs.evaluation import ImageCounts
from semiovs.files import find_writer, temporary_beside
from semiovs.integrity.inspection import Inspection
from semiovs.integrity.run_directory import check_run
from semiovs.models.weights import load_model, save_model


def row(kind: str, step: int, **values: object) -> dict[str, object]:
    return {"kind": kind, "step": step, **values}


ROWS = [
    row("train", 2, loss=1.0),
    row("train", 4, loss=0.9),
    row("eval", 4, model="student", best=True, miou=51.5),
    row("train", 6, loss=0.8),
    row("eval", 6, model="student", best=False, miou=50.0),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps, its best evaluation at step 4, as a training leaves it."""
    folder = write_run(tmp_path_factory.mktemp("made"))
    run = Run(folder)
    segmenter, card = load_model(run.model)
    save_model(run.model, segmenter, replace(card, training={"model": "student", "miou": 51.5, "step": 4}))
    run.metrics.write_text("".join(json.dumps(each) + "\n" for each in ROWS))
    run.evaluation.write_text(json.dumps({"last": {"student": ROWS[4]}, "best": ROWS[2]}))
    run.checkpoints.mkdir()
    files = Checkpoints(run.checkpoints)
    for step in (2, 4, 6):
        files.save({"card": card.as_json(), "method": {}, "step": step}, step, best=step == 4)
    DataFingerprint({"labeled": {"a": "1"}}).write(run.data)
    ImageCounts(("a",), 3, np.array([[0, 1, 1, 9]])).write(run.counts("student", "last"))
    (folder / "env.json").write_text("{}")
    run.lock.touch()
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Run:
    """A copy to be damaged."""
    return Run(shutil.copytree(made, tmp_path / "run", symlinks=True))


def of(found: Inspection, harm: str) -> list[tuple[str, str]]:
    """(file below the run, what) of the findings of a kind."""
    return [(str(f.file.relative_to(found.path)), f.what) for f in found.findings if f.harm == harm]


def list_tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Name -> when it was written, its kind, and its bytes."""
    files = sorted(root.rglob("*"))
    return {
        str(p): (p.lstat().st_mtime_ns, p.lstat().st_mode, b"" if p.is_dir() else p.read_bytes())
        for p in files
        if p.exists()
    }


def test_a_whole_run_has_no_findings_and_is_left_as_it_is(run: Run) -> None:
    before = list_tree(run.directory)
    found = check_run(run.directory)
    assert (found.findings, found.is_whole) == ([], True)
    assert found.checked >= 10
    assert list_tree(run.directory) == before


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def change_model(run: Run) -> None:
    segmenter, card = load_model(run.model)
    save_model(run.model, segmenter, replace(card, training={"model": "student", "miou": 99.0}))


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def retarget(run: Run, target: str) -> None:
    (run.checkpoints / "last.pt").unlink()
    (run.checkpoints / "last.pt").symlink_to(target)


def other_best(run: Run) -> None:
    """best.pt is a copy of step 6, with a checksum of its own."""
    for name in ("best.pt", "best.pt.sha256"):
        (run.checkpoints / name).unlink()
        shutil.copy(run.checkpoints / f"step-00000006{name[4:]}", run.checkpoints / name)


#: What is done -> file, part of what is said, part of the next command.
DAMAGE: dict[str, tuple[Callable[[Run], object], str, str, str]] = {
    "no configuration": (lambda r: r.config.unlink(), "config.yaml", "is not there", "# restore"),
    "configuration": (lambda r: r.config.write_text("trian: 3\n"), "config.yaml", "unknown key", "config validate"),
    "newest checkpoint": (
        lambda r: flip(r.checkpoints / "step-00000006.pt"),
        "checkpoints/step-00000006.pt",
        "its SHA-256 is not that of step-00000006.pt.sha256",
        "semiovs resume",
    ),
    "no checksum": (
        lambda r: (r.checkpoints / "step-00000006.pt.sha256").unlink(),
        "checkpoints/step-00000006.pt",
        "has no step-00000006.pt.sha256",
        "semiovs resume",
    ),
    "best checkpoint's sum": (
        lambda r: (r.checkpoints / "best.pt.sha256").write_text("0" * 64 + "  best.pt\n"),
        "checkpoints/best.pt",
        "its SHA-256",
        "# restore",
    ),
    "no best": (lambda r: (r.checkpoints / "best.pt").unlink(), "checkpoints/best.pt", "at step 4", "semiovs resume"),
    "other best": (other_best, "checkpoints/best.pt", "is of step 6, but the best", "semiovs resume"),
    "last leads nowhere": (
        lambda r: retarget(r, "step-00000008.pt"),
        "checkpoints/last.pt",
        "leads to step-00000008.pt, which is not there",
        "semiovs resume",
    ),
    "last is another file": (
        lambda r: ((r.checkpoints / "last.pt").unlink(), (r.checkpoints / "last.pt").write_bytes(b"other")),
        "checkpoints/last.pt",
        "none of the checkpoints",
        "semiovs resume",
    ),
    "a line of the metrics": (
        lambda r: rewrite(r.metrics, '"loss": 0.9}', '"loss": 0.'),
        "metrics.jsonl",
        "line 2 cannot be read",
        "semiovs resume",
    ),
    "steps fall": (
        lambda r: rewrite(r.metrics, '"step": 4, "loss"', '"step": 1, "loss"'),
        "metrics.jsonl",
        "line 2 is of step 1, after one of step 2",
        "# keep",
    ),
    "a step twice": (
        lambda r: rewrite(r.metrics, '"step": 4, "loss"', '"step": 2, "loss"'),
        "metrics.jsonl",
        "line 2 is of step 2, as an earlier one is",
        "# keep",
    ),
    "no metrics": (lambda r: r.metrics.unlink(), "metrics.jsonl", "is not there", "# restore"),
    "evaluation": (lambda r: r.evaluation.write_text("{"), "eval.json", "cannot be read", "semiovs resume"),
    "evaluation is no table": (lambda r: r.evaluation.write_text("[]"), "eval.json", "cannot be", "semiovs resume"),
    "no evaluation": (lambda r: r.evaluation.unlink(), "eval.json", "is not there", "semiovs resume"),
    "evaluation says more": (
        lambda r: rewrite(r.evaluation, "50.0", "60.0"),
        "eval.json",
        "tells of step 6 what metrics.jsonl does not",
        "semiovs resume",
    ),
    "another best": (
        lambda r: r.evaluation.write_text(json.dumps({"last": {"student": ROWS[4]}, "best": ROWS[4]})),
        "eval.json",
        "its best evaluation is not that of metrics.jsonl",
        "semiovs resume",
    ),
    "model": (lambda r: r.model.write_bytes(b"no"), "model.safetensors", "safetensors", "semiovs resume"),
    "model's card": (change_model, "model.safetensors", "mIoU 99.00, which metrics.jsonl", "semiovs resume"),
    "data": (lambda r: r.data.write_text("{"), "data.json", "cannot be read", "# restore"),
    "environment": (lambda r: (r.directory / "env.json").write_text("{"), "env.json", "cannot be read", "# restore"),
    "counts": (
        lambda r: r.counts("student", "last").write_bytes(b"PK"),
        "scores/last-student.npz",
        "cannot be read",
        "semiovs evaluate",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_and_named(run: Run, case: str) -> None:
    plant, file, what, next_ = DAMAGE[case]
    plant(run)
    found = check_run(run.directory)
    assert not found.is_whole
    told = {str(each.file.relative_to(run.directory)): each for each in found.damage}
    assert what in told[file].what
    assert next_ in told[file].next
    assert told[file].line.startswith(f"{run.directory / file}: ")


def test_an_older_checkpoint_that_is_damaged_may_be_deleted(run: Run) -> None:
    step = run.checkpoints / "step-00000004.pt"
    data = step.read_bytes()
    step.unlink()  # best.pt is the same file, and stays
    step.write_bytes(data[:-1])
    (finding,) = check_run(run.directory).findings
    assert (finding.file, finding.harm) == (step, "damage")
    assert finding.next == "# restore it from a backup, or delete it: step 6 is whole"


def test_without_any_whole_checkpoint_there_is_nothing_to_resume(run: Run) -> None:
    for path in run.checkpoints.glob("*.pt"):
        path.write_bytes(b"")
    damage = check_run(run.directory).damage
    assert len(damage) == 3
    assert {each.next for each in damage} == {"# restore a checkpoint from a backup, or train again (--overwrite)"}


def leave_temporary(run: Run) -> None:
    """As a process that was killed while it wrote a checkpoint."""
    code = (
        "import sys, pathlib; from semiovs.files import temporary_beside;"
        "temporary_beside(pathlib.Path(sys.argv[1])).write_bytes(b'half')"
    )
    command = [sys.executable, "-c", code, str(run.checkpoints / "step-00000008.pt")]
    subprocess.run(command, check=True)


HARMLESS: dict[str, tuple[Callable[[Run], object], str, str]] = {
    "half a file": (leave_temporary, "checkpoints/step-00000008.pt.tmp-", "which has ended"),
    "half a file of a living process": (
        lambda r: temporary_beside(r.model).write_bytes(b"half"),
        "model.safetensors.tmp-",
        "may be writing it still",
    ),
    "of an earlier version": (
        lambda r: (r.checkpoints / "last.pt.123").write_bytes(b""),
        "checkpoints/last.pt.123",
        "an earlier version",
    ),
    "half a line": (
        lambda r: r.metrics.write_text(r.metrics.read_text() + '{"kind": "tra'),
        "metrics.jsonl",
        "line 6 is half-written",
    ),
    "last.pt is missing": (lambda r: (r.checkpoints / "last.pt").unlink(), "checkpoints/last.pt", "is not there"),
    "last.pt is older": (lambda r: retarget(r, "step-00000004.pt"), "checkpoints/last.pt", "leads to step 4"),
    "checksum alone": (
        lambda r: (r.checkpoints / "step-00000008.pt.sha256").write_text("0"),
        "checkpoints/step-00000008.pt.sha256",
        "without its checkpoint",
    ),
    "set aside": (
        lambda r: (r.checkpoints / "step-00000002.pt.damaged").write_text("0"),
        "checkpoints/step-00000002.pt.damaged",
        "set aside",
    ),
    "went on": (
        lambda r: r.metrics.write_text(
            r.metrics.read_text() + json.dumps(row("eval", 8, model="student", best=False, miou=49.0)) + "\n"
        ),
        "eval.json",
        "is of step 6; the run went on to step 8",
    ),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_a_killed_process_leaves_is_harmless(run: Run, case: str) -> None:
    plant, file, what = HARMLESS[case]
    plant(run)
    found = check_run(run.directory)
    assert found.is_whole
    ((name, told),) = of(found, "harmless")
    assert name.startswith(file)
    assert what in told


def test_an_unfinished_run_is_whole_and_says_how_to_go_on(run: Run) -> None:
    run.model.unlink()
    run.evaluation.unlink()
    (finding,) = check_run(run.directory).findings
    assert (finding.harm, finding.next) == ("unfinished", f"semiovs resume {run.directory}")


def test_a_missing_extra_leaves_the_model_unchecked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from semiovs.errors import MissingExtraError

    def fail(_: Path) -> None:
        raise MissingExtraError("needs open_clip")

    monkeypatch.setattr("semiovs.integrity.run_directory.load_model", fail)
    found = check_run(run.directory)
    assert of(found, "unchecked") == [("model.safetensors", "needs open_clip")]
    assert found.is_whole


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
def test_a_run_that_is_being_written_is_named_and_the_lock_stays_held(run: Run) -> None:
    code = (
        "import sys, pathlib; from semiovs.files import sole_writer\n"
        "with sole_writer(pathlib.Path(sys.argv[1])) as owner:\n    print(owner, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(run.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "None\n"
        found = check_run(run.directory)
        ((name, told),) = of(found, "unfinished")
        assert name == ".lock"
        assert told.startswith(f"process {writer.pid} on ")
        assert find_writer(run.lock) is not None
        writer.communicate()
    assert find_writer(run.lock) is None
