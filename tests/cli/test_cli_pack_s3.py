"""Packed stores on S3, asked of a server on this machine; needs s3fs and moto, which no extra of developers has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from semiovs.cli.app import main
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary

s3fs = pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket/labels"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def test_packed_to_s3_and_read_there(bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = PseudoLabelStore.create(tmp_path / "s", Vocabulary.of(["a", "b"]), teacher={"name": "t"})
    for name in "abcde":
        store.add(name, np.full((4, 5), ord(name) % 2, np.uint8), np.full((4, 5), 0.5))
    assert main(["labels", "pack", str(store.root), bucket, "--shard-size", "2"]) == 0
    assert main(["labels", "verify", bucket]) == 0
    packed = PseudoLabelStore.open(bucket)
    assert all((packed.label(name) == store.label(name)).all() for name in packed)
    if (child := os.fork()) == 0:
        os._exit(0 if (packed.label("a") == store.label("a")).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    files = s3fs.S3FileSystem()
    files.pipe_file("bucket/labels/000001.tar", b"short")
    assert main(["labels", "stats", bucket]) == 3
    assert "s3://bucket/labels/000001.tar: 5 bytes, but" in capsys.readouterr().err
    assert main(["labels", "stats", "s3://other/labels"]) == 3
    assert "s3://other/labels: not a pseudo-label store" in capsys.readouterr().err
