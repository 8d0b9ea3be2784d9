"""Vocabularies: classes, their prompts and their order."""

from semiovs.vocab.load import shipped_vocabularies
from semiovs.vocab.vocabulary import Vocabulary, check_channels

__all__ = ["Vocabulary", "check_channels", "shipped_vocabularies"]
