"""Strict loading of published checkpoints: every name and shape fits, or the error says what the file is instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.models import ddfp_layout, dpt_layout, sed_layout, segformer_layout, semivl_layout
from semiovs.models.segmenter import Segmenter
from semiovs.models.statedict import Fit, Renaming, StateDict, compare, first_of, rename, strip_prefix, unwrap


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a checkpoint were loaded, and which do not fit.

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
        """Whether every tensor fits and none is left over."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        problems = str(Fit(self.loaded, self.missing, self.unexpected, self.mismatched))
        return f"{self.family}: {len(self.loaded)} tensors fit{': not ' if problems else ''}{problems}"


@dataclass(frozen=True)
class Blueprint:
    """The segmenter that a checkpoint was trained on, as far as its tensors tell: arguments of `build_segmenter`."""

    segmenter: str
    num_classes: int
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """One key layout: names of the methods whose checkpoints have it, how its names become ours, and how it is
    recognised.

    rename: state dict without wrappers and DDP prefix -> the tensors under the segmenter's names; describe: the same ->
    what it is in words, or None if it is of another family; guide: the same -> the tensors of a method's frozen guide,
    where a family has one; blueprint: the same -> the segmenter to build for it, or None if that cannot be told (None:
    `semiovs convert` leaves it alone); export: state dict of a segmenter -> the published names, or None if the
    reference has no such network (None: no way back); aside: what names begin with that belong to the method beside its
    student, and are of no use without it.
    """

    methods: tuple[str, ...]
    rename: Callable[[StateDict], Renaming]
    describe: Callable[[StateDict], str | None]
    blueprint: Callable[[StateDict], Blueprint | None] | None = field(default=None, kw_only=True)
    export: Callable[[StateDict], StateDict | None] | None = field(default=None, kw_only=True)
    guide: Callable[[StateDict], StateDict] | None = field(default=None, kw_only=True)
    aside: tuple[str, ...] = field(default=(), kw_only=True)


def load_reference(module: nn.Module, state_dict: Mapping[str, Any], *, family: str, strict: bool = True) -> LoadReport:
    """Load a published checkpoint of `family` into a segmenter, or into a method: its student, and its heads if the
    file has any.

    state_dict: the tensors, or the training program's dict with them under ``model``; a DDP prefix is taken off and
    counters of BatchNorm may be absent. With `strict` nothing is loaded unless everything fits. A method's frozen guide
    takes the file's, where it holds one. An EMA teacher is not touched: load before the method is built, so that its
    teacher starts as a copy.

    Raises:
        UsageError: unknown family; WeightsError: not a state dict, or one that does not fit (`strict`).
    """
    name, row = family_of(family)
    target = _target(module)
    plain = _plain(state_dict)
    renaming = row.rename(plain)
    state: StateDict = renaming
    expected = {key: value for key, value in target.state_dict().items() if key not in target.prompted}
    if target is module:
        state = {key: value for key, value in state.items() if not (row.aside and key.startswith(row.aside))}
    else:
        expected |= {
            key: value for key, value in module.state_dict().items() if row.aside and key.startswith(row.aside)
        }
    fit = compare(expected, state)
    changes = tuple(f"{old} -> {new}" for new in state if (old := renaming.sources[new]) != new)
    report = LoadReport(name, fit.matched, fit.missing, fit.unexpected, fit.mismatched, changes)
    if strict and not report.ok:
        raise WeightsError(_explain(report, plain, expected))
    for owner in dict.fromkeys((target, module) if row.aside else (target,)):
        owner.load_state_dict({key: state[key] for key in fit.matched}, strict=False)
    if row.guide and (tensors := row.guide(plain)):
        _give_guide(module, tensors)
    return report


def detect_family(state_dict: Mapping[str, Any]) -> str | None:
    """What a checkpoint is, in words (``resnet101s DeepLabV3+ checkpoint with 21 classes``); None if no family knows
    it.
    """
    state = _plain(state_dict)
    name = recognise(state)
    if name is not None:
        return FAMILIES[name].describe(state)
    encoder = _resnet(state, "") or _xception(state, "") or dpt_layout.encoder(state, "")
    encoder = encoder or segformer_layout.encoder(state, "")
    return f"bare {encoder} encoder (for model.pretrained)" if encoder else None


def recognise(state_dict: Mapping[str, Any]) -> str | None:
    """Name of the family that a checkpoint is of (a key of `FAMILIES`); None if no family knows it."""
    state = _plain(state_dict)
    return next((name for name, row in FAMILIES.items() if row.describe(state) is not None), None)


def family_of(name: str) -> tuple[str, Family]:
    """The family called `name`, or that of the method `name`.

    Raises:
        UsageError: there is none.
    """
    for family, row in FAMILIES.items():
        if name == family or name in row.methods:
            return family, row
    known = [label for family, row in FAMILIES.items() for label in (family, *row.methods)]
    raise UsageError(f"checkpoint family '{name}' is not known{did_you_mean(name, known)}")


def _keep_names(state: StateDict) -> Renaming:
    """The published names are ours."""
    return rename(state, str)


def _describe_deeplabv3plus(state: StateDict) -> str | None:
    head, classifier = "head.b0.0.weight", state.get("classifier.weight")
    if head not in state or classifier is None:
        return None
    encoder = _resnet(state, "backbone.") or _xception(state, "backbone.")
    return f"{f'{encoder} ' if encoder else ''}DeepLabV3+ checkpoint with {classifier.shape[0]} classes"


def _blueprint_deeplabv3plus(state: StateDict) -> Blueprint | None:
    """Encoder and classes. Output stride and dilations leave no trace in the weights: 16 and 6, 12, 18, as
    published.
    """
    encoder = _resnet(state, "backbone.") or _xception(state, "backbone.")
    if encoder is None:
        return None
    return Blueprint("deeplabv3plus", state["classifier.weight"].shape[0], {"encoder": encoder})


def _export_deeplabv3plus(state: StateDict) -> StateDict | None:
    """The same names, if the reference programs have that encoder and width."""
    known = _describe_deeplabv3plus(state) is not None and _blueprint_deeplabv3plus(state) is not None
    return state if known and state["head.b0.0.weight"].shape[0] == _PUBLISHED_WIDTH else None


def _blueprint_unimatch_v2(state: StateDict) -> Blueprint | None:
    """DINOv2 or DINOv3 by timm's name, and classes."""
    family, _, size = (dpt_layout.encoder(state, "backbone.") or "").lower().partition("-")
    name = {"s": "small", "b": "base", "l": "large", "g": "giant"}.get(size)
    if name is None:
        return None
    registers = "_reg4" if family == "dinov2" and "backbone.reg_token" in state else ""
    encoder = f"vit_{name}_patch{14 if family == 'dinov2' else 16}{registers}_{family}"
    return Blueprint("dpt", state["head.scratch.output_conv.2.weight"].shape[0], {"encoder": encoder})


#: Channels of the published decoder.
_PUBLISHED_WIDTH = 256


def _describe_corrmatch(state: StateDict) -> str | None:
    plain = _describe_deeplabv3plus(state)
    return f"CorrMatch's {plain}" if plain and "corr.conv1.weight" in state else None


#: Key layouts, the special before the general. A new family is one function that renames, one that recognises, and a
#: row.
FAMILIES: dict[str, Family] = {
    "corrmatch": Family((), _keep_names, _describe_corrmatch, aside=("corr.", "proj.")),
    "deeplabv3plus": Family(
        ("supervised", "fixmatch", "unimatch", "prevmatch", "semiovs"), _keep_names, _describe_deeplabv3plus,
        blueprint=_blueprint_deeplabv3plus, export=_export_deeplabv3plus,
    ),
    "unimatch_v2": Family(
        ("unimatch-v2",), dpt_layout.to_segmenter, dpt_layout.describe, blueprint=_blueprint_unimatch_v2
    ),
    "allspark": Family((), segformer_layout.to_method, segformer_layout.describe, aside=("memory.",)),
    "ddfp": Family((), ddfp_layout.to_segmenter, ddfp_layout.describe),
    "sed": Family((), sed_layout.to_segmenter, sed_layout.describe),
    "semivl": Family((), semivl_layout.to_segmenter, semivl_layout.describe, guide=semivl_layout.guide_of),
}  # fmt: skip


def _target(module: nn.Module) -> Segmenter:
    student = getattr(module, "student", module)
    if not isinstance(student, Segmenter):
        raise UsageError(f"a checkpoint is loaded into a Segmenter or a Method, not into {type(module).__name__}")
    return student


def _give_guide(module: nn.Module, tensors: StateDict) -> None:
    take = getattr(getattr(module, "guide", None), "take", None)
    if take is not None:  # a segmenter alone has no guide
        take(tensors)


def _plain(state_dict: Mapping[str, Any]) -> StateDict:
    return strip_prefix(unwrap(state_dict, where="the checkpoint"), "module.")


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
