from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from semiovs.errors import DataError
from semiovs.images.manifest import Manifest
from semiovs.images.record import Record


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(path)


@pytest.mark.parametrize(
    "content",
    [
        "a/x.jpg m/x.png\na/y.jpg m/y.png\n",
        "a/x.jpg m/x.png\na/y.jpg m/y.png",
        "\ufeffa/x.jpg m/x.png\r\n\r\na/y.jpg m/y.png\r\n",
        "\n  a/x.jpg m/x.png\n\n\na/./y.jpg m/y.png  \n\n",
        '{"id": "a/x", "image": "a/x.jpg", "mask": "m/x.png"}\na/y.jpg m/y.png\n',
    ],
)
def test_lists(tmp_path, content):
    manifest = Manifest.read(write(tmp_path / "list.txt", content), tmp_path)
    assert [r.id for r in manifest] == ["a/x", "a/y"]
    assert [r.image for r in manifest] == [tmp_path / "a/x.jpg", tmp_path / "a/y.jpg"]
    assert [r.mask for r in manifest] == [tmp_path / "m/x.png", tmp_path / "m/y.png"]


def test_lines_without_masks(tmp_path):
    manifest = Manifest.read(write(tmp_path / "l", "a.JPG\nb.png None\nmy dir/c d.jpeg\n"), tmp_path)
    assert [(r.id, r.mask) for r in manifest] == [("a", None), ("b", None), ("my dir/c d", None)]


def test_paths_with_spaces_and_absolute_paths(tmp_path):
    manifest = Manifest.read(
        write(tmp_path / "l", f"my dir/a b.jpg my masks/a b.png\n{tmp_path}/c.jpg /else/c.png"), tmp_path
    )
    assert manifest[0] == Record("my dir/a b", tmp_path / "my dir/a b.jpg", tmp_path / "my masks/a b.png")
    assert manifest[1] == Record("c", tmp_path / "c.jpg", Path("/else/c.png"))


def test_jsonl(tmp_path):
    rows = [
        {"id": "k/1", "image": "a.jpg", "source": "web"},
        {"image": "b c.jpg", "mask": None},
        {"image": "d.jpg", "mask": "d.png"},
    ]
    manifest = Manifest.read(write(tmp_path / "l.jsonl", "\n".join(map(json.dumps, rows))), tmp_path)
    assert list(manifest) == [
        Record("k/1", tmp_path / "a.jpg", None, "web"),
        Record("b c", tmp_path / "b c.jpg"),
        Record("d", tmp_path / "d.jpg", tmp_path / "d.png"),
    ]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("a.jpg a.png\nb.jpg c.jpg d.png\n", 2, "2 ways"),
        ("a.jpg\nb\n", 2, "expected 'image mask'"),
        ("a.jpg mask\n", 1, "expected 'image mask'"),
        ("\na.jpg\na.jpg", 3, "already in line 2"),
        ("a.jpg\na.png", 2, "already in line 1"),
        ("../a.jpg", 1, "leads out of the root"),
        ("b/../../a.jpg", 1, "leads out of the root"),
        ("a.jpg ../../m.png", 1, "leads out of the root"),
        ("a\0.jpg", 1, "NUL"),
        (b"a.jpg\n\xff\xfe.jpg", 2, "not UTF-8"),
        ("x " * 6000 + ".jpg", 1, "characters in one line"),
        ('{"image": "a.jpg"', 1, "not valid JSON"),
        ('{"image": ' + "[" * 60_000, 1, "not valid JSON"),
        ('{"image": "' + "a" * 10_000_000, 1, "characters in one line"),
        ('{"image": "a.jpg", "sha256": "12"}', 1, "64 hex digits"),
        ('{"image": "a.jpg", "license": 4}', 1, "'license' must be a text"),
        (b"\xff\xfea\0.\0j\0p\0g\0", 1, "UTF-16"),
        ('{"image": "a.jpg", "msk": "b.png"}', 1, "unknown key 'msk'"),
        ('{"mask": "b.png"}', 1, "'image' must be a path"),
        ('{"image": "a.jpg", "mask": 3}', 1, "'mask' a path or null"),
        ('{"image": "", "id": "x"}', 1, "empty path"),
        ('{"image": "a.jpg", "id": "../x"}', 1, "'id' must be a relative path"),
        ('{"image": "a.jpg", "id": "/x"}', 1, "'id' must be a relative path"),
        ('{"image": "a.jpg", "id": 7}', 1, "'id' must be a relative path"),
        ('{"image": "a\\ud800.jpg"}', 1, "surrogate"),
        ('{"image": "../a.jpg"}', 1, "leads out of the root"),
    ],
)
def test_wrong_lines_are_named(tmp_path, content, line, words):
    path = write(tmp_path / "list.txt", content)
    with pytest.raises(DataError) as caught:
        Manifest.read(path, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert words in message
    assert "\n" not in message
    assert len(message) < 500


def test_all_wrong_lines_are_named_at_once(tmp_path):
    path = write(tmp_path / "list.txt", b"a.jpg\r\n../b.jpg\r\n\xff.jpg\r\n\r\na.png\r\nc.jpg\r\n")
    manifest, problems = Manifest.scan(path, tmp_path)
    assert [(r.id, r.line) for r in manifest] == [("a", 1), ("c", 6)]
    assert [p.split(": ")[0] for p in problems] == [f"{path}:{n}" for n in (2, 3, 5)]
    assert manifest.where(manifest[1]) == f"{path}:6"
    assert manifest.without_masks()[1:].where(manifest[1]) == f"{path}:6"
    with pytest.raises(DataError) as caught:
        Manifest.read(path, tmp_path)
    assert caught.value.problems == tuple(problems)
    assert str(caught.value).splitlines()[1:] == [f"  {p}" for p in problems]


def test_long_lists_of_problems_are_cut_in_the_message_alone(tmp_path):
    path = write(tmp_path / "list.txt", "x\n" * 150)
    with pytest.raises(DataError) as caught:
        Manifest.read(path, tmp_path)
    assert len(caught.value.problems) == 150
    assert str(caught.value).endswith("… and 50 more")


def test_licence_and_hash_are_kept(tmp_path):
    row = {"id": "a", "image": "a.jpg", "source": "web", "license": "CC BY 4.0", "sha256": "0" * 64}
    manifest = Manifest.read(write(tmp_path / "l.jsonl", json.dumps(row)), tmp_path)
    assert (manifest[0].license, manifest[0].sha256) == ("CC BY 4.0", "0" * 64)
    manifest.write_jsonl(tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == row


def test_missing_list(tmp_path):
    with pytest.raises(DataError, match=r"none\.txt: cannot be read as a list"):
        Manifest.read(tmp_path / "none.txt", tmp_path)


def test_duplicate_ids_are_refused_in_memory():
    with pytest.raises(DataError, match="'a' is listed twice"):
        Manifest([Record("a", Path("a.jpg")), Record("a", Path("b.jpg"))])


def test_folder(tmp_path):
    touch(
        tmp_path / "i/b.JPG", tmp_path / "i/a.png", tmp_path / "i/sub/a.png", tmp_path / "m/a.png", tmp_path / "m/b.tif"
    )
    touch(tmp_path / "m/sub/a.png", tmp_path / "i/.hidden.png", tmp_path / "i/.cache/x.png")
    (tmp_path / "i/notes.txt").write_text("")
    manifest = Manifest.from_folder(tmp_path / "i", tmp_path / "m")
    assert [(r.id, r.mask.name) for r in manifest] == [("a", "a.png"), ("b", "b.tif"), ("sub/a", "a.png")]
    assert [r.id for r in Manifest.from_folder(tmp_path / "i", recursive=False)] == ["a", "b"]
    assert all(r.mask is None for r in Manifest.from_folder(tmp_path / "i"))


def test_folder_mistakes(tmp_path):
    with pytest.raises(DataError, match="i: no such folder"):
        Manifest.from_folder(tmp_path / "i")
    (tmp_path / "i").mkdir()
    with pytest.raises(DataError, match="no images in this folder"):
        Manifest.from_folder(tmp_path / "i")
    touch(*(tmp_path / f"i/{n}.png" for n in range(8)), tmp_path / "m/3.png")
    with pytest.raises(DataError, match=r"7 of 8 images have no mask .*: 0, 1, 2, 4, 5, …"):
        Manifest.from_folder(tmp_path / "i", tmp_path / "m")
    touch(tmp_path / "i/3.jpg")
    with pytest.raises(DataError, match=r"3\.png: has the same name as 3\.jpg"):
        Manifest.from_folder(tmp_path / "i")


def test_written_lists_are_read_back(tmp_path):
    records = [Record("q", tmp_path / "a b/c.jpg", Path("/far/c.png"), "web"), Record("d", tmp_path / "d.png")]
    manifest = Manifest(records, tmp_path)
    manifest.write_jsonl(tmp_path / "out.jsonl")
    again = Manifest.read(tmp_path / "out.jsonl", tmp_path)
    assert list(again) == records
    assert again.hash == manifest.hash
    manifest.write_list(tmp_path / "out.txt", tmp_path)
    assert (tmp_path / "out.txt").read_text() == "a b/c.jpg /far/c.png\nd.png\n"
    assert [(r.image, r.mask) for r in Manifest.read(tmp_path / "out.txt", tmp_path)] == [
        (r.image, r.mask) for r in records
    ]


def test_list_that_would_be_read_differently_is_not_written(tmp_path):
    with pytest.raises(DataError, match="use write_jsonl"):
        Manifest([Record("a", tmp_path / "a.jpg b.jpg")], tmp_path).write_list(tmp_path / "l", tmp_path)


def test_hash_follows_content_not_place(tmp_path):
    here, there = (Manifest.read(write(tmp_path / "l", "a.jpg m.png"), root) for root in (tmp_path, tmp_path / "moved"))
    assert here.hash == there.hash
    assert here.hash != here.without_masks().hash
    assert here.without_masks()[0].mask is None


@pytest.mark.parametrize("root", [".", "sub/..", "absolute"])
def test_every_way_to_write_the_root_gives_the_same_ids(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "l", f"a/b.jpg\nx/../c.jpg\n{tmp_path}/d.jpg\n/far/e.jpg\n")
    manifest = Manifest.read(path, tmp_path if root == "absolute" else root)
    assert [r.id for r in manifest] == ["a/b", "c", "d", "far/e"]
    assert manifest.hash == Manifest.read(path, tmp_path).hash


def test_slices_are_manifests(tmp_path):
    manifest = Manifest.read(write(tmp_path / "l", "a.jpg\nb.jpg\nc.jpg"), tmp_path)
    assert [r.id for r in manifest[1:]] == ["b", "c"]
    assert manifest[1:].root == tmp_path
    assert manifest[-1].id == "c"


_piece = st.sampled_from(
    [
        "a",
        ".jpg",
        ".png",
        " ",
        "/",
        "..",
        "None",
        '"',
        "{",
        "}",
        ":",
        "image",
        "mask",
        "id",
        ",",
        "\\",
        "\0",
        "\t",
        "\r",
    ]
)
_line = st.one_of(
    st.lists(_piece, max_size=12).map("".join),
    st.text(max_size=30),
    st.dictionaries(
        st.sampled_from(["id", "image", "mask", "source", "x"]),
        st.one_of(st.text(max_size=8), st.none(), st.integers()),
    ).map(json.dumps),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(_line, max_size=5), tail=st.binary(max_size=4))
def test_any_bytes_give_records_or_one_of_our_errors(tmp_path, lines, tail):
    path = write(tmp_path / "list", "\n".join(lines).encode("utf-8", "surrogatepass") + tail)
    try:
        manifest = Manifest.read(path, tmp_path)
    except DataError as error:
        named = all(problem.startswith(f"{path}:") for problem in error.problems)
        assert named, error  # noqa: PT017
        return
    assert len({r.id for r in manifest}) == len(manifest)
    for record in manifest:
        assert not record.image.exists()  # a path that the system accepts
        assert ".." not in record.id.split("/")
    manifest.write_jsonl(tmp_path / "out")
    assert Manifest.read(tmp_path / "out", tmp_path).hash == manifest.hash


def test_thumbnails_of_storage_systems_are_no_images(tmp_path):
    for name in ("a.png", "@eaDir/a.png", "__MACOSX/b.png", ".cache/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert [record.id for record in Manifest.from_folder(tmp_path)] == ["a"]


def test_a_folder_that_cannot_be_looked_into_is_not_passed_over(tmp_path, monkeypatch):
    for name in ("a.png", "locked/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    scandir = os.scandir

    def refused(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(DataError, match="locked: this folder cannot be looked into: Permission denied"):
        Manifest.from_folder(tmp_path)


def test_no_folder_of_masks_says_what_to_do(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "images/a.png")
    with pytest.raises(DataError, match=r"masks: no such folder; put the masks of .* unlabeled/"):
        Manifest.from_folder(tmp_path / "images", tmp_path / "masks")


def test_backslashes_are_slashes_unless_a_file_is_called_so(tmp_path):
    touch(tmp_path / "a" / "x.png", tmp_path / "a\\y.png")
    list_ = write(tmp_path / "l.txt", "a\\x.png\na\\y.png\n..\\z.png\nC:\\a\\x.png\n")
    manifest, problems = Manifest.scan(list_, tmp_path)
    assert [record.id for record in manifest] == ["a/x", "a\\y"]
    assert ["leads out of the root" in problems[0], "another computer" in problems[1]] == [True, True]
