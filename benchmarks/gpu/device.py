"""What the device can do at best, to judge the other numbers by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.gpu.meter import Measured, Place


def rows(place: Place) -> list[Measured]:
    return [_copy(place), *(_product(place, name) for name in ("fp32", "tf32", "bf16", "fp16"))]


def _copy(place: Place) -> Measured:
    """Bytes read and written a second by copies in the device's memory."""
    source = torch.zeros(place.of(2**31, 2**20), dtype=torch.uint8, device=place.device)
    target = torch.empty_like(source)
    times = place.alternately(copy=lambda: target.copy_(source))["copy"]
    speeds = [2 * source.numel() / ms / 1e6 for ms in times]
    return Measured("copy in device memory", _median(speeds), "GB/s", min(speeds), max(speeds), len(speeds))


def _product(place: Place, kind: str) -> Measured:
    side = place.of(8192, 128)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(kind, torch.float32)
    if dtype == torch.float16 and not place.on_gpu:
        dtype = torch.float32  # a CPU may take minutes for it
    a, b = (torch.randn(side, side, device=place.device, dtype=dtype) for _ in range(2))
    times = place.alternately(product=with_tf32(lambda: a @ b, tf32=kind == "tf32"))["product"]
    speeds = [2 * side**3 / ms / 1e9 for ms in times]
    name = f"matrix product {side}³, {kind}"
    return Measured(name, _median(speeds), "TFLOP/s", min(speeds), max(speeds), len(speeds))


def with_tf32(run: Callable[[], Tensor], *, tf32: bool) -> Callable[[], Tensor]:
    """A run with TF32 in matrix products and convolutions, or without it."""

    def set_and_run() -> Tensor:
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        try:
            return run()
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before

    return set_and_run


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
