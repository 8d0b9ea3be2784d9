"""The small SemiVL model of the recordings, and the inputs of its recorded step."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor

from parity.keyfill import tensor_for
from parity.semivl_inputs import gauss, image, ints, made_up_text, published_name
from semiovs.data import Batch, Labeled, Unlabeled
from semiovs.models import build_segmenter
from semiovs.vocab import Vocabulary

#: How many concepts each class of the recordings has.
COUNTS = (45, 3, 3, 1, 4, 4, 2, 4, 2, 3, 1, 2, 2, 4, 4, 4, 3, 1, 1, 2, 3)
VOCABULARY = Vocabulary(
    tuple(f"class {k}" for k in range(21)),
    tuple(tuple(f"concept {k} {i}" for i in range(count)) for k, count in enumerate(COUNTS)),
)
#: Part of our name -> part of the published name.
_HEAD = (
    (r"^pyramid\.pooled\.", "aspp.aspp_convs.4.gap."),
    (r"^pyramid\.branches\.", "aspp.aspp_convs."),
    (r"^pyramid\.project\.", "aspp.project."),
    (r"^layers\.(\d)\.norm", r"layers.\1.transformer.ln"),
    (r"^layers\.(\d)\.attention\.", r"layers.\1.transformer.attn.attn."),
    (r"^layers\.(\d)\.mlp\.0\.", r"layers.\1.transformer.ffn.layers.0.0."),
    (r"^layers\.(\d)\.mlp\.2\.", r"layers.\1.transformer.ffn.layers.1."),
    (r"^skips\.", "skip_proj."),
    (r"^ups\.0\.", "up1."),
    (r"^ups\.1\.", "up2."),
    (r"^classifier\.", "head."),
)


def small_segmenter(folder: Path, *, image_size: int = 128, text: str = "text21", **options: Any) -> Any:
    """SMALL of the README, with made-up texts."""
    name = "recorded-ViT"
    if name not in open_clip.list_models():
        vision = {"image_size": 128, "layers": 3, "width": 64, "head_width": 16, "patch_size": 16}
        words = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
        path = folder / f"{name}.json"
        path.write_text(json.dumps({"embed_dim": 512, "vision_cfg": vision, "text_cfg": words}))
        open_clip.add_model_config(path)
    segmenter = build_segmenter(
        "semivl", num_classes=21, encoder=name, image_size=image_size, taps=[0, 1], channels=64, up_channels=[32, 16],
        skip_channels=[16, 8], parity=True, text_embeddings=embeddings(folder, text, 21), **options,
    )  # fmt: skip
    segmenter.prompt(VOCABULARY)
    return segmenter


def embeddings(folder: Path, name: str, rows: int) -> str:
    """File of made-up texts, float16 as the published ones."""
    path = folder / f"{name}.npy"
    np.save(path, made_up_text(name, rows).numpy().astype(np.float16))
    return str(path)


def published(segmenter: Any, *, gain: float = 1.0) -> dict[str, Tensor]:
    """The recordings' weights, under their published names: tower, guide, decoder."""
    state = {}
    for name, own in segmenter.state_dict().items():
        if name.startswith("backbone.clip.tower."):
            inner = name.removeprefix("backbone.clip.tower.")
            for prefix in ("backbone", "clip_encoder"):
                key = f"{prefix}.{published_name(inner)}"
                state[key] = tower_tensor(key, tuple(own.shape))
        elif name.startswith("decoder."):
            key = f"decode_head.{_published_head(name.removeprefix('decoder.'))}"
            state[key] = tensor_for(key, tuple(own.shape))
    state["decode_head.head.weight"] *= gain
    return state


def tower_tensor(key: str, ours: tuple[int, ...]) -> Tensor:
    """A tensor of a tower in its published shape; positions are scaled up."""
    if key.endswith("cls_token"):
        return tensor_for(key, (1, 1, *ours))
    if key.endswith("pos_embed"):
        return tensor_for(key, (1, *ours)) * (8 * ours[0] ** 0.5)
    if key.endswith(("backbone.proj.weight", "clip_encoder.proj.weight")):
        return tensor_for(key, ours[::-1])[:, :, None, None]
    return tensor_for(key, ours)


def recorded_batch() -> tuple[Batch, dict[str, Tensor]]:
    """The batch of the recorded step; boxes of the partners are not used."""
    images = {n: image(f"d.{n}", 2, 128, 128) for n in ("img_x", "img_w", "img_w_other")}
    for n in ("", "_other"):
        for s in ("s1", "s2"):
            images[f"{s}{n}"] = images[f"img_w{n}"] + 0.3 * gauss(f"d.img_{s}{n}.jit", (2, 3, 128, 128))
    blocks = ints("d.mask_x", (2, 8, 8), 21)
    mask = torch.from_numpy(np.kron(blocks, np.ones((1, 16, 16), np.int64)))
    mask[:, 40:52] = 255
    mask[:, :, 100:104] = 255
    valid, valid_other = torch.ones(2, 2, 128, 128, dtype=torch.bool)
    valid[0, 112:] = False
    valid_other[1, :, 96:] = False
    boxes = (torch.tensor([[30, 20, 80, 90], [0, 0, 0, 0]]), torch.tensor([[8, 60, 50, 120], [40, 10, 120, 70]]))
    u = Unlabeled(images["img_w"], (images["s1"], images["s2"]), valid, boxes)
    m = Unlabeled(images["img_w_other"], (images["s1_other"], images["s2_other"]), valid_other, boxes)
    return Batch(Labeled(images["img_x"], mask), u, m), images


def _published_head(name: str) -> str:
    for pattern, replacement in _HEAD:
        name, count = re.subn(pattern, replacement, name)
        if count:
            break
    return name
