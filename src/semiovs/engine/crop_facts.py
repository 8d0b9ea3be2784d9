"""What crops are too small to teach, said before step 0."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from semiovs.config.schema import Config
from semiovs.data.collection import Collection
from semiovs.engine.guards import Note
from semiovs.errors import DataError
from semiovs.images.image import read_size
from semiovs.registry import SEGMENTERS, lookup

#: Images whose sizes are looked at.
_LOOKED_AT = 8
#: Cells of a crop's map below which no dilations are worth a proposal.
_FEWEST_CELLS = 4


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
