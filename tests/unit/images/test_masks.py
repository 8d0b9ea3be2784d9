from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from semiovs.config.schema import MaskConfig
from semiovs.errors import ConfigError, DataError
from semiovs.images.discover.classes import guess_classes
from semiovs.images.mask_values import ForeignValuesError, count_values, map_binary_values, read_mask_values
from semiovs.images.masks import MaskReader
from semiovs.vocab import Vocabulary

NAMES = ("sky", "road", "car")
IDS = np.array([[0, 1, 2], [255, 1, 0]], np.uint8)
COLORS = np.array([(10, 20, 30), (10, 20, 31), (200, 20, 30), (0, 0, 0)], np.uint8)
COLOR_MAP = {"10,20,30": "sky", "10, 20, 31": 1, "(200,20,30)": "car", "0,0,0": "ignore"}


def save(path, array, mode=None):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def palette(array):
    image = Image.fromarray(array).convert("L")
    image.putpalette(list(range(255, -1, -1)) * 3)
    return image


def rgb(ids):
    return COLORS[np.where(ids == 255, 3, ids)]


@pytest.fixture(params=["gray", "palette", "deep", "deeper", "equal channels", "alpha", "tiff", "gray alpha"])
def id_file(request, tmp_path):
    path = tmp_path / "m.png"
    if request.param == "gray":
        return save(path, IDS)
    if request.param == "palette":
        palette(IDS).save(path)
        return path
    if request.param == "deep":
        return save(path, IDS.astype(np.uint16))
    if request.param == "deeper":
        return save(tmp_path / "m.tif", IDS.astype(np.int32))
    if request.param == "tiff":
        return save(tmp_path / "m.tif", IDS)
    if request.param == "gray alpha":
        return save(path, IDS, "LA")
    return save(path, np.stack([IDS] * 3, -1), "RGBA" if request.param == "alpha" else None)


@pytest.mark.parametrize("encoding", ["auto", "id"])
def test_id_masks_of_every_mode(id_file, encoding):
    mask = MaskReader(NAMES, encoding)(id_file)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, IDS)


def test_one_bit_masks(tmp_path):
    save(tmp_path / "m.png", IDS == 1)
    assert np.array_equal(MaskReader(NAMES)(tmp_path / "m.png"), (IDS == 1).astype(np.uint8))


@pytest.mark.parametrize("encoding", ["auto", "rgb"])
def test_color_masks(tmp_path, encoding):
    reader = MaskReader(NAMES, encoding, COLOR_MAP)
    assert np.array_equal(reader(save(tmp_path / "m.png", rgb(IDS))), IDS)
    behind = Image.fromarray(np.where(IDS == 255, 3, IDS).astype(np.uint8))
    behind.putpalette(COLORS.tobytes())
    behind.save(tmp_path / "p.png")
    assert np.array_equal(reader(tmp_path / "p.png"), IDS)


def test_color_tables_agree_with_looking_up_each_pixel(tmp_path):
    random = np.random.default_rng(0)
    colors = np.unique(random.integers(0, 256, (60, 3), np.uint8), axis=0)
    names = tuple(f"c{i}" for i in range(len(colors)))
    ids = random.integers(0, len(colors), (40, 50)).astype(np.uint8)
    reader = MaskReader(names, map={",".join(map(str, c)): n for c, n in zip(colors.tolist(), names, strict=True)})
    assert np.array_equal(reader(save(tmp_path / "m.png", colors[ids])), ids)


def test_id_map(tmp_path):
    reader = MaskReader(NAMES, map={"0": "ignore", "7": "car", "26": 1, "300": "0"})
    path = save(tmp_path / "m.png", np.array([[0, 7, 26, 300, 255]], np.uint16))
    assert reader(path).tolist() == [[255, 2, 1, 0, 255]]
    assert (
        MaskReader(NAMES, map={"0": "sky", "255": "car"})(save(tmp_path / "b.png", IDS * 0 + 255)).tolist()
        == [[2] * 3] * 2
    )


def test_zero_label(tmp_path):
    reader = MaskReader.from_config(MaskConfig(reduce_zero_label=True), Vocabulary.of(NAMES))
    assert reader(save(tmp_path / "m.png", np.array([[0, 1, 2, 3, 255]], np.uint8))).tolist() == [[255, 0, 1, 2, 255]]
    with pytest.raises(DataError, match=r"mask values 4 \(1 pixels\) are not among 0 = ignore, 1..3 and 255 = ignore"):
        reader(save(tmp_path / "n.png", np.array([[0, 4]], np.uint8)))


@pytest.mark.parametrize(
    ("array", "reader", "words"),
    [
        (np.array([[0, 9, 9, 7]], np.uint8), MaskReader(NAMES), r"m.png: mask values 7 .1 pixels., 9 .2 pixels. are not"),
        (np.array([[0, 128, 255]], np.uint8), MaskReader(NAMES), "say what each value means in data.masks.map"),
        (np.array([[0, 3]], np.uint8), MaskReader(NAMES), "data.masks.reduce_zero_label=true"),
        (np.array([[0, 40000]], np.uint16), MaskReader(NAMES), r"40000 \(1 pixels\)"),
        (np.arange(20, dtype=np.uint8)[None], MaskReader(NAMES), "and 12 more values"),
        (np.array([[0, 8]], np.uint8), MaskReader(NAMES, map={"0": 0}), "8 .1 pixels. are not .* values of the map; "
                                                                        "add them"),
        (rgb(IDS), MaskReader(NAMES), r"commonest colours are .*; name them in data.masks.map, .*\{'10,20,3"),
        (rgb(IDS), MaskReader(NAMES, "id", {"7": 0}), "class ids .* are expected"),
        (rgb(IDS), MaskReader(NAMES, map_key="--map"), r"commonest colours are .*; name them in --map, "),
        (rgb(IDS) + 1, MaskReader(NAMES, map=COLOR_MAP), r"1,1,1 \(1 pixels\), 11,21,31 \(2 pixels\).* add them to data.masks.map"),
    ],
)  # fmt: skip
def test_wrong_values_are_named(tmp_path, array, reader, words):
    with pytest.raises(DataError, match=words):
        reader(save(tmp_path / "m.png", array))


def test_values_beyond_sixteen_bit(tmp_path):
    path = save(tmp_path / "m.tif", np.array([[0, 65535, 65536]], np.int32))
    with pytest.raises(DataError, match=r"m\.tif: mask values 65536 \(1 pixels\) are not"):
        MaskReader(NAMES, map={"0": 0, "65535": 1})(path)
    with pytest.raises(DataError, match=r"mask values -1 \(1 pixels\).* do they mean 'no data'"):
        MaskReader(NAMES)(save(path, np.array([[-1]], np.int32)))


def test_files_that_are_no_masks(tmp_path):
    with pytest.raises(DataError, match=r"m\.jpg: a JPEG file cannot hold a mask"):
        MaskReader(NAMES)(save(tmp_path / "m.jpg", IDS))
    with pytest.raises(DataError, match=r"m\.tif: holds 0\.5 \(2 such pixels\), but a mask holds whole numbers"):
        MaskReader(NAMES)(save(tmp_path / "m.tif", np.array([[0, 0.5, 1.5, 2]], np.float32)))
    (tmp_path / "m.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"m\.png: cannot be read as an image: empty file"):
        MaskReader(NAMES)(tmp_path / "m.png")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"encoding": "rgb"}, "rgb needs data.masks.map"),
        ({"map": {"0": "roda"}}, r"'0' -> 'roda': no such class \(did you mean 'road'\?\)"),
        ({"map": {"0": 3}}, "class ids end at 2"),
        ({"map": {"x": 0}}, "key 'x' is neither a value"),
        ({"map": {"1,2": 0}}, "key '1,2' is neither"),
        ({"map": {"1,2,256": 0}}, "key '1,2,256' is neither"),
        ({"map": {"1" * 16: 0}}, "key '1{16}' is neither"),
        ({"map": {"²": 0}}, "key '²' is neither"),
        ({"map": {"1": 0, "1,2,3": 1}}, "all ids .* or all colours"),
        ({"map": {"1": 0, " 1": 1}}, "each once"),
        ({"map": {}}, "all ids"),
        ({"map": {"1": 0}, "encoding": "rgb"}, "encoding rgb does not fit"),
        ({"map": {"1,2,3": 0}, "encoding": "id"}, "encoding id does not fit"),
        ({"map": {"0": 0}, "reduce_zero_label": True}, "either map or reduce_zero_label"),
    ],
)
def test_maps_that_do_not_hold(options, words):
    with pytest.raises(ConfigError, match=words):
        MaskReader(NAMES, **options)


def test_values_beyond_16_bits_are_mapped(tmp_path):
    Image.fromarray(np.array([[0, 70000, 65536, 65535]], np.int32)).save(tmp_path / "a.tif")
    reader = MaskReader(NAMES, map={"0": 0, "70000": 1, "65536": 2, "65535": "ignore"})
    assert reader(tmp_path / "a.tif").tolist() == [[0, 1, 2, 255]]
    with pytest.raises(DataError, match=r"70000 \(1 pixels\) are not among the values of the map"):
        MaskReader(NAMES, map={"0": 0, "65536": 2, "65535": 1})(tmp_path / "a.tif")


def test_init_sees_the_values_that_the_reader_sees(id_file):
    """Palette indices, gray, 1 to 32 bits, equal channels: one decoder for both."""
    assert np.array_equal(read_mask_values(id_file), IDS)
    assert count_values(read_mask_values(id_file)) == {(0,): 2, (1,): 2, (2,): 1, (255,): 1}
    assert guess_classes([id_file]).source == "masks hold the values 0 to 2"


@pytest.mark.parametrize("kind", ["PCX", "SGI", "JPEG"])
def test_init_opens_no_other_formats_than_training(tmp_path, kind):
    """Pillow would read them; a file called PNG must not start one of its other decoders."""
    Image.fromarray(IDS).save(tmp_path / "m.png", kind)
    with pytest.raises(DataError):
        MaskReader(NAMES)(tmp_path / "m.png")
    assert guess_classes([tmp_path / "m.png"]) is None


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_values_of_any_depth_are_counted(kind):
    values = np.array([[0, 3, 3], [200, 0, 3]], kind)
    counted = count_values(values)
    assert list(counted.items()) == [((0,), 2), ((3,), 3), ((200,), 1)]
    assert not count_values(np.zeros((0, 0), kind))


def test_colours_are_counted(tmp_path):
    path = save(tmp_path / "m.png", rgb(IDS))
    counts = {(0, 0, 0): 1, (10, 20, 30): 2, (10, 20, 31): 2, (200, 20, 30): 1}
    assert list(count_values(read_mask_values(path)).items()) == list(counts.items())  # ascending
    gray = save(tmp_path / "g.png", IDS)
    assert read_mask_values(gray, colors=True).shape == (2, 3, 3)
    guess = guess_classes([path, gray])
    assert guess.map["10,20,30"] in guess.names
    assert "1,1,1" in guess.map  # gray among colours is a colour


def test_foreign_values_come_with_the_error(tmp_path):
    path = save(tmp_path / "m.png", np.array([[0, 7, 7], [255, 9, 1]], np.uint8))
    with pytest.raises(ForeignValuesError, match=r"mask values 7 \(2 pixels\), 9 \(1 pixels\) are not among") as caught:
        MaskReader(NAMES)(path)
    assert caught.value.counts == {(0,): 1, (1,): 1, (7,): 2, (9,): 1, (255,): 1}
    with pytest.raises(ForeignValuesError, match=r"mask values 0,0,0 \(1 pixels\) are not among") as caught:
        MaskReader(NAMES, map={"10,20,30": "sky", "10,20,31": "road", "200,20,30": "car"})(
            save(tmp_path / "c.png", rgb(IDS))
        )
    assert len(caught.value.counts) == 4


def test_what_binary_masks_mean():
    assert map_binary_values({0, 255}, NAMES) == {"0": "sky", "255": "road"}
    for values in ({0}, {255}, {0, 1, 255}, set()):
        assert map_binary_values(values, NAMES) is None
    assert map_binary_values({0, 255}, NAMES[:1]) is None
