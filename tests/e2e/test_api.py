"""The verbs as functions: what they return, and that they leave the program that calls them as it was."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import semiovs
from cli.documented import ROOT, blocks
from e2e import folders
from semiovs.config import load_config
from semiovs.errors import ConfigError, DataError, InterruptedRunError, MissingExtraError, UsageError

PAGE = ROOT / "docs" / "guides" / "python.md"
BLOCKS = [text for language, text, _ in blocks(PAGE) if language == "python"]


def write_yaml(data: Path, **values: object) -> Path:
    """A semiovs.yaml for a training of a moment; the folder."""
    given = {"train__steps": 4, **values}
    words = [word for word in folders.settings(data, data, **given) if not word.startswith("run.dir=")]
    (data / "semiovs.yaml").write_text(load_config(None, words).dump(origins=False))
    return data


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_yaml(folders.write(tmp_path_factory.mktemp("data") / "my-images"))


@pytest.fixture(scope="module")
def run(images, tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "first"
    return semiovs.train(images, {"run.dir": where}, progress=False)


def test_importing_is_cheap_and_names_are_listed():
    code = (
        "import sys, semiovs; assert not {'torch', 'numpy', 'rich'} & {*sys.modules};"
        "assert {*semiovs.__all__} <= {*dir(semiovs)}; semiovs.train; assert 'torch' in sys.modules;"
        "import semiovs.comparison; assert callable(semiovs.compare);"
        "print([name for name in semiovs.__all__ if not callable(getattr(semiovs, name))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        semiovs.trian  # noqa: B018


def test_a_training_gives_a_run(run, images):
    assert (run.step, set(run.last)) == (4, {"student", "ema"})
    table = run.table()
    assert [row["class"] for row in table] == list(folders.CLASSES)
    scores = [row["best"] for row in table]
    assert np.mean(scores) == pytest.approx(run.best["miou"])
    shown = run._repr_html_()
    assert f"<td>{scores[0]:.2f}</td>" in shown
    assert str(run.directory) in shown
    log = (run.directory / "log.txt").read_text()
    assert "4 steps" in log  # lines of INFO, whatever the caller's logging shows
    assert (run.directory / "command.txt").read_text().startswith(f"semiovs.train({images!r}, {{'run.dir'")


def test_a_run_predicts_and_is_scored(run, images):
    prediction = run.predictor(device="cpu")(images / "val/images/v0.png")
    assert prediction.labels.shape == (48, 48)
    assert prediction._repr_png_().startswith(b"\x89PNG")
    scores = run.evaluate(progress=False)
    assert scores.miou["best"] == pytest.approx(run.best["miou"])
    assert [row["best"] for row in scores.table()] == pytest.approx([row["best"] for row in run.table()])
    assert "<th>last</th>" in scores._repr_html_()
    labeled = semiovs.evaluate(run.directory, split="labeled", checkpoint="last", progress=False)
    assert (labeled.count, set(labeled.miou)) == (4, {"last"})
    with pytest.raises(UsageError, match="--split test"):
        run.evaluate(split="test", progress=False)


def test_the_same_run_is_refused_and_a_dry_run_writes_nothing(run, images, tmp_path):
    with pytest.raises(UsageError, match="holds a run already"):
        semiovs.train(images, {"run.dir": run.directory}, progress=False)
    found = semiovs.train(images, f"run.dir={tmp_path / 'none'}", dry_run=True, progress=False)
    assert found["steps"] == 4
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("layout", ["dotted", "sections", "settings"])
def test_a_mapping_is_a_configuration(images, tmp_path, layout):
    values = load_config(str(images)).values() | {"run.dir": str(tmp_path / "run"), "train.steps": 1}
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    if layout == "sections":
        plain["train"] = {key[6:]: plain.pop(key) for key in [*plain] if key.startswith("train.")}
    given = (None, plain) if layout == "settings" else (plain,)
    assert semiovs.train(*given, dry_run=True, progress=False)["steps"] == 1


def test_mistakes_are_the_errors_of_the_command_line(images):
    cases = {
        "unknown key (did you mean 'steps'?) in Python": (images, {"train.stepz": 3}),
        "train.epohcs: unknown key (did you mean 'epochs'?) in Python": ({"train": {"epohcs": 3}},),
        "'steps': expected key=value in Python": (images, "train.lr=1", "steps"),
        "is no value of a configuration": ({"train": {"steps": object()}},),
        "no preset or file 'pascal/93'": ("pascal/93",),
    }
    for said, given in cases.items():
        with pytest.raises(ConfigError) as raised:
            semiovs.train(*given, progress=False)
        assert said in str(raised.value)
    with pytest.raises(UsageError, match="give 'key=value' or a mapping"):
        semiovs.train(images, 3)  # type: ignore[call-overload]


def test_labels_go_into_a_store(images, tmp_path):
    made = semiovs.label(images, out=tmp_path / "store", progress=False)
    assert (made.labeled, made.already, made.failed) == (5, 0, [])
    assert sorted(made.store.ids()) == [f"o{i}" for i in range(5)]
    assert sum(row["% of pixels"] for row in made.table()) == pytest.approx(100)
    assert "5 images labelled" in made._repr_html_()
    alone = {"teacher": "masks", "from_": images / "ood-labels", "progress": False}
    again = semiovs.label(images / "ood", classes=folders.CLASSES, out=tmp_path / "store", **alone)
    assert (again.labeled, again.already) == (0, 5)
    with pytest.raises(UsageError, match="--out DIR"):
        semiovs.label(images / "ood", classes=folders.CLASSES, **alone)
    with pytest.raises(DataError, match="none of the 5 images"):
        semiovs.label(images, out=tmp_path / "none", on_error="skip", **alone | {"from_": images / "masks"})


def test_a_card_is_shown(images, tmp_path):
    card = semiovs.card(images, from_=images / "masks", teacher="masks", risk=0.3, out=tmp_path, progress=False)
    assert card.advice in card._repr_html_()
    assert (tmp_path / "card.html").is_file()


def test_pandas_is_asked_for_late(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match="pip install pandas"):
        run.table().to_pandas()


def state() -> list[object]:
    logger = logging.getLogger("semiovs")
    return [
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD)],
        Path.cwd(),
        (logger.level, logger.propagate, list(logger.handlers)),
        list(warnings.filters),
        torch.get_rng_state().tolist(),
        torch.are_deterministic_algorithms_enabled(),
        dict(os.environ),
    ]


def test_nothing_of_the_program_changes(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = state()
    made = semiovs.train(images, "train.deterministic=true", progress=False)
    assert made.directory.is_relative_to("runs")
    with pytest.raises(DataError):
        semiovs.train(images, "data.root=/nowhere", progress=False)
    assert state() == before
    assert capsys.readouterr() == ("", "")


def test_progress_is_told_on_standard_error(images, tmp_path, capsys):
    semiovs.train(images, {"run.dir": tmp_path / "run"})
    said = capsys.readouterr()
    assert said.out == ""
    assert "unimatch on deeplabv3plus" in said.err
    assert "step 4/4" in said.err


def test_the_logging_of_the_caller_gets_what_its_level_lets_through(images, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    semiovs.train(images, {"run.dir": tmp_path / "quiet"}, progress=False)
    assert all(record.levelno >= logging.WARNING for record in caplog.records)
    caplog.set_level(logging.INFO, "semiovs")
    semiovs.train(images, {"run.dir": tmp_path / "told"}, progress=False)
    assert any("unimatch on" in record.getMessage() for record in caplog.records)


def test_trainings_in_threads_are_the_same_as_one_after_the_other(run, images, tmp_path):
    found: dict[int, semiovs.TrainedRun] = {}

    def train(number: int) -> None:
        found[number] = semiovs.train(images, {"run.dir": tmp_path / str(number)}, progress=False)

    threads = [threading.Thread(target=train, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    weights = [(found[number].directory / "model.safetensors").read_bytes() for number in range(2)]
    assert weights == [(run.directory / "model.safetensors").read_bytes()] * 2


def test_the_stop_button_saves_and_resume_goes_on(images, tmp_path, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start without it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    where = {"run.dir": tmp_path / "run", "train.steps": 2000, "train.log_every": 1, "train.eval_every": 2000}

    def press() -> None:
        while not (where["run.dir"] / "metrics.jsonl").is_file():
            pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(InterruptedRunError, match="is saved in"):
        semiovs.train(images, where, progress=False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(ConfigError):  # it goes on as it was begun
        semiovs.resume(tmp_path / "run", "train.steps=3", progress=False)


def test_a_second_signal_leaves_the_process_alive():
    from semiovs.engine.host import Host
    from semiovs.engine.signals import StopSignals

    with StopSignals(host=Host(may_end=False)) as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("guarded", [True, False])
def test_a_script_compares_below_its_guard_alone(images, tmp_path, guarded):
    call = f"found = semiovs.compare({str(images)!r}, arms='labels,ood', seeds=1, out='out', progress=False)"
    guard = "if __name__ == '__main__':\n    " if guarded else ""
    lines = ["import semiovs", f"{guard}{call}; print(found.verdict, len(found.table()), found.page)"]
    (tmp_path / "script.py").write_text("\n".join(lines))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    if guarded:
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "descriptive 2 out/report.html\n")
    else:
        assert done.returncode == 1
        assert done.stderr.strip().endswith('put what it does below the line: if __name__ == "__main__":')
        assert "UsageError" in done.stderr
        assert "bootstrapping" not in done.stderr


def test_the_blocks_of_the_page_run(tmp_path, monkeypatch):
    write_yaml(folders.write(tmp_path / "my-images"), train__steps=2)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "notebook"}
    for text in BLOCKS:
        exec(compile(text, str(PAGE), "exec"), names)
    assert len(BLOCKS) >= 5
    assert (names["found"].verdict, len(names["found"].differences())) == ("cannot tell", 1)
    assert names["found"].page.is_file()
    assert "Cannot tell" in names["found"]._repr_html_()
