"""A wrong RAY_ADDRESS is told at once, without Ray."""

from __future__ import annotations

import socket
import time

import pytest

from semiovs.cli.app import main
from semiovs.clusters.ray_address import require_listener, split_address
from semiovs.errors import UsageError


@pytest.fixture
def closed() -> str:
    """An address on loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("head:6380", ("head", 6380)),
        ("head", ("head", 6379)),
        ("ray://head:7", ("head", 7)),
        ("ray://head", ("head", 10001)),
        ("[::1]:7", ("::1", 7)),
        ("[::1]", ("::1", 6379)),
    ],
)
def test_addresses(address, place):
    assert split_address(address) == place


@pytest.mark.parametrize("address", [":6379", "head:", "head:x", "head:0", "head:65536", "head:²", "ray://"])
def test_what_is_no_address(address):
    with pytest.raises(UsageError, match=r"RAY_ADDRESS=.*like HOST:6379"):
        require_listener(address)


def test_nobody_listens(closed, monkeypatch, tmp_path, capsys):
    pytest.importorskip("ray")  # else its absence is told first
    monkeypatch.setenv("RAY_ADDRESS", closed)
    begin = time.monotonic()
    for command in (
        ["data", "check", str(tmp_path)],
        ["select", "data.root=.", "--from", str(tmp_path), "--out", str(tmp_path / "out"), "--scores", "none"],
        ["label", "--images", str(tmp_path), "--classes", "a,b", "--out", str(tmp_path / "out"), "--teacher", "small"],
    ):
        assert main([*command, "--engine", "ray"]) == 2
        said = capsys.readouterr().err
        assert f"RAY_ADDRESS={closed}: the Ray cluster cannot be joined: " in said
        assert said.count("\n") == 1
    assert time.monotonic() - begin < 30
    assert not (tmp_path / "out").exists()


def test_a_listener_is_enough():
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_listener(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_head_that_does_not_answer_is_not_waited_for(monkeypatch):
    def silent(place, patience):
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(UsageError, match="no answer within 5 s"):
        require_listener("192.0.2.1:6379")


@pytest.mark.parametrize("own", ["", "auto", "local"])
def test_what_ray_looks_up_itself_is_left_to_it(own, monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *given: pytest.fail(f"connected to {given}"))
    require_listener(own)
    monkeypatch.setenv("RAY_ADDRESS", own)
    require_listener()
