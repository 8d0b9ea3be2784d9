"""One walk through a folder: whoever reads it finds the same files."""

import pytest
from PIL import Image

from semiovs.images.discover.discover import discover
from semiovs.images.folder_walk import walk_files
from semiovs.images.listing import find_images
from semiovs.ovs.masks import MasksTeacher
from semiovs.select.candidates import list_candidates


@pytest.fixture
def tree(tmp_path):
    """A folder `images` with files that count and such that do not, and links: to elsewhere, in circles, to nowhere."""
    root = tmp_path / "images"
    for name in ("b.png", "a.PNG", "z/deep/c.png", "x/d.png", "y/e.png"):
        _picture(root / name)
    for name in (".hidden.png", ".cache/f.png", "@eaDir/g.png", "x/__MACOSX/h.png", "notes.txt", "png"):
        _picture(root / name)
    _picture(tmp_path / "elsewhere/i.png")
    for link, target in (
        ("linked", tmp_path / "elsewhere"),
        ("x/y", root / "y"),  # x leads to y, and y back to x
        ("y/x", root / "x"),
        ("z/up", root),
        ("above", tmp_path),
        ("self", root / "self"),
    ):
        (root / link).symlink_to(target)
    return root


def _picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path, "PNG")


FOUND = ["a.PNG", "b.png", "linked/i.png", "x/d.png", "x/y/e.png", "y/e.png", "y/x/d.png", "z/deep/c.png"]


def test_what_is_walked_and_in_which_order(tree):
    assert [path.relative_to(tree).as_posix() for path in walk_files(tree, (".png",))] == FOUND
    assert [path.name for path in walk_files(tree, {".png"}, deep=False)] == ["a.PNG", "b.png"]
    assert [path.name for path in walk_files(tree, (".txt",))] == ["notes.txt"]
    left = [path.name for path in walk_files(tree, (".png",), skip=(tree / "x").resolve())]
    assert "d.png" not in left
    assert len(left) == len(FOUND) - 3


def test_everybody_finds_the_same(tree):
    ids = sorted(name.rsplit(".", 1)[0] for name in FOUND)
    assert list(find_images(tree)) == ids
    assert sorted(record.id for record in list_candidates([tree])) == ids
    assert discover(tree.parent).images == len(ids)
    teacher = MasksTeacher(tree)
    assert teacher.find("deep/c") == tree / "z/deep/c.png"


def test_a_folder_that_cannot_be_listed_is_told_and_the_others_are_read(tree, tmp_path):
    errors = []
    assert list(walk_files(tmp_path / "nowhere", (".png",), onerror=errors.append)) == []
    assert errors[0].strerror == "No such file or directory"
    assert list(walk_files(tmp_path / "nowhere", (".png",))) == []


def test_only_one_folder_is_listed_at_a_time(tree):
    walk = walk_files(tree, (".png",))
    assert next(walk).name == "a.PNG"
    (tree / "x/d.png").unlink()
    assert "d.png" not in [path.name for path in walk]
