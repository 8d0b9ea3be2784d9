"""Want of memory is known by what Python, NumPy, torch and OpenCV say of it, and becomes one line."""

import cv2
import numpy as np
import pytest
import torch

from semiovs.cli.app import main
from semiovs.errors import DataError, ResourcesError, is_out_of_memory, require_memory


def allocate_with(kind: str) -> None:
    size = 2**46
    if kind == "python":
        bytearray(2**60)
    elif kind == "numpy":
        np.ones(size)
    elif kind == "torch":
        torch.ones(size)
    else:
        cv2.copyMakeBorder(np.zeros((1, 1, 3), np.uint8), 2**29, 2**29, 2**20, 2**20, cv2.BORDER_CONSTANT)


@pytest.mark.parametrize("kind", ["python", "numpy", "torch", "cv2"])
def test_what_libraries_say_is_understood(kind):
    with (
        pytest.raises(ResourcesError, match=r"^big picture: out of memory; take tiles$"),
        require_memory("big picture", "take tiles"),
    ):
        allocate_with(kind)


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB",
        "CUDA error: out of memory",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "could not create a memory object",
        "std::bad_alloc",
    ],
)
def test_what_a_gpu_says_is_understood(text):
    assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(torch.OutOfMemoryError(text))
    assert is_out_of_memory(torch.OutOfMemoryError("no room"))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("size mismatch"), ValueError("out of memory"), DataError("out of memory"), OSError(28, "full")],
)
def test_other_errors_pass(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), require_memory("a", "b"):
        raise error


def test_any_verb_ends_with_one_line(monkeypatch, capsys):
    monkeypatch.setattr("semiovs.cli.console.report", lambda *_, **__: allocate_with("torch"))
    monkeypatch.setattr("semiovs.cli.listing.report", lambda *_, **__: allocate_with("torch"))
    assert main(["list", "methods"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert told[0].startswith("error: out of memory (")
