"""Teacher `prototypes`: the nearest class centre in the features of a frozen encoder, learnt from labelled images."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.errors import ConfigError, UsageError, WeightsError
from semiovs.models.decoders.linear import LinearProbe
from semiovs.models.device import pick_device
from semiovs.models.text.encoder import fingerprint
from semiovs.ovs.class_cells import ImageCells, collect_cells
from semiovs.ovs.class_centres import ClassCentres, fit_centres
from semiovs.ovs.labeled_image import LabeledImage
from semiovs.ovs.mapped import MappedModel
from semiovs.ovs.pooling import ConceptPooling
from semiovs.vocab.vocabulary import Vocabulary

#: Channels of all maps together, at most; the last map is read in any case.
_WIDEST = 1536


#: Settings of a student in messages -> what a teacher has in their place.
_OWN_WORDS = (
    ("set model.pretrained=FILE", "give --weights FILE"),
    ("set model.pretrained to a file, or to false", "give --weights FILE"),
    ("model.pretrained=", "--weights "),
    ("model.pretrained", "--weights"),
    ("model.output_stride", "output_stride"),
)


@contextmanager
def _in_own_words() -> Iterator[None]:
    """Errors of a student's encoder, with the options of a teacher."""
    try:
        yield
    except (UsageError, WeightsError) as error:
        text = str(error)
        for theirs, ours in _OWN_WORDS:
            text = text.replace(theirs, ours)
        raise type(error)(f"teacher 'prototypes': {text}") from None


class Prototypes(MappedModel):
    """Knows the classes by labelled images, not by words: any encoder, no CLIP, no training (page `prototypes` of the
    docs).

    weights: of the encoder, as `model.pretrained`: null: the published ones; a file, or a name in the weights
    directory. encoder: `tiny`, `small`, or a timm name, as `linear-probe` takes it; its maps from stride 4 on are read
    at the resolution of the last one, as far as they have 1536 channels together. output_stride: of a convolutional
    encoder. short_side: the image is brought to this short side, pixels; null: its own size. centres: k-means centres
    of each class, beside its mean. temperature: of the softmax over the classes; null: chosen on labelled images that
    are left out in turn.

    The score of a class is the softmax over the classes of cosine / temperature, with the largest cosine of a cell to
    one of the class's centres, after the features were whitened (`fit_centres`). A class that no mask shows has the
    score 0.

    Raises:
        UsageError: no such encoder, or an option that does not hold; WeightsError: no weights.
    """

    learns = True

    def __init__(
        self,
        weights: str | Path | None = None,
        encoder: str = "vit_small_patch14_dinov2",
        output_stride: int = 16,
        short_side: int | None = None,
        centres: int = 4,
        temperature: float | None = None,
        device: str = "auto",
    ) -> None:
        if not 0 <= centres <= 64:
            raise UsageError(f"teacher 'prototypes': centres {centres} is not between 0 and 64")
        if short_side is not None and not 32 <= short_side <= 4096:
            raise UsageError(f"teacher 'prototypes': short_side {short_side} is not between 32 and 4096 pixels")
        if temperature is not None and not 0.001 <= temperature <= 10:
            raise UsageError(f"teacher 'prototypes': temperature {temperature} is not between 0.001 and 10")
        with _in_own_words():
            probe = LinearProbe(
                1, pretrained=True if weights is None else str(weights), encoder=encoder, output_stride=output_stride
            )
        self.encoder, self.stride, self.short_side = encoder, probe.stride, short_side
        self.centres, self.temperature = centres, temperature
        self.identity = fingerprint(probe.backbone.state_dict())
        self._place = pick_device(device)
        self._probe = probe.eval().to(self._place)
        look = probe.normalization
        self._mean, self._std = (torch.tensor(v, device=self._place).view(3, 1, 1) for v in (look.mean, look.std))
        self._known: WeakKeyDictionary[LabeledImage, ImageCells] = WeakKeyDictionary()
        self.learnt: ClassCentres | None = None

    def describe(self) -> dict[str, Any]:
        """Encoder, hash of its weights, what changes its answers, and what it has learnt from."""
        fixed = {"encoder": self.encoder, "weights": self.identity, "stride": self.stride}
        chosen = {"short_side": self.short_side, "centres": self.centres, "temperature": self.temperature}
        return {**fixed, **chosen, "learnt": None if self.learnt is None else self.learnt.describe()}

    def learn(self, labeled: Sequence[LabeledImage], vocabulary: Vocabulary) -> Prototypes:
        """The teacher with the centres of these images."""
        for image in labeled:
            if image not in self._known:
                self._known[image] = self._look(image, len(vocabulary))
        taught = copy.copy(self)
        cells = [self._known[image] for image in labeled]
        taught.learnt = fit_centres(cells, vocabulary.names, self.centres, self.temperature)
        return taught

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Refuse other classes than those that it has learnt.

        Raises:
            UsageError: it has learnt nothing; ConfigError: other classes.
        """
        self._require_learnt(vocabulary)

    def pooling(self, vocabulary: Vocabulary) -> ConceptPooling:
        """One map a class, the background too."""
        return ConceptPooling(range(len(vocabulary)), len(vocabulary))

    @torch.inference_mode()
    def maps(self, images: Sequence[Tensor], vocabulary: Vocabulary) -> list[Tensor]:
        """One map (K, h, w) in [0, 1] an image, at one cell an encoder's stride."""
        learnt = self._require_learnt(vocabulary)
        order = [learnt.names.index(name) for name in vocabulary.names]
        return [learnt.compute_scores(self._extract(image))[order] for image in images]

    def _require_learnt(self, vocabulary: Vocabulary) -> ClassCentres:
        if self.learnt is None:
            raise UsageError(
                "teacher 'prototypes' learns from labelled images, and was given none: name a configuration with "
                "data.labeled (semiovs label CONFIG --images DIR --out DIR --teacher prototypes)"
            )
        if unknown := [name for name in vocabulary.names if name not in self.learnt.names]:
            raise ConfigError(
                f"teacher 'prototypes' has learnt {', '.join(self.learnt.names)}, and is asked for '{unknown[0]}'; "
                "give it the classes of its labelled images"
            )
        return self.learnt

    @torch.inference_mode()
    def _look(self, labeled: LabeledImage, classes: int) -> ImageCells:
        image, mask = labeled.load()
        return collect_cells(labeled, image, mask, self._extract(image), classes)

    def _extract(self, image: Tensor) -> Tensor:
        """Image (3, H, W) uint8 -> features (C, h, w); the image is resized to whole cells."""
        height, width = image.shape[-2:]
        scale = 1.0 if self.short_side is None else self.short_side / min(height, width)
        size = tuple(max(1, round(side * scale / self.stride)) * self.stride for side in (height, width))
        pixels = image.to(self._place)[None].float() / 255
        if tuple(pixels.shape[-2:]) != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
        maps = self._probe.pyramid((pixels - self._mean) / self._std)
        grid, kept = (maps[-1].shape[-2], maps[-1].shape[-1]), [maps[-1]]
        for finer in reversed(maps[:-1]):
            if sum(part.shape[1] for part in kept) + finer.shape[1] > _WIDEST:
                break
            kept.append(F.adaptive_avg_pool2d(finer, grid))
        return torch.cat(kept, dim=1)[0]
