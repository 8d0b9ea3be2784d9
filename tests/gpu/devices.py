"""Where a test of the device runs: on a GPU where there is one, and rehearsed without one."""

from __future__ import annotations

import os

import pytest
import torch

# Read by the first matrix product of a process, and needed by deterministic ones.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ON_GPU = pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])

#: A device parameter of tests that pass on a CPU too.
DEVICES = pytest.mark.parametrize("device", ["cpu", ON_GPU])
#: The same with tensors that have no values in place of the CPU's: who asks for a value, fails.
VALUELESS = pytest.mark.parametrize("device", ["meta", ON_GPU])
