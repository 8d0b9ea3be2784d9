"""Make the weights of the teacher `small` again: SED on the encoder `small` and a tower of words, on the world of many
names.

    python examples/train_small_teacher.py --out work        # about 20 minutes of one core

1. work/world: scenes and masks of `semiovs.demo.named_world`, a folder data set with 216 names.
2. work/aligned.safetensors: pixels and words brought together, each pixel against all names, as CLIP does with images and captions.
3. work/run: SED's own training from there, both towers locked, which is `semiovs ovs train work/teacher.yaml`.
4. work/small_teacher.safetensors, in fp16, and .json: settings, hash, scores on scenes that no step has seen.

What is there already is not made again. Numbers differ in the last digits between processors, and so does the SHA-256.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from semiovs.config import load_config
from semiovs.demo.named_world import (
    GROUND,
    HELD_OUT,
    PAIRS,
    TEXTURES,
    VOCABULARY,
    render_held_out_scene,
    write_named_world,
)
from semiovs.demo.synthetic import OOD, Scene, render_scene
from semiovs.demo.synthetic import VOCABULARY as DEMO
from semiovs.engine import training
from semiovs.evaluation import ConfusionMatrix
from semiovs.files import sha256_of, write_json, write_text
from semiovs.images.image import read_image
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.models import build_segmenter
from semiovs.models.sed.segmenter import SedSegmenter
from semiovs.models.text import embed_concepts
from semiovs.models.weights import ModelCard, load_model, save_model
from semiovs.ovs.sed import SedTeacher
from semiovs.vocab import Vocabulary

SIDE = 64
#: The network; 0.9 million parameters.
MODEL: dict[str, Any] = {
    "encoder": "small", "stride": 8, "resolution": None, "text": "words", "text_dim": 64,
    "templates": ["{}", "a {} pattern", "something of {}"], "hidden": 32, "decoder_dims": [16, 16], "guides": [12, 8], "kernel": 7,
}  # fmt: skip
#: Shuffled names are another word for each class.
SHIFT = 5


def configuration(options: argparse.Namespace, world: Path, aligned: Path, run: Path) -> str:
    """Of SED's training."""
    sections = {
        "data": {"root": str(world.resolve()), "crop_size": SIDE, "scale": [0.85, 1.2], "pipeline": "fast", "workers": 0},
        "model": {"name": "sed", "init_from": str(aligned.resolve()), **MODEL},
        "method": {"name": "sed", "nested": True, "sample": options.sample, "locked": options.locked},
        "optim": {
            "name": "adamw", "lr": options.lr, "head_lr_multiplier": 10, "weight_decay": 0.01, "schedule": "cosine", "lag": 0,
            "clip_norm": 1.0,
        },
        "train": {
            "steps": options.steps, "batch_size": 16, "seed": options.seed, "device": "cpu", "precision": options.precision,
            "save_every": 100, "log_every": 20, "keep_last": 1,
        },
        "run": {"dir": str(run.resolve()), "log": []},
    }  # fmt: skip
    return yaml.safe_dump(sections, sort_keys=False)


def align(world: Path, out: Path, options: argparse.Namespace) -> None:
    """Pixels and words in one space: cross-entropy of each pixel over all textures, and over all pairs of colour and
    texture.
    """
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
    """Class id -> number of its texture (ground is 0), and of its pair (ground is 0; -1: named by its texture
    alone).
    """
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


def ship(run: Path, out: Path, options: argparse.Namespace) -> None:
    """Weights in fp16, and their record."""
    segmenter, card = load_model(run)
    save_model(out, segmenter.half(), replace(card, training={"method": "sed", "world": "named", "seed": options.seed}))
    out.chmod(0o644)
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    record = {
        "settings": settings,
        "model": MODEL,
        "names": len(VOCABULARY),
        "sha256": sha256_of(out),
        "scores": scores(out),
    }
    write_json(out.with_suffix(".json"), record)
    print(json.dumps(record["scores"], indent=2))


def scores(weights: Path, count: int = 300) -> dict[str, Any]:
    """On scenes that no training has seen: the demo's OOD scenes by its words, and pairs of words that were never
    together.
    """
    teacher = SedTeacher(weights, device="cpu")
    ood = [render_scene(OOD, SIDE, np.random.default_rng([20_000, index])) for index in range(count)]
    asked = score(teacher, ood, DEMO)
    found: dict[str, Any] = {
        "scenes": count,
        "ood_miou": round(asked.miou(), 2),
        "ood_iou": {name: round(float(iou), 2) for name, iou in zip(DEMO.names, asked.iou(), strict=True)},
        "ood_miou_shuffled": round(score(teacher, ood, shuffled(DEMO, 1)).miou(), 2),
    }
    held = [render_held_out_scene(20_000, index) for index in range(count)]
    for name, others in (("held_out", ()), ("held_out_among_all", PAIRS)):
        vocabulary = Vocabulary.of([GROUND, *(f"{hue} {texture}" for hue, texture in (*HELD_OUT, *others))])
        right = right_share(teacher, held, vocabulary)
        wrong = right_share(teacher, held, shuffled(vocabulary, SHIFT))
        found[name] = {"names": len(vocabulary) - 1, "right": round(right, 2), "shuffled": round(wrong, 2)}
    return found


def shuffled(vocabulary: Vocabulary, shift: int) -> Vocabulary:
    """Each class but the first is asked for with the words of another one."""
    first, *others = vocabulary.concepts
    return replace(vocabulary, concepts=(first, *others[shift:], *others[:shift]))


def score(teacher: SedTeacher, scenes: Sequence[Scene], vocabulary: Vocabulary) -> ConfusionMatrix:
    """Labels against the truth."""
    matrix = ConfusionMatrix(max(len(vocabulary), 1))
    for label, scene in zip(labelled(teacher, scenes, vocabulary), scenes, strict=True):
        matrix.update(label, torch.from_numpy(scene.mask))
    return matrix


def right_share(teacher: SedTeacher, scenes: Sequence[Scene], vocabulary: Vocabulary) -> float:
    """Percent of the objects' pixels that get the right name."""
    right = total = 0
    for label, scene in zip(labelled(teacher, scenes, vocabulary), scenes, strict=True):
        inside = torch.from_numpy(scene.mask > 0)
        right += int((label == torch.from_numpy(scene.mask))[inside].sum())
        total += int(inside.sum())
    return 100 * right / total


def labelled(teacher: SedTeacher, scenes: Sequence[Scene], vocabulary: Vocabulary) -> list[Tensor]:
    """(H, W) uint8 of each scene."""
    images = [torch.from_numpy(scene.image).permute(2, 0, 1).contiguous() for scene in scenes]
    return [
        label
        for first in range(0, len(images), 25)
        for label in teacher.label(images[first : first + 25], vocabulary)[0]
    ]


def main() -> None:
    """Each step whose result is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=16_000)
    parser.add_argument("--align-steps", type=int, default=1200)
    parser.add_argument("--align-lr", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=1000, help="of SED's training")
    parser.add_argument("--lr", type=float, default=1e-4, help="of its encoder; the rest learns ten times as fast")
    parser.add_argument("--sample", type=int, default=16, help="concepts that are asked for in each of them")
    parser.add_argument(
        "--locked", action=argparse.BooleanOptionalAction, default=True, help="the towers stay as aligned"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    world, aligned, run = options.out / "world", options.out / "aligned.safetensors", options.out / "run"
    if not world.exists():
        write_named_world(world, options.seed, train=options.scenes, side=SIDE)
    if not aligned.exists():
        align(world, aligned, options)
    if not (run / "model.safetensors").exists():
        config = options.out / "teacher.yaml"
        write_text(config, configuration(options, world, aligned, run))
        training.train(load_config(str(config), []), ["semiovs", "ovs", "train", str(config)], overwrite=True)
    ship(run, options.out / "small_teacher.safetensors", options)


if __name__ == "__main__":
    main()
