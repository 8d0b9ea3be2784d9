"""Files that would run a program when they are unpickled: each reader refuses each of them, and nothing has run."""

from __future__ import annotations

import functools
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from semiovs.errors import SemiovsError
from semiovs.models.encoders import build_encoder
from semiovs.models.published_checkpoints import read_published
from semiovs.models.weights import load_model, read_checkpoint
from semiovs.ovs.score_maps import read_score_map


class Reduced:
    """Calls `function` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def make(marker: Path) -> dict[str, object]:
    """What leaves the folder `marker` behind when it is unpickled."""
    path = str(marker)
    return {
        "a call": Reduced(os.mkdir, path),
        "a shell": Reduced(os.system, f"mkdir '{path}'"),
        "source": Reduced(exec, f"__import__('os').mkdir({path!r})"),
        "a partial": Reduced(functools.partial(os.mkdir, path)),
        "under a tensor": {
            "method": {"student.weight": torch.zeros(2), "ema": [Reduced(os.makedirs, path)]},
            "step": 3,
        },
        "as a key": {Reduced(os.mkdir, path): torch.zeros(2)},
    }


PAYLOADS = tuple(make(Path()))


def torch_zip(path: Path, payload: object) -> None:
    torch.save(payload, path)


def torch_legacy(path: Path, payload: object) -> None:
    torch.save(payload, path, _use_new_zipfile_serialization=False)


def plain(path: Path, payload: object) -> None:
    path.write_bytes(pickle.dumps(payload))


def numpy_array(path: Path, payload: object) -> None:
    array = np.empty(1, object)
    array[0] = payload
    if path.suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, scores=array)


def tampered_archive(path: Path, payload: object) -> None:
    """An archive of torch whose tensors are fine and whose pickle is another one."""
    made = io.BytesIO()
    torch.save({"step": 1}, made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(payload, 2) if name.endswith("data.pkl") else old.read(name))


def read_scores(path: Path) -> None:
    read_score_map(path, 1, (1, 1))


def read_encoder(path: Path) -> None:
    build_encoder("tiny", pretrained=str(path))


READERS = {
    "checkpoint": ("step-00000003.pt", read_checkpoint, (torch_zip, torch_legacy, plain, tampered_archive)),
    "weights of a run": ("a.pt", load_model, (torch_zip, torch_legacy, plain, tampered_archive)),
    "published weights": ("a.pth", read_published, (torch_zip, torch_legacy, plain, tampered_archive)),
    "encoder": ("a.pth", read_encoder, (torch_zip, torch_legacy, plain, tampered_archive)),
    "array of scores": ("a.npy", read_scores, (numpy_array, plain)),
    "archive of scores": ("a.npz", read_scores, (numpy_array, plain)),
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_payloads_do_run_where_they_are_unpickled(tmp_path, payload):
    """Else the test below could not fail."""
    pickle.loads(pickle.dumps(make(tmp_path / "ran")[payload]))
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize(
    ("reader", "write"), [(name, write) for name, (*_, writers) in READERS.items() for write in writers]
)
def test_nothing_of_it_runs(tmp_path, reader, write, payload):
    name, read, _ = READERS[reader]
    marker, path = tmp_path / "ran", tmp_path / name
    write(path, make(marker)[payload])
    with pytest.raises(SemiovsError) as refused:
        read(path)
    assert refused.value.exit_code in (3, 4)
    assert not marker.exists()
