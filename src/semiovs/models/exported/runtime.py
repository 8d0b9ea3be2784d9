"""What every adapter of an exported file gives, and how the facts of a model stand in its metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from semiovs.errors import MissingExtraError, WeightsError
from semiovs.files import parse_json

#: Outputs of a file, in order: (B, H, W) uint8, and (B, H, W) float32.
LABELS, CONFIDENCE = "labels", "confidence"
#: The only output of a raw file; in the others the name of the tensor inside from which both are made, (B, K, H, W).
LOGITS = "logits"
#: The only input.
IMAGE = "image"
#: Key of the metadata without which a file is not ours: the version that wrote it.
MARK = "semiovs_version"


class Runtime(Protocol):
    """An exported file in memory.

    facts: its metadata, as plain data (docs/deploy.md lists the keys).
    """

    facts: dict[str, Any]

    def answer(self, image: NDArray[Any], names: Sequence[str]) -> list[NDArray[Any]]:
        """Outputs called `names`, of `LABELS`, `CONFIDENCE` and `LOGITS`, for a batch as the facts describe it."""


def encode_facts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Facts as text: every value is JSON."""
    return {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()}


def decode_facts(texts: Mapping[str, str], path: Path) -> dict[str, Any]:
    """Inverse of `encode_facts`.

    Raises:
        WeightsError: they are not ours.
    """
    if MARK not in texts:
        raise WeightsError(
            f"{path}: not written by semiovs (no {MARK} in its metadata); export a run with `semiovs export RUN --to "
            "onnx|openvino|torch`"
        )
    try:
        return {key: parse_json(text) for key, text in texts.items()}
    except ValueError as error:
        raise WeightsError(f"{path}: its metadata are damaged ({error}); export the run again") from None


def missing_package(path: object, package: str) -> MissingExtraError:
    """The error for a package of the extra that is not installed."""
    return MissingExtraError(f"{path}: needs {package}; pip install 'semiovs[export]'")


def cannot_read(path: Path, error: Exception) -> WeightsError:
    """The error for a file that its package refuses."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return WeightsError(f"{path}: damaged, or no model that can be run ({first:.200}); export the run again")
