"""Merging stores: equal to one job, nothing lost or double, and every reason not to."""

import numpy as np
import pytest

from semiovs.errors import DataError, UsageError
from semiovs.store import PseudoLabelStore
from semiovs.store import merge as store_merge
from semiovs.store.merge import merge_stores
from semiovs.vocab import Vocabulary

CLASSES = Vocabulary.of(["sky", "road"])


def make(root, ids, *, teacher="t", classes=CLASSES, seed=0):
    store = PseudoLabelStore.create(root, classes, teacher={"name": teacher})
    for identifier in ids:
        rng = np.random.default_rng([seed, *identifier.encode()])
        graded = rng.random((4, 5)).astype(np.float32) if identifier != "plain" else None
        store.add(identifier, rng.integers(0, 2, (4, 5), np.uint8), graded)
    store.settle()
    return store


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("copy", [False, True])
def test_the_whole_is_what_one_job_writes(tmp_path, copy):
    make(tmp_path / "whole", ["d/1", "d/2", "plain", "x"])
    make(tmp_path / "a", ["x", "d/1"])
    make(tmp_path / "b", ["plain", "d/2", "x"])
    sources = {name: tree(tmp_path / name) for name in "ab"}
    report = merge_stores(tmp_path / "m", [tmp_path / "a", tmp_path / "b"], copy=copy)
    assert (report.added, report.equal, report.before, report.images) == (4, 1, 0, 4)
    assert list(report.merged.values()) == [2, 3]
    assert tree(tmp_path / "m") == tree(tmp_path / "whole")
    assert {name: tree(tmp_path / name) for name in "ab"} == sources
    linked = (tmp_path / "m/labels/x.png").stat().st_nlink > 1
    assert linked is not copy
    again = merge_stores(tmp_path / "m", [tmp_path / "a", tmp_path / "b", tmp_path / "m"])
    assert (again.added, again.equal, again.before) == (0, 5, 4)
    assert tree(tmp_path / "m") == tree(tmp_path / "whole")


def test_where_links_are_impossible_files_are_copied(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(store_merge.os, "link", no_links)
    make(tmp_path / "a", ["x"])
    merge_stores(tmp_path / "m", [tmp_path / "a"])
    assert tree(tmp_path / "m") == tree(tmp_path / "a")
    assert (tmp_path / "m/labels/x.png").stat().st_nlink == 1


def test_two_labels_for_one_image_are_named(tmp_path):
    make(tmp_path / "a", ["x", "y"])
    make(tmp_path / "b", ["y"], seed=1)
    with pytest.raises(DataError, match=r"'y' is labelled differently in .*/a and in .*/b"):
        merge_stores(tmp_path / "m", [tmp_path / "a", tmp_path / "b"])
    assert len(PseudoLabelStore.open(tmp_path / "m")) == 0


def test_other_teachers_and_classes_are_refused(tmp_path):
    make(tmp_path / "a", ["x"])
    make(tmp_path / "teacher", ["y"], teacher="u")
    make(tmp_path / "classes", ["y"], classes=Vocabulary.of(["sky", "lane"]))
    make(tmp_path / "concepts", ["y"], classes=Vocabulary(("sky", "road"), (("sky",), ("road", "street"))))
    for other, message in (
        ("teacher", "name: 'u' there, 't' now"),
        ("classes", "class 1 is 'lane' there"),
        ("concepts", "other concepts"),
    ):
        with pytest.raises(DataError, match=message):
            merge_stores(tmp_path / "m", [tmp_path / "a", tmp_path / other])
        with pytest.raises(DataError, match="there"):
            merge_stores(tmp_path / other, [tmp_path / "a"])
    assert not (tmp_path / "m").exists()


def test_what_is_no_store_or_damaged(tmp_path):
    make(tmp_path / "a", ["x", "y"])
    with pytest.raises(UsageError, match="nothing to merge"):
        merge_stores(tmp_path / "m", [])
    with pytest.raises(DataError, match="not a pseudo-label store"):
        merge_stores(tmp_path / "m", [tmp_path / "a", tmp_path / "none"])
    (tmp_path / "a/confidence/y.png").write_bytes(b"half")
    with pytest.raises(DataError, match=r"confidence/y\.png: damaged; see `semiovs labels verify .*/a`"):
        merge_stores(tmp_path / "m", [tmp_path / "a"])
    (tmp_path / "a/labels/x.png").unlink()
    with pytest.raises(DataError, match=r"labels/x\.png: cannot be read"):
        merge_stores(tmp_path / "m", [tmp_path / "a"])


def test_killed_in_the_middle_and_merged_again(tmp_path, monkeypatch):
    make(tmp_path / "whole", ["d/1", "d/2", "x"])
    make(tmp_path / "m", ["d/2"])
    make(tmp_path / "a", ["x", "d/1"])
    before = (tmp_path / "m/index.jsonl").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(store_merge._FileMover, "sync", killed)
    with pytest.raises(KeyboardInterrupt):
        merge_stores(tmp_path / "m", [tmp_path / "a"])
    assert (tmp_path / "m/index.jsonl").read_bytes() == before
    monkeypatch.undo()
    merge_stores(tmp_path / "m", [tmp_path / "a"])
    assert tree(tmp_path / "m") == tree(tmp_path / "whole")


def test_a_merged_store_is_not_changed_through_its_links(tmp_path):
    source = make(tmp_path / "a", ["x"])
    merge_stores(tmp_path / "m", [tmp_path / "a"])
    before = tree(tmp_path / "m")
    source.add("x", np.zeros((4, 5), np.uint8))
    assert tree(tmp_path / "m") == before
