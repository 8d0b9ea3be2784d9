"""Fill polygons of COCO annotations with the COCO API (`pycocotools`), which works on fifths of a pixel and includes
borders.

Other annotation programs fill the pixels whose centres lie inside (`exchange.polygons`); the two differ along outlines.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.run_lengths import Runs, decode_run_lengths

#: Largest coordinate and length of an outline, in pixels; the COCO API would crash the process on larger ones.
_LONGEST = 5_000_000


def fill_polygons(polygons: Sequence[NDArray[np.float64]], height: int, width: int) -> NDArray[np.bool_]:
    """Fill the union of polygons, each (N, 2) of x, y in pixels, into a mask (height, width); they are cut at the
    border.

    Raises:
        DataError: coordinates that are no numbers, or far away.
    """
    from pycocotools import mask

    for points in polygons:
        near = np.abs(points).max() <= _LONGEST  # NaN is not
        if not near or np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum() > _LONGEST:
            raise DataError(f"a polygon far larger than its image of {width}x{height}")
    if not polygons:
        return np.zeros((height, width), np.bool_)
    union = mask.merge(mask.frPyObjects([points.ravel().tolist() for points in polygons], height, width))
    return Runs(decode_run_lengths(str(union["counts"], "ascii")), (height, width)).rasterize(height, width)
