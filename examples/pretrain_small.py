"""Make the weights of the encoder `small` again: dense classification of 30 textures that the demo does not use.

    python examples/pretrain_small.py --out small.safetensors          # 10 minutes of one core

Prints loss and held-out accuracy, and writes them with the settings beside the weights. Numbers differ in the last digits between
processors, so the SHA-256 of a second run does too.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from semiovs.demo.synthetic import Domain, Material, render_scene
from semiovs.demo.textures import OTHER
from semiovs.evaluation import ConfusionMatrix
from semiovs.files import sha256_of
from semiovs.models import Segmenter, build_segmenter

SIDE = 64
DOMAIN = Domain(
    "pretraining",
    [Material(texture, number) for number, texture in enumerate(OTHER.values(), start=1)],
    ("clouds", "slope", "patches"),
    (0.0, 0.9),
    (0.15, 0.95),
    0.2,
    periods=(6.0, 13.0),
    contrast=(0.2, 0.7),
)


def scenes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) uint8 images and (N, H, W) uint8 masks."""
    drawn = [render_scene(DOMAIN, SIDE, np.random.default_rng([seed, index])) for index in range(count)]
    images = np.stack([scene.image for scene in drawn]).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(np.stack([scene.mask for scene in drawn]))


def varied(images: Tensor, masks: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch as floats in [0, 1]: turned and flipped, channels permuted, colours inverted, contrast changed, blurred."""
    turns, flip = int(rng.integers(4)), rng.random() < 0.5
    images, masks = images.rot90(turns, (-2, -1)), masks.rot90(turns, (-2, -1))
    if flip:
        images, masks = images.flip(-1), masks.flip(-1)
    x = images.float()[:, rng.permutation(3)] / 255
    shape = (len(x), 1, 1, 1)
    x = torch.where(torch.from_numpy(rng.random(shape) < 0.3), 1 - x, x)
    gain, shift = (torch.from_numpy(rng.uniform(*r, shape)).float() for r in ((0.6, 1.4), (-0.2, 0.2)))
    x = ((x - 0.5) * gain + 0.5 + shift).clamp(0, 1)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3, 1)
    share = torch.from_numpy(rng.uniform(0, 1, shape) * (rng.random(shape) < 0.4)).float()
    return x + share * (blurred - x), masks.long()


def normalised(x: Tensor, segmenter: Segmenter) -> Tensor:
    """As the encoder expects it."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (segmenter.normalization.mean, segmenter.normalization.std))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def measure(segmenter: Segmenter, images: Tensor, masks: Tensor) -> dict[str, float]:
    """Held-out mIoU and pixel accuracy, in percent."""
    segmenter.eval()
    matrix = ConfusionMatrix(segmenter.num_classes)
    for x, y in zip(images.split(100), masks.split(100), strict=True):
        matrix.update(segmenter(normalised(x.float() / 255, segmenter)).argmax(1).byte(), y)
    segmenter.train()
    return {"miou": matrix.miou(), "pixel_accuracy": matrix.pixel_accuracy()}


def main() -> None:
    """Draw the scenes, train, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3600, help="length of the schedule of rates")
    parser.add_argument(
        "--stop", type=int, default=1200, help="step at which to stop; the shipped weights stopped early"
    )
    parser.add_argument("--scenes", type=int, default=16_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    options = parser.parse_args()
    begin = time.time()
    torch.manual_seed(options.seed)
    rng = np.random.default_rng([options.seed, 3])
    images, masks = scenes(options.scenes, options.seed)
    held_images, held_masks = scenes(500, options.seed + 1_000_000)
    print(f"{options.scenes} scenes of {len(OTHER)} textures in {time.time() - begin:.0f} s", flush=True)

    segmenter = build_segmenter(
        "deeplabv3plus", num_classes=len(OTHER) + 1, encoder="small", output_stride=8, dilations=(1, 2, 4), channels=64
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(segmenter.parameters(), lr=options.lr, weight_decay=0.05)
    loss_sum, history = 0.0, []
    for step in range(min(options.stop, options.steps)):
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 200)
            group["lr"] = options.lr * warm * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / options.steps)))
        chosen = torch.from_numpy(rng.integers(0, len(images), options.batch))
        x, y = varied(images[chosen], masks[chosen], rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
            logits = segmenter(normalised(x, segmenter))
        loss = F.cross_entropy(logits.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item()
        if (step + 1) % 200 == 0:
            row = {"step": step + 1, "loss": loss_sum / (step % 200 + 1), **measure(segmenter, held_images, held_masks)}
            history.append({**row, "seconds": round(time.time() - begin)})
            print(json.dumps(history[-1]), flush=True)
            loss_sum = 0.0
            write(segmenter, options, history)


def write(segmenter: Segmenter, options: argparse.Namespace, history: list[dict[str, float]]) -> None:
    """Weights of the encoder in fp16, and how they came about."""
    state = {
        k: v.half().contiguous() if v.is_floating_point() else v for k, v in segmenter.backbone.state_dict().items()
    }
    save_file(state, options.out)
    options.out.chmod(0o644)
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    note = {"settings": settings, "textures": list(OTHER), "sha256": sha256_of(options.out), "history": history}
    options.out.with_suffix(".json").write_text(json.dumps(note, indent=2) + "\n")


if __name__ == "__main__":
    main()
