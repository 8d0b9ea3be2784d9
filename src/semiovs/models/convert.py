"""Published checkpoints, strictly: every name and shape fits, or the report says what the file is instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.models import dpt_layout
from semiovs.models.sed import layout
from semiovs.models.segmenter import Segmenter
from semiovs.models.statedict import Fit, StateDict, compare, first_of, strip_prefix, unwrap


@dataclass(frozen=True)
class LoadReport:
    """What became of a checkpoint.

    loaded, missing, unexpected: names; mismatched: name and both shapes; renamed: ``old -> new``.
    """

    family: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    renamed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Every tensor found its place and none is left over."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        problems = str(Fit(self.loaded, self.missing, self.unexpected, self.mismatched))
        return f"{self.family}: {len(self.loaded)} tensors fit{': not ' if problems else ''}{problems}"


@dataclass(frozen=True)
class Family:
    """One key layout: names of the methods whose checkpoints have it, how its names become ours, and how it is recognised.

    rename: state dict without wrappers and DDP prefix -> state dict with the segmenter's names;
    describe: the same -> what it is in words, or None if it is of another family;
    aside: what names begin with that belong to the method beside its student, and are of no use without it.
    """

    methods: tuple[str, ...]
    rename: Callable[[StateDict], StateDict]
    describe: Callable[[StateDict], str | None]
    aside: tuple[str, ...] = ()


def load_reference(module: nn.Module, state_dict: Mapping[str, Any], *, family: str, strict: bool = True) -> LoadReport:
    """Load a published checkpoint of `family` into a segmenter, or into a method: its student, and its heads if the file has any.

    state_dict: the tensors, or the training program's dict with them under ``model``; a DDP prefix is taken off and counters of
    BatchNorm may be absent. With `strict` nothing is loaded unless everything fits. An EMA teacher is not touched: load before
    the method is built, so that its teacher starts as a copy.

    Raises:
        UsageError: unknown family; WeightsError: not a state dict, or one that does not fit (`strict`).
    """
    name, row = _family(family)
    target = _target(module)
    state = row.rename(plain := _plain(state_dict))
    expected = target.state_dict()
    if target is module:
        state = {key: value for key, value in state.items() if not (row.aside and key.startswith(row.aside))}
    else:
        expected |= {
            key: value for key, value in module.state_dict().items() if row.aside and key.startswith(row.aside)
        }
    fit = compare(expected, state)
    report = LoadReport(name, fit.matched, fit.missing, fit.unexpected, fit.mismatched, _renamed(plain, state))
    if strict and not report.ok:
        raise WeightsError(_explain(report, plain, expected))
    for owner in dict.fromkeys((target, module)):
        owner.load_state_dict({key: state[key] for key in fit.matched}, strict=False)
    return report


def detect_family(state_dict: Mapping[str, Any]) -> str | None:
    """What a checkpoint is, in words (``resnet101s DeepLabV3+ checkpoint with 21 classes``); None if no family knows it."""
    state = _plain(state_dict)
    for row in FAMILIES.values():
        description = row.describe(state)
        if description is not None:
            return description
    encoder = _resnet(state, "") or _xception(state, "") or dpt_layout.encoder(state, "")
    return f"bare {encoder} encoder (for model.pretrained)" if encoder else None


def _deeplabv3plus(state: StateDict) -> StateDict:
    """The published names are ours."""
    return state


def _describe_deeplabv3plus(state: StateDict) -> str | None:
    head, classifier = "head.b0.0.weight", state.get("classifier.weight")
    if head not in state or classifier is None:
        return None
    encoder = _resnet(state, "backbone.") or _xception(state, "backbone.")
    return f"{f'{encoder} ' if encoder else ''}DeepLabV3+ checkpoint with {classifier.shape[0]} classes"


def _describe_corrmatch(state: StateDict) -> str | None:
    plain = _describe_deeplabv3plus(state)
    return f"CorrMatch's {plain}" if plain and "corr.conv1.weight" in state else None


#: Key layouts, the special before the general. A new family is one function that renames, one that recognises, and a row.
FAMILIES: dict[str, Family] = {
    "corrmatch": Family((), _deeplabv3plus, _describe_corrmatch, aside=("corr.", "proj.")),
    "deeplabv3plus": Family(
        ("supervised", "fixmatch", "unimatch", "prevmatch", "semiovs"), _deeplabv3plus, _describe_deeplabv3plus
    ),
    "unimatch_v2": Family(("unimatch-v2",), dpt_layout.to_segmenter, dpt_layout.describe),
    "sed": Family((), layout.to_segmenter, layout.describe),
}  # fmt: skip


def _family(name: str) -> tuple[str, Family]:
    for family, row in FAMILIES.items():
        if name == family or name in row.methods:
            return family, row
    known = [label for family, row in FAMILIES.items() for label in (family, *row.methods)]
    raise UsageError(f"checkpoint family '{name}' is not known{did_you_mean(name, known)}")


def _target(module: nn.Module) -> Segmenter:
    student = getattr(module, "student", module)
    if not isinstance(student, Segmenter):
        raise UsageError(f"a checkpoint is loaded into a Segmenter or a Method, not into {type(module).__name__}")
    return student


def _plain(state_dict: Mapping[str, Any]) -> StateDict:
    return strip_prefix(unwrap(state_dict, where="the checkpoint"), "module.")


def _renamed(before: StateDict, after: StateDict) -> tuple[str, ...]:
    """Which names changed; a family keeps the tensors themselves, so they tell what went where."""
    names = {id(value): name for name, value in before.items()}
    pairs = ((names.get(id(value), "(made)"), name) for name, value in after.items())
    return tuple(f"{old} -> {new}" for old, new in pairs if old != new)


def _explain(report: LoadReport, state: StateDict, expected: Mapping[str, Tensor]) -> str:
    found, wanted = detect_family(state), detect_family(expected)
    if found and wanted and found != wanted:
        return f"this looks like a {found}; the model is a {wanted} ({report})"
    if found is None:
        return f"this is no {report.family} checkpoint; its first names are {first_of(state)} ({report})"
    return f"the checkpoint does not fit: {report}"


def _resnet(state: Mapping[str, Tensor], prefix: str) -> str | None:
    """Name of a deep-stem bottleneck ResNet by its number of blocks."""
    if f"{prefix}conv1.0.weight" not in state or f"{prefix}layer1.0.conv3.weight" not in state:
        return None
    pattern = re.compile(re.escape(prefix) + r"layer[1-4]\.\d+\.conv3\.weight")
    depth = 3 * sum(bool(pattern.fullmatch(name)) for name in state) + 2
    return f"resnet{depth}s"


def _xception(state: Mapping[str, Tensor], prefix: str) -> str | None:
    return "xception65" if f"{prefix}block20.sepconv1.depthwise.weight" in state else None
