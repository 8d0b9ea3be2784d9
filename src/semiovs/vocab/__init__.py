"""Vocabularies: classes, their prompts and their order."""

from semiovs.vocab.vocabulary import Vocabulary, shipped_vocabularies

__all__ = ["Vocabulary", "shipped_vocabularies"]
