"""CLIP's text tower, by open_clip unmodified, with prompts cut to the longest, which does not change the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from semiovs.errors import UsageError, WeightsError, did_you_mean
from semiovs.models.clip_vit import clip_library
from semiovs.models.hub import explain_failure, hub, require_hub
from semiovs.models.statedict import compare, read_state, strip_prefix
from semiovs.models.text.encoder import fingerprint
from semiovs.models.weight_catalog import explain_download, find_by_clip, find_file, find_in_directory

#: Prompts that are encoded at once.
BATCH = 512
#: Parts of a CLIP model that have to do with images or training.
_NOT_TEXT = ("visual.", "logit_scale", "logit_bias")


class ClipText:
    """Text side of a CLIP model that is held by someone else, or by this alone (`open`). Never trained."""

    def __init__(self, clip: nn.Module, tokenizer: Callable[[list[str]], Tensor] | None = None) -> None:
        self.clip: Any = clip
        self.tokenizer = tokenizer or clip_library().SimpleTokenizer(context_length=getattr(clip, "context_length", 77))
        self.trims = getattr(clip, "text_pool_type", None) == "argmax" and getattr(clip, "attn_mask", None) is not None
        self.dim = int(self.encode(["a"]).shape[1])

    @classmethod
    def open(cls, model: str, weights: str | Path | None) -> ClipText:
        """Text tower of the open_clip model called `model`; weights as for `open_model`.

        Raises:
            UsageError: no such model, or no weights; WeightsError: weights that are missing or of another model.
        """
        if weights is None:
            raise UsageError(
                f"CLIP text encoder {model} without weights knows no words: set model.text_weights to a pretrained tag "
                f"or a file"
            )
        clip = open_model(model, weights)
        clip.visual = None
        return cls(clip.eval().requires_grad_(False), clip_library().get_tokenizer(model))

    @cached_property
    def identity(self) -> str:
        """Hash of the text weights: equal for the same tower from the hub, a file, or a checkpoint of SED."""
        state = {k: v for k, v in self.clip.state_dict().items() if not k.startswith(_NOT_TEXT)}
        return f"clip:{fingerprint(state)}"

    def to(self, device: torch.device) -> Self:
        """Move the weights."""
        self.clip.to(device)
        return self

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """N prompts -> (N, C) float32 on the model's device: as `encode_text`, at a fifth of its price for short
        prompts.
        """
        device = self.clip.logit_scale.device
        tokens = self.tokenizer(list(texts)).to(device)
        was_training = self.clip.training
        self.clip.eval()
        try:
            parts = [self._encode(part) for part in tokens.split(BATCH)]
        finally:
            self.clip.train(was_training)
        return torch.cat(parts).float()

    def _encode(self, tokens: Tensor) -> Tensor:
        """`open_clip.CLIP.encode_text`, which takes no short sequences (SED spec, section 9, row 11)."""
        clip = self.clip
        if not self.trims:
            encoded: Tensor = clip.encode_text(tokens)
            return encoded
        ends = tokens.argmax(dim=-1)  # the end token has the highest id
        length = int(ends.max()) + 1
        x = clip.token_embedding(tokens[:, :length]) + clip.positional_embedding[:length]
        x = clip.ln_final(clip.transformer(x, attn_mask=clip.attn_mask[:length, :length]))
        pooled: Tensor = x[torch.arange(len(x), device=x.device), ends]
        projection = clip.text_projection
        if projection is None:
            return pooled
        projected: Tensor = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
        return projected


def open_model(model: str, weights: str | Path) -> Any:
    """The open_clip model called `model`.

    weights: a file (or a name in `SEMIOVS_WEIGHTS_DIR`), or a pretrained tag of that model (from the hub or its cache).

    Raises:
        UsageError: no such model; WeightsError: weights that are missing or of another model; MissingExtraError:
        open_clip is not installed.
    """
    open_clip = clip_library()
    width_of_model(model)
    file = find_file(str(weights)) or _copy_here(model, str(weights))
    if file is None:
        return _load_published(model, str(weights))
    clip = open_clip.create_model(model, pretrained=None)
    _load(clip, file, model)
    return clip


def width_of_model(model: str) -> int:
    """Length of the embeddings of an open_clip model.

    Raises:
        UsageError: no such model; MissingExtraError: open_clip is not installed.
    """
    open_clip = clip_library()
    config = open_clip.get_model_config(model)
    if config is None:
        raise UsageError(
            f"CLIP model '{model}' is not known to open_clip{did_you_mean(model, open_clip.list_models())}"
        )
    return int(config["embed_dim"])


def _copy_here(model: str, tag: str) -> Path | None:
    """The catalogue's file of a pretrained tag, where it lies in the weights directory."""
    row = find_by_clip(model, tag)
    place = None if row is None else find_in_directory(row)
    return None if place is None else place.path


def _load_published(model: str, tag: str) -> nn.Module:
    open_clip = clip_library()
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise WeightsError(
            f"CLIP weights '{tag}': neither a file nor a pretrained tag of {model}{did_you_mean(tag, tags)}"
        )
    try:
        with hub():
            require_hub(str(clip_library().get_pretrained_cfg(model, tag).get("hf_hub") or ""))
            clip: nn.Module = open_clip.create_model(model, pretrained=tag)
    except Exception as error:  # the hub's client raises many kinds: offline, proxy, missing, damaged
        row = find_by_clip(model, tag)
        raise WeightsError(
            f"weights '{tag}' of CLIP {model} could not be had: {explain_failure(error)}; "
            f"{explain_download(row) if row else _name_file(model, tag)}, or give the file instead of the tag"
        ) from None
    return clip


def _name_file(model: str, tag: str) -> str:
    source = str(clip_library().get_pretrained_cfg(model, tag).get("hf_hub") or "").rstrip("/")
    return f"download open_clip_model.safetensors of {source} on the hub" if source else "download them"


def _load(clip: nn.Module, file: Path, model: str) -> None:
    state = strip_prefix(read_state(file), "module.")
    fit = compare(clip.state_dict(), state)
    if not fit.ok:
        raise WeightsError(f"{file}: not weights of CLIP {model}: {fit}")
    clip.load_state_dict(state, strict=False)
