"""A CLIP small enough for tests, known to open_clip by name, with random weights in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

NAME = "tiny-ViT"
CONFIG: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def known_to_open_clip(folder: Path, name: str = NAME, **vision: Any) -> str:
    """Register the model for this process."""
    import open_clip

    config = {**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], **vision}}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return name


def save_clip(folder: Path) -> Path:
    """Random weights of the tiny CLIP."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model(known_to_open_clip(folder), pretrained=None)
    path = folder / "clip.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path
