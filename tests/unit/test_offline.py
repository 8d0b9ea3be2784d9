"""`SEMIOVS_OFFLINE`: every place that opens a connection refuses, and says which variable forbids it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semiovs.cli.app import main
from semiovs.download import DownloadError, download, read_url
from semiovs.env import explain_offline, hub_offline, offline
from semiovs.errors import UsageError, WeightsError
from semiovs.loggers import choice
from semiovs.offline import _is_here

CHILD = """
import json, os, socket, sys, urllib.request
import semiovs

def attempt(function, *arguments):
    try:
        return str(function(*arguments))
    except OSError as error:
        return f"{type(error).__name__}: {error}"

server = socket.create_server(("127.0.0.1", 0))
with socket.create_connection(server.getsockname()), socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
    udp.sendto(b"a", server.getsockname())
    told = {
        "hub": os.environ.get("HF_HUB_OFFLINE"),
        "url": attempt(urllib.request.urlopen, "http://example.com"),
        "tcp": attempt(tcp.connect, ("192.0.2.1", 9)),
        "udp": attempt(udp.sendto, b"a", ("192.0.2.1", 9)),
        "name": attempt(socket.gethostbyname, "example.com"),
        "here": attempt(socket.gethostbyname, "localhost"),
    }
from huggingface_hub import constants
print(json.dumps({**told, "client": constants.HF_HUB_OFFLINE}))
"""


def test_a_process_that_is_offline_reaches_itself_alone() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "http", "HTTP"))}
    command = [sys.executable, "-c", CHILD]
    done = subprocess.run(command, env={**kept, "SEMIOVS_OFFLINE": "1"}, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert (told["hub"], told["client"]) == ("1", True)
    assert told["here"].startswith("127.")
    assert told["url"] == "URLError: <urlopen error no connection to example.com: SEMIOVS_OFFLINE is set>"
    for kind, host in (("tcp", "192.0.2.1"), ("udp", "192.0.2.1"), ("name", "example.com")):
        assert told[kind] == f"ConnectionRefusedError: no connection to {host}: SEMIOVS_OFFLINE is set"


@pytest.mark.parametrize(
    ("address", "here"),
    [
        (("127.0.0.1", 80), True),
        (("::1", 80, 0, 0), True),
        (("0.0.0.0", 80), True),
        (("localhost", 80), True),
        ("/tmp/socket", True),
        (b"\0abstract", True),
        ("localhost", True),
        (None, True),
        ("example.com", False),
        (b"example.com", False),
        (("93.184.215.14", 80), False),
        (("fe80::1%eth0", 80, 0, 2), False),
    ],
)
def test_what_is_on_this_machine(address: object, here: bool) -> None:
    assert _is_here(address) == here


@pytest.mark.parametrize(("value", "on"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_variable(monkeypatch: pytest.MonkeyPatch, value: str, on: bool) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("SEMIOVS_OFFLINE", value)
    assert (offline(), hub_offline()) == (on, on)
    assert explain_offline() == ("SEMIOVS_OFFLINE is set" if on else "")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Offline, with empty folders, and a network that must not be asked."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setenv("SEMIOVS_OFFLINE", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("SEMIOVS_CACHE", "SEMIOVS_WEIGHTS_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("semiovs.models.weight_catalog.find_spec", lambda name: None)  # no package with weights


@pytest.mark.usefixtures("closed")
def test_downloads_refuse(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="http://a: SEMIOVS_OFFLINE is set"):
        read_url("http://a", most=1)
    with pytest.raises(DownloadError, match="SEMIOVS_OFFLINE is set"):
        download("http://a", tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("splits fetch", 3),
        ("weights pull clipseg", 4),
        ("weights pull tf_efficientnet_lite0", 4),
        ("hub pull me/streets", 4),
        ("predict hf:me/streets a.png", 4),
    ],
)
def test_verbs_refuse_in_one_line(
    words: str, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    assert main(words.split()) == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "SEMIOVS_OFFLINE is set" in line


@pytest.mark.usefixtures("closed")
def test_uploads_refuse(tmp_path: Path) -> None:
    from semiovs.sharing.transfer import push

    with pytest.raises(WeightsError, match="me/streets: SEMIOVS_OFFLINE is set; --save DIR writes the folder"):
        push(tmp_path, "me/streets", private=True, message="")


@pytest.mark.usefixtures("closed")
def test_encoders_are_taken_from_files_and_caches_alone() -> None:
    from semiovs.models.encoders import build_encoder
    from semiovs.models.hub import require_hub

    with pytest.raises(WeightsError, match="could not be had: SEMIOVS_OFFLINE is set; download "):
        build_encoder("tf_efficientnet_lite0", pretrained=True)
    require_hub("somebody/model")  # its cache may hold it
    with pytest.raises(ConnectionRefusedError, match="SEMIOVS_OFFLINE is set"):
        require_hub("")


@pytest.mark.usefixtures("closed")
def test_loggers_that_send_to_a_server_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    from semiovs.config.run_section import RunSection

    monkeypatch.setattr(choice, "_is_installed", lambda package: True)
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    both = RunSection(log=["wandb", "mlflow"])
    with pytest.raises(UsageError, match="wandb sends to a server, but SEMIOVS_OFFLINE is set; WANDB_MODE=offline"):
        choice.choose_loggers(both)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert choice.choose_loggers(both) == ("wandb", "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    with pytest.raises(UsageError, match="MLFLOW_TRACKING_URI names a server, but SEMIOVS_OFFLINE is set"):
        choice.choose_loggers(both)
    monkeypatch.setenv("SEMIOVS_OFFLINE", "0")
    assert choice.choose_loggers(both) == ("wandb", "mlflow")
