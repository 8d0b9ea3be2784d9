"""Synthetic scenes with many class names, to train the small open-vocabulary teacher: "stripes", "red stripes",
"ground".

An object is named by its texture if its two colours have different hues, else by colour and texture. Some pairs of
colour and texture are never drawn (`HELD_OUT`), to test whether a teacher generalises to new combinations of words.
Rendered like the demo's scenes, with other seeds and statistics (`demo/synthetic.py`).
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
    draw_color,
    draw_two_colors,
    new_world,
    render_scene,
    save_png,
)
from semiovs.demo.textures import FOREIGN, NAMED, OTHER, Field, Texture
from semiovs.images.palette import voc_palette
from semiovs.vocab.vocabulary import Vocabulary

#: Every texture by its name.
TEXTURES: Mapping[str, Texture] = MappingProxyType({**NAMED, **FOREIGN, **OTHER})

#: Hues by name, as shares of the circle red, blue, green; a named colour lies within `_SPREAD` of one.
HUES: Mapping[str, float] = MappingProxyType({"red": 0.0, "purple": 0.18, "blue": 0.36, "green": 0.64, "yellow": 0.83})
_SPREAD = 0.035

#: (colour, texture) pairs that training scenes never show: one per texture, each colour about equally often.
HELD_OUT = tuple((tuple(HUES)[(2 * index) % len(HUES)], name) for index, name in enumerate(TEXTURES))

#: Pairs that scenes show.
PAIRS = tuple((hue, name) for name in TEXTURES for hue in HUES if (hue, name) not in HELD_OUT)

#: The classes. What is called "red stripes" is "stripes" too (``method.nested``).
VOCABULARY = Vocabulary.of([GROUND, *TEXTURES, *(f"{hue} {name}" for hue, name in PAIRS)])


def draw_near_hue(turn: float) -> Callable[[Domain, np.random.Generator], tuple[Field, Field]]:
    """A function that draws two saturated colours near a hue (share of the circle)."""

    def draw(domain: Domain, rng: np.random.Generator) -> tuple[Field, Field]:
        vivid = replace(domain, saturation=(0.6, 1.0), brightness=(0.45, 0.9))
        near = (turn - _SPREAD, turn + _SPREAD)
        return draw_color(vivid, rng, near), draw_color(vivid, rng, near)

    return draw


def draw_two_hues(domain: Domain, rng: np.random.Generator) -> tuple[Field, Field]:
    """Two colours at least a quarter of the circle apart."""
    turn = rng.uniform()
    return draw_color(domain, rng, (turn, turn)), draw_color(domain, rng, (turn + 0.25, turn + 0.75))


def _choose_weight(name: str) -> float:
    return 1.0 if name in OTHER else 2.0


_ALONE = [
    Material(texture, 1 + index, _choose_weight(name), draw_two_colors)
    for index, (name, texture) in enumerate(TEXTURES.items())
]

#: Strong colours, of one hue or of two.
VIVID = Domain(
    "vivid",
    [
        *(replace(material, colors=draw_two_hues, weight=material.weight / 2) for material in _ALONE),
        *(
            Material(
                TEXTURES[name], 1 + len(TEXTURES) + index, _choose_weight(name) / len(HUES), draw_near_hue(HUES[hue])
            )
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


def render_named_scene(seed: int, part: str, index: int, side: int = 64) -> Scene:
    """Scene `index` of a part ("train", "val"): a pure function of its arguments."""
    rng = np.random.default_rng([seed, 1000 + ("train", "val").index(part), index])
    return render_scene(DOMAINS[rng.choice(len(DOMAINS), p=[share for _, share in DOMAINS])][0], side, rng)


def render_held_out_scene(seed: int, index: int, side: int = 64) -> Scene:
    """A scene of held-out pairs; labels are 1 + index in `HELD_OUT`."""
    rng = np.random.default_rng([seed, 2000, index])
    materials = [
        Material(TEXTURES[name], 1 + i, 1.0, draw_near_hue(HUES[hue])) for i, (hue, name) in enumerate(HELD_OUT)
    ]
    return render_scene(replace(VIVID, materials=materials), side, rng)


def write_named_world(root: str | Path, seed: int, *, train: int, val: int = 0, side: int = 64) -> Path:
    """Write scenes as a `folder` data set and return its root; the folder appears only when complete.

    images/ with masks/, val/images with val/masks (where `val` is not 0), classes.txt.

    Raises:
        UsageError: a seed below 0, or `root` is there and not empty.
        DataError: it cannot be written.
    """
    colors = voc_palette().tobytes()
    with new_world(Path(root), seed) as partial:
        for part, count, folder in (("train", train, partial), ("val", val, partial / "val")):
            if not count:
                continue
            (folder / "images").mkdir(parents=True)
            (folder / "masks").mkdir()
            for index in range(count):
                scene = render_named_scene(seed, part, index, side)
                save_png(folder / "images" / f"{part}-{index:05d}.png", scene.image)
                save_png(folder / "masks" / f"{part}-{index:05d}.png", scene.mask, colors)
        (partial / "classes.txt").write_text("".join(f"{name}\n" for name in VOCABULARY))
    return Path(root)
