"""Names and tensors read from weight files, and what of them fits a module."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from semiovs.errors import WeightsError

StateDict = dict[str, Tensor]


class Renaming(StateDict):
    """Tensors under new names. sources: new name -> the name it had, of every tensor, also of one that was reshaped."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: dict[str, str] = {}

    def add(self, new: str, value: Tensor, *, source: str) -> None:
        """Put `value`, which comes from the tensor called `source`, under the name `new`."""
        self[new], self.sources[new] = value, source


def rename(state: Mapping[str, Tensor], new_name: Callable[[str], str]) -> Renaming:
    """The same tensors, each under `new_name` of its name."""
    renamed = Renaming()
    for name, value in state.items():
        renamed.add(new_name(name), value, source=name)
    return renamed


#: Keys under which training programs put the model's state.
_WRAPPERS = ("model", "state_dict", "model_state_dict", "state")


def load_pickle(path: Path, *, map_location: str | torch.device = "cpu") -> Any:
    """Read a torch file without ever running code from it.

    Raises:
        WeightsError: missing, damaged, or holding anything but tensors and plain containers.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search(r"unsupported (global|class)", str(error), re.IGNORECASE):
            raise WeightsError(
                f"{path}: holds objects besides tensors, which could run code, so it is refused; "
                "save the bare state dict again, as .safetensors for instance"
            ) from None
        raise WeightsError(f"{path}: damaged or not a torch file; copy or download it again") from None
    except Exception as error:  # a cut or overwritten file can fail anywhere in the reader
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"{path}: damaged or not a torch file ({reason:.100}); copy or download it again") from None


def read_state(path: Path) -> StateDict:
    """Read the tensors of a `.safetensors` or torch file; a surrounding ``{"model": …}`` is taken off.

    Raises:
        WeightsError: missing, damaged, or not a state dict.
    """
    if path.suffix != ".safetensors":
        return unwrap(load_pickle(path), where=str(path))
    if not path.is_file():
        raise WeightsError(f"{path}: no such file")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged or not a safetensors file ({error}); copy or download it again") from None


def unwrap(data: Any, *, where: str) -> StateDict:
    """The state dict in `data`: itself, or what stands under ``model``, ``state_dict``, ….

    Raises:
        WeightsError: neither.
    """
    if isinstance(data, Mapping):
        for key in _WRAPPERS:
            if isinstance(data.get(key), Mapping):
                return unwrap(data[key], where=where)
        state = {name: value for name, value in data.items() if isinstance(name, str) and isinstance(value, Tensor)}
        if state and len(state) == len(data):
            return state
    raise WeightsError(f"{where}: holds no state dict (parameter name -> tensor)")


def strip_prefix(state: Mapping[str, Tensor], prefix: str) -> StateDict:
    """Take `prefix` off, where every name has it; repeatedly."""
    stripped = dict(state)
    while stripped and all(name.startswith(prefix) for name in stripped):
        stripped = {name.removeprefix(prefix): value for name, value in stripped.items()}
    return stripped


@dataclass(frozen=True)
class Fit:
    """What of a state dict fits a module: names that can be loaded, and those that stand in the way."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is there and nothing is left over."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        parts = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.mismatched}
        return ", ".join(f"{len(names)} {what} ({first_of(names)})" for what, names in parts.items() if names)


def compare(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Fit:
    """Compare names and shapes; BatchNorm's `num_batches_tracked` may be absent (older files have none).

    A side of length 0 is one that takes its length from the file.
    """
    absent = (name for name in expected if name not in given)
    both = [name for name in given if name in expected]
    matched = [name for name in both if _takes(expected[name], given[name])]
    return Fit(
        matched=tuple(matched),
        missing=tuple(name for name in absent if not name.endswith("num_batches_tracked")),
        unexpected=tuple(name for name in given if name not in expected),
        mismatched=tuple(
            f"{name}: {shape_of(given[name])} instead of {shape_of(expected[name])}"
            for name in both
            if not _takes(expected[name], given[name])
        ),
    )


def _takes(own: Tensor, given: Tensor) -> bool:
    return own.ndim == given.ndim and all(
        side in (0, other) for side, other in zip(own.shape, given.shape, strict=True)
    )


def shape_of(tensor: Tensor) -> str:
    """Shape as ``64x3x3x3``."""
    return "x".join(str(side) for side in tensor.shape) or "scalar"


def first_of(names: Iterable[str], count: int = 3) -> str:
    """The first `count` names as text."""
    listed = list(names)
    return ", ".join(listed[:count]) + (", …" if len(listed) > count else "")
