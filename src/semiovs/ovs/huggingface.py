"""Teacher `huggingface`: zero-shot segmenters of transformers (extra `hf`), from a directory or the hub.

CLIPSeg maps a sentence to per-pixel logits; SAM 3 maps a noun phrase to per-pixel logits and one presence logit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semiovs.errors import UsageError
from semiovs.models.device import pick_device
from semiovs.models.image_text.library import load_parts
from semiovs.models.text.concepts import prompts_of
from semiovs.models.text.encoder import fingerprint
from semiovs.ovs.prompted import PromptedModel
from semiovs.vocab.rules import split_synonyms
from semiovs.vocab.vocabulary import Vocabulary

#: Prompts that CLIPSeg's decoder answers at once.
_CHUNK = 16
_SAM3 = ("Sam3Model", "Sam3Processor")
#: Model types, and transformers' classes of model and processor. SAM 3's image and video model are published as one
#: file.
_KINDS = {"clipseg": ("CLIPSegForImageSegmentation", "CLIPSegProcessor"), "sam3": _SAM3, "sam3_video": _SAM3}


class HuggingFace(PromptedModel):
    """weights: directory that `save_pretrained` (or a download from the hub) has filled, its name in the weights
    directory, or the name of a model on the hub.

    Each concept has a sigmoid of its own: probabilities of different classes do not sum to 1, and a vocabulary with a
    constant background score fits (`Vocabulary.background`).

    Raises:
        UsageError: no weights are named, or of a model that does not segment by text; WeightsError: they are not there;
        MissingExtraError: transformers is not installed, or too old for the model.
    """

    def __init__(self, weights: str | Path | None = None, device: str = "auto") -> None:
        if weights is None:
            raise UsageError(
                "teacher 'huggingface' needs weights: --weights DIR, or a name on the hub like "
                "CIDAS/clipseg-rd64-refined"
            )
        self.device = pick_device(device)
        adapters: dict[str, type[HuggingFaceNetwork]] = {"clipseg": ClipSeg, "sam3": Sam3, "sam3_video": Sam3}
        kind, (model, processor) = load_parts(str(weights), _KINDS, teacher="huggingface")
        self.network = adapters[kind](model, processor, self.device)

    def describe(self) -> dict[str, Any]:
        """Kind of network and the hash of its weights."""
        return {"kind": self.network.kind, "weights": fingerprint(self.network.model.state_dict())}

    @torch.inference_mode()
    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        """One map (T, h, w) in [0, 1] per image, at the fixed resolution of the network."""
        self.network.ask(vocabulary)
        return [self.network.answer(image) for image in images]


class HuggingFaceNetwork(ABC):
    """A model of transformers with its processor; caches the text embeddings of the last vocabulary."""

    kind: str

    def __init__(self, model: Any, processor: Any, device: torch.device) -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self.processor, self.device = processor, device
        self._asked: str | None = None

    def ask(self, vocabulary: Vocabulary) -> None:
        """Encode the concepts of a vocabulary, unless they are cached."""
        if self._asked != vocabulary.hash:
            self._encode(vocabulary)
            self._asked = vocabulary.hash

    @abstractmethod
    def _encode(self, vocabulary: Vocabulary) -> None: ...

    @abstractmethod
    def answer(self, image: Tensor) -> Tensor:
        """(3, H, W) uint8 -> (T, h, w) in [0, 1]."""

    def _preprocess(self, image: Tensor) -> Tensor:
        # channels last: an image of 3 pixels' height or width would leave the processor guessing
        array = image.cpu().permute(1, 2, 0).numpy()
        found = self.processor.image_processor(images=[array], return_tensors="pt", input_data_format="channels_last")
        return found["pixel_values"].to(self.device)  # type: ignore[no-any-return]


class ClipSeg(HuggingFaceNetwork):
    """`CLIPSegForImageSegmentation`: the image is encoded once, the small decoder runs for each concept.

    A concept is the mean of its synonyms and templates ("a photo of a {}." where the vocabulary has none).
    """

    kind = "clipseg"
    templates = ("a photo of a {}.",)

    def _encode(self, vocabulary: Vocabulary) -> None:
        sentences = vocabulary.templates or self.templates
        self._concepts = torch.stack(
            [self._embed_concept(prompts_of(prompt, sentences)) for prompt in vocabulary.prompts]
        )

    def _embed_concept(self, texts: list[str]) -> Tensor:
        tokens = self.processor.tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(self.device)
        embedded: Tensor = self.model.get_conditional_embeddings(
            batch_size=len(texts), input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        )
        return embedded.mean(dim=0)

    def answer(self, image: Tensor) -> Tensor:
        """Sigmoid of the decoder's logits."""
        seen = self.model.clip.vision_model(
            pixel_values=self._preprocess(image), output_hidden_states=True, interpolate_pos_encoding=True
        )
        layers = [seen.hidden_states[index + 1] for index in self.model.extract_layers]
        logits = []
        for concepts in torch.split(self._concepts, _CHUNK):
            repeated = [layer.expand(len(concepts), -1, -1) for layer in layers]
            found = self.model.decoder(repeated, concepts).logits
            logits.append(found.reshape(len(concepts), *found.shape[-2:]))
        return torch.cat(logits).float().sigmoid()


class Sam3(HuggingFaceNetwork):
    """`Sam3Model`: the semantic map times the presence probability.

    Concepts are used as noun phrases without templates; the maps of synonyms are averaged.
    """

    kind = "sam3"

    def _encode(self, vocabulary: Vocabulary) -> None:
        phrases = [split_synonyms(prompt) for prompt in vocabulary.prompts]
        self._counts = [len(own) for own in phrases]
        self._phrases = [self._embed_phrase(synonym) for own in phrases for synonym in own]

    def _embed_phrase(self, text: str) -> dict[str, Any]:
        tokens = self.processor.tokenizer(
            [text], padding="max_length", max_length=32, truncation=True, return_tensors="pt"
        ).to(self.device)
        mask = tokens["attention_mask"]
        features = self.model.get_text_features(input_ids=tokens["input_ids"], attention_mask=mask)
        return {"text_embeds": features, "attention_mask": mask}

    def answer(self, image: Tensor) -> Tensor:
        """Sigmoid of `semantic_seg` times sigmoid of `presence_logits`, phrase by phrase; encodes the image once."""
        vision = self.model.get_vision_features(pixel_values=self._preprocess(image))
        maps = []
        for phrase in self._phrases:
            found = self.model(vision_embeds=vision, **phrase)
            presence = found.presence_logits.float().sigmoid().reshape(())
            maps.append(found.semantic_seg[0, 0].float().sigmoid() * presence)
        return torch.stack([torch.stack(own).mean(dim=0) for own in _group_maps(maps, self._counts)])


def _group_maps(maps: list[Tensor], counts: Sequence[int]) -> list[list[Tensor]]:
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [maps[end - count : end] for end, count in zip(ends, counts, strict=True)]
