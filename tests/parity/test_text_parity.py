"""SED's rule for concepts, templates and synonyms (recorded), and CLIP's tower with cut prompts against
`encode_text`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

from semiovs.models.text import embed_concepts, imagenet_templates, prompts_of
from semiovs.models.text.clip import ClipText

GOLDENS = Path(__file__).parent / "goldens" / "sed"


class Recorded:
    """Answers the recorded prompts with the recorded vectors."""

    dim = 24
    identity = "recorded"

    def __init__(self, prompts: Sequence[str], vectors: Tensor) -> None:
        self.vectors = dict(zip(prompts, vectors, strict=True))

    def encode(self, texts: Sequence[str]) -> Tensor:
        return torch.stack([self.vectors[text] for text in texts])


def test_concepts_as_recorded() -> None:
    facts = json.loads((GOLDENS / "text_embedding.json").read_text())
    arrays = np.load(GOLDENS / "text_embedding.npz")
    prompts = [prompt for concept in facts["classes"] for prompt in prompts_of(concept, facts["templates"])]
    assert prompts == facts["prompts"]
    encoder = Recorded(prompts, torch.from_numpy(arrays["prompt_embeddings"]))
    features = embed_concepts(encoder, facts["classes"], facts["templates"])
    assert features.shape == (6, 4, 24)
    torch.testing.assert_close(features, torch.from_numpy(arrays["text_features"]), atol=1e-6, rtol=1e-6)


@pytest.fixture(scope="module")
def clip() -> torch.nn.Module:
    torch.manual_seed(0)
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
    return open_clip.model.CLIP(24, vision, text).eval()


def test_cut_prompts_are_the_whole_ones(clip: torch.nn.Module) -> None:
    texts = [template.replace("{}", word) for template in imagenet_templates() for word in ("tv", "a dining table")]
    encoder = ClipText(clip)
    assert encoder.trims
    assert encoder.dim == 24
    with torch.no_grad():
        whole = clip.encode_text(open_clip.SimpleTokenizer()(texts))
    torch.testing.assert_close(encoder.encode(texts), whole, atol=2e-6, rtol=1e-5)


def test_templates_are_clip_s_eighty() -> None:
    templates = imagenet_templates()
    assert len(templates) == 80
    assert all(template.count("{}") == 1 for template in templates)
    assert (templates[0], templates[-1]) == ("a bad photo of a {}.", "a tattoo of the {}.")
