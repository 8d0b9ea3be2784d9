from __future__ import annotations

import json
import os
import shutil
import tarfile

import numpy as np
import pytest

from semiovs.audit.check import check_collection
from semiovs.config.ood_section import OodConfig
from semiovs.config.schema import DataConfig
from semiovs.data import StepStream, ViewRequest, batch_digest, loader
from semiovs.errors import DataError
from semiovs.images.containers import container as containers
from semiovs.images.containers import tar_files
from semiovs.images.containers.container import identify, image_exists, read_bytes
from semiovs.images.image import read_image, read_size
from semiovs.images.manifest import Manifest
from semiovs.images.masks import MaskReader
from semiovs.images.source import is_container, read_source
from semiovs.registry import DATASETS, lookup
from semiovs.select.candidates import list_candidates
from semiovs.select.image_features import read_features
from unit import tars, toy_data
from unit.tars import attribute, picture, special, write


@pytest.fixture(autouse=True)
def fresh(tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEMIOVS_CACHE", str(cache))
    monkeypatch.setattr(containers, "_open", {})
    return cache


def problems(path) -> list[str]:
    with pytest.raises(DataError) as caught:
        read_source(path)
    assert caught.value.exit_code == 3
    return list(caught.value.problems)


def test_records_of_a_tar(tmp_path):
    about = json.dumps({"url": "https://a", "license": "CC0", "caption": "x"}).encode()
    members = [("./b/2.JPG", picture(2, "JPEG")), ("a.png", picture(1)), ("a.json", about), ("a.txt", b"hello")]
    tar = write(tmp_path / "shards/000012.tar", members)
    manifest = read_source("shards/000012.tar", tmp_path)
    assert [r.id for r in manifest] == ["000012/a", "000012/b/2"]
    assert [r.image for r in manifest] == [tar / "a.png", tar / "b/2.JPG"]
    assert (manifest[0].source, manifest[0].license) == ("https://a", "CC0")
    assert manifest[1].source == manifest[1].license == ""
    assert read_bytes(tar / "a.png") == picture(1)
    assert read_size(tar / "b/2.JPG") == (40, 30)
    assert image_exists(tar / "a.png")
    assert not image_exists(tar / "c.png")
    again = Manifest.read(_listed(manifest, tmp_path / "list.jsonl"), manifest.root)
    assert again.hash == manifest.hash
    assert list(again) == list(manifest)


def _listed(manifest, path):
    manifest.write_jsonl(path)
    return path


def test_lists_name_members_and_their_masks(tmp_path):
    values = np.array([[0, 1], [255, 0]], np.uint8)
    toy_data.Image.fromarray(values).save(tmp_path / "mask.png")
    tar = write(
        tmp_path / "s.tar", [("0.jpg", picture(0, "JPEG")), ("0.seg.png", (tmp_path / "mask.png").read_bytes())]
    )
    (tmp_path / "list.txt").write_text("s.tar/0.jpg s.tar/0.seg.png\n")
    (record,) = read_source("list.txt", tmp_path)
    assert record.mask == tar / "0.seg.png"
    assert np.array_equal(MaskReader(("a", "b"))(record.mask), values)
    assert [r.id for r in read_source(tar)] == ["s/0"]


def test_dots_in_names(tmp_path):
    names = ["IMG.2020.01.png", "IMG.2020.02.png", "p.png", "p.depth.png", "q.depth.png", ".hidden.png", "x/._p.png"]
    tar = write(tmp_path / "s.tar", [(name, picture(i)) for i, name in enumerate(names)])
    assert [r.id for r in read_source(tar)] == ["s/IMG.2020.01", "s/IMG.2020.02", "s/p"]


def test_shards_by_braces_stars_and_folder(tmp_path):
    shards = [write(tmp_path / f"shards/{i:03d}.tar", [("x.png", picture(i))]) for i in (8, 9, 10)]
    for given in ("shards/{008..010}.tar", "shards/{008,009,010}.tar", "shards/0*.tar", "shards", shards[0].parent):
        assert [r.id for r in read_source(given, tmp_path)] == ["008/x", "009/x", "010/x"], given
        assert read_source(given, tmp_path).hash == read_source("shards", tmp_path).hash
    assert read_source("{shards}/{008..010}.tar", tmp_path)[0].id == "shards/008/x"
    with pytest.raises(DataError, match="2 of the 4 files") as caught:
        read_source("shards/{007,008,009,011}.tar", tmp_path)
    assert len(caught.value.problems) == 2
    for wrong in (
        "shards/{9..8}.tar",
        "shards/{0..9999999}.tar",
        "{0..99999}{0..99999}.tar",
        "shards/{8..9}.png",
        "no*.tar",
    ):
        assert problems(tmp_path / wrong)


def test_a_tar_beside_images_is_what_they_came_in(tmp_path):
    toy_data.image(tmp_path / "ood/a.png", 1)
    write(tmp_path / "ood/all.tar", [("b.png", picture())])
    assert [r.id for r in read_source(tmp_path / "ood")] == ["a"]
    assert not is_container(tmp_path / "ood")
    (tmp_path / "ood/a.png").unlink()
    assert is_container(tmp_path / "ood")
    assert [r.id for r in read_source(tmp_path / "ood")] == ["all/b"]


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("/etc/a.png", b"x"), "absolute"),
        (("../a.png", b"x"), r"'\.\.'"),
        (("a/../../b.png", b"x"), r"'\.\.'"),
        (special("a.png", tarfile.SYMTYPE, "/etc/passwd"), "link to '/etc/passwd'"),
        (special("a.png", tarfile.LNKTYPE, "good.png"), "link to 'good.png'"),
        (special("a.png", tarfile.CHRTYPE), "device"),
        (special("a.png", tarfile.BLKTYPE), "device"),
        (special("a.png", tarfile.FIFOTYPE), "device or a pipe"),
        (special("a.png", b"Q"), "unknown type"),
        (("good.png", b"x"), "there twice"),
        (("./good.png", b"x"), "there twice"),
        (("GOOD.png", b"x"), "upper and lower case"),
        (("good.jpg", b"x"), "one sample with 'good.png'"),
        (attribute("a.png", path="a\0b.png"), "NUL"),
        (("a\nb.png", b"x"), "line break"),
        (("a\udcff.png", b"x"), "surrogate"),
        (("good.json", b"{"), "JSON"),
        (("good.json", b"[1]"), "JSON"),
        (("good.json", b"[" * 100_000), "JSON"),
        (("good.json", b" " * (1 << 20) + b"{}"), "sidecar"),
    ],
    ids=lambda value: None if isinstance(value, tuple) else str(value),
)  # fmt: skip
def test_hostile_members(tmp_path, member, said):
    tar = write(tmp_path / "s.tar", [("good.png", picture()), member])
    (text,) = problems(tar)
    assert text.startswith(f"{tar}: member '")
    assert "\n" not in text
    with pytest.raises(DataError, match=said):
        read_source(tar)


def test_all_problems_of_all_shards_at_once_and_nothing_on_disk(tmp_path, fresh):
    write(tmp_path / "in/0.tar", [("../a.png", b""), ("/b.png", b""), special("c.png", tarfile.SYMTYPE, "x")])
    write(tmp_path / "in/1.tar", [("a.png", picture()), ("A.png", picture())])
    write(tmp_path / "in/2.tar", [("a.png", picture())])
    before = sorted(tmp_path.rglob("*"))
    found = problems(tmp_path / "in")
    assert [text.split(": ")[0][-5:] for text in found] == ["0.tar"] * 3 + ["1.tar"]
    assert sorted(tmp_path.rglob("*")) == before
    assert len(list(fresh.rglob("*.json"))) == 1  # the index of the good one


def test_cut_off(tmp_path):
    """After any number of bytes, but for one whole block of the mark at the end, which is enough."""
    tar = write(tmp_path / "s.tar", [("a.png", picture(1)), ("b.png", picture(2))], tarfile.USTAR_FORMAT)
    data = tar.read_bytes()
    end = -(-len(data.rstrip(b"\0")) // 512) * 512
    for size in (0, 100, 511, 512, 513, 700, 3000, end // 2, end - 512, end - 1, end, end + 1, end + 511):
        tar.write_bytes(data[:size])
        text = " ".join(problems(tar))
        assert "cut off" in text or "cannot be read as a tar" in text, size
    tar.write_bytes(data[: end + 512])
    assert len(read_source(tar)) == 2


def _base256(value: int, at: int = 124, width: int = 12):
    def change(data: bytearray) -> None:
        data[at : at + width] = (value % (1 << 8 * width) | (0 if value < 0 else 0x80 << 8 * (width - 1))).to_bytes(
            width, "big"
        )

    return change


@pytest.mark.parametrize("size", [1 << 40, 1 << 62, -512, -1024, -(1 << 40), 1 << 80])
def test_claimed_sizes(tmp_path, size):
    tar = write(tmp_path / "s.tar", [("a.png", picture(1)), ("b.png", picture(2))], tarfile.GNU_FORMAT)
    assert problems(tars.patched(tar, _base256(size)))


def test_a_header_that_would_fill_the_memory(tmp_path):
    tar = tmp_path / "s.tar"
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    with tar.open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 33)  # a hole: takes no space
    assert "header of" in problems(tar)[0]


def test_headers_that_never_end(tmp_path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    block = info.tobuf(tarfile.GNU_FORMAT) + b"a\0".ljust(512, b"\0")
    (tmp_path / "s.tar").write_bytes(block * 3000)
    assert "cannot be read as a tar" in problems(tmp_path / "s.tar")[0]


def test_damage_between_members_and_joined_tars(tmp_path):
    tar = write(tmp_path / "s.tar", [("a.png", picture(1)), ("b.png", picture(2))], tarfile.USTAR_FORMAT)
    whole = tar.read_bytes()
    at = whole.index(b"b.png")
    tar.write_bytes(whole[:at] + b"X" * 200 + whole[at + 200 :])
    assert f"no tar header at byte {at:,}" in problems(tar)[0]
    tar.write_bytes(whole + whole)
    assert "joined" in problems(tar)[0]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.tar", b"", "empty file"),
        ("a.tar", b"no tar at all " * 100, "cannot be read as a tar"),
        ("a.tar", b"\x1f\x8b\x08\0\0\0\0\0", "gzip -d"),
        ("a.tar", b"\x28\xb5\x2f\xfd\0\0\0\0", "zstd -d"),
        ("a.tar.gz", b"", "packed"),
        ("a.tgz", b"", "packed"),
        ("a.TAR.XZ", b"", "packed"),
        ("a.tar", b"\0" * 10240, "no images"),
    ],
)
def test_what_is_no_tar(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    assert said in problems(tmp_path / name)[0]


def test_sparse_members_and_missing_tars(tmp_path):
    info = tarfile.TarInfo("a.png")
    info.type = tarfile.GNUTYPE_SPARSE
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(info)
    assert "sparse" in problems(tmp_path / "s.tar")[0]
    assert "no such" in problems(tmp_path / "none.tar")[0]
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "none.tar/a.png")


def test_bad_images_in_a_good_tar(tmp_path):
    tar = write(tmp_path / "s.tar", [("a.png", b""), ("b.png", picture()[:400]), ("c.png", b"hello")])
    for name, said in (
        ("a.png", "empty file"),
        ("b.png", "truncated"),
        ("c.png", "damaged, or"),
        ("d.png", "no such image"),
    ):
        with pytest.raises(DataError, match=f"s.tar/{name}: .*{said}"):
            read_image(tar / name)
        with pytest.raises(DataError, match=f"s.tar/{name}"):
            read_size(tar / name)


def test_a_folder_called_tar_is_a_folder(tmp_path):
    toy_data.image(tmp_path / "x.tar/a.png", 1)
    assert [r.id for r in read_source(tmp_path / "x.tar")] == ["a"]
    assert read_image(tmp_path / "x.tar/a.png").size == (40, 30)
    inner = write(tmp_path / "x.tar/s.tar", [("b.png", picture())])
    assert read_image(inner / "b.png").size == (40, 30)


def test_index_is_kept_and_made_again_when_it_does_not_hold(tmp_path, fresh, monkeypatch):
    tar = write(tmp_path / "s.tar", [("a.png", picture(1))])
    made = []
    monkeypatch.setattr(tar_files, "index_tar", lambda path, make=tar_files.index_tar: made.append(path) or make(path))
    expected = list(read_source(tar))
    (kept,) = fresh.rglob("*.json")
    good = kept.read_bytes()
    assert list(read_source(tar)) == expected
    assert len(made) == 1
    for damage in (good[:-9], good.replace(b"a.png", b"b.png"), b"", b"\xff", b"null\n"):
        kept.write_bytes(damage)
        assert list(read_source(tar)) == expected
    assert len(made) == 6
    write(tar, [("a.png", picture(1)), ("b.png", picture(2))])
    os.utime(tar, ns=(1, 1))
    assert len(read_source(tar)) == 2
    monkeypatch.setenv("SEMIOVS_CACHE", str(tar / "cannot be made"))
    assert len(read_source(tar)) == 2


def test_a_tar_that_changes_while_it_is_in_use(tmp_path):
    tar = write(tmp_path / "s.tar", [("a.png", picture(1))])
    read_source(tar)
    before = identify(tar / "a.png")
    write(tar, [("0.png", picture(2)), ("a.png", picture(1))])
    with pytest.raises(DataError, match="changed while it was in use"):
        read_image(tar / "a.png")
    assert read_bytes(tar / "a.png") == picture(1)
    assert identify(tar / "a.png") != before


@pytest.fixture
def twins(tmp_path):
    """One data set, from folders and from tars."""
    (tmp_path / "files").mkdir()
    root = toy_data.make(tmp_path / "files")
    packed = tmp_path / "packed"
    shutil.copytree(root, packed)
    for name in ("unlabeled", "ood"):
        shutil.rmtree(packed / name)
        tars.of_folder(root / name, packed / f"{name}/{name}.tar")
    return [
        lookup(DATASETS, "folder", kind="data set").load()(DataConfig(root=str(r)), OodConfig()).read()
        for r in (root, packed)
    ]


def stream(sources, **options):
    views = ViewRequest(unlabeled=2, mixing=True, ood=2)
    given = {
        "crop_size": 32,
        "batch_size": 2,
        "seed": 3,
        "micro_steps_total": 9,
        "pipeline": "fast",
        "confidence": "ones",
    }
    return StepStream(sources, views, **{**given, **options})


def test_the_same_batches_from_a_folder_and_from_tars(twins):
    files, packed = twins
    check_collection(packed)
    assert packed.ood[0].id == "ood/o0"
    digests = [[batch_digest(s[k]) for k in range(9)] for s in (stream(files), stream(packed))]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 9


@pytest.mark.parametrize(("start", "workers"), [(0, 2), (5, 0), (5, 2)])
def test_workers_and_resume(twins, start, workers):
    packed = stream(twins[1])
    expected = [batch_digest(packed[k]) for k in range(start, 9)]
    assert [batch_digest(b) for b in loader(packed, start, 9, workers=workers)] == expected


def test_overlap_of_a_tar_and_a_folder(tmp_path):
    root = toy_data.make(tmp_path)
    shutil.copytree(root / "val/images", root / "copies")
    tars.of_folder(root / "copies", root / "copies.tar")
    sources = (
        lookup(DATASETS, "folder", kind="data set")
        .load()(DataConfig(root=str(root), unlabeled="copies.tar"), None)
        .read()
    )
    assert [r.id for r in sources.unlabeled] == ["copies/v0", "copies/v1"]
    check_collection(sources)
    (root / "list.jsonl").write_text('{"id": "v0", "image": "copies.tar/v0.png"}\n')
    sources = (
        lookup(DATASETS, "folder", kind="data set")
        .load()(DataConfig(root=str(root), unlabeled="list.jsonl"), None)
        .read()
    )
    with pytest.raises(DataError, match=r"v0\.png: is both unlabelled and evaluation"):
        check_collection(sources)


@pytest.mark.parametrize(
    "attributes",
    [
        {"path": "../b.png"},
        {"path": "/b.png"},
        {"path": ""},
        {"size": "-512"},
        {"size": "999999999999999999999999"},
        {"size": "many"},
        {"mtime": "nan"},
        {"hdrcharset": "BINARY", "path": "b\udcff.png"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "b.png", "GNU.sparse.realsize": "9"},
        {"GNU.sparse.map": "0,1,2", "GNU.sparse.size": "3"},
    ],
    ids=lambda a: "-".join(a),
)
def test_hostile_attributes(tmp_path, attributes):
    """Either a message, or the attribute is ignored and the good image is there."""
    tar = write(tmp_path / "s.tar", [("good.png", picture()), attribute("a.png", **attributes)])
    try:
        found = [record.id for record in read_source(tar)]
    except DataError as error:
        found, said = [], error.problems
    assert ("s/good" in found) if found else all(text.startswith(str(tar)) for text in said)


def test_damaged_bytes_never_show_a_traceback(tmp_path):
    """A damaged tar is refused, or what is read from it lies in it."""
    whole = write(tmp_path / "s.tar", [(f"{i}.png", b"x" * 600) for i in range(4)]).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for number in range(300):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(0, 512 * 12)] = rng.integers(256)
        tar = tmp_path / f"{number}.tar"
        tar.write_bytes(data)
        try:
            for record in read_source(tar):
                assert len(read_bytes(record.image)) <= len(data)
        except DataError:
            refused += 1
    assert 100 < refused < 300


def test_a_pool_to_choose_from(tmp_path):
    (tmp_path / "files").mkdir()
    root = toy_data.make(tmp_path / "files") / "ood"
    tar = tars.of_folder(root, tmp_path / "in/all.tar")
    expected = [read_features(record) for record in list_candidates([root])]
    for given in (tar, tar.parent, tmp_path / "in/*.tar"):
        found = [read_features(record) for record in list_candidates([given])]
        assert [one.record.id for one in found] == [f"all/o{i}" for i in range(4)]
        assert [(one.digest, one.hash, one.size) for one in found] == [(o.digest, o.hash, o.size) for o in expected]


def test_a_list_tells_once_what_is_wrong_with_a_tar(tmp_path, monkeypatch):
    write(tmp_path / "s.tar", [("a.png", picture()), ("../b.png", b"")])
    (tmp_path / "list.txt").write_text("s.tar/a.png\ns.tar/c.png\n")
    made = []
    monkeypatch.setattr(tar_files, "index_tar", lambda path, make=tar_files.index_tar: made.append(path) or make(path))
    for _ in range(3):
        with pytest.raises(DataError, match=r"'\.\.'"):
            read_image(tmp_path / "s.tar/a.png")
    assert len(problems(tmp_path / "list.txt")) == len(made) == 1
    write(tmp_path / "s.tar", [("a.png", picture())])
    assert [r.id for r in read_source(tmp_path / "s.tar")] == ["s/a"]
    assert read_image(tmp_path / "s.tar/a.png").size == (40, 30)
