from __future__ import annotations

import pytest

from semiovs.config.edit import set_keys
from semiovs.config.yaml_reader import parse_yaml, to_plain
from semiovs.errors import ConfigError

MAP = {"0": "a", "255": "b"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "data:\n  masks:\n    map: {M}\n"),
        ("extends: x", "extends: x\ndata:\n  masks:\n    map: {M}\n"),
        (
            "data:\n  root: .   # here\n\n# of the next\nood:\n  images: x\n",
            "data:\n  root: .   # here\n  masks:\n    map: {M}\n\n# of the next\nood:\n  images: x\n",
        ),
        ("data: {root: ., val: v}  # c\n", "data: {masks: {map: {M}}, root: ., val: v}  # c\n"),
        ("data: {}\n", "data: {masks: {map: {M}}}\n"),
        (
            "data:\n  masks:\n    encoding: id  # why\n  root: .\n",
            "data:\n  masks:\n    encoding: id  # why\n    map: {M}\n  root: .\n",
        ),
        ("data:\n  masks: {map: {'1': a}}\n  val: x\n", "data:\n  masks: {map: {M}}\n  val: x\n"),
        ("data:\n  masks:   # none yet\n  val: v\n", "data:\n  masks: {map: {M}}   # none yet\n  val: v\n"),
        (
            "data:\n    classes:\n      - a\n    # c\nx: 1\n",
            "data:\n    classes:\n      - a\n    masks:\n      map: {M}\n    # c\nx: 1\n",
        ),
    ],
)
def test_a_key_is_set_and_the_rest_stays(before, after):
    text = set_keys(before, {"data.masks.map": MAP}, "f.yaml")
    assert text == after.replace("{M}", "{'0': a, '255': b}")


def test_a_block_is_replaced():
    before = "data:\n  masks:\n    map:   # old\n      '0': a\n      '1': b\n  val: x   # stays\n"
    text = set_keys(before, {"data.masks.map": MAP}, "f.yaml")
    assert to_plain(parse_yaml(text, "f"), "f") == {"data": {"masks": {"map": MAP}, "val": "x"}}
    assert text.endswith("  val: x   # stays\n")


def test_a_comment_that_stands_for_the_key_gives_way():
    before = (
        "data:\n  root: .\n  # labeled: taken from images/\n  unlabeled: u\n  # val: a list of files, or val/\n"
        "  # val: mine stays\nood:\n  # val: a list of files, or another section's\n"
    )
    text = set_keys(before, {"data.labeled": "train.txt", "data.val": "val.txt"}, "f.yaml")
    assert text == (
        "data:\n  root: .\n  labeled: train.txt\n  unlabeled: u\n  val: val.txt\n"
        "  # val: mine stays\nood:\n  # val: a list of files, or another section's\n"
    )


@pytest.mark.parametrize("text", ["data:\n- x\n", "data: 3\n", "- a\n", "a: &x {b: 1}\ndata: *x\n", "data: [\n"])
def test_what_cannot_be_edited_is_refused(text):
    with pytest.raises(ConfigError, match=r"f\.yaml"):
        set_keys(text, {"data.masks.map": MAP}, "f.yaml")
