"""Rasterise COCO's regions (polygons and run lengths); polygons by pycocotools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from semiovs.errors import DataError
from semiovs.images.coco_polygons import fill_polygons
from semiovs.images.conventions import IGNORE
from semiovs.images.run_lengths import Runs, from_text

#: Category ids that COCO never used; the 80 things have the others of 1..90, stuff 92..182.
_UNUSED_THINGS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
THINGS = tuple(i for i in range(1, 91) if i not in _UNUSED_THINGS)
STUFF = tuple(range(92, 183))

#: Pixels of an image; those of the sets have some 300,000.
_MOST_PIXELS = 1 << 26

#: Value in a ``stuffthingmaps`` PNG (category id - 1) -> class: things 1 to 80, stuff 0 (background), others ignored.
MAP_81: Mapping[str, int] = {
    **{str(value): IGNORE for value in range(255)},
    **{str(category - 1): 1 + rank for rank, category in enumerate(THINGS)},
    **{str(category - 1): 0 for category in STUFF},
}
#: The same for the 171 classes of COCO-Stuff.
MAP_171: Mapping[str, int] = {
    **{str(value): IGNORE for value in range(255)},
    **{str(category - 1): rank for rank, category in enumerate((*THINGS, *STUFF))},
}


@dataclass(frozen=True)
class CocoInstances:
    """An ``instances_*.json``: size and regions (category id, area, crowd, segmentation) of each image, by stem."""

    path: Path
    sizes: Mapping[str, tuple[int, int]]
    regions: Mapping[str, Sequence[tuple[int, float, bool, Any]]]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file (the official training file has 450 MB and temporarily takes some GB of memory).

        Raises:
            DataError: not such a file.
        """
        try:
            data = json.loads(path.read_bytes())
            stems = {row["id"]: PurePosixPath(row["file_name"]).stem for row in data["images"]}
            sizes = {stems[row["id"]]: (int(row["height"]), int(row["width"])) for row in data["images"]}
            regions: dict[str, list[tuple[int, float, bool, Any]]] = {stem: [] for stem in sizes}
            for row in data["annotations"]:
                region = (int(row["category_id"]), float(row["area"]), bool(row.get("iscrowd")), row["segmentation"])
                regions[stems[row["image_id"]]].append(region)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{path}: not an annotation file of COCO ({type(error).__name__}: {error})") from None
        return cls(path, sizes, regions)

    def paint(self, stem: str) -> NDArray[np.uint8]:
        """(H, W): 0 = background, 1 to 80 = things in the order of their category ids.

        Crowds are drawn first, then objects from the largest to the smallest, so that objects in front mostly end on
        top. How the authors of the published masks resolved overlaps is not known.

        Raises:
            DataError: a category that is not a thing, or an invalid region or size.
        """
        mask = make_blank(*self.sizes[stem]).astype(np.uint8)
        for category, _, _, region in sorted(self.regions[stem], key=lambda row: (not row[2], -row[1])):
            if category not in THINGS:
                raise DataError(f"category {category} is none of COCO's 80 things")
            mask[decode_region(region, *mask.shape)] = 1 + THINGS.index(category)
        return mask


def decode_region(region: Any, height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) bool of a segmentation: polygons, or run lengths (a list of counts, or COCO's compressed text).

    Raises:
        DataError: it does not hold, or is of another size.
    """
    try:
        if isinstance(region, list):
            polygons = [
                np.array(polygon[: len(polygon) // 2 * 2], np.float64) for polygon in region if len(polygon) >= 6
            ]
            return fill_polygons([points.reshape(-1, 2) for points in polygons], height, width)
        counts, (high, wide) = region["counts"], region["size"]
        runs = from_text(counts) if isinstance(counts, str) else np.array([int(count) for count in counts], np.int64)
        return Runs(runs, (int(high), int(wide))).raster(height, width)
    except DataError:
        raise
    except Exception as error:  # the C code raises many kinds
        raise DataError(f"a region that cannot be read ({type(error).__name__}: {error})") from None


def make_blank(height: int, width: int) -> NDArray[np.int64]:
    """(H, W) zeros.

    Raises:
        DataError: not a valid size of an image.
    """
    if not (height > 0 < width and height * width <= _MOST_PIXELS):
        raise DataError(f"an image of {width}x{height} pixels")
    return np.zeros((height, width), np.int64)
