"""Loggers get what `metrics.jsonl` gets, go on in the same run after a resume, and never end a training.

W&B and MLflow are small stand-ins (tests/data/loggers); where the real packages are installed, these are tested too.
"""

import json
import logging
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from semiovs.cli.app import main
from semiovs.config import load_config
from semiovs.config.run_section import RunSection
from semiovs.errors import ConfigError, MissingExtraError
from semiovs.loggers import guarded
from semiovs.loggers.choice import Loggers, choose_loggers
from semiovs.loggers.guarded import GuardedLogger
from semiovs.loggers.logger import LoggedRun
from unit import toy_data

FAKES = Path(__file__).parents[2] / "data" / "loggers"
REAL = all(find_spec(name) is not None for name in ("wandb", "mlflow"))

SMALL = [
    *toy_data.SMALL_RUN,
    "train.log_every=1",
    "train.save_every=2",
    "train.eval_every=4",
]


def forget(*packages: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


@pytest.fixture(params=["stand-in", "real"] if REAL else ["stand-in"])
def services(request, monkeypatch, tmp_path):
    """W&B offline and MLflow with a local store."""
    if request.param == "stand-in":
        forget("wandb", "mlflow")
        monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'mlruns'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_DIR", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    yield request.param
    if request.param == "stand-in":
        forget("wandb", "mlflow")


@pytest.fixture
def data(tmp_path) -> Path:
    root = toy_data.make(tmp_path / "data")
    (root / "semiovs.yaml").write_text("data: {root: .}\n")
    return root


def losses(run: Path) -> list[tuple[int, float]]:
    """Step and loss of each row that MLflow has."""
    from mlflow import MlflowClient

    mark = json.loads((run / "loggers.json").read_text())["mlflow"]["id"]
    return [(row.step, row.value) for row in MlflowClient().get_metric_history(mark, "train/loss")]


def offline(run: Path) -> list[Path]:
    return sorted(run.glob("wandb/offline-run-*/run-*.wandb"))


def test_a_run_is_logged_everywhere_and_a_resumed_one_goes_on_there(services, data, tmp_path):
    run = tmp_path / "run"
    everywhere = ["run.log=[tensorboard, wandb, mlflow]", f"run.dir={run}"]
    assert main(["train", str(data), *SMALL, *everywhere]) == 0
    rows = [row for row in map(json.loads, (run / "metrics.jsonl").open()) if row["kind"] == "train"]
    assert losses(run) == [(row["step"], pytest.approx(row["loss"])) for row in rows]
    assert any((run / "tensorboard").iterdir())
    (first,) = offline(run)
    marks = json.loads((run / "loggers.json").read_text())
    assert first.name == f"run-{marks['wandb']['id']}.wandb"
    assert b"train/loss" in first.read_bytes()
    assert b"eval/student/iou/road" in first.read_bytes()

    for path in run.glob("checkpoints/*4.pt*"):  # killed after step 2
        path.unlink()
    assert main(["resume", str(run)]) == 0
    assert losses(run)[4:] == losses(run)[2:4]  # steps 3 and 4 again, in the same run there
    assert json.loads((run / "loggers.json").read_text()) == marks
    assert len(again := offline(run)) == 2
    assert {path.name for path in again} == {first.name}


def test_a_stopped_run_is_told_from_a_finished_one(services, tmp_path):
    from mlflow import MlflowClient

    run = LoggedRun(tmp_path)
    with pytest.raises(ZeroDivisionError), Loggers(["mlflow"], run):
        _ = 1 / 0
    assert MlflowClient().get_run(run.recall("mlflow")["id"]).info.status == "KILLED"
    with Loggers(["mlflow"], run) as loggers:
        loggers.write({"kind": "train", "step": 1, "loss": 0.5})
    assert MlflowClient().get_run(run.recall("mlflow")["id"]).info.status == "FINISHED"


@pytest.mark.parametrize("name", ["道路 (wet)", "../up", "a/./b", "n/a", ".."])
def test_class_names_that_mlflow_does_not_take_are_changed(services, tmp_path, caplog, name):
    run = LoggedRun(tmp_path, settings={f"odd {name}": "x" * 9000})
    with Loggers(["mlflow"], run) as loggers:
        loggers.write({"kind": "eval", "model": "ema", "step": 1, "miou": 0.5, "iou": {name: 1.0}})
        loggers.write_images(1, {f"evaluation/{name}": Image.new("RGB", (4, 3))})
    assert "failed" not in caplog.text
    from mlflow import MlflowClient

    assert [row.value for row in MlflowClient().get_metric_history(run.recall("mlflow")["id"], "eval/ema/miou")] == [
        0.5
    ]


class Lost:
    """A logger that loses its network after the first row."""

    def __init__(self) -> None:
        self.rows, self.calls, self.closed = [], 0, False

    def write_scalars(self, step, values):
        self.calls += 1
        if self.calls == 2:
            raise ConnectionError("no route to host\nand more")
        self.rows.append((step, values))

    def write_image(self, step, name, picture):
        raise OSError("disk full")

    def close(self, *, finished):
        self.closed = finished


def test_a_failing_logger_is_told_once_left_alone_and_tried_again(monkeypatch, caplog):
    now = 1000.0
    monkeypatch.setattr(guarded.time, "monotonic", lambda: now)
    lost = Lost()
    logger = GuardedLogger("wandb", lambda: lost)
    for step in (1, 2, 3):
        logger.write_scalars(step, {"loss": 1.0})
    assert lost.calls == 2  # not asked again at once
    now += guarded.PAUSE
    logger.write_scalars(4, {"loss": 1.0})
    logger.write_image(5, "a", Image.new("RGB", (2, 2)))
    now += guarded.PAUSE
    logger.close(finished=True)
    assert [step for step, _ in lost.rows] == [1, 4]
    assert lost.closed
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told.startswith("run.log: wandb failed (ConnectionError: no route to host); training goes on, metrics.jsonl")


def test_a_training_goes_on_without_its_loggers(services, data, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'file' / 'below'}")
    run = tmp_path / "run"
    assert main(["train", str(data), *SMALL, "run.log=mlflow", f"run.dir={run}"]) == 0
    assert capsys.readouterr().err.count("run.log: mlflow failed") == 1
    assert (run / "model.safetensors").is_file()


def test_the_default_is_tensorboard_where_it_is_installed(monkeypatch):
    assert choose_loggers(RunSection()) == ("tensorboard",)
    assert choose_loggers(RunSection(tensorboard=True)) == ("tensorboard",)
    assert choose_loggers(RunSection(tensorboard=False)) == choose_loggers(RunSection(log=())) == ()
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert choose_loggers(RunSection()) == ()
    with pytest.raises(
        MissingExtraError, match=r"^run\.log: 'tensorboard' is not installed; pip install 'semiovs\[ten"
    ):
        choose_loggers(RunSection(tensorboard=True))


def test_a_missing_package_is_told_before_anything_is_written(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    (tmp_path / "mlflow").mkdir()  # no package: what W&B and MLflow leave behind in the working directory
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("wandb", *(() if find_spec("mlflow").origin else ("mlflow",))):
        assert main(["train", str(data), *SMALL, f"run.log={name}", f"run.dir={tmp_path / 'run'}"]) == 4
        assert f"run.log: '{name}' is not installed; pip install 'semiovs[{name}]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["run.log=[wandbb]"], r"logger 'wandbb' is not known \(did you mean 'wandb'\?\)"),
        (["run.log=[]", "run.tensorboard=true"], r"older form of `log`; give `log` alone"),
        (["run.log=3"], "expected a list"),
    ],
)
def test_wrong_loggers_are_refused(given, told):
    with pytest.raises(ConfigError, match=told):
        load_config(None, given)


def test_the_older_key_gives_way_to_the_new_one():
    older = {"run": {"tensorboard": False}}
    assert load_config(older).config.run.loggers == ()
    assert load_config(older, ["run.log=[wandb, wandb]"]).config.run.loggers == ("wandb",)
    assert load_config({"run": {"log": "wandb"}}, ["run.tensorboard=false"]).config.run.loggers == ()


def test_marks_that_are_damaged_are_those_of_a_new_run(tmp_path):
    run = LoggedRun(tmp_path)
    run.keep("wandb", id="a")
    run.keep("mlflow", id="b")
    assert (run.recall("wandb"), run.recall("mlflow")) == ({"id": "a"}, {"id": "b"})
    (tmp_path / "loggers.json").write_text('["x')
    assert run.recall("wandb") == {}
