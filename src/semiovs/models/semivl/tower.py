"""CLIP's image tower as SemiVL starts from it: by name, with its published weights, a file's, or none."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semiovs.env import weights_dir
from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.models.clip_vit import DenseClipViT, as_semivl, clip_library, fit_positions
from semiovs.models.encoders import build_encoder
from semiovs.models.segmenter import Normalization
from semiovs.models.semivl_layout import to_tower
from semiovs.models.statedict import compare, read_state, strip_prefix
from semiovs.models.weight_catalog import find_file

#: A tower of 0.2 M parameters with patches of 8 pixels, for tests and for learning from nothing on a CPU.
TINY = "tiny"
ACTIVATIONS = ("gelu", "quickgelu")
#: Tag of open_clip whose weights `pretrained=True` means.
PUBLISHED = "openai"


def open_tower(
    encoder: str,
    *,
    image_size: int,
    taps: tuple[int, ...] = (),
    pretrained: bool | str = False,
    act: str = "gelu",
    ln_eps: float = 1e-6,
) -> DenseClipViT:
    """Dense image tower of the open_clip model `encoder`, or `tiny`.

    image_size: side of the squares that its position table is resized for; pretrained: False; True for OpenAI's weights
    (a file called `encoder` in `SEMIOVS_WEIGHTS_DIR`, the hub's cache or the hub); a file (a CLIP model, its image
    tower alone, or the converted one of SemiVL) or a pretrained tag. The rest as for `as_semivl`.

    Raises:
        UsageError: no such model, one without a plain ViT, or values that cannot be.
        WeightsError: weights that are missing or of another model.
    """
    if act not in ACTIVATIONS:
        raise UsageError(f"model.act: '{act}' is not known{did_you_mean(act, ACTIVATIONS)}")
    tower = _with_weights(encoder, pretrained) if pretrained else _bare(encoder)
    dense = DenseClipViT(as_semivl(tower, act=act, ln_eps=ln_eps), taps)
    side = image_size // dense.patch
    if side < 1:
        raise UsageError(f"model.image_size {image_size}: must be at least a patch of {encoder}, {dense.patch} pixels")
    fit_positions(dense.tower, (side, side))
    return dense


def _bare(encoder: str) -> Any:
    """The image tower with random weights."""
    open_clip = clip_library()
    make = open_clip.transformer.VisionTransformer
    if encoder == TINY:
        return make(64, 8, width=64, layers=3, heads=4, mlp_ratio=4, output_dim=64)
    config = open_clip.get_model_config(encoder)
    if config is None:
        near = did_you_mean(encoder, [TINY, *open_clip.list_models()])
        raise UsageError(f"encoder '{encoder}' is not known to open_clip{near if near.startswith(' (did') else ''}")
    vision = {"mlp_ratio": 4.0, "head_width": 64, **config["vision_cfg"]}
    width, head_width = vision.pop("width", 0), vision.pop("head_width")
    if set(vision) != {"image_size", "layers", "patch_size", "mlp_ratio"} or not isinstance(vision["layers"], int):
        raise UsageError(f"encoder '{encoder}': dense features are read from CLIP's plain ViTs only, like ViT-B-16")
    return make(width=width, heads=width // head_width, output_dim=int(config["embed_dim"]), **vision)


def _with_weights(encoder: str, pretrained: bool | str) -> Any:
    from semiovs.models.text.clip import open_model

    file = weights_of(encoder, pretrained)
    if isinstance(file, Path):
        tower = _bare(encoder)
        state = to_tower(strip_prefix(read_state(file), "module."))
        fit = compare(tower.state_dict(), state)
        if not fit.ok:
            raise WeightsError(f"{file}: not weights of the image tower of CLIP {encoder}: {fit}")
        tower.load_state_dict(state, strict=False)
        return tower
    if encoder == TINY:
        raise WeightsError("encoder 'tiny' has no published weights; set model.pretrained to a file, or to false")
    try:
        return open_model(encoder, file).visual
    except WeightsError as error:
        raise WeightsError(f"{error} ({where_to_put(encoder, file)})") from None


def weights_of(encoder: str, given: bool | str | None) -> Path | str:
    """What `pretrained` (or `text_weights`) means: a file that is there, or a tag of open_clip."""
    name = encoder if given in (True, None) else str(given)
    file = find_file(str(weights_dir() / name) if given in (True, None) else name)
    return file or (PUBLISHED if given in (True, None) else name)


def where_to_put(encoder: str, tag: str) -> str:
    """Which file has the weights `tag`, and where it is looked for."""
    source = str((clip_library().get_pretrained_cfg(encoder, tag) or {}).get("hf_hub") or "").rstrip("/")
    file = f"open_clip_model.safetensors of {source} on the hub" if source else f"the weights of {encoder}"
    return (
        f"put {file} into {weights_dir()} (SEMIOVS_WEIGHTS_DIR) as {encoder}.safetensors, or set model.pretrained=FILE"
    )


class Stem(nn.Module):
    """First stage of a timm ResNet, for fine detail: image (B, 3, H, W) -> (B, channels, H/4, W/4).

    Raises:
        UsageError: an encoder that cannot be had; WeightsError: its weights (`pretrained`) are missing.
    """

    def __init__(self, name: str, *, pretrained: bool) -> None:
        super().__init__()
        import timm

        whole = build_encoder(name, output_stride=32, pretrained=pretrained)
        if not hasattr(whole.module, "layer1"):
            raise UsageError(f"model.stem: '{name}' is no ResNet, like resnet101c")
        self.body = timm.create_model(name, features_only=True, out_indices=(1,))
        have = whole.module.state_dict()
        self.body.load_state_dict({key: have[key] for key in self.body.state_dict()})
        self.channels = whole.channels[0]

    def forward(self, image: Tensor) -> Tensor:
        """The map at stride 4."""
        (found,) = self.body(image)
        return found  # type: ignore[no-any-return]


def renormalize(image: Tensor, given: Normalization, wanted: Normalization) -> Tensor:
    """Image normalised by `given` -> the same image normalised by `wanted`."""
    scale, shift = _change(given, wanted, image.device, image.dtype)
    return image * scale + shift


@lru_cache(maxsize=8)
def _change(
    given: Normalization, wanted: Normalization, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Factor and summand (3, 1, 1), made once: making them each step would wait for the device each step."""
    mean, std, mean_to, std_to = (
        torch.tensor(values, dtype=torch.float64).view(3, 1, 1)
        for values in (given.mean, given.std, wanted.mean, wanted.std)
    )
    return (std / std_to).to(device, dtype), ((mean - mean_to) / std_to).to(device, dtype)
