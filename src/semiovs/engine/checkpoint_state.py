"""The content of a checkpoint: pack a learner as plain data, and restore it.

Equal states give equal bytes. Pickle writes an object that occurs twice as a reference, so equal states could differ in
bytes; `canonicalize` rebuilds them in one form.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from semiovs.config.schema import Config
from semiovs.engine.loop import SCORES, BestScore, Learner
from semiovs.errors import ConfigError, WeightsError

FORMAT = 1

#: Configuration keys that may change on resume: paths, and how often something is written.
CHANGEABLE_KEYS = (
    "run.",
    "data.root",
    "data.workers",
    "train.device",
    "train.log_every",
    "train.save_every",
    "train.keep_every",
    "train.keep_last",
    "train.keep_best",
    "train.keep_gib",
    "train.nonfinite",
    "train.max_skipped",
    "train.recompute",
)


@dataclass(frozen=True)
class CheckpointIdentity:
    """Identifies the run of a checkpoint.

    card: metadata of the weights (segmenter, classes, normalisation, evaluation, method); settings: every configuration
    key that affects results, as JSON; world_size: number of processes; data: digest of the images and masks, if known.
    """

    card: Mapping[str, Any]
    settings: Mapping[str, str]
    world_size: int = 1
    data: str = ""


def collect_settings(config: Config) -> dict[str, str]:
    """Dotted configuration keys that affect results, with their values as JSON."""
    flat = _flatten(config.model_dump(mode="json"))
    return {key: value for key, value in sorted(flat.items()) if not key.startswith(CHANGEABLE_KEYS)}


def identify_training(config: Config) -> str:
    """SHA-256 of all settings that affect results, but the seed: the same for the trainings of one arm.

    A key that is not set counts as one that there is not, so that keys of later versions change nothing.
    """
    settings = {key: text for key, text in collect_settings(config).items() if key != "train.seed" and text != "null"}
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()


def pack_rank(learner: Learner) -> dict[str, Any]:
    """State that may differ between ranks: readings, and buffers such as unsynchronised BatchNorm statistics."""
    names = {name for name, _ in learner.method.named_buffers()}
    buffers = {name: value for name, value in learner.method.state_dict().items() if name in names}
    local = canonicalize({"meter": learner.meter.state_dict(), "buffers": buffers})
    assert isinstance(local, dict)
    return local


def pack(learner: Learner, identity: CheckpointIdentity, others: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Everything needed to resume, as CPU tensors and plain values; others: `pack_rank` of ranks 1, 2, …"""
    own = pack_rank(learner)["buffers"] if others else {}
    state = {
        "format": FORMAT,
        "step": learner.step,
        "method": learner.method.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in learner.optimizers],
        "scaler": learner.scaler.state_dict(),
        "meter": learner.meter.state_dict(),
        "best": None if learner.best is None else asdict(learner.best),
        "scored": learner.scored,
        "card": {**identity.card, "step": learner.step},
        "settings": dict(identity.settings),
        "world_size": identity.world_size,
        "data": identity.data,
        "ranks": [
            {
                "meter": other["meter"],
                "buffers": {name: v for name, v in other["buffers"].items() if not torch.equal(v, own[name])},
            }
            for other in others
        ],
    }
    packed = canonicalize(state)
    assert isinstance(packed, dict)
    return packed


def restore(learner: Learner, state: Mapping[str, Any], device: torch.device, rank: int = 0) -> None:
    """Restore `learner` from the state of `pack`; a rank that did not exist then starts as rank 0, without readings.

    Raises:
        WeightsError: the weights are of another model or method.
    """
    try:
        learner.method.load_state_dict(state["method"])
        for optimizer, saved in zip(learner.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    except (RuntimeError, ValueError, KeyError) as error:
        raise WeightsError(f"the checkpoint is of another model or method: {_shorten_error(error)}") from None
    learner.scaler.load_state_dict(state["scaler"])
    ranks = [state, *state["ranks"]]
    mine = ranks[rank] if rank < len(ranks) else {"meter": []}
    learner.meter.load_state_dict(mine["meter"], device)
    learner.method.load_state_dict(mine.get("buffers", {}), strict=False)
    learner.best = None if state["best"] is None else BestScore(**state["best"])
    learner.step = int(state["step"])
    # earlier versions saved nothing before an evaluation that was due
    learner.scored = dict(state.get("scored", dict.fromkeys(SCORES, learner.step)))


def require_same_run(state: Mapping[str, Any], identity: CheckpointIdentity) -> None:
    """Require that the present configuration continues the run of a checkpoint.

    Raises:
        WeightsError: other classes, or an unknown format; ConfigError: a key that affects results differs.
    """
    if state.get("format") != FORMAT:
        raise WeightsError(
            f"the checkpoint has format {state.get('format')}, this program reads {FORMAT}; start a new run"
        )
    there, here = state["card"].get("vocabulary") or {}, identity.card.get("vocabulary") or {}
    if list(there.get("names", ())) != list(here.get("names", ())):  # concepts and colours do not affect the weights
        raise WeightsError(
            f"the checkpoint was trained on other classes ({_describe_classes(there)}) than the configuration lists "
            f"({_describe_classes(here)}); resume with the same classes, or start a new run with model.init_from"
        )
    saved = state["settings"]
    for key in sorted({*saved, *identity.settings}):
        before, now = (
            saved.get(key, "null"),
            identity.settings.get(key, "null"),
        )  # a key of another version is one not set
        if before != now:
            raise ConfigError(
                f"config: {key}: the run was started with {before}, now it is {now}; resume continues the same run, "
                "so start a new one for this (semiovs train …)"
            )


def canonicalize(value: Any) -> Any:
    """Rebuild `value` from fresh containers: sorted keys, interned strings, CPU tensors without shared storage."""
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        return tensor if whole else tensor.clone()
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (type(key).__name__, key))
        return {sys.intern(k) if isinstance(k, str) else k: canonicalize(value[k]) for k in keys}
    if isinstance(value, tuple):
        return tuple([canonicalize(item) for item in value])
    if isinstance(value, list):
        return [canonicalize(item) for item in value]
    return sys.intern(str(value)) if isinstance(value, str) else value


def _flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(value, sort_keys=True)
    return flat


def _describe_classes(vocabulary: Any) -> str:
    names = list((vocabulary or {}).get("names", ()))
    shown = ", ".join(names[:4])
    return f"{len(names)}: {shown}{', …' if len(names) > 4 else ''}"


def _shorten_error(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
