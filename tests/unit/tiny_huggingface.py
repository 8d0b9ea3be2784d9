"""Directories of tiny, random models in transformers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 514,
}


def tokenizer(length: int) -> Any:
    """CLIP's tokenizer without a single merge: it reads bytes."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    letters = sorted(ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=length)


def save_clipseg(root: Path) -> Path:
    """Two layers each of image and text, patches of 8 pixels, images of 32."""
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation, CLIPSegProcessor, ViTImageProcessor

    torch.manual_seed(0)
    config = CLIPSegConfig(
        text_config={**_TEXT, "max_position_embeddings": 77, "eos_token_id": 513, "bos_token_id": 512},
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
            "image_size": 32, "patch_size": 8,
        },
        projection_dim=16, reduce_dim=8, extract_layers=[0, 2], decoder_num_attention_heads=2, decoder_intermediate_size=16,
        initializer_factor=10.0,
    )  # fmt: skip
    model = CLIPSegForImageSegmentation(config)
    model.save_pretrained(root)
    images = ViTImageProcessor(size={"height": 32, "width": 32})
    CLIPSegProcessor(images, tokenizer(77)).save_pretrained(root)
    return root


def save_sam3(root: Path) -> Path:
    """Every part as small as it goes; images of 56 pixels, patches of 14."""
    from transformers import Sam3Config, Sam3ImageProcessor, Sam3Model, Sam3Processor

    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "dropout": 0.0}
    config = Sam3Config(
        vision_config={
            "fpn_hidden_size": 32, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "backbone_config": {
                "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64,
                "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 56, "patch_size": 14,
                "window_size": 2, "global_attn_indexes": [1], "pretrain_image_size": 28,
            },
        },
        text_config={
            "model_type": "clip_text_model", **_TEXT, "max_position_embeddings": 32, "projection_dim": 16,
            "eos_token_id": 513, "bos_token_id": 512,
        },
        geometry_encoder_config=small, detr_encoder_config=small, detr_decoder_config={**small, "num_queries": 5},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
    )  # fmt: skip
    Sam3Model(config).save_pretrained(root)
    images = Sam3ImageProcessor(size={"height": 56, "width": 56}, mask_size={"height": 16, "width": 16})
    Sam3Processor(images, tokenizer(32)).save_pretrained(root)
    return root
