"""Arrays of ``.npy`` and ``.npz`` files: what they claim is checked before anything is unpacked."""

import io
import zipfile

import numpy as np
import pytest
import torch

from semiovs.array_files import read_array
from semiovs.errors import DataError, WeightsError
from semiovs.models.semivl.text import read_embeddings
from semiovs.ovs import build_ovs
from semiovs.vocab import Vocabulary


def claim(path, shape, dtype="<f4", data=b"\0" * 64):
    """A small file whose header claims an array of a shape."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    if path.suffix == ".npy":
        path.write_bytes(head.getvalue() + data)
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("scores.npy", head.getvalue() + data)
    return path


def take(_, __):
    """Any array will do."""


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_gigabytes_are_refused_by_their_header(tmp_path, suffix):
    claim(tmp_path / f"a{suffix}", (2, 20_000, 30_000))
    image, teacher = torch.zeros(3, 4, 5, dtype=torch.uint8), build_ovs("masks", root=str(tmp_path))
    with pytest.raises(DataError, match=rf"a\{suffix}: 30000x20000, but its image is 5x4"):
        teacher.label([image], Vocabulary.of(["sky", "road"]), ids=["a"])
    claim(tmp_path / f"a{suffix}", (5_000_000_000, 4, 5))
    with pytest.raises(DataError, match=r"class scores must be floats or uint8 of shape \(2, height, width\)"):
        teacher.label([image], Vocabulary.of(["sky", "road"]), ids=["a"])
    claim(tmp_path / f"a{suffix}", (10**12, 512))
    with pytest.raises(WeightsError, match="has 1000000000000 rows of 512 numbers, but there are 3"):
        read_embeddings(tmp_path / f"a{suffix}", 3, 512, option="guide", what="classes")


@pytest.mark.parametrize(("suffix", "save"), [(".npy", np.save), (".npz", np.savez), (".npz", np.savez_compressed)])
@pytest.mark.parametrize("array", [np.arange(6, dtype=">f8").reshape(2, 3), np.zeros((0, 3)), np.float32(7)])
def test_arrays_are_read_back(tmp_path, suffix, save, array):
    save(tmp_path / f"a{suffix}", array)
    seen = []
    found = read_array(tmp_path / f"a{suffix}", "scores", lambda *header: seen.append(header))
    np.testing.assert_array_equal(found, array)
    assert seen == [(array.dtype, array.shape)]


def test_the_array_of_the_name(tmp_path):
    np.savez(tmp_path / "a.npz", other=np.zeros(3), scores=np.ones(2))
    assert read_array(tmp_path / "a.npz", "scores", take).tolist() == [1, 1]
    with pytest.raises(DataError, match="holds arrays other, scores; one called 'x' is expected"):
        read_array(tmp_path / "a.npz", "x", take)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\0\xff\xff" + b"(" * 70_000,
        b"\x93NUMPY\x09\0",
        b"PK\x03\x04" + b"\0" * 40,
        b"text",
    ],
    ids=range(6),
)
def test_files_that_are_none(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.npy: cannot be read as an array"):
        read_array(tmp_path / "a.npy", "scores", take)


def test_objects_and_short_files(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    claim(tmp_path / "b.npy", (1000,))
    for name in ("a.npy", "b.npy", "none.npy"):
        with pytest.raises(DataError, match=f"{name}: cannot be read as an array"):
            read_array(tmp_path / name, "scores", take)
