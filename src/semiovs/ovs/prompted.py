"""Base class of teachers that answer text prompts with per-pixel maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from semiovs.ovs.mapped import MappedModel
from semiovs.ovs.pooling import ConceptPooling
from semiovs.vocab.rules import require_words
from semiovs.vocab.vocabulary import Vocabulary


class PromptedModel(MappedModel):
    """Answers each prompt of a vocabulary with a map of probabilities; a class gets the maximum over its concepts."""

    @abstractmethod
    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        """Images, uint8 RGB (3, H, W) each -> one map (T, h, w) in [0, 1] each, at any resolution, over the whole
        image.

        Map t answers ``vocabulary.prompts[t]``.
        """

    def pooling(self, vocabulary: Vocabulary) -> ConceptPooling:
        """From concepts to classes, with the vocabulary's constant score of the background."""
        return make_pooling(vocabulary)

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Refuse placeholders such as ``class_3``, which are no words.

        Raises:
            ConfigError: there are some.
        """
        require_words(vocabulary.prompts)


def make_pooling(vocabulary: Vocabulary) -> ConceptPooling:
    """Pooling of a vocabulary's concepts to its classes."""
    return ConceptPooling(vocabulary.owners, len(vocabulary), vocabulary.background)
