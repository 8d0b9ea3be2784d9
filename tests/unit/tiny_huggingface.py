"""Directories of tiny, random models in transformers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

#: What transformers calls the model of each teacher that reads patches.
MODELS = {"tipsv2": "Tipsv2Model", "siglip2": "SiglipModel", "naflex": "Siglip2Model", "metaclip2": "MetaClip2Model"}
_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 514,
}


def require_model(name: str) -> None:
    """Skip the test where transformers has no such model: releases before 5.14, of which the oldest is tested too, lack
    TIPSv2.
    """
    if not hasattr(pytest.importorskip("transformers"), MODELS[name]):
        pytest.skip(f"this transformers has no {MODELS[name]}")


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


def save_image_text(root: Path, name: str) -> Path:
    """A model of `MODELS` with images of 32 pixels; two blocks in each tower, and a scale that is not the default."""
    import transformers

    torch.manual_seed(0)
    model = {"tipsv2": _tipsv2, "siglip2": _siglip2, "naflex": _naflex, "metaclip2": _metaclip2}[name]()
    for parameter in model.parameters():
        if parameter.ndim > 1:  # as published ones, not all but zero
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(root)
    images = {"tipsv2": "Tipsv2ImageProcessor", "metaclip2": "CLIPImageProcessor"}.get(name, "SiglipImageProcessor")
    getattr(transformers, images)(size={"height": 32, "width": 32}).save_pretrained(root)
    _word_pieces(name).save_pretrained(root)
    return root


def _word_pieces(name: str) -> Any:
    """The tokenizer of a model, of letters and bytes alone."""
    import transformers

    letters = [*"▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,", *(f"<0x{byte:02X}>" for byte in range(256))]
    special = {"tipsv2": ["<pad>", "<unk>"], "metaclip2": ["<s>", "<pad>", "</s>", "<unk>"]}
    words = [*special.get(name, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]), *letters]
    if name == "metaclip2":
        return transformers.XLMRobertaTokenizer(vocab=[(word, 0.0) for word in words])
    kind = transformers.Tipsv2Tokenizer if name == "tipsv2" else transformers.Siglip2Tokenizer
    return kind(vocab={word: number for number, word in enumerate(words)}, merges=[], padding_side="right")


_SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_WORDS = {**_SMALL, "vocab_size": 400, "max_position_embeddings": 24}


def _tipsv2() -> Any:
    from transformers import Tipsv2Config, Tipsv2Model

    eyes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    return Tipsv2Model(
        Tipsv2Config(text_config=_WORDS, vision_config={**eyes, "layerscale_value": 0.5}, temperature_init_value=0.1)
    )


def _siglip2() -> Any:
    from transformers import SiglipConfig, SiglipModel

    model = SiglipModel(SiglipConfig(text_config=_WORDS, vision_config={**_SMALL, "image_size": 32, "patch_size": 8}))
    return _scaled(model)


def _naflex() -> Any:
    from transformers import Siglip2Config, Siglip2Model

    eyes = {**_SMALL, "patch_size": 8, "num_patches": 16}
    return _scaled(Siglip2Model(Siglip2Config(text_config=_WORDS, vision_config=eyes)))


def _metaclip2() -> Any:
    from transformers import MetaClip2Config, MetaClip2Model

    words = {**_WORDS, "eos_token_id": 2, "pad_token_id": 1, "bos_token_id": 0}
    eyes = {**_SMALL, "image_size": 32, "patch_size": 8}
    return _scaled(MetaClip2Model(MetaClip2Config(text_config=words, vision_config=eyes, projection_dim=12)))


def _scaled(model: Any) -> Any:
    torch.nn.init.constant_(model.logit_scale, 2.0)
    return model
