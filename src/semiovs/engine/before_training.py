"""What is known before step 0: class weights, classes that no label shows, dilations that no crop shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from semiovs.config.schema import Config
from semiovs.data.collection import LABELED, OOD, VAL, Collection
from semiovs.data.rare_classes import RareClasses
from semiovs.engine.guards import Note, join_names
from semiovs.errors import DataError
from semiovs.images.image import read_size
from semiovs.methods.criterion import balance_classes
from semiovs.models.encoders import describe_encoder
from semiovs.registry import SEGMENTERS, lookup

#: Stream -> pixels of each id in its masks or labels, (256,).
Counts = Mapping[str, NDArray[np.int64]]
#: Images whose sizes are looked at.
_LOOKED_AT = 8
#: Cells of a crop's map below which no dilations are worth a proposal.
_FEWEST_CELLS = 4


def fill_class_weights(config: Config, classes: int, count: Callable[[], NDArray[np.int64]]) -> Config:
    """Replace ``method.class_weights: auto`` by numbers; any other configuration is returned as it is.

    count: pixels of each id in the labelled masks, (256,).
    """
    if config.method.options.get("class_weights") != "auto":
        return config
    weights = balance_classes(count()[:classes].tolist())
    return config.model_copy(update={"method": config.method.model_copy(update={"class_weights": weights})})


def describe_class_weights(config: Config, names: tuple[str, ...]) -> str | None:
    """The weights in a line, the largest first; None where no class is weighted."""
    weights = config.method.options.get("class_weights")
    if weights is None:
        return None
    order = sorted(range(len(names)), key=lambda k: -weights[k])
    return f"class weights (method.class_weights): {join_names([f'{names[k]} {weights[k]:.3g}' for k in order], 12)}"


def look_ahead(config: Config, sources: Collection, counts: Counts) -> Iterator[Note]:
    """What a person should know before step 0."""
    yield from find_random_encoder(config)
    yield from find_restricted_weights(config)
    yield from find_untaught_classes(config, sources, counts)
    yield from find_unseen_dilations(config, sources)


def describe_rare_classes(rare: RareClasses | None, names: tuple[str, ...]) -> str | None:
    """The classes that `data.rare_crops` and `data.copy_paste` draw, the rarest first, with their share of the labelled
    pixels; None where neither is set.
    """
    if rare is None:
        return None
    order = sorted((k for k, weight in enumerate(rare.rarity) if weight), key=lambda k: -rare.rarity[k])
    if not order:
        return (
            "no class has fewer labelled pixels than the mean of the classes, so data.rare_crops and data.copy_paste "
            "change nothing; leave them out"
        )
    shares = [f"{names[k]} {100 / rare.rarity[k]:.3g} %" for k in order]
    return f"rare classes (data.rare_crops, data.copy_paste): {join_names(shares, 12)}"


def find_untaught_classes(config: Config, sources: Collection, counts: Counts) -> Iterator[Note]:
    """Classes of the evaluation masks that no label shows that the training learns from."""
    if VAL not in counts:
        return
    streams = [LABELED] if config.ood is None or config.ood.mode == "naive" else [LABELED, OOD]
    taught = sum((counts[name] for name in streams if name in counts), np.zeros(256, np.int64))
    names = [f"'{name}'" for k, name in enumerate(sources.vocabulary.names) if counts[VAL][k] and not taught[k]]
    if names:
        shown = "no labelled mask" if len(streams) == 1 else "no labelled mask and no OOD label"
        yield Note(
            "class-unlabelled",
            f"class without labels: {shown} shows {join_names(names)}, and the evaluation "
            "masks do: it cannot be learnt and counts as IoU 0; label images that show it (semiovs data stats counts "
            "classes), or take it out of the class list",
        )


def find_random_encoder(config: Config) -> Iterator[Note]:
    """An encoder that starts from random weights although there are published ones."""
    encoder = config.model.options.get("encoder")
    if config.model.pretrained or config.model.init_from or not isinstance(encoder, str):
        return
    row = describe_encoder(encoder)
    if row is not None:
        yield Note(
            "encoder-random",
            f"encoder without training: {encoder} starts from random weights (model.pretrained=false), from which few "
            f"labels teach little; model.pretrained=true takes published ones ({row.source})",
        )


def find_restricted_weights(config: Config) -> Iterator[Note]:
    """Weights of the encoder whose licence forbids some uses of what is trained from them."""
    encoder = config.model.options.get("encoder")
    row = describe_encoder(encoder) if config.model.pretrained and isinstance(encoder, str) else None
    if row is not None and row.restricts is not None:
        yield Note(
            "weights-restricted",
            f"licence of the encoder's weights: {row.what} is {row.restricts} ({row.licence}), which may hold for what "
            "is trained from it too; encoders without such limits: semiovs weights list --kind encoder",
        )


def find_unseen_dilations(config: Config, sources: Collection) -> Iterator[Note]:
    """Dilations that reach beyond every crop, but not beyond whole images: their weights meet nothing but padding while
    they are trained.
    """
    options = {**lookup(SEGMENTERS, config.model.name, kind="segmenter").defaults, **config.model.options}
    if config.eval.mode == "sliding" or not {"dilations", "output_stride"} <= options.keys():
        return
    stride, crop = options["output_stride"], config.data.crop_size
    cells = -(-crop // stride)
    side = -(-_find_long_side(sources) // stride)
    if cells < _FEWEST_CELLS:
        return
    unseen = [dilation for dilation in options["dilations"] if cells <= dilation < side]
    if unseen:
        proposed = "[" + ",".join(str(max(1, each * cells // 20)) for each in (6, 12, 18)) + "]"
        yield Note(
            "dilations-unseen",
            f"crops too small for the decoder: in crops of {crop} pixels its dilations {', '.join(map(str, unseen))} "
            f"(model.dilations) see padding alone, in whole images they do not: what they predict there is noise; try "
            f"model.dilations={proposed}, eval.mode=sliding, or a larger data.crop_size",
        )


def _find_long_side(sources: Collection) -> int:
    """Longest side of some of the images that are evaluated, or else learnt from; 0 if none can be read."""
    longest = 0
    for record in islice(sources.val or sources.labeled, _LOOKED_AT):
        with suppress(DataError):
            longest = max(longest, *read_size(record.image))
    return longest
