"""Numerical precision of a run: fp32, bf16, or fp16 with a gradient scaler."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from semiovs.errors import ConfigError


@dataclass(frozen=True)
class Precision:
    """Precision of the forward pass; weights stay in fp32."""

    name: Literal["fp32", "bf16", "fp16"]
    device_type: str = "cpu"

    @classmethod
    def choose(cls, requested: str, device: torch.device) -> Precision:
        """`auto`: bf16 where the hardware computes in it, else fp32.

        Raises:
            ConfigError: a precision that this device does not have.
        """
        if requested == "auto":
            return cls("bf16" if _computes_in_bf16(device) else "fp32", device.type)
        if requested == "fp16" and device.type == "cpu":
            raise ConfigError("train.precision: fp16 needs a GPU; use auto, bf16 or fp32 on the CPU")
        if requested not in {"fp32", "bf16", "fp16"}:
            raise ConfigError(f"train.precision: '{requested}' is not one of auto, fp32, bf16, fp16")
        return cls(requested, device.type)  # type: ignore[arg-type]

    def autocast(self) -> AbstractContextManager[object]:
        """Context of a forward pass."""
        if self.name == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.name == "bf16" else torch.float16
        return torch.autocast(self.device_type, dtype=dtype)

    def without_autocast(self) -> AbstractContextManager[object]:
        """Context of a backward pass inside of `autocast`."""
        return nullcontext() if self.name == "fp32" else torch.autocast(self.device_type, enabled=False)

    def scaler(self) -> torch.amp.GradScaler:
        """Dynamic gradient scaler for fp16, disabled otherwise."""
        return torch.amp.GradScaler(self.device_type, enabled=self.name == "fp16")


def _computes_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # oneDNN reports bf16 on every AVX-512 machine, most of which emulate it (slowly): ask for the instructions.
    probes = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(bool(probe()) for probe in probes if probe is not None)
