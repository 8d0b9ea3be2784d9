"""Polygons drawn back are the labels, with rasterio and without."""

import json

import numpy as np
import pytest
from PIL import Image

from semiovs.exchange.polygons import fill_polygon
from semiovs.images.rasters import has_rasterio
from semiovs.inference import outlines
from semiovs.inference.outlines import write_coco, write_geojson

NAMES = ("sky", "road", "car")


@pytest.fixture
def labels():
    found = np.random.default_rng(0).integers(0, 3, (12, 17)).astype(np.uint8).repeat(3, 0).repeat(2, 1)
    found[5:9, 4:20] = 255
    found[20:30, 10:25] = 1
    found[23:26, 14:18] = 2  # an island in a hole
    return found


def fill(shapes, size):
    """The labels of polygons with holes, by the pixels' centres."""
    back = np.full(size, 255, np.uint8)
    for shape in shapes:
        outer, *holes = (fill_polygon(np.array(ring[:-1]), *size) for ring in shape["geometry"]["coordinates"])
        for hole in holes:
            outer &= ~hole
        assert (back[outer] == 255).all()
        back[outer] = shape["properties"]["id"]
    return back


@pytest.mark.parametrize("with_rasterio", [True, False])
def test_geojson_drawn_back_is_the_labels(labels, tmp_path, monkeypatch, with_rasterio):
    if with_rasterio and not has_rasterio():
        pytest.skip("needs the extra geo (rasterio)")
    monkeypatch.setattr(outlines, "has_rasterio", lambda: with_rasterio)
    write_geojson(tmp_path / "a.geojson", labels, NAMES)
    found = json.loads((tmp_path / "a.geojson").read_text("utf-8"))
    assert {shape["properties"]["class"] for shape in found["features"]} == set(NAMES)
    assert "crs" not in found
    assert (fill(found["features"], labels.shape) == labels).all()


def test_nothing_but_ignored_pixels_has_no_polygons(tmp_path):
    write_geojson(tmp_path / "a.geojson", np.full((4, 4), 255, np.uint8), NAMES)
    assert json.loads((tmp_path / "a.geojson").read_text("utf-8"))["features"] == []


def test_coco_decoded_is_the_labels(labels, tmp_path):
    from pycocotools import mask

    Image.fromarray(labels).save(tmp_path / "a.png")
    write_coco(tmp_path / "coco.json", [("a.jpg", tmp_path / "a.png")], NAMES)
    found = json.loads((tmp_path / "coco.json").read_text("utf-8"))
    assert [image["file_name"] for image in found["images"]] == ["a.jpg"]
    back = np.full(labels.shape, 254, np.uint8)
    values = {"sky": 0, "road": 1, "car": 2, "ignore": 255}
    names = {one["id"]: values[one["name"]] for one in found["categories"]}
    for one in found["annotations"]:
        back[mask.decode(one["segmentation"]).astype(bool)] = names[one["category_id"]]
    assert (back == labels).all()
