"""The token ids of all prompts, in order: they prove the words, their order and the templates of the published
labelling.
"""

import hashlib

import numpy as np
import pytest

from semiovs.vocab import Vocabulary
from semiovs.vocab.rules import split_synonyms


# SED spec, section 3: starts of the SHA-256 of the int64 ids, concept-major, template-middle, synonym-minor
@pytest.mark.parametrize(
    ("name", "prompts", "rows", "start"),
    [("voc21", 171, 16320, "0194f27f29b144bb3be19356"), ("context60", 162, 12960, "c5f89ac27a84bc1d8df4f50c")],
)
def test_token_ids(name, prompts, rows, start):
    import open_clip

    vocabulary = Vocabulary.load(name)
    assert len(vocabulary.prompts) == prompts
    assert vocabulary.templates == ()  # the teacher's own: those of ImageNet
    texts = [
        template(synonym)
        for concept in vocabulary.prompts
        for template in open_clip.OPENAI_IMAGENET_TEMPLATES
        for synonym in split_synonyms(concept)
    ]
    ids = open_clip.SimpleTokenizer()(texts).numpy().astype(np.int64)
    assert ids.shape == (rows, 77)
    assert hashlib.sha256(np.ascontiguousarray(ids).tobytes()).hexdigest().startswith(start)
