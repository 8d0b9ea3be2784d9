from __future__ import annotations

import dataclasses
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from semiovs.audit.audit import audit
from semiovs.audit.image_facts import ImageFacts, check_png
from semiovs.data.collection import LABELED, OOD, UNLABELED, VAL, Collection, Stream
from semiovs.errors import DataError
from semiovs.images import mask_values
from semiovs.images.allowed_folders import AllowedFolders, LinkResolver
from semiovs.images.image import open_image, read_image
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from semiovs.similarity.hashes import are_alike, make_thumbnail
from semiovs.vocab import Vocabulary
from unit import malformed, toy_data


def picture(seed, size=(64, 48)):
    coarse = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def collection(masks=None, **streams):
    """Streams of image files, by the names `labeled`, `unlabeled`, `val`, `ood`."""
    keys = {"labeled": LABELED, "unlabeled": UNLABELED, "val": VAL, "ood": OOD}
    made = {}
    for name, paths in streams.items():
        records = [Record(path.stem, path, None if masks is None else masks / f"{path.stem}.png") for path in paths]
        made[keys[name]] = Stream(keys[name], Manifest(records))
    return Collection(Vocabulary.of(toy_data.NAMES), MaskReader(toy_data.NAMES), made)


def told(result, kind):
    return [finding for finding in result.findings if finding.kind == kind]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_measured_as_shown(tmp_path, mode, turn):
    image = picture(0)
    image = (
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
        if mode == "I;16"
        else image.convert(mode)
    )
    path = tmp_path / ("a.jpg" if mode in {"RGB", "L", "CMYK"} else "a.png")
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(path, exif=exif, **({"quality": 95} if path.suffix == ".jpg" else {}))
    found, shown = ImageFacts.read(path), read_image(path)
    assert found.size == shown.size
    assert found.orientation == turn
    pixels = np.asarray(shown)
    assert are_alike(found.small, make_thumbnail(pixels))
    assert abs(found.small.astype(int) - make_thumbnail(pixels)).max() <= 2
    assert np.allclose(found.mean, pixels.reshape(-1, 3).mean(0), atol=0.6)
    assert np.allclose(found.std, pixels.reshape(-1, 3).std(0), atol=0.6)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_damage_that_decoders_pass_over(tmp_path, mode):
    """Pillow decodes many of these without a word."""
    for seed in range(10):
        path = tmp_path / f"{seed}.jpg"
        picture(seed, (320, 240)).convert(mode).save(path, quality=90)
        assert ImageFacts.read(path).damage == ""
        path.write_bytes(malformed.corrupt(picture(seed, (320, 240)).convert(mode)))
        assert read_image(path).size == (320, 240)
        assert "Corrupt JPEG data" in ImageFacts.read(path).damage


def test_checksums(tmp_path):
    picture(0).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert check_png(data) == ""
    for at in range(40, len(data) - 20, 97):
        assert "wrong checksum" in check_png(
            data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        ) or "cut off" in check_png(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert check_png(data[:-30]) == "a part is cut off"
    picture(0).save(tmp_path / "b.png", "BMP")
    assert check_png((tmp_path / "b.png").read_bytes()) == ""


def test_copies_are_found_within_and_across(tmp_path):
    for i in range(12):
        picture(i).save(tmp_path / f"{i}.png")
    shutil.copy(tmp_path / "0.png", tmp_path / "copy.png")
    picture(1).resize((96, 72)).save(tmp_path / "near.jpg", quality=70)
    shutil.copy(tmp_path / "2.png", tmp_path / "again.png")
    names = {"unlabeled": ["0", "1", "2", "again", "3"], "val": ["4", "5"], "ood": ["6", "7"]}
    paths = {stream: [tmp_path / f"{name}.png" for name in given] for stream, given in names.items()}
    paths["val"] += [tmp_path / "copy.png", tmp_path / "near.jpg"]
    result = audit(collection(**paths))
    assert [f.ids for f in told(result, "leak-exact")] == [("0",)]
    assert [re.search(r"(\d+)\.png", f.file)[1] for f in told(result, "leak-near")] == ["1"]
    assert "2 unlabelled images are one file: 2 " in told(result, "copy-exact")[0].text
    assert result.count_records()["unlabelled"] == {"listed": 5, "good": 4, "bad": 1}
    assert not told(audit(collection(unlabeled=paths["unlabeled"][:1], val=paths["val"][:2])), "leak-exact")


def test_the_number_of_threads_changes_nothing(tmp_path):
    toy_data.make(tmp_path)
    (tmp_path / "images/l0.png").write_bytes(b"x")
    paths = sorted((tmp_path / "images").iterdir())
    results = [audit(collection(tmp_path / "masks", labeled=paths), threads=n).as_json() for n in (1, 4)]
    assert results[0] == results[1]
    assert results[0]["streams"]["labelled"]["good"] == 4


def test_unusual_images_are_noted(tmp_path):
    for i, mode in enumerate(("L", "CMYK", "RGBA")):
        picture(i).convert(mode).save(tmp_path / f"{i}.tif")
    clear = picture(7).convert("RGBA")
    clear.putalpha(100)
    clear.save(tmp_path / "clear.png")
    result = audit(collection(ood=sorted(tmp_path.iterdir())))
    assert result.ok
    texts = [finding.text for finding in told(result, "image-mode")]
    assert [text.split(" images ")[1].split(";")[0] for text in texts] == [
        "are RGB with transparency",
        "are gray",
        "are CMYK",
    ]
    assert "1 of 4 OOD images have transparent pixels" in told(result, "image-transparent")[0].text


def test_progress_and_empty_collections(tmp_path):
    toy_data.make(tmp_path)
    seen = []
    audit(collection(ood=sorted((tmp_path / "ood").iterdir())), progress=lambda *done: seen.append(done))
    assert seen == [(i, 4) for i in range(1, 5)]
    assert [f.kind for f in audit(collection(ood=[])).findings] == ["list-empty"]


def test_bounds_follow_links_once(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside / "a", outside):
        folder.mkdir(parents=True)
        (folder / "x.png").touch()
    (inside / "file.png").symlink_to(outside / "x.png")
    (inside / "b").symlink_to(inside / "a")
    (inside / "c").symlink_to(outside)
    bounds = AllowedFolders([inside])
    for good in ("a/x.png", "b/x.png", "none/y.png", "a/../a/x.png"):
        bounds.check(inside / good)
    for bad in ("file.png", "c/x.png", "c/none.png", "../out/x.png", "a/../../out/x.png"):
        with pytest.raises(DataError, match=r"lies outside of .*; data\.outside=true allows it"):
            bounds.check(inside / bad)
    assert LinkResolver().resolve(inside / "c/x.png") == str(outside / "x.png")
    AllowedFolders([inside, outside]).check(inside / "file.png")
    with pytest.raises(DataError):
        AllowedFolders([inside]).check(tmp_path / "inside.png")  # a name that only begins alike


@pytest.mark.parametrize("channels", [1, 3])
def test_foreign_masks_are_decoded_once_and_a_map_is_proposed(tmp_path, monkeypatch, channels):
    opened = []
    monkeypatch.setattr(mask_values, "open_image", lambda path: opened.append(path) or open_image(path))
    paths = []
    for number in range(4):
        values = np.random.default_rng(number).choice(np.array([0, 70, 90], np.uint8), (48, 64))
        paths.append(tmp_path / f"{number}.png")
        picture(number).save(paths[-1])
        (tmp_path / "masks").mkdir(exist_ok=True)
        made = values if channels == 1 else np.stack([values] * 3, -1)
        Image.fromarray(made).save(tmp_path / f"masks/{number}.png")
    found = audit(collection(tmp_path / "masks", labeled=paths))
    assert len(told(found, "mask-values")) == 4
    (proposed,) = told(found, "mask-map")
    assert proposed.text == "the masks with unknown values hold 0, 70, 90"
    assert sorted(opened) == sorted(tmp_path / f"masks/{number}.png" for number in range(4))


def test_a_map_is_proposed_for_what_was_not_measured(tmp_path):
    (tmp_path / "masks").mkdir()
    picture(0).save(tmp_path / "0.png")
    values = np.random.default_rng(0).choice(np.array([0, 1, -1], np.int32), (48, 64))
    Image.fromarray(values).save(tmp_path / "masks/0.tif")
    (tmp_path / "masks/0.tif").rename(tmp_path / "masks/0.png")
    data = collection(tmp_path / "masks", labeled=[tmp_path / "0.png"])
    found = audit(data)
    assert "-1 (" in told(found, "mask-values")[0].text
    (proposed,) = told(found, "mask-map")
    assert proposed.text == "the masks with unknown values hold -1, 0, 1"
    assert "'-1': ignore" in proposed.fix
    assert all(f"'{number}': {name}" in proposed.fix for number, name in enumerate(data.vocabulary.names))


RED, GREEN, BLUE, WHITE = (200, 0, 0), (0, 200, 0), (0, 0, 200), (255, 255, 255)


def find_palettes(tmp_path, palettes, values=(0, 1, 2), kind="mask-palettes", **options):
    """Findings about masks that have these palettes, and hold these values."""
    (tmp_path / "masks").mkdir()
    paths = [tmp_path / f"{number}.png" for number in range(len(palettes))]
    for number, palette in enumerate(palettes):
        picture(number).save(paths[number])
        mask = Image.fromarray(np.random.default_rng(number).choice(np.array(values, np.uint8), (48, 64)))
        mask.putpalette([part for color in palette for part in color])
        mask.save(tmp_path / f"masks/{number}.png")
    made = collection(tmp_path / "masks", labeled=paths)
    made = dataclasses.replace(made, masks=MaskReader(toy_data.NAMES, **options))
    return told(audit(made), kind)


def test_the_same_colours_under_other_indices(tmp_path):
    usual, other = [RED, GREEN, BLUE], [RED, BLUE, GREEN]
    (found,) = find_palettes(tmp_path, [usual, usual, other])
    assert found.severity == "error"
    assert "1 masks have a palette with the same colours under other indices" in found.text
    assert re.search(r"(0,200,0 is 2|0,0,200 is 1) in .*2\.png, but \d in .*0\.png", found.text)
    assert f"data.masks.map={{'200,0,0': {toy_data.NAMES[0]}, '0,200,0': '?', '0,0,200': '?'}}" in found.fix


@pytest.mark.parametrize(("palettes", "values", "options"), [
    ([[RED, GREEN, BLUE], [RED, GREEN, BLUE]], (0, 1, 2), {}),
    ([[RED, GREEN, BLUE], [RED, GREEN, WHITE]], (0, 1), {}),  # differ in what does not occur
    ([[RED, GREEN, BLUE, WHITE], [RED, GREEN, WHITE, BLUE]], (0, 1), {}),
    ([[RED, GREEN, BLUE], [BLUE, WHITE, GREEN]], (0, 1, 2), {}),  # another palette throughout
    ([[RED, RED, BLUE], [BLUE, RED, RED]], (0, 1, 2), {}),  # colours that say nothing
    ([[RED, GREEN, BLUE], [RED, BLUE, GREEN]], (0, 1, 2), {"encoding": "id"}),
    ([[RED, GREEN, BLUE], [RED, BLUE, GREEN]], (0, 1, 2), {"map": {"200,0,0": 0, "0,200,0": 1, "0,0,200": 2}}),
])  # fmt: skip
def test_palettes_that_may_differ(tmp_path, palettes, values, options):
    assert not find_palettes(tmp_path, palettes, values, **options)


def test_the_same_indices_in_other_colours(tmp_path):
    """As programs make palettes for each file anew: index 1 is green here and blue there, and would be one class."""
    palettes = [[RED, GREEN], [RED, BLUE], [RED, BLUE]]
    (found,) = find_palettes(tmp_path, palettes, (0, 1), "mask-recolored")
    assert found.severity == "warning"
    assert found.text.startswith("1 indices of palette masks have other colours in other files: 1 is 0,0,200 in ")
    assert "if the colours mean the classes, set data.masks.encoding=rgb" in found.fix


@pytest.mark.parametrize(("palettes", "values", "options"), [
    ([[RED, GREEN], [RED, GREEN]], (0, 1), {}),
    ([[RED, GREEN, BLUE], [RED, GREEN, WHITE]], (0, 1), {}),  # differ in what does not occur
    ([[RED, GREEN, *[WHITE] * 254], [RED, GREEN, *[BLUE] * 254]], (0, 1, 255), {}),  # and in what is ignored
    ([[RED, GREEN], [RED, BLUE]], (0, 1), {"encoding": "id"}),
    ([[RED, GREEN, BLUE], [RED, BLUE, GREEN]], (0, 1, 2), {}),  # an error already
])  # fmt: skip
def test_indices_that_keep_their_colours(tmp_path, palettes, values, options):
    assert not find_palettes(tmp_path, palettes, values, "mask-recolored", **options)


@pytest.mark.parametrize(("declared", "options", "fix"), [
    ("0", {}, "'0': ignore, '1': road"),
    ("1", {"reduce_zero_label": True}, "'1': ignore, '2': road"),
    ("9", {}, None),  # does not occur
    ("0", {"map": {"0": 0, "1": 1, "2": 2}}, None),  # somebody said it
])  # fmt: skip
def test_a_class_that_files_declare_as_no_data(tmp_path, declared, options, fix):
    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "masks").mkdir()
    picture(0).save(tmp_path / "0.png")
    ids = np.random.default_rng(0).integers(0, 3, (48, 64)).astype(np.uint8)
    tag = [(42113, 2, 0, declared, True)]
    tifffile.imwrite(tmp_path / "masks/0.png", ids, photometric="minisblack", extratags=tag, metadata=None)
    made = collection(tmp_path / "masks", labeled=[tmp_path / "0.png"])
    made = dataclasses.replace(made, masks=MaskReader(toy_data.NAMES, **options))
    found = told(audit(made), "mask-nodata")
    assert [fix in each.fix for each in found] == ([] if fix is None else [True])
    assert [each.text for each in found] == [
        f"1 masks declare {declared} as 'no data', but it is the class {toy_data.NAMES[0]} here" for _ in found
    ]


@pytest.mark.parametrize(("names", "values", "options", "noticed"), [
    (("road", "car", "tree"), (1, 2), {}, True),
    (("road", "car", "tree"), (1, 2, 255), {}, True),
    (("road", "car", "tree"), (0, 1, 2), {}, False),
    (("road", "car", "tree"), (2,), {}, False),
    (("background", "car", "tree"), (1, 2), {}, False),
    (("road", "car", "tree"), (1, 2), {"reduce_zero_label": True}, False),
    (("road", "car", "tree"), (1, 2), {"map": {"1": 1, "2": 2}}, False),
])  # fmt: skip
def test_names_and_ids_that_may_be_shifted_by_one(tmp_path, names, values, options, noticed):
    (tmp_path / "masks").mkdir()
    picture(0).save(tmp_path / "0.png")
    ids = np.random.default_rng(0).choice(np.array(values, np.uint8), (48, 64))
    Image.fromarray(ids).save(tmp_path / "masks/0.png")
    made = collection(tmp_path / "masks", labeled=[tmp_path / "0.png"])
    made = dataclasses.replace(made, vocabulary=Vocabulary.of(names), masks=MaskReader(names, **options))
    found = told(audit(made), "class-shifted")
    assert [each.line for each in found] == [
        "no labelled mask holds 0, which would be road; if their ids go from 1, each name is one off; if 1 is road and not car, set "
        "data.masks.reduce_zero_label=true"
    ] * noticed


def test_so_many_colours_are_no_classes(tmp_path):
    (tmp_path / "masks").mkdir()
    for number in range(3):
        picture(number, (100, 100)).save(tmp_path / f"{number}.png")
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (100, 100, 3), np.uint8)).save(
            tmp_path / f"masks/{number}.png"
        )
    found = audit(collection(tmp_path / "masks", labeled=[tmp_path / f"{n}.png" for n in range(3)]))
    (proposed,) = told(found, "mask-map")
    assert "colours and more" in proposed.text
    assert "resized or saved as JPEG" in proposed.fix
