"""Published lists: what is accepted, what is refused, and that the small copies give the same lists back."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest

from semiovs import download
from semiovs.datasets import split_fetch
from semiovs.datasets.split_cache import SplitCache
from semiovs.datasets.split_fetch import fetch_lists
from semiovs.datasets.split_index import decode, encode
from semiovs.datasets.splits import load_catalogue, sha256_hex
from semiovs.errors import DataError, UsageError
from unit.split_toys import catalogue_of, write_lists

ARCHIVE = Path(__file__).resolve().parents[4] / "shared" / "data" / "published_splits.tar.xz"


def _texts() -> dict[str, str]:
    """Lists of 60 images: nested fractions in one drawn order, a sorted one, one whose order nothing else shares."""
    drawn = random.Random(3).sample(range(60), 60)
    ade = [f"images/training/ADE_train_{i:08d}.jpg annotations/training/ADE_train_{i:08d}.png" for i in drawn]
    voc = sorted(f"JPEGImages/{2007 + i % 3}_{i:06d}.jpg SegmentationClass/{2007 + i % 3}_{i:06d}.png" for i in drawn)
    texts = {"pascal/train_aug.txt": "\n".join(voc) + "\n"}
    for name, count in (("1_8", 20), ("1_16", 10), ("1_32", 5)):
        texts[f"ade20k/{name}/labeled.txt"] = "\n".join(ade[:count])
        texts[f"ade20k/{name}/unlabeled.txt"] = "\n".join(ade[count:])
        texts[f"pascal/{name}/labeled.txt"] = "\n".join(voc[:count])
        texts[f"pascal/{name}/unlabeled.txt"] = "\n".join(random.Random(count).sample(voc[count:], 60 - count))
    texts["ade20k-v2/1_8/labeled.txt"] = texts["ade20k/1_8/labeled.txt"] + "\n"
    texts["cityscapes/all/unlabeled.txt"] = (
        "free of numbers.png None\nleftImg8bit/train_extra/a/a_000000_{x}_leftImg8bit.png None"
    )
    return texts


TEXTS = _texts()


@pytest.fixture
def known():
    return catalogue_of(TEXTS)


@pytest.fixture
def cache(known, tmp_path):
    return SplitCache(known, tmp_path / "cache")


def _all(known):
    return known.select()


def test_what_was_added_comes_back(cache, known):
    cache.add({name: text.removesuffix("\n").split("\n") for name, text in TEXTS.items()})
    again = SplitCache(known, cache.folder)
    assert len(_all(known)) == len(TEXTS)
    for one in _all(known):
        data, exact = again.text(one)
        assert sorted(data.decode().split()) == sorted(TEXTS[one.name].split())
        assert exact == (not (one.dataset == "pascal" and one.name.endswith("unlabeled.txt")))
        assert not exact or data.decode() == TEXTS[one.name]


def test_orders_are_kept_where_others_follow():
    lists = {name: text.split("\n") for name, text in TEXTS.items() if name.startswith("ade20k/")}
    assert decode(encode(lists)) == lists
    assert len(encode(lists)) < 0.1 * sum(map(len, (line for lines in lists.values() for line in lines)))


@pytest.mark.parametrize("data", [b"", b"no xz", encode({})[:-5], encode({"a": ["b"]}).replace(b"a", b"", 1)])
def test_damaged_index_files_are_told(data):
    with pytest.raises(DataError, match="damaged"):
        decode(data)


@pytest.mark.parametrize("form", ["folder", "tar", "tar.xz", "zip"])
def test_fetch_from(form, cache, known, tmp_path):
    done = fetch_lists(cache, _all(known), _packed(tmp_path, form))
    assert (sorted(done.added), done.refused, done.missing) == (sorted(TEXTS), [], [])
    assert all(cache.check(one).ok for one in _all(known))
    again = fetch_lists(cache, _all(known), _packed(tmp_path / "2", form))
    assert (again.added, sorted(again.here)) == ([], sorted(TEXTS))


def _packed(folder: Path, form: str, texts=None) -> Path:
    folder.mkdir(exist_ok=True)
    texts = TEXTS if texts is None else texts
    both = write_lists(folder / "src", {n: t for n, t in texts.items() if "v2" not in n}, "./one/splits")
    write_lists(both, {n: t for n, t in texts.items() if "v2" in n}, "two/semi/splits")
    if form == "folder":
        return both
    target = folder / f"lists.{form}"
    if form == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for path in sorted(both.rglob("*.txt")):
                archive.write(path, path.relative_to(both))
    else:
        with tarfile.open(target, "w:xz" if form.endswith("xz") else "w") as archive:
            archive.add(both, ".")
    return target


@pytest.mark.parametrize("name", list(TEXTS))
def test_one_byte_changed_is_refused(name, cache, known, tmp_path):
    data = bytearray(TEXTS[name].encode())
    place = random.Random(name).randrange(len(data))
    data[place] ^= 1
    source = write_lists(tmp_path / "src", {name: "x"})
    (path,) = source.rglob("*.txt")
    path.write_bytes(bytes(data))
    done = fetch_lists(cache, known.select([name]), source)
    assert done.added == []
    assert [file for file, _ in done.refused] == [path.relative_to(source).as_posix()]
    assert done.missing == [name]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("\n", "\r\n"), "line ends"),
        (lambda text: text + "\n", "end of the file"),
        (lambda text: "\n".join(reversed(text.split("\n"))), "another order"),
        (lambda text: text.rpartition("\n")[0], "4 lines, and the published list has 5"),
        (lambda text: text.replace("ADE_train_0", "ADE_train_1", 1), "SHA-256"),
        (lambda text: "", "1 lines"),
    ],
)
def test_the_reason_is_told(change, reason, cache, known, tmp_path):
    name = "ade20k/1_32/labeled.txt"
    done = fetch_lists(cache, known.select([name]), write_lists(tmp_path, {name: change(TEXTS[name])}))
    assert reason in done.refused[0][1]


def test_hostile_members_are_listed_and_nothing_leaves_the_archive(cache, known, tmp_path):
    name = "ade20k/1_32/labeled.txt"
    source = tmp_path / "lists.tar"
    outside = tmp_path / "outside.txt"
    outside.write_text("secret")
    with tarfile.open(source, "w") as archive:
        for member in (
            "../../ade20k/1_32/labeled.txt",
            "/etc/ade20k/1_32/labeled.txt",
            "a\nb/ade20k/1_32/labeled.txt",
            "C:/x.txt",
        ):
            _member(archive, member, TEXTS[name].encode())
        for kind, target in ((tarfile.SYMTYPE, str(outside)), (tarfile.LNKTYPE, "x"), (tarfile.FIFOTYPE, "")):
            info = tarfile.TarInfo("splits/ade20k/1_32/labeled.txt")
            info.type, info.linkname = kind, target
            archive.addfile(info)
        _member(archive, "splits/ade20k/1_16/labeled.txt", b"x" * (split_fetch.LARGEST + 1))
        folder = tarfile.TarInfo("../out")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        _member(archive, "fine/ade20k/1_8/labeled.txt", TEXTS["ade20k/1_8/labeled.txt"].encode())
    before = sorted(tmp_path.rglob("*"))
    done = fetch_lists(cache, known.select(["ade20k/1_32", "ade20k/1_8"]), source)
    reasons = [reason for _, reason in done.refused]
    assert len(reasons) == 9
    for reason, count in {
        "leads out": 2,
        "absolute": 2,
        "control": 1,
        "a link or a device": 3,
        "longer than any list": 1,
    }.items():
        assert sum(reason in one for one in reasons) == count, reason
    assert done.added == ["ade20k/1_8/labeled.txt"]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, cache.folder, cache.path("ade20k")])


def test_what_else_an_archive_of_a_repository_holds_does_not_matter(cache, known, tmp_path):
    source = tmp_path / "clone.tar"
    with tarfile.open(source, "w") as archive:
        _member(archive, "repo-main/docs/picture.png", b"x" * (split_fetch.LARGEST + 1))
        _member(archive, "repo-main/splits/acdc/1/labeled.txt", b"case 1")
        _member(archive, "repo-main/splits/ade20k/1_8/labeled.txt", TEXTS["ade20k/1_8/labeled.txt"].encode())
    done = fetch_lists(cache, known.select(["ade20k/1_8/labeled"]), source)
    assert (done.added, done.refused, done.missing) == (["ade20k/1_8/labeled.txt"], [], [])


def _member(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.tar", b"not a tar" * 99),
        ("a.tar.xz", b"\xfd7zXZ\0" + b"x" * 99),
        ("a.zip", b"PK\5\6" + b"\0" * 9),
        ("a.tar.gz", b"\x1f\x8b\x08"),
    ],
)
def test_what_is_no_archive(name, data, cache, known, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="cannot be read as an archive"):
        fetch_lists(cache, _all(known), tmp_path / name)
    with pytest.raises(DataError, match="no such folder or archive"):
        fetch_lists(cache, _all(known), tmp_path / "absent")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_tar_header_of_any_size_is_not_read(kind, cache, known, tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 64 * 2**20
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as file:
        file.write(info.tobuf() + bytes(info.size) + bytes(1024))
    tracemalloc.start()
    with pytest.raises(DataError, match="a header of 67,108,864 bytes"):
        fetch_lists(cache, _all(known), tmp_path / "a.tar.gz")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 8 * 2**20


def test_a_zip_that_lies_about_a_size_is_read_in_bounds(cache, known, tmp_path):
    source = tmp_path / "a.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ade20k/1_32/labeled.txt", bytes(64 * 2**20))
    source.write_bytes(source.read_bytes().replace((64 * 2**20).to_bytes(4, "little"), (999).to_bytes(4, "little")))
    tracemalloc.start()
    with pytest.raises(DataError, match="cannot be read as an archive"):
        fetch_lists(cache, known.select(["ade20k/1_32/labeled"]), source)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 32 * 2**20


def test_truncated_archive_keeps_what_was_whole(cache, known, tmp_path):
    source = _packed(tmp_path, "tar")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be read"):
        fetch_lists(cache, _all(known), source)
    assert 0 < sum(cache.check(one).ok for one in _all(known)) < len(TEXTS)


class _Web:
    """Repositories one and two, as the network would have them."""

    def __init__(self, texts, monkeypatch):
        self.texts, self.asked = dict(texts), []
        monkeypatch.setattr(download, "urlopen", self)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def __call__(self, request, timeout):
        self.asked.append(request.full_url)
        assert timeout == download.PATIENCE
        repository, path = ("two", "ade20k-v2/") if "/someone/two/" in request.full_url else ("one", "")
        name = request.full_url.partition("/splits/")[2]
        name = name.replace("ade20k/", path) if repository == "two" else name
        if name not in self.texts:
            raise HTTPError(request.full_url, 404, "not found", {}, None)
        return io.BytesIO(self.texts[name].encode())


def test_fetch_from_the_network(cache, known, monkeypatch):
    web = _Web(TEXTS, monkeypatch)
    done = fetch_lists(cache, _all(known))
    assert sorted(done.added) == sorted(TEXTS)
    assert f"https://raw.githubusercontent.com/someone/two/{'b' * 40}/semi/splits/ade20k/1_8/labeled.txt" in web.asked
    fetch_lists(cache, _all(known))
    assert len(web.asked) == len(TEXTS)  # what is here is not asked for again


def test_a_changed_or_absent_file_of_the_network_is_refused(cache, known, monkeypatch):
    wrong = {name: text + " " for name, text in TEXTS.items() if name.startswith("pascal/1_8")}
    _Web({**{n: t for n, t in TEXTS.items() if not n.startswith("pascal/1_16")}, **wrong}, monkeypatch)
    done = fetch_lists(cache, known.select(["pascal"]))
    assert sorted(done.missing) == sorted(n for n in TEXTS if n.startswith(("pascal/1_8", "pascal/1_16")))
    assert {reason[:8] for _, reason in done.refused} == {"HTTP 404", "SHA-256 "}


def test_without_network(cache, known, monkeypatch):
    def no(request, timeout):
        raise URLError("no route")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(download, "urlopen", no)
    with pytest.raises(DataError, match=r"no connection \(no route\); .*someone/one at aaaaaaa.*splits fetch --from"):
        fetch_lists(cache, _all(known))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE"):
        fetch_lists(cache, _all(known))


def test_a_damaged_cache_is_told_and_mended(cache, known, tmp_path):
    fetch_lists(cache, _all(known), _packed(tmp_path, "folder"))
    path = cache.path("ade20k")
    path.write_bytes(encode({"ade20k/1_8/labeled.txt": ["images/x.jpg annotations/x.png"]}))
    fresh = SplitCache(known, cache.folder)
    assert not fresh.check(known.lists["ade20k/1_8/labeled.txt"]).ok
    with pytest.raises(DataError, match=r"damaged.*next: semiovs splits fetch ade20k"):
        fresh.lines(known.lists["ade20k/1_8/labeled.txt"])
    path.write_bytes(b"x")
    fresh = SplitCache(known, cache.folder)
    assert not any(fresh.check(one).ok for one in known.family("ade20k"))
    fetch_lists(fresh, _all(known), _packed(tmp_path / "2", "folder"))
    assert all(fresh.check(one).ok for one in _all(known))


def test_names():
    known = load_catalogue()
    assert [one.name for one in known.select(["pascal/92"])] == ["pascal/92/labeled.txt", "pascal/92/unlabeled.txt"]
    assert len(known.select(["splits/pascal/92/labeled.txt"])) == len(known.select(["pascal/92/labeled"])) == 1
    assert known.lists["ade20k/1_32/labeled.txt"].count == 632
    assert known.lists["ade20k-v2/1_32/labeled.txt"].count == 631
    with pytest.raises(UsageError, match="did you mean 'pascal/92'"):
        known.select(["pascal/93"])
    with pytest.raises(UsageError, match="no published list"):
        known.select(["9"])


def test_every_list_of_the_presets_is_known():
    from semiovs.config import list_presets, load_config

    known = load_catalogue()
    assert "pascal/92" in list_presets()
    for preset in list_presets():
        data = load_config(preset).config.data
        for given in (data.labeled, data.unlabeled, data.val):
            if given is not None and not (given.startswith("splits/coco/") and given.endswith("unlabeled.txt")):
                assert given.removeprefix("splits/") in known.lists, (preset, given)
                assert known.datasets[known.lists[given.removeprefix("splits/")].dataset].name == data.name, preset


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="the published lists are not on this machine")
class TestTheRealLists:
    """All lists of the archive verify, and none is accepted with one byte changed."""

    @pytest.fixture
    def files(self):
        with tarfile.open(ARCHIVE, "r:xz") as archive:
            return {m.name: archive.extractfile(m).read() for m in archive if m.isreg()}

    def test_all_verify(self, tmp_path):
        cache = SplitCache(folder=tmp_path)
        done = fetch_lists(cache, cache.known.select(), ARCHIVE)
        assert (len(done.added), done.refused, done.missing) == (80, [], [])
        fresh = SplitCache(folder=tmp_path)
        checked = [fresh.check(one) for one in fresh.known.select()]
        assert all(one.ok for one in checked)
        assert sum(one.exact for one in checked) == 71
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 160_000

    def test_every_file_is_known(self, files):
        hashes = {one.sha256 for one in load_catalogue().lists.values()}
        assert {sha256_hex(data) for data in files.values()} == hashes

    def test_one_byte_changed_is_refused(self, files, tmp_path):
        known, rng, refused = load_catalogue(), random.Random(0), 0
        for name, data in files.items():
            changed = bytearray(data)
            changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
            done = split_fetch.FetchResult()
            taken: dict[str, list[str]] = {}
            split_fetch._take_from_files(iter([(name, bytes(changed))]), known, known.select(), taken, done, None)
            assert not taken, name
            refused += len(done.refused)
        assert refused == len(files)
