"""Models of transformers with their processors, from a directory or the hub; the code in a model's files is never run.

transformers (extra `hf`) is imported when a model is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from semiovs.env import weights_dir
from semiovs.errors import MissingExtraError, SemiovsError, UsageError, WeightsError
from semiovs.models.hub import hub
from semiovs.models.statedict import first_of

#: A model's name on the hub.
_ON_HUB = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def load_parts(source: str, kinds: Mapping[str, tuple[str, ...]], *, teacher: str) -> tuple[str, list[Any]]:
    """The type of the model in `source` and its parts: the model, in float32 on the CPU, then its processors.

    source: a directory, the name of one in the weights directory, or of a model on the hub, for which a directory of
    the weights directory stands in that is called like its last part. kinds: model type, as its ``config.json`` gives
    it -> names of transformers' classes, that of the model first. teacher: that asks, for messages.

    Raises:
        UsageError: a model of a type that is not in `kinds`; WeightsError: it cannot be had, or lacks tensors;
        MissingExtraError: transformers is not installed, or too old for the model.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtraError(f"teacher '{teacher}' needs transformers; pip install 'semiovs[hf]'") from None
    source = _find_directory(source)
    try:
        with hub(), _silence(transformers):
            kind = _read_kind(transformers, source)
            if kind not in kinds:
                raise UsageError(f"{source}: a model of type '{kind}'; teacher '{teacher}' knows {', '.join(kinds)}")
            if lacking := [name for name in kinds[kind] if not hasattr(transformers, name)]:
                raise MissingExtraError(f"{source}: this transformers has no {lacking[0]}; pip install -U transformers")
            first, *others = (getattr(transformers, name) for name in kinds[kind])
            model, info = first.from_pretrained(source, dtype=torch.float32, output_loading_info=True)
            parts = [model, *(other.from_pretrained(source, trust_remote_code=False) for other in others)]
    except SemiovsError:
        raise
    except Exception as error:  # transformers raises whatever its files and the hub's client raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(" .")
        raise WeightsError(
            f"teacher '{teacher}': {source}: cannot be loaded: {reason}; --weights takes a directory with config.json, "
            "model.safetensors, preprocessor_config.json and the tokenizer's files, or a name on the hub"
        ) from None
    if missing := sorted(info["missing_keys"]):  # transformers would use random weights
        raise WeightsError(f"{source}: weights of {kinds[kind][0]} lack {len(missing)} tensors ({first_of(missing)})")
    return kind, parts


def _find_directory(source: str) -> str:
    """The directory that `source` means; itself if there is none."""
    places = [Path(source).expanduser(), weights_dir() / source]
    if _ON_HUB.fullmatch(source):
        places.append(weights_dir() / source.partition("/")[2])
    return next((str(folder) for folder in places if folder.is_dir()), source)


def _read_kind(transformers: Any, source: str) -> str:
    """The model type that stands in ``config.json``; which classes belong to it, only newer releases may know."""
    kind = transformers.PretrainedConfig.get_config_dict(source)[0].get("model_type")
    if not isinstance(kind, str):
        raise ValueError("no config.json that tells the type of a model")
    return kind


@contextmanager
def _silence(transformers: Any) -> Iterator[None]:
    """Context in which transformers logs errors only, without progress bars."""
    settings = transformers.utils.logging
    level, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(level)
        if bars:
            settings.enable_progress_bar()
