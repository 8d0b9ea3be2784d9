"""What a file tells about itself: classes, pixels, sizes, origin, licences."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from semiovs.config import load_config
from semiovs.engine.checkpoint_state import identify_training
from semiovs.errors import SemiovsError
from semiovs.export.request import ExportRequest
from semiovs.export.size_rule import SizeRule
from semiovs.files import sha256_of
from semiovs.images.conventions import IGNORE
from semiovs.images.readers import BandReader
from semiovs.models.exported.runtime import CONFIDENCE, IMAGE, LABELS, LOGITS, MARK
from semiovs.models.exported.segmenter import BANDS, BYTES, RAW
from semiovs.models.weights import ModelCard
from semiovs.run_page.origins import list_weights

_INPUTS = {
    BYTES: ("uint8", "batch, height, width, RGB"),
    BANDS: ("float32", "batch, height, width, bands in [0, 1]"),
    RAW: ("float32", "batch, channels, height, width, normalised"),
}
_OUTPUTS = {LABELS: "uint8", CONFIDENCE: "float32", LOGITS: "float32"}


def make_facts(
    request: ExportRequest, card: ModelCard, rule: SizeRule, *, weights: Path, kind: str, run: Path | None
) -> dict[str, Any]:
    """The facts of a file, but for its parity: plain data."""
    outputs = [LOGITS] if request.raw else [LABELS, CONFIDENCE]
    dtype, axes = _INPUTS[kind]
    own = {**card.as_json(), "evaluation": dict(rule.outside)}
    return {
        MARK: _find_version(),
        "format": request.to,
        "precision": request.precision,
        "opset": None if request.to == "torch" else request.opset,
        "classes": list(card.vocabulary.names),
        "colors": [list(color) for color in card.vocabulary.shown_colors],
        "ignore": IGNORE,
        "mean": list(card.normalization.mean),
        "std": list(card.normalization.std),
        "input": {"name": IMAGE, "kind": kind, "type": dtype, "axes": axes, "bands": _describe_bands(card)},
        "outputs": outputs,
        "output_types": [_OUTPUTS[name] for name in outputs],
        "size": None if rule.fixed is None else list(rule.fixed),
        "multiple": rule.multiple,
        "size_rule": rule.describe(),
        "licences": find_licences(run),
        "run": describe_run(run),
        "weights": weights.name,
        "weights_sha256": sha256_of(weights),
        "card": own,
    }


def _find_version() -> str:
    try:
        return metadata.version("semiovs")
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "not installed"


def find_licences(run: Path | None) -> dict[str, str]:
    """What the run starts from or learns from -> what is known of the licence of these weights; empty without a run."""
    try:
        return {} if run is None else dict(list_weights(load_config(str(run)).config))
    except SemiovsError:  # a configuration that this version does not read
        return {}


def describe_run(run: Path | None) -> dict[str, Any] | None:
    """The training that a file is of, without a word of what it learnt from: its seed, and a hash of its settings, by
    which `semiovs compare` pairs files with runs.
    """
    try:
        config = None if run is None else load_config(str(run)).config
    except SemiovsError:  # a configuration that this version does not read
        return None
    return None if config is None else {"seed": config.train.seed, "settings_sha256": identify_training(config)}


def _describe_bands(card: ModelCard) -> dict[str, Any] | None:
    return card.images.as_json() if isinstance(card.images, BandReader) else None
