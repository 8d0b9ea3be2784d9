"""Pascal VOC, COCO and SED in miniature: what `semiovs study voc` needs, as small as it can be."""

from __future__ import annotations

from pathlib import Path

import torch

from semiovs.models import build_segmenter
from semiovs.models.weights import ModelCard, save_model
from semiovs.vocab import Vocabulary
from unit.benchmark_trees import image, mask

SIZE = (48, 40)
SPLITS = {"92": 2, "183": 4}
_TRAINED, _VAL, _OOD = 8, 2, 3
_SED = {
    "encoder": "test_convnext", "text": "words", "text_dim": 8, "templates": ["a {}."], "hidden": 16,
    "decoder_dims": [16, 16, 16], "guides": [4, 4, 4], "kernel": 3,
}  # fmt: skip


def write(root: Path) -> Path:
    """pascal/ with published lists as files of its own, coco/images/train2017/, sed.safetensors."""
    voc = root / "pascal"
    stems = [f"2007_{number:06}" for number in range(_TRAINED + _VAL)]
    for number, stem in enumerate(stems):
        image(voc / "JPEGImages" / f"{stem}.jpg", SIZE, seed=number)
        mask(voc / "SegmentationClass" / f"{stem}.png", [0, 255, 1 + number % 20], mode="P", size=SIZE)
    lines = [f"JPEGImages/{stem}.jpg SegmentationClass/{stem}.png\n" for stem in stems]
    for split, count in SPLITS.items():
        _write(voc / f"splits/pascal/{split}/labeled.txt", lines[:count])
        _write(voc / f"splits/pascal/{split}/unlabeled.txt", lines[count:_TRAINED])
    _write(voc / "splits/pascal/val.txt", lines[_TRAINED:])
    for number in range(_OOD):
        image(root / "coco/images/train2017" / f"{number:012}.jpg", SIZE, seed=100 + number)
    write_sed(root / "sed.safetensors")
    return root


def write_sed(path: Path) -> None:
    """A tiny SED that has learnt nothing."""
    torch.manual_seed(0)
    vocabulary = Vocabulary.load("voc21")
    segmenter = build_segmenter("sed", num_classes=21, **_SED)
    save_model(path, segmenter, ModelCard("sed", 21, vocabulary, _SED, segmenter.normalization))


def settings(root: Path) -> list[str]:
    """``key=value`` arguments of trainings of a moment, on the paths in `root`."""
    return [
        f"data.root={root / 'pascal'}", f"ood={root / 'coco/images/train2017'}", "data.crop_size=32", "data.workers=0",
        "data.pipeline=fast", "model.encoder=tiny", "model.pretrained=false", "model.channels=16",
        "model.dilations=[1,2]", "method.conf_thresh=0.05", "train.steps=2", "train.batch_size=2", "train.device=cpu",
        "train.precision=fp32", "run.log=[]",
    ]  # fmt: skip


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))
