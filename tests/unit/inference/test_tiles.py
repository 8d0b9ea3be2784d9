"""Tiles: the same labels as in one pass where they must be, sizes at which they begin, georeferences, bounded memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiovs.config.schema import EvalConfig
from semiovs.errors import UsageError
from semiovs.images.readers import BandReader
from semiovs.inference import Predictor
from semiovs.inference.prediction_files import list_jobs
from semiovs.inference.prediction_record import PredictionRecord
from semiovs.inference.prediction_run import PredictionRun, find_rasters
from semiovs.inference.tiles import Tiling, choose_tiling, parse_tile
from unit.inference.toy_students import CLASSES, PixelStudent


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)


def test_tiles_of_single_pixels_are_the_whole(pixels):
    whole, tiled = Predictor(PixelStudent(), CLASSES)(pixels), Predictor(PixelStudent(), CLASSES, tile=32)(pixels)
    assert len(np.unique(whole.labels)) == 3
    assert (whole.labels == tiled.labels).all()
    np.testing.assert_allclose(whole.confidence, tiled.confidence, atol=1e-6)


def test_one_tile_is_the_whole(pixels):
    student = PixelStudent(reach=7)
    whole, tiled = Predictor(student, CLASSES)(pixels), Predictor(student, CLASSES, tile=130)(pixels)
    assert (whole.labels == tiled.labels).all()
    assert (Predictor(student, CLASSES, tile=32)(pixels).labels != whole.labels).any()  # tiles of 32 change its grid


def test_bands_go_through_in_tiles():
    reader = BandReader((2, 1, 3, 4))
    values = np.random.default_rng(0).integers(0, 65536, (70, 50, 4), np.uint16)
    student = PixelStudent(bands=4)
    student.normalization = type(student.normalization)((0.5,) * 4, (0.25,) * 4)
    whole = Predictor(student, CLASSES, images=reader)(values)
    assert (Predictor(student, CLASSES, images=reader, tile=32)(values).labels == whole.labels).all()


@pytest.mark.parametrize(
    ("settings", "tile", "size", "expected"),
    [
        ({}, None, (30000, 30000), None),
        ({}, "auto", (30000, 30000), Tiling(1024, 128)),
        ({}, "auto", (1000, 1000), None),
        ({}, 256, (1000, 100), Tiling(256, 32)),
        ({}, 256, (256, 256), None),
        ({"mode": "sliding", "window": 320, "stride": 200}, "auto", (30000, 30000), Tiling(320, 120)),
        ({"mode": "sliding", "window": 320}, 64, (1000, 1000), Tiling(320, 107)),
        ({"mode": "center_crop", "window": 320}, 64, (1000, 1000), None),
        ({"short_side": 320}, 64, (1000, 1000), None),
    ],
)
def test_which_images_are_tiled(settings, tile, size, expected):
    assert choose_tiling(size, EvalConfig(**settings), tile=tile, bands=3, classes=21) == expected


@pytest.mark.parametrize("given", ["x", "-1", "0", "31", 1.5, ""])
def test_wrong_tiles(given):
    with pytest.raises(UsageError, match="side of the tiles"):
        parse_tile(given)


def predict(path, out, predictor, kinds=("ids",)):
    jobs = find_rasters(list(list_jobs([path], out, recursive=False)), predictor)
    run = PredictionRun(predictor, PredictionRecord(out, predictor.fingerprint()), kinds)
    (outcome,) = run.run(jobs, lambda done, total: None)
    return outcome


@pytest.fixture
def rasterio():
    return pytest.importorskip("rasterio", reason="needs the extra geo (rasterio)")


def write_tiff(rasterio, path, values, **more):
    from rasterio.transform import from_origin

    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5.6e6, 0.5, 0.25)} | more
    height, width, count = values.shape
    shape = {"height": height, "width": width, "count": count, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        file.write(values.transpose(2, 0, 1))


@pytest.mark.parametrize("tile", ["auto", 32])
@pytest.mark.parametrize("nodata", [None, 7])
def test_a_georeference_goes_round(rasterio, pixels, tmp_path, tile, nodata):
    pixels[:40, :50] = 7
    write_tiff(rasterio, tmp_path / "a.tif", pixels, nodata=nodata)
    predictor = Predictor(PixelStudent(), CLASSES, tile=tile)
    outcome = predict(tmp_path / "a.tif", tmp_path / "out", predictor, ("ids", "confidence", "overlay", "geojson"))
    whole = Predictor(PixelStudent(), CLASSES)(pixels)
    with rasterio.open(tmp_path / "a.tif") as given, rasterio.open(tmp_path / "out/a.tif") as made:
        assert (made.crs, made.transform, made.shape) == (given.crs, given.transform, given.shape)
        assert (made.nodata, made.compression.name, made.profile["tiled"], made.overviews(1)) == (
            255,
            "deflate",
            True,
            [],
        )
        assert made.colormap(1)[1] == (4, 5, 6, 255)
        labels, unknown = made.read(1), given.dataset_mask() == 0
    assert unknown.any() == (nodata is not None)
    assert (labels[unknown] == 255).all()
    assert (labels[~unknown] == whole.labels[~unknown]).all()
    with rasterio.open(tmp_path / "out/a_confidence.tif") as made:
        assert np.abs(made.read(1)[~unknown] / 255 - whole.confidence[~unknown]).max() <= 0.003
    assert outcome.result["size"] == [90, 130]
    assert Image.open(tmp_path / "out/a_overlay.jpg").height >= 90
    shapes = json.loads((tmp_path / "out/a.geojson").read_text("utf-8"))
    assert shapes["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    from rasterio.features import rasterize

    drawn = [(shape["geometry"], shape["properties"]["id"]) for shape in shapes["features"]]
    with rasterio.open(tmp_path / "a.tif") as given:
        back = rasterize(drawn, given.shape, fill=255, transform=given.transform, dtype="uint8")
    assert (back == labels).all()


@pytest.mark.parametrize("form", ["rgba", "gray", "gray16", "strips"])
def test_windows_of_a_tiff_are_read_as_the_file_is(rasterio, pixels, tmp_path, form):
    values = {
        "rgba": np.dstack([pixels, np.full((90, 130), 255, np.uint8)]),
        "gray": pixels[..., :1],
        "gray16": pixels[..., :1].astype(np.uint16) * 250,
    }.get(form, pixels)
    write_tiff(rasterio, tmp_path / "a.tif", values, **({"photometric": "rgb"} if values.shape[2] > 2 else {}))
    predict(tmp_path / "a.tif", tmp_path / "out", Predictor(PixelStudent(), CLASSES, tile=32))
    with rasterio.open(tmp_path / "out/a.tif") as made:
        assert (made.read(1) == Predictor(PixelStudent(), CLASSES)(tmp_path / "a.tif").labels).all()


def test_a_plain_tiff_is_a_picture_like_any_other(rasterio, pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    predict(tmp_path / "a.tif", tmp_path / "out", Predictor(PixelStudent(), CLASSES, tile="auto"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "predictions.jsonl"]
    predict(tmp_path / "a.tif", tmp_path / "tiles", Predictor(PixelStudent(), CLASSES, tile=32))
    with Image.open(tmp_path / "out/a.png") as whole, Image.open(tmp_path / "tiles/a.tif") as tiled:
        assert (np.asarray(whole) == np.asarray(tiled)).all()


def test_scores_of_rasters_are_refused(rasterio, pixels, tmp_path):
    write_tiff(rasterio, tmp_path / "a.tif", pixels)
    with pytest.raises(UsageError, match=r"a\.tif: scores are not written"):
        predict(tmp_path / "a.tif", tmp_path / "out", Predictor(PixelStudent(), CLASSES), ("ids", "scores"))
    assert not (tmp_path / "out/a.tif").exists()


def test_a_damaged_tiff_is_one_line_and_leaves_nothing(rasterio, pixels, tmp_path):
    write_tiff(rasterio, tmp_path / "a.tif", pixels, compress="deflate", tiled=True, blockxsize=16, blockysize=16)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:8000] + b"\0" * 12000 + data[20000:])
    outcome = predict(tmp_path / "a.tif", tmp_path / "out", Predictor(PixelStudent(), CLASSES, tile=32))
    assert "a.tif: cannot be read as an image" in str(outcome.failure)
    assert "\n" not in str(outcome.failure)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.jsonl"]


MEASURE = """
import sys, torch; from pathlib import Path
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from semiovs.inference import Predictor
from semiovs.peak_memory import find_peak_memory
from unit.inference.test_tiles import predict
from unit.inference.toy_students import CLASSES, PixelStudent
predictor = Predictor(PixelStudent(reach=16), CLASSES, tile=256)
predict(Path(sys.argv[2]), Path(sys.argv[3]) / "first", predictor)
before = find_peak_memory()
assert predict(Path(sys.argv[4]), Path(sys.argv[3]) / "second", predictor).result
print((find_peak_memory() - before) >> 20)
"""


def test_memory_does_not_grow_with_the_image(rasterio, tmp_path):
    """An image sixteen times as large takes no more than GDAL's cache of 128 MiB, which the small one does not fill;
    its pixels as floats and its scores would be 864 MiB.
    """
    tile = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name, times in (("small", 24), ("large", 96)):
        values = np.tile(tile, (times, times, 1))
        write_tiff(rasterio, tmp_path / f"{name}.tif", values, tiled=True, compress="lzw", photometric="rgb")
    root = str(Path(__file__).resolve().parents[2])
    given = [root, str(tmp_path / "small.tif"), str(tmp_path), str(tmp_path / "large.tif")]
    found = subprocess.run([sys.executable, "-c", MEASURE, *given], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 250
