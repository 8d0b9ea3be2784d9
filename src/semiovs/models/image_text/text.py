"""Text towers of transformers' image-text models; never trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor

#: Sentences that are encoded at once.
BATCH = 256


class PairedText:
    """Sentences as the text tower of an image-text model was trained to read them, cut at its longest.

    as_siglip: in small letters, filled up to the longest, and it sees what fills them; else what fills a batch is
    hidden from it. identity: tells these weights from all others.
    """

    def __init__(self, model: Any, tokenizer: Any, *, as_siglip: bool, identity: str) -> None:
        self.model, self.tokenizer, self.as_siglip, self.identity = model, tokenizer, as_siglip, identity
        self.longest = int(model.config.text_config.max_position_embeddings)
        self.dim = int(self.encode(["a"]).shape[1])

    def to(self, device: torch.device) -> Self:
        """Move the weights."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """N sentences -> (N, C) float32 on the model's device."""
        parts = [self._encode(texts[first : first + BATCH]) for first in range(0, len(texts), BATCH)]
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)

    def _encode(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer(
            [text.lower() for text in texts] if self.as_siglip else list(texts),
            padding="max_length" if self.as_siglip else True,
            padding_side="right",
            truncation=True,
            max_length=self.longest,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.model.device)
        mask = None if self.as_siglip else tokens["attention_mask"]
        pooled: Tensor = self.model.get_text_features(tokens["input_ids"], attention_mask=mask).pooler_output
        return pooled.float()
