"""What the labels say of each class before step 0: its weight in the loss, and whether they show it at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from semiovs.config.schema import Config
from semiovs.data.collection import LABELED, OOD, VAL, Collection
from semiovs.engine.guards import Note, join_names
from semiovs.methods.criterion import balance_classes

#: Stream -> pixels of each id in its masks or labels, (256,).
Counts = Mapping[str, NDArray[np.int64]]


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
