"""Teacher `huggingface`: zero-shot segmenters of transformers (extra `hf`), from a directory or the hub.

CLIPSeg maps a sentence to per-pixel logits; SAM 3 maps a noun phrase to per-pixel logits and one presence logit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semiovs.env import weights_dir
from semiovs.errors import MissingExtraError, SemiovsError, UsageError, WeightsError
from semiovs.models.device import pick_device
from semiovs.models.hub import hub
from semiovs.models.statedict import first_of
from semiovs.models.text.concepts import prompts_of
from semiovs.models.text.encoder import fingerprint
from semiovs.ovs.prompted import PromptedModel
from semiovs.vocab.rules import synonyms
from semiovs.vocab.vocabulary import Vocabulary

#: Prompts that CLIPSeg's decoder answers at once.
_CHUNK = 16


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
                "teacher 'huggingface' needs weights: --weights DIR, or a name on the hub like CIDAS/clipseg-rd64-refined"
            )
        self.device = pick_device(device)
        self.network = _load(str(weights), self.device)

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
        phrases = [synonyms(prompt) for prompt in vocabulary.prompts]
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


def _load(source: str, device: torch.device) -> HuggingFaceNetwork:
    """The network that `source` holds, on `device`."""
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("teacher 'huggingface' needs transformers; pip install 'semiovs[hf]'") from None
    folders = (Path(source).expanduser(), weights_dir() / source)
    source = next((str(folder) for folder in folders if folder.is_dir()), source)
    try:
        with hub(), _silence(transformers):
            kind = transformers.AutoConfig.from_pretrained(source).model_type
            names, network = _choose_adapter(source, kind)
            if lacking := [name for name in names if not hasattr(transformers, name)]:
                raise MissingExtraError(f"{source}: this transformers has no {lacking[0]}; pip install -U transformers")
            model, info = getattr(transformers, names[0]).from_pretrained(source, output_loading_info=True)
            processor = getattr(transformers, names[1]).from_pretrained(source)
    except SemiovsError:
        raise
    except Exception as error:  # transformers raises whatever its files and the hub's client raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(" .")
        raise WeightsError(
            f"teacher 'huggingface': {source}: cannot be loaded: {reason}; --weights takes a directory with config.json, "
            "model.safetensors, preprocessor_config.json and the tokenizer's files, or a name on the hub"
        ) from None
    if missing := sorted(info["missing_keys"]):  # transformers would use random weights
        raise WeightsError(f"{source}: weights of {names[0]} lack {len(missing)} tensors ({first_of(missing)})")
    return network(model, processor, device)


def _choose_adapter(source: str, kind: str) -> tuple[tuple[str, str], type[HuggingFaceNetwork]]:
    """Classes of transformers (model, processor) for a model of this type, and our adapter."""
    sam3 = (("Sam3Model", "Sam3Processor"), Sam3)
    table: dict[str, tuple[tuple[str, str], type[HuggingFaceNetwork]]] = {
        "clipseg": (("CLIPSegForImageSegmentation", "CLIPSegProcessor"), ClipSeg),
        "sam3": sam3,
        "sam3_video": sam3,  # as published, image and video model share one file
    }
    if kind not in table:
        raise UsageError(f"{source}: a model of type '{kind}'; teacher 'huggingface' knows {', '.join(table)}")
    return table[kind]


@contextmanager
def _silence(transformers: Any) -> Iterator[None]:
    """Context in which transformers logs errors only, without progress bars."""
    settings = transformers.utils.logging
    level, bars = settings.get_verbosity(), settings.is_progress_bar_enabled()
    settings.set_verbosity_error()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        settings.set_verbosity(level)
        if bars:
            settings.enable_progress_bar()
