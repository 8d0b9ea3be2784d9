"""Packed stores that are damaged or hostile: each is refused in one line with the tar, the member and the next step."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semiovs.cli.app import main
from semiovs.errors import DataError, UsageError
from semiovs.store import PseudoLabelStore, verify
from semiovs.store.pack import pack_store
from semiovs.store.verify import StoreReport, inspect, repair
from semiovs.vocab import Vocabulary
from unit import tars

CLASSES = Vocabulary.of(["sky", "road", "car"])


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Two tars of two images."""
    store = PseudoLabelStore.create(tmp_path / "s", CLASSES, teacher={"name": "t"})
    rng = np.random.default_rng(0)
    for name in "abcd":
        store.add(name, np.full((4, 5), ord(name) % 3, np.uint8), rng.random((4, 5)))
    pack_store(store.root, tmp_path / "p", size=2)
    return tmp_path / "p"


def members(path: Path) -> list[tars.Member]:
    with tarfile.open(path) as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]


def change_line(root: Path, number: int, change: Callable[[dict[str, Any]], object]) -> None:
    """Change one line of the index of tars."""
    path = root / "shards.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows[number])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rewrite(root: Path, given: list[tars.Member]) -> None:
    """Replace the first tar by a hostile one, and let size, checksum and places in the index fit it."""
    path = tars.write(root / "000000.tar", given)
    data = path.read_bytes()
    places = {}
    with tarfile.open(path) as tar:
        for member in tar:
            places.setdefault(member.name, [member.offset_data, member.size])

    def fit(row: dict[str, Any]) -> None:
        row["bytes"], row["sha256"] = len(data), hashlib.sha256(data).hexdigest()
        for item in row["items"]:
            item[2:] = [*places[f"{item[0]}.label.png"], *places[f"{item[0]}.confidence.png"]]

    change_line(root, 0, fit)


def only_problem(root: Path) -> str:
    report = inspect(root)
    assert not report.ok
    (problem,) = report.shards
    return problem


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (tars.special("l.png", tarfile.SYMTYPE, "/etc/passwd"), "member 'l.png': is a link to '/etc/passwd'"),
        (tars.special("h.png", tarfile.LNKTYPE, "a.label.png"), "member 'h.png': is a link"),
        (tars.special("n", tarfile.CHRTYPE), "member 'n': is a device or a pipe"),
        (tars.special("n", tarfile.FIFOTYPE), "member 'n': is a device or a pipe"),
        (tars.special("n", tarfile.DIRTYPE), "member 'n': is a folder"),
        (("/etc/x.png", b"x"), "member '/etc/x.png': has an absolute name"),
        (("../x.png", b"x"), "member '../x.png': leads out of the tar by '..'"),
        (("a/../../x.png", b"x"), "leads out of the tar by '..'"),
        (("a.json", b"x"), "member 'a.json': is there twice"),
        (("e.label.png", b"x"), "member 'e.label.png': belongs to no image of the index"),
    ],
)
def test_members_that_no_tar_of_labels_may_hold(packed: Path, extra: tars.Member, message: str) -> None:
    rewrite(packed, [*members(packed / "000000.tar"), extra])
    problem = only_problem(packed)
    assert problem.startswith(f"{packed}/000000.tar: ")
    assert message in problem
    assert "\n" not in problem
    assert PseudoLabelStore.open(packed).label("a").shape == (4, 5)  # read by offset, names are never followed


def test_another_label_under_the_name(packed: Path) -> None:
    held = dict(members(packed / "000000.tar"))  # type: ignore[arg-type]
    held["a.label.png"] = held["b.label.png"]
    rewrite(packed, list(held.items()))
    assert only_problem(packed).endswith("000000.tar: member 'a.label.png': is not what was written")
    assert inspect(packed).damaged == ["a"]
    with pytest.raises(DataError, match=r"000000.tar: labels of 'a' is damaged, or not the one of the index; restore"):
        PseudoLabelStore.open(packed).label("a")
    assert PseudoLabelStore.open(packed).label("b").shape == (4, 5)


def test_a_part_is_missing(packed: Path) -> None:
    given = [member for member in members(packed / "000000.tar") if member[0] != "b.json"]
    rewrite(packed, given)
    assert only_problem(packed).endswith("000000.tar: member 'b.json': is missing")


@pytest.mark.parametrize("left", [0, 700, 2048, -1024])
def test_a_tar_that_was_cut_off(packed: Path, left: int) -> None:
    path = packed / "000001.tar"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        DataError, match=r"000001.tar: [\d,]+ bytes, but [\d,]+ were written; restore it from a copy, or"
    ):
        PseudoLabelStore.open(packed)
    report = inspect(packed)
    assert not report.ok
    assert all("000001.tar: " in problem for problem in report.shards)
    path.unlink()
    assert inspect(packed) == StoreReport(4, ["c", "d"], [], [], [], [f"{path}: this shard is missing"])
    with pytest.raises(DataError, match=r"000001.tar: this shard is missing; restore"):
        PseudoLabelStore.open(packed)


def test_one_flipped_bit_anywhere_is_found(packed: Path) -> None:
    path = packed / "000000.tar"
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        used = max(member.offset_data + member.size for member in tar)
    for byte in [*range(0, used, 97), len(data) - 1]:
        path.write_bytes(data[:byte] + bytes([data[byte] ^ 1]) + data[byte + 1 :])
        report = inspect(packed)
        assert not report.ok, byte
        assert all(str(path) in problem for problem in report.shards)
    path.write_bytes(data)
    assert inspect(packed).ok


BOMB = 1 << 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row["items"][0].__setitem__(2, 10**9), r"'a' points outside of the shard"),
        (lambda row: row["items"][0].__setitem__(3, 10**9), r"'a' points outside of the shard"),
        (lambda row: row["items"][0].__setitem__(2, -512), "'a' has no place"),
        (lambda row: row["items"][0].__setitem__(2, 1.5), "'a' has no place"),
        (lambda row: row["items"][0].__setitem__(2, True), "'a' has no place"),
        (lambda row: row["items"][0].pop(), "'a' has no place"),
        (lambda row: (row.update(bytes=BOMB), row["items"][0].__setitem__(3, BOMB // 2)), "'a' claims 549,755,813,888"),
        (lambda row: row["items"][1].__setitem__(0, "a"), "'a' is there twice"),
        (lambda row: row["items"][0].__setitem__(0, "../a"), "an id that is none"),
        (lambda row: row["items"][0].__setitem__(1, "/a"), "an id that is none"),
        (lambda row: row.update(shard="../x.tar"), "no name of a tar"),
        (lambda row: row.update(shard="/etc/x.tar"), "no name of a tar"),
        (lambda row: row.update(shard="000001.tar"), "000001.tar is there twice"),
        (lambda row: row.update(sha256="0"), "no size or checksum"),
        (lambda row: row.update(bytes="9"), "no size or checksum"),
        (lambda row: row.pop("items"), "not the line of a shard"),
        (lambda row: row.update(items=7), "not the line of a shard"),
        (lambda row: row.update(items=[[]]), "not enough values"),
    ],
)
def test_an_index_that_lies(packed: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    change_line(packed, 0, change)
    for read in (PseudoLabelStore.open, inspect):
        with pytest.raises(DataError, match=r"shards\.jsonl:[12]: damaged line: ") as error:
            read(packed)
        assert message in str(error.value)
        assert "restore it from a copy, or pack the store of files again (`semiovs labels pack`)" in str(error.value)


def test_claims_of_a_terabyte_are_no_bomb(packed: Path) -> None:
    path = packed / "000000.tar"
    info = tarfile.TarInfo("a.label.png")
    info.size = BOMB
    header = info.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(header + bytes(2048))
    problems = inspect(packed).shards
    assert any("claims 1,099,511,627,776 bytes, but the tar ends after 2,048" in problem for problem in problems)
    with path.open("r+b") as file:
        file.truncate(BOMB)  # sparse: a terabyte of zeros, which nobody reads
    assert only_problem(packed).startswith(f"{path}: 1,099,511,627,776 bytes, but ")


def test_a_member_of_less_than_nothing(packed: Path) -> None:
    given = members(packed / "000000.tar")
    tars.write(packed / "000000.tar", [*given, tars.attribute("e.json", size="-5")])
    change_line(packed, 0, lambda row: row.update(bytes=(packed / "000000.tar").stat().st_size))
    assert "000000.tar: member 'e.json': claims a size of -5 bytes" in "\n".join(inspect(packed).shards)


def test_a_header_that_would_fill_the_memory(packed: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.label.png")
        info.pax_headers = {"comment": "x" * (2 << 20)}
        tar.addfile(info)
    (packed / "000000.tar").write_bytes(file.getvalue())
    change_line(packed, 0, lambda row: row.update(bytes=len(file.getvalue())))
    assert any("000000.tar: cannot be read as a tar: a header of" in problem for problem in inspect(packed).shards)


def test_an_image_without_a_place_and_one_that_is_too_much(packed: Path) -> None:
    change_line(packed, 0, lambda row: row["items"].pop(0))
    report = inspect(packed)
    assert report.missing == ["a"]
    assert not report.ok
    store = PseudoLabelStore.open(packed)
    assert "a" not in store
    with pytest.raises(DataError, match=r"shards.jsonl: has no labels of image 'a'; restore"):
        store.label("a")
    lines = (packed / "index.jsonl").read_bytes().splitlines(keepends=True)
    (packed / "index.jsonl").write_bytes(b"".join(lines[:-1]))
    assert f"{packed}/shards.jsonl: 'd' is not in index.jsonl" in inspect(packed).shards


def test_lines_of_the_index_and_files_that_belong_to_nothing(packed: Path) -> None:
    (packed / "note.txt").write_text("mine")
    assert inspect(packed).stray == ["note.txt"]
    assert inspect(packed).ok
    with (packed / "shards.jsonl").open("a") as file:
        file.write('{"shard"')
    with pytest.raises(DataError, match=r"shards\.jsonl:3: damaged line"):
        inspect(packed)
    with (packed / "index.jsonl").open("a") as file:
        file.write("{}\n")
    assert inspect(packed).lines == [5]


def test_a_store_that_vanishes_while_it_is_open(packed: Path) -> None:
    store = PseudoLabelStore.open(packed)
    (packed / "000001.tar").unlink()
    with pytest.raises(DataError, match=r"000001.tar: labels of 'c' cannot be read: No such file"):
        store.label("c")
    assert not verify(store).ok


def test_the_commands_say_it_in_one_line(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(packed)]) == 0
    assert main(["labels", "verify", str(packed)]) == 0
    rewrite(packed, [*members(packed / "000000.tar"), tars.special("l", tarfile.SYMTYPE, "/etc/passwd")])
    capsys.readouterr()
    assert main(["verify", str(packed), "--json"]) == 3
    told = capsys.readouterr()
    (finding,) = json.loads(told.out)["findings"]
    assert finding["file"] == f"{packed}/000000.tar"
    assert finding["what"].startswith("member 'l': is a link to '/etc/passwd'")
    assert finding["next"].startswith("# restore it from a copy")
    assert "member 'l': is a link" in told.err
    assert main(["labels", "verify", str(packed)]) == 3
    assert "1 problems of tars; restore it from a copy, or pack" in capsys.readouterr().err
    assert main(["labels", "verify", str(packed), "--fix"]) == 2
    with pytest.raises(UsageError, match="a packed store cannot be repaired"):
        repair(packed)
    change_line(packed, 0, lambda row: row.update(bytes="9"))
    assert main(["verify", str(packed), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["findings"][0]["file"] == f"{packed}/shards.jsonl"
