"""Exported files in a comparison: what they tell of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semiovs.errors import UsageError, WeightsError
from semiovs.models.exported import SUFFIXES, read_facts
from semiovs.models.weights import ModelCard

_TITLES = {"onnx": "ONNX", "openvino": "OpenVINO", "torch": "torch archive"}


@dataclass(frozen=True)
class ExportedFile:
    """A file of `semiovs export`. facts: its metadata; card: of the weights that it was made of."""

    path: Path
    facts: Mapping[str, Any]
    card: ModelCard

    @classmethod
    def read(cls, path: Path) -> ExportedFile:
        """What the file tells.

        Raises:
            WeightsError: missing, damaged, or not written by `semiovs export`; MissingExtraError: its package is not
            installed.
        """
        if not path.is_file():
            raise WeightsError(f"{path}: no such file; semiovs export RUN --to onnx|openvino|torch writes one")
        facts = read_facts(path)
        return cls(path, facts, ModelCard.from_json(facts.get("card"), where=str(path)))

    @property
    def form(self) -> str:
        """Format and precision, and what else the answer depends on: ``onnx int8``, ``onnx fp32 raw 512x512``."""
        size = self.facts.get("size")
        further = ["raw"] if self.facts.get("outputs") == ["logits"] else []
        further += [f"{size[0]}x{size[1]}"] if size else []
        return " ".join([str(self.facts.get("format")), str(self.facts.get("precision")), *further])

    @property
    def title(self) -> str:
        """The form, for people."""
        kind, _, rest = self.form.partition(" ")
        return f"{_TITLES.get(kind, kind)} {rest}"

    @property
    def parts(self) -> tuple[Path, ...]:
        """The files that it consists of."""
        return (self.path, self.path.with_suffix(".bin")) if self.path.suffix == ".xml" else (self.path,)

    @property
    def megabytes(self) -> float:
        """Size of its files."""
        return sum(part.stat().st_size for part in self.parts) / 1e6

    @property
    def weights(self) -> str:
        """Name of the weight file that it was made of."""
        return Path(str(self.facts.get("weights"))).name

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of that weight file."""
        return str(self.facts.get("weights_sha256"))

    @property
    def step(self) -> int | None:
        """Step of the training that its weights are of, where the card tells it."""
        found = self.card.training.get("step")
        return found if type(found) is int else None

    @property
    def model(self) -> str | None:
        """Model of the training (student, ema), where the card tells it."""
        found = self.card.training.get("model")
        return found if isinstance(found, str) else None

    @property
    def state(self) -> tuple[str | int, str | None]:
        """What is the same in all files of the same weights of a training, however these were written."""
        return self.weights_sha256 if self.step is None else self.step, self.model

    @property
    def training(self) -> tuple[str, int] | None:
        """Hash of the training's settings and its seed; None where the file does not tell: it was made of weights
        that lie in no run, or by an earlier version.
        """
        told = self.facts.get("run")
        settings, seed = (told.get("settings_sha256"), told.get("seed")) if isinstance(told, dict) else (None, None)
        return (settings, seed) if isinstance(settings, str) and type(seed) is int else None


def is_exported(path: Path) -> bool:
    """Whether a path is that of an exported file, by its ending; else it may be that of a run.

    Raises:
        UsageError: a file of another kind.
    """
    if path.suffix not in SUFFIXES and path.is_file():
        raise UsageError(f"--runs {path}: neither a run directory nor an exported file ({', '.join(SUFFIXES)})")
    return path.suffix in SUFFIXES and not path.is_dir()
