"""No verb asks the network unless it is told to: every attempt of this process is kept and refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from e2e import folders
from semiovs.cli.app import main
from semiovs.offline import _EVENTS, _is_here


class _Guard:
    """An audit hook, which sees what any library of Python does; it cannot be taken off, so it is switched."""

    def __init__(self) -> None:
        self.on = False
        self.attempts: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event in _EVENTS and not _is_here(arguments[_EVENTS[event]]):
            self.attempts.append(f"{event} {arguments[_EVENTS[event]]}")
            raise ConnectionRefusedError("the network is closed")


_guard = _Guard()


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Where the network was asked for, with nothing in the environment that forbids it."""
    for name in ("SEMIOVS_OFFLINE", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("SEMIOVS_CACHE", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    _guard.attempts.clear()
    _guard.on = True
    yield _guard.attempts
    _guard.on = False


def test_an_attempt_is_noticed(attempts: list[str]) -> None:
    with pytest.raises(URLError, match="the network is closed"):
        urlopen("http://example.com")
    assert attempts == ["socket.getaddrinfo example.com"]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_verbs_that_look(attempts: list[str], tmp_path: Path) -> None:
    data = folders.write(tmp_path / "data")
    assert run("doctor") == 0
    for kind in ("methods", "segmenters", "teachers", "encoders", "datasets", "loggers", "vocabularies", "presets"):
        assert run("list", kind) == 0
    assert run("config", "show", "modern/frozen") == 0
    assert run("config", "schema") == 0
    assert run("weights", "list") == 0
    assert run("weights", "verify") in (0, 4)
    assert run("splits", "list") == 0
    assert run("vocab", "show", "voc21") == 0
    assert run("data", "check", f"data.root={data}") == 0
    assert run("data", "stats", f"data.root={data}") == 0
    assert attempts == []


def test_init_looks_up_the_hub_at_the_most(
    attempts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """… by name, to say whether a training can fetch its encoder; told to be offline, not even that."""
    data = folders.write(tmp_path / "data")
    monkeypatch.setattr("semiovs.models.weight_catalog.locate", lambda row: None)
    assert run("init", data) == 0
    assert attempts == ["socket.getaddrinfo huggingface.co"]
    monkeypatch.setenv("SEMIOVS_OFFLINE", "1")
    assert run("init", data, "--force") == 0
    assert len(attempts) == 1


def test_verbs_that_label_train_and_predict(attempts: list[str], tmp_path: Path) -> None:
    data, model = folders.write(tmp_path / "data"), tmp_path / "run"
    label = ["label", f"data.root={data}", "--images", data / "ood", "--teacher", "masks"]
    assert run(*label, "--from", data / "ood-labels", "--out", "store") == 0
    assert run("labels", "stats", "store") == 0
    assert run("verify", "store") == 0
    settings = folders.settings(data, model, train__steps=1, ood__labels=tmp_path / "store", run__log="null")
    assert run("train", *settings) == 0
    assert run("evaluate", model) == 0
    assert run("predict", model, data / "val/images", "--out", tmp_path / "seen") == 0
    assert run("report", model) == 0
    assert run("verify", model) == 0
    assert attempts == []
