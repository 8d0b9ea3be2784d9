"""SED's aggregator written down plainly, as its description reads: all concepts at once, guidance repeated and
concatenated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

State = Mapping[str, Tensor]


def plain_aggregator(w: State, dense: Tensor, text: Tensor, guides: Sequence[Tensor], *, pool: int = 1) -> list[Tensor]:
    """State of an `Aggregator`, (B, C, h, w), (T, P, C), guides -> logits of the four heads (SED spec, section 4)."""
    batch, concepts = len(dense), len(text)
    prompts = text[None].repeat(batch, 1, 1, 1)
    similar = torch.einsum("bchw,btpc->bpthw", F.normalize(dense, dim=1), F.normalize(prompts, dim=-1))
    correlation = similar.permute(0, 2, 1, 3, 4).flatten(0, 1)
    x = F.conv2d(correlation, w["conv1.weight"], w["conv1.bias"], padding=3)
    features, name = [x], "decoder_corr_guidance_projection"
    for i, guide in enumerate(guides):
        correlation = F.conv_transpose2d(correlation, w[f"{name}.{i}.0.weight"], w[f"{name}.{i}.0.bias"], 2).relu()
        image = _conv(w, f"decoder_guidance_projection.{i}.0", guide).relu()
        image = image[:, None].repeat(1, concepts, 1, 1, 1).flatten(0, 1)
        x = decoder(w, f"decoder{i + 1}", x, image, correlation, batch, pool)
        features.append(x)
    logits = [_conv(w, "head", x)] + [_conv(w, f"head{i}", features[i]) for i in range(3)]
    return [one.view(batch, concepts, *one.shape[2:]) for one in logits]


def decoder(w: State, name: str, x: Tensor, image: Tensor, correlation: Tensor, batch: int, pool: int) -> Tensor:
    """ConvNeXt block, attention over concepts, twice the size, guidance, two convolutions."""
    y = F.conv2d(x, w[f"{name}.cnext.dwconv.weight"], w[f"{name}.cnext.dwconv.bias"], padding=4, groups=x.shape[1])
    y = _norm(w, f"{name}.cnext.norm", y.permute(0, 2, 3, 1), 1e-6)
    y = _linear(w, f"{name}.cnext.pwconv2", F.gelu(_linear(w, f"{name}.cnext.pwconv1", y)))
    x = x + (w[f"{name}.cnext.gamma"] * y).permute(0, 3, 1, 2)

    p = F.avg_pool2d(x, pool)
    count, channels, height, width = p.shape
    concepts = count // batch
    p = p.view(batch, concepts, channels, height * width).permute(0, 3, 1, 2).reshape(-1, concepts, channels)
    p = p + attention(w, f"{name}.attention.attention", _norm(w, f"{name}.attention.norm1", p, 1e-5))
    y = _linear(w, f"{name}.attention.MLP.0", _norm(w, f"{name}.attention.norm2", p, 1e-5)).relu()
    p = p + _linear(w, f"{name}.attention.MLP.2", y)
    p = p.view(batch, height * width, concepts, channels).permute(0, 2, 3, 1).reshape(count, channels, height, width)
    x = x + F.interpolate(p, size=x.shape[2:], mode="bilinear", align_corners=True)

    x = F.conv_transpose2d(x, w[f"{name}.up.weight"], w[f"{name}.up.bias"], 2)
    x = torch.cat((torch.cat((x, image), dim=1), correlation), dim=1)
    for i in (0, 3):
        x = F.conv2d(x, w[f"{name}.conv.double_conv.{i}.weight"], padding=1)
        scale, shift = (w[f"{name}.conv.double_conv.{i + 1}.{part}"] for part in ("weight", "bias"))
        x = F.group_norm(x, max(len(scale) // 16, 1), scale, shift).relu()
    return x


def attention(w: State, name: str, x: Tensor) -> Tensor:
    """Linear attention over the second axis, four heads."""
    q, k, v = (_linear(w, f"{name}.{part}", x).view(*x.shape[:2], 4, -1) for part in "qkv")
    q, k = F.elu(q) + 1, F.elu(k) + 1
    products = torch.einsum("nthd,nthe->nhde", k, v / x.shape[1])
    weight = 1 / (torch.einsum("nthd,nhd->nth", q, k.sum(dim=1)) + 1e-6)
    return (torch.einsum("nthd,nhde,nth->nthe", q, products, weight) * x.shape[1]).flatten(-2)


def _conv(w: State, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], padding=1)


def _linear(w: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(w: State, name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)
