"""Make the weights of the teacher `small` again: SED on the encoder `small` and a tower of words, taught on the world of many names.

    python examples/train_small_teacher.py --out work        # about 40 minutes of one core

1. work/world: scenes and masks of `semiovs.datasets.named`, a folder data set with 216 names.
2. work/aligned.safetensors: pixels and words brought together, each pixel against all names, as CLIP does with images and captions.
3. work/run: SED's own training from there, which is `semiovs ovs train work/teacher.yaml`.
4. work/small_teacher.safetensors, in fp16, and .json: settings, hash, scores on scenes that no step has seen.

What is there already is not made again. Numbers differ in the last digits between processors, so the SHA-256 of a second run does too.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.data import Manifest
from semiovs.data.image import read_image
from semiovs.data.masks import MaskReader
from semiovs.datasets.named import GROUND, PAIRS, TEXTURES, VOCABULARY, write_named_world
from semiovs.models import build_segmenter
from semiovs.models.sed.segmenter import SedSegmenter
from semiovs.models.text import embed_concepts
from semiovs.models.weights import ModelCard, save_model

SIDE = 64
#: The network; 0.9 million parameters.
MODEL: dict[str, Any] = {
    "encoder": "small", "stride": 8, "resolution": None, "text": "words", "text_dim": 64,
    "templates": ["{}", "a {} pattern", "something of {}"], "hidden": 32, "decoder_dims": [16, 16], "guides": [12, 8], "kernel": 7,
}  # fmt: skip
_YAML = """\
data: {{root: {root}, crop_size: {side}, scale: [0.85, 1.2], pipeline: fast, workers: 0}}
model: {model}
method: {{name: sed, nested: true, sample: {sample}}}
optim: {{name: adamw, lr: 1.0e-4, head_lr_multiplier: 10, weight_decay: 0.01, schedule: cosine, lag: 0, clip_norm: 1.0}}
train: {{steps: {steps}, batch_size: 16, seed: {seed}, device: cpu, precision: {precision}, save_every: 100, log_every: 20, keep_last: 1}}
run: {{tensorboard: false, dir: {run}}}
"""


def align(world: Path, out: Path, options: argparse.Namespace) -> None:
    """Pixels and words in one space: cross-entropy of each pixel over all textures, and over all pairs of colour and texture."""
    torch.manual_seed(options.seed)
    rng = np.random.default_rng([options.seed, 3])
    segmenter = build_segmenter("sed", num_classes=len(VOCABULARY), pretrained=True, **MODEL)
    assert isinstance(segmenter, SedSegmenter)
    segmenter.to(memory_format=torch.channels_last).prompt(VOCABULARY)
    images, masks = pictures(world)
    tables = tuple(table.long() for table in answers())
    scale = torch.nn.Parameter(torch.tensor(10.0).log())
    trained = [scale, *segmenter.network.backbone.parameters(), *segmenter.words.parameters()]
    optimizer = torch.optim.AdamW(trained, lr=options.align_lr, weight_decay=0.02)
    begin, total = time.time(), 0.0
    for step in range(options.align_steps):
        share = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / options.align_steps))
        optimizer.param_groups[0]["lr"] = options.align_lr * min(1.0, (step + 1) / 100) * share
        chosen = torch.from_numpy(rng.integers(0, len(images), 64))
        x, y = varied(images[chosen], masks[chosen], segmenter, rng)
        template = MODEL["templates"][rng.integers(len(MODEL["templates"]))]
        loss = misread(segmenter, x, y, template, tables, scale, options.precision == "bf16")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 2.0)
        optimizer.step()
        total += loss.item()
        if (step + 1) % 100 == 0:
            print(
                json.dumps({"step": step + 1, "loss": round(total / 100, 4), "s": round(time.time() - begin)}),
                flush=True,
            )
            total = 0.0
    card = ModelCard("sed", len(VOCABULARY), VOCABULARY, MODEL, segmenter.normalization, training={"method": "align"})
    save_model(out, segmenter, card)


def misread(
    segmenter: SedSegmenter, x: Tensor, y: Tensor, template: str, tables: Sequence[Tensor], scale: Tensor, bf16: bool
) -> Tensor:
    """Cross-entropy of every fourth pixel in each direction; a texture and a pair are two questions."""
    names = [GROUND, *TEXTURES, *(f"{hue} {name}" for hue, name in PAIRS)]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        dense = segmenter.network.backbone(x).features
    dense = F.interpolate(dense.float(), scale_factor=4, mode="bilinear", align_corners=False)[:, :, 1::2, 1::2]
    text = embed_concepts(segmenter.words, names, [template])[:, 0]
    logits = scale.exp() * torch.einsum("bchw,tc->bthw", F.normalize(dense, dim=1), text)
    textures, pairs = (table[y[:, 2::4, 2::4]] for table in tables)
    count = 1 + len(TEXTURES)
    of_pairs = torch.cat((logits[:, :1], logits[:, count:]), dim=1)
    return F.cross_entropy(logits[:, :count], textures) + 0.5 * F.cross_entropy(of_pairs, pairs, ignore_index=-1)


def answers() -> tuple[Tensor, Tensor]:
    """Class id -> number of its texture (ground is 0), and of its pair (ground is 0; -1: named by its texture alone)."""
    words, pairs = [GROUND, *TEXTURES], [GROUND, *(f"{hue} {name}" for hue, name in PAIRS)]
    texture = [words.index(name.split()[-1]) for name in VOCABULARY.names]
    pair = [pairs.index(name) if name in pairs else -1 for name in VOCABULARY.names]
    return torch.tensor(texture), torch.tensor(pair)


def pictures(world: Path) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) and (N, H, W), uint8."""
    records, reader = list(Manifest.from_folder(world / "images", world / "masks")), MaskReader(VOCABULARY.names)
    images = np.stack([np.asarray(read_image(record.image)).transpose(2, 0, 1) for record in records])
    return torch.from_numpy(images), torch.from_numpy(np.stack([np.asarray(reader(r.mask)) for r in records]))


def varied(images: Tensor, masks: Tensor, segmenter: SedSegmenter, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch turned, flipped and changed in contrast and brightness (hues stay, they have names); normalised."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    x, y = images.rot90(turns, (-2, -1)).float() / 255, masks.rot90(turns, (-2, -1)).long()
    if flip:
        x, y = x.flip(-1), y.flip(-1)
    gain, shift = (torch.from_numpy(rng.uniform(*r, (len(x), 1, 1, 1))).float() for r in ((0.7, 1.3), (-0.15, 0.15)))
    return normalised(((x - 0.5) * gain + 0.5 + shift).clamp(0, 1), segmenter), y


def normalised(x: Tensor, segmenter: SedSegmenter) -> Tensor:
    """As the encoder expects it."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (segmenter.normalization.mean, segmenter.normalization.std))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def main() -> None:
    """Each step whose result is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=16_000)
    parser.add_argument("--align-steps", type=int, default=1200)
    parser.add_argument("--align-lr", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=500, help="of SED's training")
    parser.add_argument("--sample", type=int, default=16, help="concepts that are asked for in each of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world, aligned, run = options.out / "world", options.out / "aligned.safetensors", options.out / "run"
    if not world.exists():
        write_named_world(world, options.seed, train=options.scenes, val=300, side=SIDE)
    if not aligned.exists():
        align(world, aligned, options)


if __name__ == "__main__":
    main()
