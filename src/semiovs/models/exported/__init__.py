"""Models that left torch's own checkpoints: files of `semiovs export`, read back as segmenters."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semiovs.errors import WeightsError

if TYPE_CHECKING:
    from semiovs.models.exported.runtime import Runtime
    from semiovs.models.exported.segmenter import ExportedSegmenter

#: Ending of a file -> module of its adapter.
_ADAPTERS = {".onnx": "onnx_runtime", ".xml": "openvino_runtime", ".pt2": "torch_archive"}
SUFFIXES = tuple(_ADAPTERS)


def open_runtime(path: Path, *, threads: int | None = None) -> Runtime:
    """The file as something that answers for images.

    threads: of the CPU; None: as many as torch takes.

    Raises:
        WeightsError: damaged, or not written by `semiovs export`; MissingExtraError: its package is not installed.
    """
    adapter = import_module(f"semiovs.models.exported.{_ADAPTERS[path.suffix]}")
    runtime: Runtime = adapter.read_file(path, threads=threads)
    return runtime


def read_facts(path: Path) -> dict[str, Any]:
    """What a file tells of itself, without making ready its program.

    Raises:
        WeightsError, MissingExtraError: as `open_runtime`.
    """
    adapter = import_module(f"semiovs.models.exported.{_ADAPTERS[path.suffix]}")
    facts: dict[str, Any] = adapter.read_facts(path)
    return facts


def load_exported(path: Path) -> tuple[dict[str, Any], ExportedSegmenter]:
    """The facts of a file and its segmenter.

    Raises:
        WeightsError, MissingExtraError: as `open_runtime`.
    """
    from semiovs.models.exported.segmenter import ExportedSegmenter

    runtime = open_runtime(path)
    try:
        return runtime.facts, ExportedSegmenter(runtime)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{path}: its metadata cannot be read ({type(error).__name__}: {error}); the file is damaged or of another "
            "version of semiovs"
        ) from None
