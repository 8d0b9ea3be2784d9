"""The index of a store: order, several writers, damage, and a million lines."""

import os

import numpy as np
import pytest

from semiovs.errors import DataError
from semiovs.store import verify
from semiovs.store.index import IndexRow, StoreIndex
from semiovs.store.pseudo_labels import PseudoLabelStore, StoreWriteError
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", "road"])


def row(identifier, seed=0):
    return IndexRow(identifier, f"{seed:064x}", None, (2, 3), {0: 4, 255: 2})


def add(index, *rows):
    with index.locked() as file:
        index.append(file, rows)


def settle(index, **change):
    with index.locked():
        index.settle(**change)


def make(root, teacher="t"):
    return PseudoLabelStore.create(root, CLASSES, teacher={"name": teacher})


def label(seed):
    return np.random.default_rng(seed).integers(0, 2, (4, 5), np.uint8)


@pytest.mark.parametrize("identifier", ["a", "d/ä b", 'quote"', "back\\slash", "d/" + "x" * 300])
def test_lines_are_read_back(tmp_path, identifier):
    wanted = IndexRow(identifier, "0" * 64, "f" * 64, (1, 2), {3: 1, 255: 1}, "sum")
    add(StoreIndex.open(tmp_path / "i"), wanted)
    assert StoreIndex.open(tmp_path / "i").get(identifier) == wanted


def test_settled_by_id_and_only_if_needed(tmp_path):
    index = StoreIndex.open(tmp_path / "i")
    add(index, row("b"), row("a/2"), row("a"), row("b", 7))
    settle(index)
    assert list(index) == ["a", "a/2", "b"]
    assert index.get("b").label.endswith("7")
    again = StoreIndex.open(tmp_path / "i")
    assert list(again.rows()) == list(index.rows())
    assert (tmp_path / "i").read_bytes().count(b"\n") == 3
    before = (tmp_path / "i").stat()
    settle(again)
    assert ((tmp_path / "i").stat().st_ino, (tmp_path / "i").stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_writer_follows_a_file_that_another_replaced(tmp_path):
    first, second = StoreIndex.open(tmp_path / "i"), StoreIndex.open(tmp_path / "i")
    add(first, row("z"), row("b"))
    add(second, row("a"))
    assert list(second) == ["z", "b", "a"]
    settle(second)
    add(first, row("c"))
    assert list(first) == ["a", "b", "z", "c"]
    assert list(StoreIndex.open(tmp_path / "i")) == ["a", "b", "z", "c"]


def test_the_torn_line_of_a_killed_writer_is_not_written_onto(tmp_path):
    index = StoreIndex.open(tmp_path / "i")
    add(index, row("a"))
    with (tmp_path / "i").open("ab") as file:
        file.write(row("b").to_line()[:-9])
    add(index, row("c"))
    assert list(StoreIndex.open(tmp_path / "i")) == ["a", "c"]


def test_damaged_lines_can_be_left_out(tmp_path):
    add(StoreIndex.open(tmp_path / "i"), row("a"), row("b"))
    data = (tmp_path / "i").read_bytes()
    (tmp_path / "i").write_bytes(b"{}\n" + data + b"\xff\xfe\n" + row("c").to_line().replace(b'"0"', b'"256"'))
    lines = []
    index = StoreIndex.open(tmp_path / "i", damaged=lines)
    assert (lines, list(index)) == ([1, 4, 5], ["a", "b"])
    with pytest.raises(DataError, match=r"i:1: damaged line; `semiovs labels verify .* --fix`"):
        StoreIndex.open(tmp_path / "i")
    settle(index)
    assert (tmp_path / "i").read_bytes() == data


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    index = StoreIndex.open(tmp_path / "i")
    add(index, row("b"), row("a"))
    before = (tmp_path / "i").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        settle(index)
    with pytest.raises(OSError, match="No space"):
        add(index, row("c"))
    monkeypatch.undo()
    assert (tmp_path / "i").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["i"]
    add(index, row("c"))
    assert len(StoreIndex.open(tmp_path / "i")) == 3


def test_of_two_that_label_one_image_the_first_wins_with_all_its_files(tmp_path):
    first, second = make(tmp_path), make(tmp_path)
    mine = first.prepare("a", label(0), np.full((4, 5), 0.5, np.float32))
    second.add("a", label(1))
    other = first.prepare("b", label(2))
    assert first.commit([mine, other]) == ["b"]
    store = PseudoLabelStore.open(tmp_path)
    assert (store.label("a") == label(1)).all()
    report = verify(store)
    assert (report.ok, report.stray) == (True, [])


def test_what_others_have_added_is_there_after_catching_up(tmp_path):
    label = np.zeros((4, 5), np.uint8)
    first = make(tmp_path / "s")
    second = PseudoLabelStore.open(tmp_path / "s")
    for name in ("a", "b"):
        first.add(name, label)
        assert name not in second
        second.catch_up()
        assert name in second
    assert second.ids() == ["a", "b"]


def test_a_store_that_became_another_teachers_takes_nothing(tmp_path):
    first = make(tmp_path, "x")
    make(tmp_path, "y").add("b", label(1))
    with pytest.raises(StoreWriteError, match="another teacher"):
        first.add("a", label(0))
    assert PseudoLabelStore.open(tmp_path).ids() == ["b"]
    assert verify(PseudoLabelStore.open(tmp_path)).stray == []


def test_a_commit_is_all_or_nothing(tmp_path, monkeypatch):
    store = make(tmp_path)
    store.add("a", label(0))
    items = [store.prepare(name, label(1)) for name in "bcd"]
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    with pytest.raises(StoreWriteError, match=r"labels of 'b', 'c', 'd' cannot be written: .*No space"):
        store.commit(items)
    monkeypatch.undo()
    assert PseudoLabelStore.open(tmp_path).ids() == ["a"]
    assert not list((tmp_path / "incoming").iterdir())


def test_many_lines_open_quickly_and_small(tmp_path):
    """Guards against parsing or unpacking every line: 20,000 lines take 0.1 s; a bound far above that still finds a
    slip.
    """
    import time
    import tracemalloc

    with (tmp_path / "i").open("wb") as file:
        file.writelines(row(f"train2017/{i:012d}", i).to_line() for i in range(20_000))
    start = time.process_time()
    StoreIndex.open(tmp_path / "i")
    assert time.process_time() - start < 2
    tracemalloc.start()
    index = StoreIndex.open(tmp_path / "i")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(index) < 450  # bytes a line; rows as objects took about 1,000
