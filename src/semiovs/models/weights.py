"""Trained models as files: a safetensors file with its card, a training checkpoint, an exported file, or a whole run
directory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from semiovs.errors import SemiovsError, UsageError, WeightsError
from semiovs.files import sha256_of, write_bytes
from semiovs.images.readers import RGB, BandReader, ImageReader
from semiovs.models import Normalization, Segmenter, build_segmenter
from semiovs.models.exported import SUFFIXES, load_exported
from semiovs.models.statedict import StateDict, compare, load_pickle, read_state
from semiovs.vocab.vocabulary import Vocabulary

T = TypeVar("T")

#: Key of the card in the metadata of a safetensors file.
_METADATA = "semiovs"
#: No card has more classes; ids in masks have at most 16 bits.
MOST_CLASSES = 2**16
#: File of a run's final model.
MODEL_FILE = "model.safetensors"


@dataclass(frozen=True)
class ModelCard:
    """Metadata stored with the weights: how to build the model, its classes, and how images are read.

    segmenter, options, neck: as for `build_segmenter`; evaluation: mode, window, …, as for `tiling.predict_logits`;
    training: facts such as step, method, score (free); images: how files become what the model sees.
    """

    segmenter: str
    num_classes: int
    vocabulary: Vocabulary
    options: Mapping[str, Any] = field(default_factory=dict)
    normalization: Normalization = field(default_factory=Normalization)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    neck: str | None = None
    images: ImageReader = RGB

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Usual (width, height) of the training images, if the card tells it."""
        return as_size(self.training.get("image_size"))

    def as_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads back; it also is what a training checkpoint keeps under ``card``."""
        return {
            "segmenter": self.segmenter,
            "num_classes": self.num_classes,
            "options": {k: list(v) if isinstance(v, tuple) else v for k, v in self.options.items()},
            "vocabulary": self.vocabulary.as_json(),
            "normalization": {"mean": list(self.normalization.mean), "std": list(self.normalization.std)},
            "evaluation": dict(self.evaluation),
            "training": dict(self.training),
            **({"neck": self.neck} if self.neck else {}),
            **({"bands": self.images.as_json()} if isinstance(self.images, BandReader) else {}),
        }

    @classmethod
    def from_json(cls, data: Any, *, where: str = "the model card") -> ModelCard:
        """Inverse of `as_json`; further keys are facts of the training.

        Raises:
            WeightsError: not a card; `where` names the file.
        """
        try:
            picture = data["normalization"]
            known = cls(
                segmenter=_expect(data["segmenter"], str),
                num_classes=_expect(data["num_classes"], int),
                options=dict(data.get("options") or {}),
                vocabulary=Vocabulary.from_json(data["vocabulary"]),
                normalization=Normalization(_numbers(picture["mean"]), _numbers(picture["std"])),
                evaluation=dict(data.get("evaluation") or {}),
                neck=_expect(data["neck"], str) if data.get("neck") else None,
                images=BandReader.from_json(data["bands"]) if data.get("bands") else RGB,
            )
            if not 1 <= known.num_classes <= MOST_CLASSES:
                raise ValueError(f"num_classes is {known.num_classes}")
            if min(known.normalization.std, default=1) <= 0:
                raise ValueError(f"std is {list(known.normalization.std)}")
            further = {key: value for key, value in data.items() if key not in known.as_json()}
            return replace(known, training={**(data.get("training") or {}), **further})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, SemiovsError) as error:
            raise WeightsError(
                f"{where}: the model card cannot be read ({type(error).__name__}: {error}); "
                "the file is damaged or of another version of semiovs"
            ) from None


def as_size(value: Any) -> tuple[int, int] | None:
    """(width, height) of plain data; None for anything else."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int and v > 0 for v in value):
        return value[0], value[1]
    return None


def save_model(path: Path, segmenter: Segmenter, card: ModelCard) -> None:
    """Write weights and card as one safetensors file, atomically."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in segmenter.state_dict().items()}
    write_bytes(path, save(tensors, {_METADATA: json.dumps(card.as_json(), ensure_ascii=False, sort_keys=True)}))


def load_model(
    source: str | Path, *, which: str | None = None, device: torch.device | str = "cpu"
) -> tuple[Segmenter, ModelCard]:
    """Build the model in `source` and load its weights, in evaluation mode.

    source: a run directory (its best checkpoint, else `model.safetensors`, else its newest checkpoint), a safetensors
    file of `save_model`, a training checkpoint, a file of `semiovs export`, which is computed on the CPU, or
    ``hf:USER/NAME``. which: `student` or `ema`; None takes the EMA where there is one.

    Raises:
        WeightsError: nothing there, damaged, not ours, or without the model asked for; UsageError: `which` is neither.
    """
    if which not in (None, "student", "ema"):
        raise UsageError(f"model '{which}': there are student and ema")
    path = find_model(source)
    if path.suffix in SUFFIXES:
        return _load_exported(path, which, device)
    card, state = _read_portable(path, which) if path.suffix == ".safetensors" else _read_training(path, which)
    _refuse_another_model(path, card, state)
    segmenter = _build(path, card)
    _require_same(path, card, segmenter, state)
    _require_finite(path, state)
    segmenter.load_state_dict(state, strict=False)
    segmenter.normalization = card.normalization
    segmenter = segmenter.to(device).eval()
    segmenter.prompt(card.vocabulary)
    for key, fact in segmenter.facts().items():
        if card.training.get(key, fact) != fact:
            raise WeightsError(f"{path}: was trained with {key} encoder {card.training[key]}, but here it is {fact}")
    return segmenter, card


def _build(path: Path, card: ModelCard) -> Segmenter:
    try:
        return build_segmenter(
            card.segmenter, num_classes=card.num_classes, neck=card.neck, bands=card.images.bands, **card.options
        )
    except (UsageError, TypeError, ValueError, KeyError, AttributeError, OverflowError, ZeroDivisionError) as error:
        raise WeightsError(f"{path}: its model cannot be built by this version of semiovs: {error}") from None


def _refuse_another_model(path: Path, card: ModelCard, state: StateDict) -> None:
    """Compare shapes before memory is taken for weights; a model that cannot be built without is compared later."""
    with suppress(NotImplementedError, RuntimeError), torch.device("meta"):
        _require_same(path, card, _build(path, card), state)


def _require_same(path: Path, card: ModelCard, segmenter: Segmenter, state: StateDict) -> None:
    fit = compare(segmenter.state_dict(), state)
    if not fit.ok:
        raise WeightsError(
            f"{path}: the weights are not those of its card ({card.segmenter}, {card.num_classes} classes): {fit}"
        )


def find_model(source: str | Path) -> Path:
    """The model file of `source`: itself, the best one in a run directory, or that of ``hf:USER/NAME`` on the hub.

    Raises:
        WeightsError: there is none.
    """
    if str(source).startswith("hf:"):
        from semiovs.models.hub import fetch_model

        return fetch_model(str(source), MODEL_FILE)
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"{path}: neither a run directory nor a weight file")
    steps = sorted((path / "checkpoints").glob("step-*.pt"), key=lambda file: (len(file.name), file.name))
    for file in (path / "checkpoints" / "best.pt", path / MODEL_FILE, *reversed(steps)):
        if file.is_file():
            return file
    raise WeightsError(
        f"{path}: no checkpoints/best.pt, {MODEL_FILE} or checkpoints/step-*.pt; "
        "is it a run directory, and has the run saved a checkpoint yet?"
    )


def checksum_file(path: Path) -> Path:
    """Where the SHA-256 of a checkpoint is written."""
    return path.with_name(f"{path.name}.sha256")


def read_checkpoint(
    path: Path, map_location: str | torch.device = "cpu", *, checksum_required: bool = False
) -> dict[str, Any]:
    """Read a training checkpoint after checking the SHA-256 in ``<name>.sha256`` where that is; no code in it is run.

    checksum_required: a checkpoint without that file counts as damaged.

    Raises:
        WeightsError: missing, damaged, or not a training checkpoint.
    """
    _require_checksum(path, required=checksum_required)
    data = load_pickle(path, map_location=map_location)
    if not isinstance(data, dict) or "card" not in data or not isinstance(data.get("method"), Mapping):
        raise WeightsError(
            f"{path}: not a checkpoint of semiovs (no card); published checkpoints are converted by "
            "`semiovs convert` (in Python: semiovs.models.convert.load_reference), encoder weights belong to "
            "model.pretrained"
        )
    return data


def read_checksums(path: Path) -> set[str]:
    """The SHA-256 in the checksum file of a checkpoint: two while the file is replaced. Raises OSError."""
    lines = checksum_file(path).read_text("utf-8", errors="replace").splitlines()
    return {line.split()[0] for line in lines if line.strip()}


def _require_checksum(path: Path, *, required: bool) -> None:
    sidecar = checksum_file(path)
    if not path.is_file() or (not required and not sidecar.is_file()):
        return
    try:
        recorded = read_checksums(path)
        right = bool(recorded) and sha256_of(path) in recorded
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read with its checksum: {error}") from None
    if not right:
        raise WeightsError(f"{path}: damaged: its SHA-256 is not the one in {sidecar.name}; take another checkpoint")


def _read_training(path: Path, which: str | None) -> tuple[ModelCard, StateDict]:
    data = read_checkpoint(path)
    card = ModelCard.from_json(data["card"], where=str(path))
    models = {name: _under(data["method"], f"{name}.") for name in ("ema", "student")}
    present = [name for name, state in models.items() if state]
    if not present or (which and which not in present):
        raise WeightsError(f"{path}: holds no model '{which or 'student'}'; it holds {', '.join(present) or 'none'}")
    chosen = which or present[0]
    return replace(card, training={**card.training, "model": chosen}), models[chosen]


def _read_portable(path: Path, which: str | None) -> tuple[ModelCard, StateDict]:
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_METADATA)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged or not a safetensors file ({error}); copy or download it again") from None
    if text is None:
        raise WeightsError(
            f"{path}: not a model of semiovs (no card in it); encoder weights belong to model.pretrained, "
            "published checkpoints are converted by `semiovs convert` (in Python: "
            "semiovs.models.convert.load_reference)"
        )
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise WeightsError(f"{path}: the model card is not JSON; the file is damaged") from None
    card = ModelCard.from_json(data, where=str(path))
    _require_held(path, card, which)
    return card, read_state(path)


def _load_exported(path: Path, which: str | None, device: torch.device | str) -> tuple[Segmenter, ModelCard]:
    facts, segmenter = load_exported(path)
    card = ModelCard.from_json(facts.get("card"), where=str(path))
    _require_held(path, card, which)
    return segmenter.to(device).eval(), card


def _require_held(path: Path, card: ModelCard, which: str | None) -> None:
    held = card.training.get("model")
    if which and held and which != held:
        raise WeightsError(f"{path}: holds no model '{which}'; it holds {held}")


def _expect(value: Any, kind: type[T]) -> T:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} where {kind.__name__} belongs")
    return value


def _numbers(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or not all(type(v) in (int, float) and math.isfinite(v) for v in values):
        raise TypeError(f"{values!r:.60} where a list of numbers belongs")
    return tuple(values)


def _require_finite(path: Path, state: StateDict) -> None:
    """Raise WeightsError if a weight is NaN: such a model predicts one class everywhere, without a word."""
    bad = [name for name, value in state.items() if value.is_floating_point() and bool(torch.isnan(value).any())]
    if bad:
        raise WeightsError(
            f"{path}: {len(bad)} of {len(state)} weights are not numbers (NaN), such as {bad[0]}: the training "
            f"diverged, or the "
            "file is damaged; take an earlier checkpoint"
        )


def _under(state: Mapping[str, Any], prefix: str) -> StateDict:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
