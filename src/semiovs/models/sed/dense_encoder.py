"""Image encoders that give a feature per pixel in the space of the texts: a CLIP tower with its head, or any timm
encoder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from semiovs.errors import UsageError
from semiovs.models.clip_vit import clip_library
from semiovs.models.encoders import build_encoder
from semiovs.models.segmenter import Normalization
from semiovs.models.small_encoder import SmallEncoder

#: Mean and deviation of the images all CLIP models were trained with.
CLIP_NORMALIZATION = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
#: Name of an encoder that is the image tower of an open_clip model: this and the model's name.
CLIP_PREFIX = "open_clip/"


class Dense(NamedTuple):
    """What the aggregator reads of an image.

    features: (B, dim, h, w); guides: maps with twice, four, … times its sides, one for each stage of the aggregator.
    """

    features: Tensor
    guides: tuple[Tensor, ...]


class DenseEncoder(nn.Module, ABC):
    """Image (B, 3, H, W), normalised as it asks for, sides multiples of `stride` -> `Dense` with h = H / stride.

    dim: channels of the features, those of the text embeddings; guide_dims: channels of the guides.
    """

    dim: int
    guide_dims: tuple[int, ...]
    stride: int
    normalization: Normalization

    @abstractmethod
    def forward(self, image: Tensor) -> Dense:
        """Features and guides."""


class ClipDense(DenseEncoder):
    """ConvNeXt image tower of an unmodified open_clip model, asked for each pixel instead of for the mean (SED spec,
    section 2).

    visual: the tower, ``open_clip.create_model(…).visual``; its state keeps its names under ``visual.``.

    Raises:
        UsageError: a tower without a ConvNeXt trunk (a vision transformer, or a ResNet of OpenAI's).
    """

    stride = 32
    normalization = CLIP_NORMALIZATION

    def __init__(self, visual: nn.Module, *, dim: int) -> None:
        super().__init__()
        trunk: Any = getattr(visual, "trunk", None)
        stages = getattr(trunk, "stages", None)
        if stages is None or len(stages) != 4 or getattr(getattr(trunk, "head", None), "norm", None) is None:
            raise UsageError("SED needs a CLIP model with a ConvNeXt image tower, such as convnext_base_w_320")
        self.visual, self.dim = visual, dim
        widths = [int(level["num_chs"]) for level in trunk.feature_info]
        self.guide_dims = (widths[2], widths[1], widths[0])

    def forward(self, image: Tensor) -> Dense:
        """The trunk's four maps; the head reads the last one pixel by pixel, as if each were an image."""
        visual: Any = self.visual
        x, maps = visual.trunk.stem(image), []
        for stage in visual.trunk.stages:
            x = stage(x)
            maps.append(x)
        x = visual.trunk.head.norm(visual.trunk.norm_pre(x)).permute(0, 2, 3, 1)
        features = visual.head(x.flatten(0, 2)).unflatten(0, x.shape[:3]).permute(0, 3, 1, 2)
        return Dense(features, (maps[2], maps[1], maps[0]))


class TimmDense(DenseEncoder):
    """Any convolutional timm encoder, its last map projected to the texts' space by a 1×1 convolution.

    stride: of that map; 16 where the encoder has a map at stride 2 (a ResNet, not a ConvNeXt); pretrained: as for
    `semiovs.models.encoders.build_encoder`.

    Raises:
        UsageError: unknown encoder, or one without maps at a half, a quarter and an eighth of `stride`.
        WeightsError: weights that are missing or do not fit.
    """

    def __init__(self, name: str, *, dim: int, stride: int = 32, pretrained: bool | str = False) -> None:
        super().__init__()
        built = build_encoder(name, output_stride=stride, pretrained=pretrained)
        info: Any = getattr(built.module, "feature_info", None)
        reductions = [int(r) for r in info.reduction()] if info is not None else list(built.strides)
        wanted = (stride // 2, stride // 4, stride // 8)
        missing = [level for level in wanted if level not in reductions]
        if missing:
            raise UsageError(
                f"encoder '{name}' has maps at strides {reductions}; SED at stride {stride} needs {missing[0]} too; "
                "use resnet18 or convnext_tiny, for example"
            )
        channels = [int(c) for c in info.channels()]
        self._levels = [max(i for i, r in enumerate(reductions) if r == level) for level in wanted]
        self.body, self.project = built.module, nn.Conv2d(channels[-1], dim, 1)
        self.dim, self.stride, self.normalization = dim, stride, built.normalization
        self.guide_dims = (channels[self._levels[0]], channels[self._levels[1]], channels[self._levels[2]])

    def forward(self, image: Tensor) -> Dense:
        """Projected last map, and three maps before it."""
        maps = self.body(image)
        first, second, third = (maps[level] for level in self._levels)
        return Dense(self.project(maps[-1]), (first, second, third))


class SmallDense(DenseEncoder):
    """The encoder `small`, its last map (stride 8) projected to the texts' space; guides at strides 4 and 2, for two
    stages.
    """

    stride = 8

    def __init__(self, *, dim: int, pretrained: bool | str = False) -> None:
        super().__init__()
        built = build_encoder("small", output_stride=self.stride, pretrained=pretrained)
        self.body = cast(SmallEncoder, built.module)
        self.project = nn.Conv2d(built.channels[-1], dim, 1)
        self.dim, self.normalization = dim, built.normalization
        self.guide_dims = (built.channels[0], SmallEncoder.fine)

    def forward(self, image: Tensor) -> Dense:
        """Projected last map, and two maps before it."""
        fine, low, high = self.body.pyramid(image)
        return Dense(self.project(high), (low, fine))


def build_dense(name: str, *, dim: int, stride: int = 32, pretrained: bool | str = False) -> DenseEncoder:
    """Encoder by name: ``open_clip/convnext_base_w_320`` is a CLIP image tower without weights, ``small`` is ours,
    anything else timm's.

    A tower comes with the weights of the CLIP model it is taken from (`semiovs.models.sed.checkpoint`), so `pretrained`
    is for timm's names alone.

    Raises:
        UsageError: unknown name, or an encoder that SED cannot use; WeightsError: `pretrained` does not fit.
    """
    if name == "small":
        if stride != SmallDense.stride:
            raise UsageError(f"encoder 'small' of a teacher has stride {SmallDense.stride}; set stride to it")
        return SmallDense(dim=dim, pretrained=pretrained)
    if not name.startswith(CLIP_PREFIX):
        return TimmDense(name, dim=dim, stride=stride, pretrained=pretrained)
    if stride != ClipDense.stride or pretrained:
        raise UsageError(f"encoder '{name}': a CLIP tower has stride 32, and its weights come with its CLIP model")
    clip = build_clip(name.removeprefix(CLIP_PREFIX))
    if clip.width != dim:
        raise UsageError(f"encoder '{name}' has embeddings of {clip.width} channels, the texts have {dim}")
    return ClipDense(clip.module.visual, dim=dim)


class Clip(NamedTuple):
    """An open_clip model without weights, and the channels of its embeddings."""

    module: Any
    width: int


def build_clip(name: str | None = None, **config: Any) -> Clip:
    """open_clip model by name, or of a configuration (embed_dim, vision_cfg, text_cfg).

    Raises:
        UsageError: unknown name; MissingExtraError: open_clip is not installed.
    """
    open_clip = clip_library()
    if name is not None:
        found = open_clip.get_model_config(name)
        if found is None:
            raise UsageError(f"CLIP model '{name}' is not known to open_clip; convnext_base_w_320 is an example")
        config = {key: found[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    return Clip(open_clip.CLIP(**config), int(config["embed_dim"]))
