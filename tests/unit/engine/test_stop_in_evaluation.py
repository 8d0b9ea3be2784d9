"""SIGTERM in the middle of an evaluation ends a run at once, and the evaluation is made again."""

import os
import signal

import pytest

from semiovs.cli.app import main
from semiovs.engine import training
from semiovs.engine.run import read_metrics
from semiovs.models.weights import read_checkpoint
from unit import toy_data

SMALL = [
    "data.crop_size=33",
    "data.workers=0",
    "data.held_out=2",
    "method.name=prevmatch",
    "method.prev_snapshot=held-out",
    "model.encoder=tiny",
    "train.batch_size=2",
    "train.steps=4",
    "train.device=cpu",
    "train.save_every=3",
    "train.eval_every=2",
    "run.log=[]",
]


def rows(run) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.startswith("wall/")} for row in read_metrics(run / "metrics.jsonl")]


@pytest.fixture
def stop(monkeypatch):
    """Let the n-th evaluation be interrupted before its last image."""
    evaluate = training.evaluate

    def install(number: int) -> None:
        calls = iter(range(1, 100))

        def interrupted(model, records, **given):
            if next(calls) == number:
                given["masks"] = _Killing(given["masks"], len(records) - 1)
            return evaluate(model, records, **given)

        monkeypatch.setattr(training, "evaluate", interrupted)

    return install


class _Killing:
    """A reader of masks that asks the process to end once it is asked for one of them."""

    def __init__(self, masks, at: int) -> None:
        self._masks, self._left = masks, at

    def __getattr__(self, name):
        return getattr(self._masks, name)

    def __call__(self, *given):
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        self._left -= 1
        return self._masks(*given)


def test_a_run_that_is_stopped_in_its_evaluations_ends_in_the_same_bytes(tmp_path, stop, capsys):
    root = toy_data.make(tmp_path / "data")
    (root / "semiovs.yaml").write_text("data: {root: .}\n")
    straight, run = tmp_path / "straight", tmp_path / "run"
    assert main(["train", str(root), *SMALL, f"run.dir={straight}"]) == 0
    stop(2)  # of the evaluation images, after those kept aside
    assert main(["train", str(root), *SMALL, f"run.dir={run}"]) == 75
    assert "step 2 is saved in" in (told := capsys.readouterr().err)
    assert "before its evaluation" in told
    assert [row["kind"] for row in rows(run) if row["step"] == 2] == ["held_out"]
    stop(2)  # of the images kept aside, after the last step
    assert main(["resume", str(run)]) == 75
    assert "step 4 is saved in" in capsys.readouterr().err
    assert main(["resume", str(run)]) == 0
    assert rows(run) == rows(straight)
    last = "checkpoints/step-00000004.pt"
    assert (run / last).read_bytes() == (straight / last).read_bytes()
    best = [read_checkpoint(folder / "checkpoints/best.pt")["step"] for folder in (run, straight)]
    assert best[0] == best[1]
