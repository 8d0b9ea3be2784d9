"""Whether this machine has a GPU to train on, and its memory, in milliseconds: importing torch takes seconds."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path

#: NVIDIA's management library, which comes with the driver; by system.
_LIBRARY = {"win32": "nvml.dll"}.get(sys.platform, "libnvidia-ml.so.1")
#: What torch has only where it was built for GPUs.
_KERNELS = ("lib/libtorch_cuda.so", "lib/torch_cuda.dll")


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def find_gpu_memory() -> int | None:
    """Memory in bytes of the first GPU that torch may use; None where there is none.

    Asks the driver's library (NVML) itself. `CUDA_VISIBLE_DEVICES` counts, and so does a torch without GPU kernels.
    """
    torch = find_spec("torch")
    if torch is None or not any((Path(torch.origin or "").parent / file).is_file() for file in _KERNELS):
        return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    if first in ("", "-1"):
        return None
    return _ask_driver(int(first) if first.isdecimal() else 0)


def _ask_driver(index: int) -> int | None:
    try:
        nvml = ctypes.CDLL(_LIBRARY)
        if nvml.nvmlInit_v2() != 0:
            return None
    except (OSError, AttributeError):  # no driver, or one that is too old
        return None
    try:
        device, memory = ctypes.c_void_p(), _Memory()
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device)) != 0:
            return None
        return int(memory.total) if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0 else None
    finally:
        nvml.nvmlShutdown()
