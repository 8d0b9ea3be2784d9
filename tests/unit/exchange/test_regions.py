"""Pixels of shapes: run lengths, brush streams, polygons; exact there and back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as api

from semiovs.datasets.coco_masks import decode_region
from semiovs.errors import DataError
from semiovs.exchange import brush, coco
from semiovs.exchange.annotation_file import AnnotationFile
from semiovs.exchange.annotations import Bitmap
from semiovs.exchange.polygons import Polygons, fill_polygon, make_ellipse, make_rectangle, trace_outlines
from semiovs.exchange.problems import ProblemList
from semiovs.exchange.regions import layer_outlines
from semiovs.images.coco_polygons import fill_polygons
from semiovs.images.run_lengths import Runs, count_runs, decode_run_lengths, encode_run_lengths

SIDES = st.tuples(st.integers(1, 24), st.integers(1, 24))
MASKS = SIDES.flatmap(lambda size: arrays(np.bool_, size))
LABELS = SIDES.flatmap(lambda size: arrays(np.uint8, size, elements=st.sampled_from([0, 1, 2, 255])))


@given(MASKS)
def test_run_lengths_are_exact(mask):
    for by_columns in (True, False):
        counts = count_runs(mask, by_columns=by_columns)
        assert counts.sum() == mask.size
        assert (Runs(counts, mask.shape, by_columns).rasterize(*mask.shape) == mask).all()
    counts = count_runs(mask, by_columns=True)
    assert decode_run_lengths(encode_run_lengths(mask)).tolist() == counts.tolist()


@given(MASKS)
def test_brush_streams_are_exact(mask):
    assert (brush.decode_brush(brush.encode_brush(mask), *mask.shape) == mask).all()


def test_a_brush_stream_as_label_studio_writes_it():
    """Recorded from the converter of label-studio-sdk 2.1."""
    mask = np.zeros((5, 7), np.bool_)
    mask[1:4, 2:6] = True
    mask[2, 3] = False
    stream = bytes(
        [0, 0, 0, 140, 57, 27, 254, 35, 0, 191, 255, 108, 2, 63, 248, 192, 39, 255, 182, 1, 127, 255, 15, 128, 0]
    )
    assert brush.encode_brush(mask) == stream
    assert (brush.decode_brush(stream, 5, 7) == mask).all()


def test_a_brush_stream_with_literal_values():
    """Blocks that are no runs: 4 pixels, the last two opaque."""
    values = [0, 0, 0, 0, 9, 9, 9, 100, 1, 2, 3, 200, 255, 255, 255, 255]
    bits = f"{16:032b}{7:05b}" + "".join(f"{w - 1:04b}" for w in (3, 4, 8, 16)) + "0" + "01" + f"{15:04b}"
    bits += "".join(f"{value:08b}" for value in values)
    data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    assert brush.decode_brush(data, 2, 2).tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize("cut", [0, 3, 5, 12, 20])
def test_a_brush_stream_that_is_cut_off(cut):
    data = brush.encode_brush(np.eye(9, dtype=np.bool_))
    with pytest.raises(DataError, match="cut off"):
        brush.decode_brush(data[:cut], 9, 9)


def test_a_brush_stream_cannot_fill_the_memory():
    with pytest.raises(DataError, match="4,294,967,295 values, but 9x9 pixels have 324"):
        brush.decode_brush(b"\xff" * 40, 9, 9)
    header = brush.encode_brush(np.zeros((1, 1), np.bool_))[:7]
    with pytest.raises(DataError, match="runs go on to value"):
        brush.decode_brush(header[:6] + b"\xff" * 9, 1, 1)


@pytest.mark.parametrize(
    ("counts", "size", "message"),
    [
        ([3, 2], (2, 3), "add up to 5, but the mask has 3x2 = 6"),
        ([3, 9], (2, 3), "add up to 12"),
        ([8, -2], (2, 3), "a negative count"),
        ([1 << 60] * 16 + [6], (2, 3), "add up to 18,446,744,073,709,551,622"),
        ([4], (2, 2), "a mask of 2x2 pixels, but the image is 3x2"),
    ],
)
def test_counts_that_do_not_hold(counts, size, message):
    with pytest.raises(DataError, match=message):
        Runs(np.array(counts, np.int64), size).rasterize(2, 3)


def test_a_mask_in_a_corner():
    runs = Runs(np.array([1, 3]), (2, 2), by_columns=False, corner=(1, 0))
    assert runs.rasterize(2, 3).astype(int).tolist() == [[0, 0, 1], [0, 1, 1]]
    with pytest.raises(DataError, match="2x2 pixels at 1,0 reaches out of the image"):
        runs.rasterize(2, 2)
    part = Bitmap(np.ones((2, 2), np.bool_), -1, 1)
    assert part.rasterize(2, 3).astype(int).tolist() == [[0, 0, 0], [1, 0, 0]]
    assert not Bitmap(np.ones((2, 2), np.bool_), 9, 9).rasterize(2, 3).any()


@pytest.mark.parametrize("text", ["\x00", "é", "00P", "o" * 40])
def test_text_counts_that_cannot_be_right(text):
    with pytest.raises(DataError, match=r"compressed counts"):
        decode_run_lengths(text)


def test_pixels_of_polygons():
    """Whole corners enclose whole pixels: an area is its number of pixels."""
    assert fill_polygon(make_rectangle(1, 2, 3, 2), 6, 6).sum() == 6
    assert fill_polygon(make_rectangle(1, 2, 3, 2), 6, 6)[2:4, 1:4].all()
    turned = fill_polygon(make_rectangle(4, 1, 3, 2, rotation=90), 6, 6)
    assert turned[1:4, 2:4].all()
    assert turned.sum() == 6
    round_ = fill_polygon(make_ellipse(50, 50, 30, 20), 100, 100)
    assert round_.sum() == pytest.approx(np.pi * 30 * 20, rel=0.01)
    bow = np.array([[0.0, 0.0], [8.0, 8.0], [8.0, 0.0], [0.0, 8.0]])  # crosses itself
    assert 24 <= fill_polygon(bow, 8, 8).sum() <= 40


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_outlines_give_every_label_back(label):
    """Painted in order, the outlines of all pieces are the label again, whatever lies in whose hole."""
    found = np.full(label.shape, 7, np.uint8)
    for name, points in layer_outlines(label, ["0", "1", "2"], 0.0):
        found[fill_polygon(points, *label.shape)] = 255 if name == "ignore" else int(name)
    assert (found == label).all()


def test_how_much_simpler_polygons_keep():
    """Blobs with smooth borders: corners that may be off by a pixel keep at least 97 % of the pixels, by 2 pixels
    94 %.
    """
    import cv2

    rng, corners = np.random.default_rng(0), []
    for tolerance, least in ((0.0, 1.0), (1.0, 0.97), (2.0, 0.94)):
        maps = np.stack([cv2.GaussianBlur(rng.random((120, 160)).astype(np.float32), (0, 0), 9) for _ in range(3)])
        label = maps.argmax(axis=0).astype(np.uint8)
        found = np.full(label.shape, 9, np.uint8)
        pieces = layer_outlines(label, ["0", "1", "2"], tolerance)
        for name, points in pieces:
            found[fill_polygon(points, *label.shape)] = int(name)
        assert (found == label).mean() >= least
        corners.append(sum(len(points) for _, points in pieces))
    assert corners[1] < 0.5 * corners[0]


def test_a_polygon_cannot_fill_the_memory():
    zigzag = np.array([[i % 7, 0 if i % 2 else 4000] for i in range(6000)], np.float64)
    with pytest.raises(DataError, match="whose edges cross"):
        fill_polygon(zigzag, 4000, 10)


def test_an_object_outside_of_the_image():
    with pytest.raises(DataError, match="lies outside of the image: x 20 to 30, y 1 to 5, the image is 10x8"):
        Polygons((make_rectangle(20, 1, 10, 4),)).rasterize(8, 10)
    assert Polygons((make_rectangle(-5, -5, 8, 8),)).rasterize(8, 10).sum() == 9  # what reaches out is cut


def stars(count):
    """Corners (20, 2) of outlines around the middle of an image of 200 x 240."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        angles, radius = np.sort(rng.random(20)) * 2 * np.pi, rng.uniform(5, 130, 20)
        yield [120, 100] + np.stack([np.cos(angles), np.sin(angles)], 1) * radius[:, None]


def imported(segmentation, size):
    """What `labels import` paints of one object."""
    height, width = size
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": height, "width": width}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}],
    }
    problems = ProblemList()
    (image,) = coco.read(AnnotationFile(Path("x.json"), json=data), problems).images
    assert not problems
    assert not image.faults
    return image.shapes[0].region.rasterize(height, width)


def test_coco_polygons_are_the_same_pixels_for_labels_and_for_benchmarks():
    """And those of the COCO API; by the rule of the other formats all stars differ, by less than 1 % of the pixels."""
    differ = total = 0
    for points in stars(200):
        polygons = [points.ravel().tolist(), (points / 3).ravel().tolist()]
        theirs = api.decode(api.merge(api.frPyObjects(polygons, 200, 240))).astype(bool)
        assert (decode_region(polygons, 200, 240) == theirs).all()
        assert (imported(polygons, (200, 240)) == theirs).all()
        ours = Polygons((points, points / 3)).rasterize(200, 240)
        assert (ours != theirs).any()
        differ += int((ours != theirs).sum())
        total += int(theirs.sum())
    assert total
    assert differ < 0.01 * total


def test_coco_run_lengths_are_the_same_pixels_for_labels_and_for_benchmarks():
    rng = np.random.default_rng(0)
    for _ in range(200):
        mask = rng.random(rng.integers(1, 30, 2)) < rng.random()
        text = api.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert encode_run_lengths(mask) == text
        for counts in (text, count_runs(mask, by_columns=True).tolist()):
            region = {"size": list(mask.shape), "counts": counts}
            assert (decode_region(region, *mask.shape) == mask).all()
            assert (imported(region, mask.shape) == mask).all()


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_outlines_give_every_label_back_by_way_of_coco(label):
    """The outlines that `labels export --to coco` writes, drawn by the COCO API."""
    found = np.full(label.shape, 7, np.uint8)
    for name, points in layer_outlines(label, ["0", "1", "2"], 0.0):
        found[fill_polygons([points], *label.shape)] = 255 if name == "ignore" else int(name)
    assert (found == label).all()


def test_whole_corners_are_whole_pixels_in_coco_too():
    whole = make_rectangle(3, 5, 40, 20)
    assert (fill_polygon(whole, 60, 60) == fill_polygons([whole], 60, 60)).all()
    assert not fill_polygons([], 3, 4).any()


@pytest.mark.parametrize("corner", [float("nan"), float("inf"), 1e9])
def test_coordinates_that_would_crash_the_coco_api(corner):
    with pytest.raises(DataError, match="far larger than its image of 10x8"):
        fill_polygons([np.array([[0.0, 0.0], [corner, 0.0], [corner, 5.0]])], 8, 10)


def test_small_pieces_keep_an_outline():
    mask = np.zeros((5, 9), np.bool_)
    mask[1, 1] = mask[3, 2:8] = True
    found = np.zeros_like(mask)
    for points in trace_outlines(mask, 3.0):
        assert len(points) >= 3
        found |= fill_polygon(points, 5, 9)
    assert found[1, 1]
    assert found[3].any()
