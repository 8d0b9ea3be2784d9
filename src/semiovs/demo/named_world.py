"""A world of many names, to train a small open-vocabulary teacher on: "stripes", "red stripes", "blue zigzag", and the ground.

An object is named by its texture alone where its two colours have different hues, and by colour and texture where both have one
hue. Some pairs of a colour and a texture are never drawn (`HELD_OUT`): a teacher that has understood the words knows them all the
same. Rendered like the demo's world, from other seeds and by other statistics (`datasets/synthetic.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from semiovs.demo.synthetic import (
    GROUND,
    OOD,
    TARGET,
    Domain,
    Material,
    Scene,
    any_two,
    color,
    new_world,
    render,
    save_png,
)
from semiovs.demo.textures import FOREIGN, NAMED, OTHER, Field, Texture
from semiovs.images.palette import build_palette
from semiovs.vocab.vocabulary import Vocabulary

#: Every texture by its name.
TEXTURES: Mapping[str, Texture] = MappingProxyType({**NAMED, **FOREIGN, **OTHER})

#: Hues by name, as shares of the circle red, blue, green; a named colour lies within `_SPREAD` of one.
HUES: Mapping[str, float] = MappingProxyType({"red": 0.0, "purple": 0.18, "blue": 0.36, "green": 0.64, "yellow": 0.83})
_SPREAD = 0.035

#: (colour, texture) pairs that no scene shows: one colour of each texture, each colour about equally often.
HELD_OUT = tuple((tuple(HUES)[(2 * index) % len(HUES)], name) for index, name in enumerate(TEXTURES))

#: Pairs that scenes show.
PAIRS = tuple((hue, name) for name in TEXTURES for hue in HUES if (hue, name) not in HELD_OUT)

#: The classes. What is called "red stripes" is "stripes" too (``method.nested``).
VOCABULARY = Vocabulary.of([GROUND, *TEXTURES, *(f"{hue} {name}" for hue, name in PAIRS)])


def of_hue(turn: float) -> Callable[[Domain, np.random.Generator], tuple[Field, Field]]:
    """Two colours, both near a hue; strong enough to be told apart whatever the domain."""

    def draw(domain: Domain, rng: np.random.Generator) -> tuple[Field, Field]:
        vivid = replace(domain, saturation=(0.6, 1.0), brightness=(0.45, 0.9))
        near = (turn - _SPREAD, turn + _SPREAD)
        return color(vivid, rng, near), color(vivid, rng, near)

    return draw


def two_hues(domain: Domain, rng: np.random.Generator) -> tuple[Field, Field]:
    """Two colours at least a quarter of the circle apart."""
    turn = rng.uniform()
    return color(domain, rng, (turn, turn)), color(domain, rng, (turn + 0.25, turn + 0.75))


def _weight(name: str) -> float:
    return 1.0 if name in OTHER else 2.0


_ALONE = [
    Material(texture, 1 + index, _weight(name), any_two) for index, (name, texture) in enumerate(TEXTURES.items())
]

#: Strong colours, of one hue or of two.
VIVID = Domain(
    "vivid",
    [
        *(replace(material, colors=two_hues, weight=material.weight / 2) for material in _ALONE),
        *(
            Material(TEXTURES[name], 1 + len(TEXTURES) + index, _weight(name) / len(HUES), of_hue(HUES[hue]))
            for index, (hue, name) in enumerate(PAIRS)
        ),
    ],
    ("clouds", "slope", "patches", "bands", "grain"),
    (0.2, 0.9),
    (0.2, 0.9),
    0.05,
    periods=(6.0, 13.0),
    noise=0.04,
    contrast=(0.25, 0.65),
)

#: Colours as in the demo's two domains; objects are named by their textures.
PALE = (replace(TARGET, name="pale", materials=_ALONE), replace(OOD, name="dull", materials=_ALONE))

#: What scenes are drawn from, and how often each.
DOMAINS = ((VIVID, 0.4), (PALE[0], 0.1), (PALE[1], 0.5))


def named_scene(seed: int, part: str, index: int, side: int = 64) -> Scene:
    """Scene `index` of a part ("train", "val"): a pure function of its arguments."""
    rng = np.random.default_rng([seed, 1000 + ("train", "val").index(part), index])
    return render(DOMAINS[rng.choice(len(DOMAINS), p=[share for _, share in DOMAINS])][0], side, rng)


def held_out_scene(seed: int, index: int, side: int = 64) -> Scene:
    """A scene of pairs that training never showed; labels are 1 + position in `HELD_OUT`."""
    rng = np.random.default_rng([seed, 2000, index])
    materials = [Material(TEXTURES[name], 1 + i, 1.0, of_hue(HUES[hue])) for i, (hue, name) in enumerate(HELD_OUT)]
    return render(replace(VIVID, materials=materials), side, rng)


def write_named_world(root: str | Path, seed: int, *, train: int, val: int = 0, side: int = 64) -> Path:
    """Write a world as a `folder` data set and return its root; the folder appears whole or not at all.

    images/ with masks/, val/images with val/masks (where `val` is not 0), classes.txt.

    Raises:
        UsageError: a seed below 0, or `root` is there and not empty.
        DataError: it cannot be written.
    """
    colors = build_palette().tobytes()
    with new_world(Path(root), seed) as partial:
        for part, count, folder in (("train", train, partial), ("val", val, partial / "val")):
            if not count:
                continue
            (folder / "images").mkdir(parents=True)
            (folder / "masks").mkdir()
            for index in range(count):
                scene = named_scene(seed, part, index, side)
                save_png(folder / "images" / f"{part}-{index:05d}.png", scene.image)
                save_png(folder / "masks" / f"{part}-{index:05d}.png", scene.mask, colors)
        (partial / "classes.txt").write_text("".join(f"{name}\n" for name in VOCABULARY))
    return Path(root)
