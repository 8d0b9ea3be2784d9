"""A GPU counts where the driver, the environment and torch have it."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import pytest

from semiovs import gpu_memory

SIZES = (12 * 2**30, 24 * 2**30)


def make_nvml() -> SimpleNamespace:
    """The driver's library on a machine with two GPUs."""
    nvml = SimpleNamespace(works=True, open=0)

    def begin() -> int:
        nvml.open += nvml.works
        return 0 if nvml.works else 9

    def end() -> None:
        nvml.open -= 1

    def find_device(index: ctypes.c_uint, device: object) -> int:
        if index.value >= len(SIZES):
            return 2
        device._obj.value = index.value + 1
        return 0

    def find_memory(device: ctypes.c_void_p, memory: object) -> int:
        memory._obj.total = SIZES[device.value - 1]
        return 0

    nvml.nvmlInit_v2, nvml.nvmlShutdown = begin, end
    nvml.nvmlDeviceGetHandleByIndex_v2, nvml.nvmlDeviceGetMemoryInfo = find_device, find_memory
    return nvml


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A torch with GPU kernels, and two GPUs."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libtorch_cuda.so").touch()
    monkeypatch.setattr(gpu_memory, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    nvml = make_nvml()
    monkeypatch.setattr(gpu_memory.ctypes, "CDLL", lambda _: nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    yield SimpleNamespace(torch=tmp_path, nvml=nvml)
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, SIZES[0]),
        ("1", SIZES[1]),
        ("1,0", SIZES[1]),
        ("GPU-5af", SIZES[0]),
        ("", None),
        ("-1", None),
        ("7", None),
    ],
)
def test_the_first_visible_gpu(machine, monkeypatch, visible, found):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_memory.find_gpu_memory() == found


def test_none_without_kernels_driver_or_torch(machine, monkeypatch):
    machine.nvml.works = False
    assert gpu_memory.find_gpu_memory() is None
    machine.nvml.works = True
    assert gpu_memory.find_gpu_memory() == SIZES[0]

    def refuse(_: str) -> None:
        raise OSError("no such library")

    with monkeypatch.context() as patch:
        patch.setattr(gpu_memory.ctypes, "CDLL", refuse)
        assert gpu_memory.find_gpu_memory() is None
    (machine.torch / "lib/libtorch_cuda.so").unlink()
    assert gpu_memory.find_gpu_memory() is None
    monkeypatch.setattr(gpu_memory, "find_spec", lambda _: None)
    assert gpu_memory.find_gpu_memory() is None


def test_it_agrees_with_torch():
    """On whatever machine this runs."""
    torch = pytest.importorskip("torch")
    assert (gpu_memory.find_gpu_memory() is not None) == torch.cuda.is_available()
