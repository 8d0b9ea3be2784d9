"""Published checkpoints as files: read into a segmenter of ours, and written so that the reference programs read
them.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.files import write_bytes
from semiovs.models import Segmenter, build_segmenter
from semiovs.models.convert import FAMILIES, Blueprint, LoadReport, detect_family, family_of, load_reference, recognise
from semiovs.models.statedict import StateDict, first_of, load_pickle, read_state, strip_prefix, unwrap


@dataclass(frozen=True, eq=False)
class Imported:
    """A published checkpoint, loaded. blueprint: how its segmenter is built; what: the checkpoint in words."""

    segmenter: Segmenter
    blueprint: Blueprint
    report: LoadReport
    what: str


def read_published(
    path: Path, *, family: str | None = None, key: str | None = None, options: Mapping[str, Any] | None = None
) -> Imported:
    """Build the segmenter that the checkpoint in `path` is of, and load it strictly.

    family: a key of `FAMILIES` or a method's name, None: as recognised; key: the entry of the file to take
    (``model_ema``), None: the model; options: of the segmenter, beside what the tensors tell.

    Raises:
        WeightsError: missing, damaged, of no known or another family; UsageError: no such family, key or option.
    """
    state = strip_prefix(_read_entry(path, key), "module.")
    found = recognise(state)
    if found is None:
        raise WeightsError(f"{path}: {_describe_unknown(state)}")
    name, row = family_of(family or found)
    if name != found:
        raise WeightsError(f"{path}: this looks like a {detect_family(state)}, not like family '{name}'")
    blueprint = row.blueprint(state) if row.blueprint is not None else None
    if blueprint is None:
        raise WeightsError(
            f"{path}: this looks like a {detect_family(state)}, which is not converted: give the file itself where it "
            f"is wanted"
        )
    blueprint = replace(blueprint, options={**blueprint.options, **(options or {})})
    segmenter = build_segmenter(blueprint.segmenter, num_classes=blueprint.num_classes, **blueprint.options)
    try:
        report = load_reference(segmenter, state, family=name)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    return Imported(segmenter.eval(), blueprint, report, detect_family(state) or name)


def write_published(path: Path, segmenter: Segmenter, *, ddp: bool = False) -> str:
    """Write ``{"model": …}`` with the published names, atomically; returns the family.

    ddp: names begin with ``module.``, as programs save that wrap their model for several processes.

    Raises:
        UsageError: there is no published layout for this segmenter.
    """
    own: StateDict = {name: value.detach().cpu().contiguous().clone() for name, value in segmenter.state_dict().items()}
    for name, row in FAMILIES.items():
        state = None if row.export is None else row.export(own)
        if state is not None:
            data = {f"module.{key}" if ddp else key: value for key, value in state.items()}
            buffer = io.BytesIO()
            torch.save({"model": data}, buffer)
            write_bytes(path, buffer.getvalue())
            return name
    known = ", ".join(name for name, row in FAMILIES.items() if row.export is not None)
    raise UsageError(f"this segmenter has no published layout to be exported to; there are: {known}")


def _read_entry(path: Path, key: str | None) -> StateDict:
    if key is None:
        return read_state(path)
    data = load_pickle(path)
    if not isinstance(data, Mapping) or not isinstance(data.get(key), Mapping):
        known = (
            [name for name, value in data.items() if isinstance(value, Mapping)] if isinstance(data, Mapping) else []
        )
        raise UsageError(f"{path}: has no entry '{key}'{did_you_mean(key, known)}")
    return unwrap(data[key], where=f"{path}, {key}")


def _describe_unknown(state: Mapping[str, Tensor]) -> str:
    what = detect_family(state)
    if what is not None:
        return f"this looks like a {what}; nothing to convert"
    return (
        f"a checkpoint of no family that is known; its first names are {first_of(state)}; families: "
        f"{', '.join(FAMILIES)}"
    )
