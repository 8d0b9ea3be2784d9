"""The hub without a network."""

import logging
import socket

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from semiovs.errors import WeightsError
from semiovs.models.encoders import build_encoder
from semiovs.models.hub import explain_failure, hub


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    def no_address(*_: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", no_address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr("semiovs.models.weight_catalog.find_spec", lambda name: None)  # no package with weights


def test_without_a_network_the_cache_alone_is_asked(no_network):
    before = logging.getLogger("huggingface_hub").level
    with hub():
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    assert logging.getLogger("huggingface_hub").level == before


def test_with_a_proxy_the_hub_is_asked(no_network, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    with hub():
        assert not constants.HF_HUB_OFFLINE


def test_weights_that_cannot_be_had_are_one_line_at_once(no_network, caplog):
    with pytest.raises(WeightsError) as caught:
        build_encoder("tf_efficientnet_lite0", pretrained=True)
    message = str(caught.value)
    assert "\n" not in message
    assert "could not be had" in message
    assert "model.pretrained=FILE" in message
    assert "huggingface.co cannot be reached" in message
    assert ". ;" not in message
    assert not caplog.records


def test_what_packages_log_to_the_root_logger_is_not_said_twice(no_network, capsys, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    with hub():
        logging.error("Failed to download weights")
    assert "Failed" not in capsys.readouterr().err
    assert not root.handlers  # `logging.error` adds one where there is none
    assert not root.filters


def test_a_long_reason_ends_between_words():
    text = explain_failure(RuntimeError("Failed " + "word " * 60 + "\nsecond line"))
    assert text.endswith("word …")
    assert len(text) <= 120


def test_the_network_is_named_whoever_wrapped_its_error(no_network):
    inner = OfflineModeIsEnabled("Cannot reach https://huggingface.co")
    outer = RuntimeError("Failed to download weights for tag 'openai'")
    outer.__cause__ = inner
    assert explain_failure(outer) == "huggingface.co cannot be reached"
