"""Polygons of predicted classes: GeoJSON of one image, COCO of many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from semiovs.exchange.coco import write as format_coco
from semiovs.exchange.regions import ExportLabel
from semiovs.files import atomic_write, write_text
from semiovs.images.conventions import IGNORE
from semiovs.images.mask_values import read_mask_values
from semiovs.images.rasters import Georeference, has_rasterio, trace_raster


def write_geojson(
    path: Path,
    labels: NDArray[np.uint8] | Path,
    names: Sequence[str],
    georeference: Georeference | None = None,
) -> None:
    """Write a GeoJSON file: a polygon with its holes for each connected piece of a class, its properties `class` and
    `id`; pixels of 255 have none.

    labels: (H, W), or a mask file as `write_raster` makes it. Coordinates are those of `georeference`, or columns and
    rows (down) of the image.
    """
    with atomic_write(path) as file:
        head = {"type": "FeatureCollection"}
        name = georeference.name if georeference is not None else None
        crs = {"crs": {"type": "name", "properties": {"name": name}}} if name else {}
        file.write(json.dumps({**head, **crs})[:-1].encode() + b', "features": [')
        separator = b"\n"
        for geometry, value in _trace(labels, georeference):
            class_id = int(value)
            told = names[class_id] if class_id < len(names) else str(class_id)
            feature = {"type": "Feature", "properties": {"class": told, "id": class_id}, "geometry": geometry}
            file.write(separator + json.dumps(feature, ensure_ascii=False).encode())
            separator = b",\n"
        file.write(b"\n]}\n")


def _trace(labels: NDArray[np.uint8] | Path, georeference: Georeference | None) -> Iterator[tuple[Any, float]]:
    if isinstance(labels, Path):
        yield from trace_raster(labels, None, georeference)
    elif has_rasterio():
        yield from trace_raster(Path("labels"), labels, georeference)
    else:
        yield from trace_pieces(labels)


def trace_pieces(labels: NDArray[np.uint8]) -> Iterator[tuple[dict[str, Any], float]]:
    """As `rasters.trace_raster`, without rasterio and in columns and rows: outlines run a quarter of a pixel beside the
    borders of the pixels, so that filling them restores the labels.
    """
    for value in np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[:IGNORE]).tolist():
        mask = (labels == value).astype(np.uint8)
        pieces, marks, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
        for number in range(1, pieces):
            left, top, width, height = (int(side) for side in stats[number, :4])
            piece = (marks[top : top + height, left : left + width] == number).astype(np.uint8)
            large = piece.repeat(2, axis=0).repeat(2, axis=1)
            found = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]
            rings = [((contour[:, 0, :] + 0.5) / 2 + (left, top)).tolist() for contour in found]
            # the outer outline is that of the largest area; the others are holes
            areas = [cv2.contourArea(contour) for contour in found]
            outer = rings.pop(int(np.argmax(areas)))
            yield {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in [outer, *rings]]}, float(value)


def write_coco(path: Path, masks: Iterable[tuple[str, Path]], names: Sequence[str]) -> None:
    """Write one COCO file with the run lengths of each class of each image; masks: name of the image, mask file."""
    labels = (ExportLabel(name, read_mask_values(file).astype(np.uint8)) for name, file in masks)
    write_text(path, format_coco(labels, names, None))
