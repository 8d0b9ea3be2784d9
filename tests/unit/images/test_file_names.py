"""Accents in two Unicode forms: files that look alike are one file, or the difference is told."""

import shutil
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from semiovs.cli.app import main
from semiovs.data.label_source import MaskFolder, MatchedLabels
from semiovs.errors import DataError
from semiovs.images.image import read_size
from semiovs.images.listing import read_folder
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.ovs import build_ovs
from semiovs.vocab import Vocabulary

NFC, NFD = (unicodedata.normalize(form, "Straße_été") for form in ("NFC", "NFD"))


@pytest.fixture(params=[(NFC, NFD), (NFD, NFC)], ids=["images NFC", "images NFD"])
def folder(tmp_path, request):
    """images/ and masks/ whose one name differs in its form alone."""
    image, mask = request.param
    for name, side in ((f"images/{image}.png", "RGB"), (f"masks/{mask}.png", "L")):
        (tmp_path / name).parent.mkdir()
        Image.new(side, (40, 36)).save(tmp_path / name)
    if len({path.name for path in (tmp_path / "images").iterdir()} | {f"{mask}.png"}) == 1:
        pytest.skip("this file system has one form")
    return tmp_path


def test_folders_are_matched(folder):
    records, findings = read_folder(folder / "images", folder / "masks")
    assert [record.mask.parent.name for record in records] == ["masks"]
    assert not findings


def test_masks_of_a_teacher_are_found(folder):
    name = next((folder / "images").iterdir()).stem
    teacher = build_ovs("masks", root=str(folder / "masks"))
    labels, _ = teacher.label([torch.zeros(3, 36, 40, dtype=torch.uint8)], Vocabulary.of(["a", "b"]), ids=[name])
    assert labels[0].shape == (36, 40)


def test_labels_of_a_list_are_found(folder):
    source = MaskFolder(folder / "masks", MaskReader(["a", "b"]))
    manifest = Manifest.from_folder(folder / "images")
    matched = MatchedLabels(source, manifest)
    assert list(matched.ids()) == [record.id for record in manifest]
    np.testing.assert_array_equal(matched.label(manifest[0].id), np.zeros((36, 40)))


def test_a_missing_file_that_looks_like_another(folder):
    (there,) = (folder / "images").iterdir()
    (other,) = (path.name for path in (folder / "masks").iterdir())
    with pytest.raises(DataError, match="no such file; one that looks alike is there, its accents in another form"):
        read_size(folder / "images" / other)
    with pytest.raises(DataError, match=r"no such file$"):
        read_size(there.with_name("none.png"))
    (folder / "list.txt").write_text(f"images/{other} masks/{there.name}\n")
    with pytest.raises(DataError, match="looks alike"):
        read_size(Manifest.read(folder / "list.txt", folder)[0].image)


def test_two_files_that_look_alike_are_told(folder, capsys):
    (there,) = (folder / "images").iterdir()
    (mask,) = (folder / "masks").iterdir()
    shutil.copy(there, there.with_name(mask.name))
    shutil.copy(mask, mask.with_name(there.name))
    main(["data", "check", str(folder), "data.classes=[a,b]"])
    assert "ids that differ in the Unicode form of their accents (NFC, NFD) alone" in capsys.readouterr().out
