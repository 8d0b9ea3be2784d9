"""Vocabulary: rules, hash, JSON, channels, shipped files, comparison, advice."""

import pytest
import torch

from semiovs.config.schema import MaskConfig
from semiovs.errors import ConfigError, DataError
from semiovs.images.masks import MaskReader
from semiovs.images.palette import voc_palette
from semiovs.ovs.pooling import ConceptPooling
from semiovs.vocab import Vocabulary, check_channels, shipped_vocabularies
from semiovs.vocab.advice import advice
from semiovs.vocab.colors import hex_of, parse_hex, voc_color
from semiovs.vocab.compare import Comparison

COUNTS = {
    "ade150": (150, 150),
    "cityscapes19": (19, 19),
    "cityscapes19-semivl": (19, 54),
    "coco81": (81, 171),
    "cocostuff171": (171, 171),
    "context59": (59, 59),
    "context60": (60, 162),
    "voc21": (21, 171),
    "voc21-plain": (21, 171),
    "voc21-semivl": (21, 98),
}


def test_what_is_shipped():
    loaded = {name: Vocabulary.load(name) for name in shipped_vocabularies()}
    assert {name: (len(v), len(v.prompts)) for name, v in loaded.items()} == COUNTS
    assert Comparison(loaded["voc21"], loaded["voc21-plain"]).same_labels
    assert not Comparison(loaded["voc21"], loaded["voc21-plain"]).same_store
    assert Comparison(loaded["voc21"], loaded["voc21-semivl"]).same_labels
    assert Comparison(loaded["cityscapes19"], loaded["cityscapes19-semivl"]).same_labels
    assert loaded["context59"].names == loaded["context60"].names[1:]
    assert loaded["coco81"].names[1:] == loaded["cocostuff171"].names[:80]
    assert loaded["coco81"].concepts[0] == loaded["cocostuff171"].names[80:]
    assert loaded["cityscapes19"].colors[0] == (128, 64, 128)
    assert loaded["cityscapes19"].hash == Vocabulary.of(loaded["cityscapes19"].names).hash == "aeab75b0ed7a8d09"
    for name, found in loaded.items():
        noise = [line for line in advice(found) if "tv/monitor" not in line]
        assert not noise, name


def test_the_concepts_of_the_ablation_are_single_words():
    plain = Vocabulary.load("voc21-plain")
    assert plain.concepts[0] == Vocabulary.load("voc21").concepts[0]
    assert plain.concepts[1] == ("airplane",)
    assert all(concepts == (name,) for name, concepts in list(zip(plain.names, plain.concepts, strict=True))[2:])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"names": ()}, "no classes"),
        ({"names": ("a", " ")}, "class 1 has an empty name"),
        ({"names": ("a", "a")}, "class 'a' is listed twice"),
        ({"names": tuple(map(str, range(256)))}, "256 classes; at most 255"),
        ({"names": ("a", "b"), "concepts": (("a",),)}, "2 names but concepts for 1"),
        ({"names": ("a", "b"), "concepts": (("a",), ())}, "class 'b' has no concepts"),
        ({"names": ("a", "b"), "concepts": (("a",), ("x, ",))}, "has an empty synonym"),
        (
            {"names": ("a", "b"), "concepts": (("x",), ("y", "X "))},
            "class 'b': concept 'X ' belongs to class 'a' already",
        ),
        ({"names": ("a", "b"), "concepts": (("x, y",), ("y, x",))}, "belongs to class 'a' already"),
        ({"names": ("a",), "concepts": (("x", "x"),)}, "class 'a' lists a concept twice"),
        ({"names": ("a", "b"), "concepts": (("x",), ("b",)), "background": 0.4}, "concepts and a background threshold"),
        ({"names": ("a", "b"), "background": 1.4}, "threshold 1.4 is not a score"),
        ({"names": ("a",), "background": 0.4}, "nothing but the background"),
        ({"names": ("a", "b"), "colors": ((0, 0, 0),)}, "2 names but 1 colours"),
        ({"names": ("a",), "colors": ((0, 0, 256),)}, "class 'a': colour [0, 0, 256] is out of range"),
        ({"names": ("a",), "templates": ("a photo",)}, "template 'a photo': expected a sentence with {}"),
        ({"names": ("a",), "templates": ("a {} of {x}",)}, "expected a sentence with {}"),
        ({"names": ("a",), "ignore": ("a",)}, "class 'a' is also a name to ignore"),
    ],
)
def test_rules(fields, message):
    with pytest.raises(ConfigError) as caught:
        Vocabulary(**fields)
    assert str(caught.value).startswith("vocabulary: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_constant_background_is_not_asked_for():
    vocabulary = Vocabulary(("background", "cat", "dog"), background=0.4)
    assert vocabulary.concepts == ((), ("cat",), ("dog",))
    assert (vocabulary.prompts, vocabulary.owners) == (("cat", "dog"), (1, 2))


def test_json_keeps_everything_and_reads_old_data():
    whole = Vocabulary(
        ("background", "cat"),
        ((), ("cat, kitten", "tiger")),
        ((0, 0, 0), (1, 2, 3)),
        0.4,
        ("a {}.", "the {}"),
        ("void",),
    )
    assert Vocabulary.from_json(whole.as_json()) == whole
    assert Vocabulary.from_json(whole.as_json()).hash == whole.hash
    old = {"names": ["sky", "road"], "concepts": [["sky"], ["road"]], "colors": []}
    assert Vocabulary.from_json(old) == Vocabulary.of(["sky", "road"])
    assert Vocabulary.of(["sky", "road"]).as_json() == old  # stores of plain vocabularies stay the same bytes


def test_hash_is_about_what_the_teacher_is_asked():
    plain = Vocabulary.of(["sky", "road"])
    assert plain.hash == "665984454786e103"  # written in stores: may never change
    assert Vocabulary(plain.names, colors=((1, 2, 3), (4, 5, 6)), ignore=("void",)).hash == plain.hash
    others = [
        Vocabulary(plain.names, (("sky",), ("road", "street"))),
        Vocabulary(plain.names, background=0.4),
        Vocabulary(plain.names, background=0.5),
        Vocabulary(plain.names, templates=("a {}",)),
    ]
    assert len({plain.hash, *(other.hash for other in others)}) == 5


def test_one_map_too_many_is_refused():
    """The published Context vocabulary had 163 names for 162 maps: every class after the background was shifted by one."""
    context = Vocabulary.load("context60")
    context.check_channels(162, "sed")
    for maps in (161, 163):
        with pytest.raises(DataError, match=f"sed: {maps} concept maps for 162 prompts"):
            context.check_channels(maps, "sed")
    with pytest.raises(DataError, match="x: 2 concept maps for 3 prompts"):
        check_channels(2, 3, "x")
    pooling = ConceptPooling(context.owners, len(context), context.background)
    for ask in (pooling.label, pooling.scores):
        assert ask(torch.zeros(162, 2, 2), (3, 3)) is not None
        with pytest.raises(DataError, match="163 concept maps for 162 prompts"):
            ask(torch.zeros(163, 2, 2), (3, 3))


def test_each_class_of_context_gets_its_own_map():
    context = Vocabulary.load("context60")
    pooling = ConceptPooling(context.owners, len(context), context.background)
    for name in ("aeroplane", "window", "wood"):
        maps = torch.zeros(162, 2, 2)
        maps[context.prompts.index(name)] = 1
        assert (pooling.label(maps, (2, 2))[0] == context.index(name)).all()


def test_ignored_names_in_mask_maps(tmp_path):
    from PIL import Image

    vocabulary = Vocabulary(("road", "car"), ignore=("void",))
    reader = MaskReader.from_config(MaskConfig(map={"0": "void", "1": "car", "2": "road"}), vocabulary)
    image = Image.new("L", (3, 1))
    image.putdata([0, 1, 2])
    image.save(tmp_path / "m.png")
    assert reader(tmp_path / "m.png").tolist() == [[255, 1, 0]]
    with pytest.raises(ConfigError, match="no such class"):
        MaskReader.from_config(MaskConfig(map={"0": "void"}), Vocabulary.of(["road"]))


def test_colours():
    assert [voc_color(i) for i in (0, 1, 15, 255)] == [(0, 0, 0), (128, 0, 0), (192, 128, 128), (224, 224, 192)]
    table = voc_palette()
    table[0] = 9  # a copy: nobody else sees it
    assert tuple(voc_palette()[0]) == (0, 0, 0)
    assert parse_hex("#804080") == (128, 64, 128)
    assert parse_hex("#80408") is None
    assert hex_of((128, 64, 128)) == "#804080"


def test_comparison():
    left = Vocabulary(("bg", "car", "bus", "cat", "cow"), (("bg",), ("car",), ("bus",), ("cat",), ("cow",)))
    right = Vocabulary(
        ("bg", "cat", "vehicle", "kuh", "fox"), (("bg",), ("cat", "kitten"), ("car", "bus"), ("cow",), ("fox",))
    )
    found = Comparison(left, right)
    assert [(c.kind, c.name, c.left, c.right) for c in found.changes] == [
        ("merged", "car", 1, 2),
        ("merged", "bus", 2, 2),
        ("moved", "cat", 3, 1),
        ("concepts", "cat", 3, 1),
        ("renamed", "cow", 4, 3),
        ("added", "fox", None, 4),
    ]
    assert found.mask_map == {"0": "bg", "1": "vehicle", "2": "vehicle", "3": "cat", "4": "kuh"}
    assert (found.same_labels, found.same_store) == (False, False)
    assert [c.kind for c in Comparison(right, Vocabulary.of(["bg", "cat"])).changes][-1] == "removed"
    other = Vocabulary(left.names, left.concepts, templates=("a {}",))
    assert Comparison(left, other).settings == {"templates": ((), ("a {}",))}
    assert (Comparison(left, other).same_labels, Comparison(left, other).same_store) == (True, False)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        (Vocabulary(("a", "b"), (("x",), ("cat/dog",))), "concept 'cat/dog' is asked for as it stands"),
        (Vocabulary(("a", "b"), (("x",), ("cat,dog",))), "concept 'cat,dog' is asked for as it stands"),
        (Vocabulary(("a", "b"), (("x",), (", ".join(f"w{i}x" for i in range(11)),))), "11 synonyms are averaged"),
        (Vocabulary(("a", "b"), (("x",), ("y" * 201,))), "77 tokens"),
        (Vocabulary(("a", "b"), (("x, z",), ("y, z",))), "synonym 'z' is in the classes 'a' and 'b'"),
        (Vocabulary(("photo", "b"), templates=("a photo of {}",)), "concept 'photo' also stands in a template"),
        (Vocabulary(("b",), templates=("a {}", "a {}")), "template 'a {}' is listed twice"),
        (Vocabulary(("background", "b")), "class 0 is asked for as 'background'"),
        (Vocabulary(("sky", "class_1")), "class 'class_1' has no word that a teacher could know"),
        (Vocabulary(("sky",), (tuple(f"w{i}x" for i in range(401)),)), "401 concepts"),
    ],
)
def test_advice(vocabulary, message):
    assert [message in line for line in advice(vocabulary)] == [True]
