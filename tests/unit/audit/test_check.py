from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semiovs.audit.check import check_collection
from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.record import Record
from unit import toy_data


@pytest.fixture
def root(tmp_path):
    return toy_data.make(tmp_path)


def problems(sources) -> str:
    with pytest.raises(DataError) as caught:
        check_collection(sources)
    return str(caught.value)


def test_good_data_passes_and_reports_progress(root):
    seen = []
    check_collection(toy_data.sources(root), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 18) for i in range(1, 19)]


def test_only_labelled_images_are_enough(root):
    check_collection(toy_data.sources(root, unlabeled=None, val=None, ood=None, ood_labels=None))


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (
            lambda r: toy_data.mask(r / "masks/l1.png", 0, (30, 40)),
            "l1.png: is 40x30 pixels but .*masks/l1.png is 30x40 .turned:",
        ),
        (
            lambda r: toy_data.mask(r / "val/masks/v0.png", 0, (40, 31)),
            "v0.png: is 40x30 pixels but .*v0.png is 40x31$",
        ),
        (lambda r: toy_data.mask(r / "masks/l2.png", 0, values=(0, 9)), r"masks/l2.png: mask values 9 \(\d+ pixels\)"),
        (lambda r: (r / "masks/l0.png").write_bytes(b"x"), "masks/l0.png: cannot be read as an image"),
        (lambda r: (r / "images/l0.png").unlink(), "images/l0.png: no such file"),
        (lambda r: (r / "unlabeled/u3.png").write_bytes(b""), "u3.png: cannot be read as an image: empty file"),
        (lambda r: (r / "ood/o1.png").write_bytes(b""), "o1.png: cannot be read as an image"),
        (lambda r: toy_data.mask(r / "ood-labels/o1.png", 0, values=(0, 3)), "ood-labels/o1.png: mask values 3"),
        (
            lambda r: toy_data.mask(r / "ood-labels/o1.png", 0, (7, 7)),
            "o1.png: is 40x30 pixels but its OOD label 'o1' is 7x7",
        ),
    ],
)
def test_each_problem_is_named(root, break_it, words):
    sources = toy_data.sources(root)
    break_it(root)
    message = problems(sources)
    import re

    assert re.search(words, message), message
    assert "\n" not in message


def test_missing_ood_labels(root):
    (root / "ood-labels/o2.png").unlink()
    assert "o2.png: no label for id 'o2' in ood.labels" in problems(toy_data.sources(root))
    check_collection(toy_data.sources(root, ood_labels=None))  # the student labels


def test_ood_labels_beyond_the_classes(root):
    wide = toy_data.MaskFolder(root / "ood-labels", MaskReader((*toy_data.NAMES, "bus")))
    toy_data.mask(root / "ood-labels/o1.png", 0, values=(0, 3))
    assert "its OOD label 'o1' holds 3, but class ids end at 2" in problems(toy_data.sources(root, ood_labels=wide))


def test_all_problems_are_told_at_once(root):
    sources = toy_data.sources(root)
    for path in [*(root / "masks").iterdir(), *(root / "unlabeled").iterdir()]:
        path.write_bytes(b"")
    lines = problems(sources).splitlines()
    assert lines[0] == "12 problems in the data:"
    assert len(lines) == 13


def test_orientation_counts(root):
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(root / "images/l0.png") as file:
        file.save(root / "images/l0.png", exif=exif)
    assert "turned: was the mask drawn without regard to the EXIF" in problems(toy_data.sources(root))
    toy_data.mask(root / "masks/l0.png", 0, (30, 40))
    check_collection(toy_data.sources(root))


def test_binary_masks_are_recognised(root):
    for path in (root / "masks").iterdir():
        toy_data.mask(path, 0, values=(0, 255))
    message = problems(toy_data.sources(root))
    assert "the labelled masks hold nothing but 0 and 255" in message
    assert "data.masks.map={'0': sky, '255': road}" in message


@pytest.mark.parametrize("link", [False, True])
def test_evaluation_images_may_not_be_trained_on(root, link):
    for stream, name in (("images", "x"), ("unlabeled", "y")):
        target = root / "val/images/v0.png" if link else root / f"val/images/{name}.png"
        if not link:
            toy_data.image(target, 500 + len(name))
            toy_data.mask(root / f"val/masks/{name}.png", 0)
            shutil.copy(target, root / stream / f"{name}.png")
        else:
            (root / stream / f"{name}.png").symlink_to(target)
    toy_data.mask(root / "masks/x.png", 0)
    message = problems(toy_data.sources(root))
    for stream, name in (("labelled", "x"), ("unlabelled", "y")):
        assert f"{name}.png: is both {stream} and evaluation (id '{name}'; there {root}/val/images/" in message
    assert message.count("evaluation images must not be trained on") == 2


def test_labelled_images_may_not_be_unlabelled_too(root):
    sources = toy_data.sources(root)
    both = Manifest([*sources.unlabeled, Record("again", sources.labeled[0].image)])
    message = problems(toy_data.changed(sources, unlabeled=both))
    assert f"{root}/images/l0.png: is both unlabelled and labelled (id 'again'; there {root}/images/l0.png)" in message
    assert message.endswith("; remove it from the unlabelled ones")


def test_the_same_name_for_different_pictures_is_fine(root):
    shutil.move(root / "unlabeled/u0.png", root / "unlabeled/l0.png")
    check_collection(toy_data.sources(root))


def test_empty_streams(root):
    message = problems(toy_data.sources(root, labeled=Manifest([]), unlabeled=Manifest([]), ood=Manifest([])))
    for stream in ("labelled", "unlabelled", "OOD"):
        assert f"no {stream} images: the list or folder of " in message
    assert "of data.labeled is empty" in message


def test_masks_without_a_labelled_pixel_are_said_with_any_map(root):
    for path in (root / "masks").iterdir():
        toy_data.mask(path, 0, values=(255,))
    sources = toy_data.sources(root)
    message = "the labelled masks (data.labeled) label no pixel"
    assert message in problems(sources)
    reader = replace(sources.masks, map={str(i): name for i, name in enumerate(sources.vocabulary.names)})
    assert message in problems(toy_data.changed(sources, masks=reader))


@pytest.mark.parametrize("form", ["jpg", "png"])
def test_images_that_are_cut_off_are_found_before_the_first_step(root, form):
    path = root / f"unlabeled/cut.{form}"
    with Image.open(root / "unlabeled/u0.png") as file:
        file.convert("RGB").resize((200, 200)).save(path)
    whole = path.read_bytes()
    check_collection(toy_data.sources(root))
    path.write_bytes(whole + b"trailer of some camera" * 9)
    check_collection(toy_data.sources(root))
    path.write_bytes(whole[: len(whole) // 2])
    assert f"cut.{form}: cannot be read as an image" in problems(toy_data.sources(root))


def test_labelled_records_need_masks(root):
    bare = Manifest.from_folder(root / "images")
    with pytest.raises(
        DataError, match=r"l0.png: labelled images need a mask(.|\n)*l4.png: labelled images need a mask"
    ):
        toy_data.sources(root, labeled=bare)


def test_palettes_with_the_same_colours_under_other_indices_are_not_trained_with(root):
    """Half of the masks would teach other classes; whoever means the indices says so."""
    for name, colors in (("l0", (0, 0, 0, 200, 0, 0)), ("l1", (200, 0, 0, 0, 0, 0))):
        mask = Image.fromarray(np.tile(np.array([0, 1], np.uint8), (30, 20)))
        mask.putpalette(colors)
        mask.save(root / f"masks/{name}.png")
    told = problems(toy_data.sources(root))
    assert "1 masks have a palette with the same colours under other indices" in told
    assert "if the colours mean the classes, set data.masks.encoding=rgb" in told
    check_collection(replace(toy_data.sources(root), masks=MaskReader(toy_data.NAMES, encoding="id")))
