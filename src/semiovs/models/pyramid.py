"""Encoders that give a pyramid of maps at strides 4, 8, 16 and 32: MiT (SegFormer's), and timm's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from torch import Tensor, nn

from semiovs.env import weights_dir
from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.models.encoders import published_weights
from semiovs.models.hub import explain_failure, hub
from semiovs.models.pretrained import load_encoder
from semiovs.models.segmenter import Normalization
from semiovs.models.statedict import StateDict
from semiovs.models.weight_catalog import find_file

STRIDES = (4, 8, 16, 32)
#: Channels of the four maps, and blocks of the four stages (Xie et al. 2021, table 6).
_MIT: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "mit_b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "mit_b1": ((64, 128, 320, 512), (2, 2, 2, 2)),
    "mit_b2": ((64, 128, 320, 512), (3, 4, 6, 3)),
    "mit_b3": ((64, 128, 320, 512), (3, 4, 18, 3)),
    "mit_b4": ((64, 128, 320, 512), (3, 8, 27, 3)),
    "mit_b5": ((64, 128, 320, 512), (3, 6, 40, 3)),
}
#: Of its stochastic depth, over all blocks from 0 to this.
_DROP_PATH = 0.1


@dataclass(frozen=True)
class Pyramid:
    """A built encoder. module: image (B, 3, H, W) -> maps of `channels`, of sides ⌈H/4⌉ … ⌈H/32⌉, finest first."""

    module: nn.Module
    channels: tuple[int, ...]
    normalization: Normalization


class MixTransformer(PyramidVisionTransformerV2):
    """MiT is timm's PVT v2 with MLPs of ratio 4 (AllSpark spec, section 2: the same tensors, the same epsilons)."""

    def __init__(self, channels: tuple[int, ...], depths: tuple[int, ...]) -> None:
        super().__init__(
            num_classes=0,
            depths=depths,
            embed_dims=channels,
            num_heads=(1, 2, 5, 8),
            mlp_ratios=(4, 4, 4, 4),
            drop_path_rate=_DROP_PATH,
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four maps, each after the norm of its stage."""
        x, maps = self.patch_embed(image), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


def build_pyramid(name: str, *, pretrained: bool | str = False) -> Pyramid:
    """The encoder called `name`: `mit_b0` … `mit_b5`, or one of timm's with maps at strides 4, 8, 16 and 32.

    pretrained: False; True (`SEMIOVS_WEIGHTS_DIR`, the hub's cache or the hub; MiT's ImageNet weights carry NVIDIA's
    licence for research alone); a file (of MiT as published, or timm's); or a name in `SEMIOVS_WEIGHTS_DIR`.

    Raises:
        UsageError: unknown, or without these maps; WeightsError: weights that are missing or of another network.
    """
    if name in _MIT:
        mit = MixTransformer(*_MIT[name])
        if pretrained:
            file = pretrained if isinstance(pretrained, str) else _mit_weights(name)
            load_encoder(mit, file, encoder=name, rename=mit_names)
        return Pyramid(mit, _MIT[name][0], Normalization())
    make = _timm(name)
    module = make()
    if pretrained is True:
        module = published_weights(make, module, name)
    elif pretrained:
        load_encoder(module, pretrained, encoder=name)
    channels = tuple(int(c) for c in module.feature_info.channels())
    picture = module.pretrained_cfg
    return Pyramid(module, channels, Normalization(tuple(picture["mean"]), tuple(picture["std"])))


def mit_names(state: StateDict) -> StateDict:
    """The same tensors under timm's names (see `mit_name`)."""
    return {mit_name(name): value for name, value in state.items()}


def mit_name(name: str) -> str:
    """A name of MiT as published (also in segmentation-models-pytorch) -> timm's; one that is timm's already stays."""

    def stage(inner: str) -> Callable[[re.Match[str]], str]:
        return lambda found: f"stages.{int(found[1]) - 1}.{inner}"

    name = re.sub(r"^patch_embed1\.", "patch_embed.", name)
    name = re.sub(r"^patch_embed([2-4])\.", stage("downsample."), name)
    name = re.sub(r"^block([1-4])\.", stage("blocks."), name)
    name = re.sub(r"^norm([1-4])\.", stage("norm."), name)
    return name.replace(".dwconv.dwconv.", ".dwconv.")


def pyramid_names() -> list[str]:
    """Every name that may be tried, ours first; not each of timm's has the four maps."""
    return [*_MIT, *timm.list_models()]


def _timm(name: str) -> Callable[..., Any]:
    """What builds a timm encoder with the four maps alone."""
    if not timm.is_model(name):
        raise UsageError(f"encoder '{name}' is not known{did_you_mean(name, pyramid_names())}")
    try:
        module: Any = timm.create_model(name, features_only=True)
        reductions = [int(r) for r in module.feature_info.reduction()]
    except (TypeError, AssertionError, NotImplementedError, RuntimeError, AttributeError):
        module, reductions = None, []
    wanted = [i for i, reduction in enumerate(reductions) if reduction in STRIDES]
    channels_first = str(getattr(module, "output_fmt", None) or "NCHW") in ("NCHW", "Format.NCHW")
    if [reductions[i] for i in wanted] != list(STRIDES) or not channels_first:
        raise UsageError(
            f"encoder '{name}' does not give maps at strides 4, 8, 16 and 32; use mit_b0 … mit_b5, or one such as "
            f"resnet50"
        )
    return partial(timm.create_model, name, features_only=True, out_indices=wanted)


def _mit_weights(name: str) -> str:
    """MiT's ImageNet weights: a file in the weights directory, else the hub or its cache."""
    from huggingface_hub import hf_hub_download

    if find_file(name):
        return name
    repository = f"smp-hub/{name}.imagenet"
    try:
        with hub():
            return str(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # the hub's client raises many kinds: offline, proxy, missing, damaged
        raise WeightsError(
            f"weights of encoder '{name}' could not be had: {explain_failure(error)}; download "
            f"huggingface.co/{repository} (model.safetensors) and set model.pretrained=FILE, or put it into "
            f"{weights_dir()} (SEMIOVS_WEIGHTS_DIR) as {name}.safetensors"
        ) from None
