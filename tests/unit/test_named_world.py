"""The world of many names: the same from the same seed, labelled by colour and texture, without the pairs that are held out."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from semiovs.config.schema import DataConfig
from semiovs.datasets.folder import FolderDataset
from semiovs.demo.named_world import (
    DOMAINS,
    HELD_OUT,
    HUES,
    PAIRS,
    TEXTURES,
    VOCABULARY,
    render_held_out_scene,
    render_named_scene,
    write_named_world,
)
from semiovs.demo.synthetic import CLASSES, draw_two_colors
from semiovs.demo.textures import FOREIGN, NAMED, OTHER
from semiovs.errors import UsageError


def _hue(image, where):
    """Share of the circle red, blue, green of the mean colour."""
    red, green, blue = image[where].mean(0)
    angle = np.arctan2(np.sqrt(3) * (blue - green), 2 * red - green - blue)
    return angle / (2 * np.pi) % 1


def test_scenes_are_a_pure_function_of_their_arguments():
    a, b, c, d = (
        render_named_scene(*key) for key in ((3, "train", 5), (3, "train", 5), (4, "train", 5), (3, "val", 5))
    )
    assert (a.image == b.image).all()
    assert (a.mask == b.mask).all()
    assert (a.image != c.image).any()
    assert (a.image != d.image).any()


def test_one_colour_of_each_texture_is_held_out_and_no_material_has_it():
    assert [name for _, name in HELD_OUT] == list(TEXTURES)
    assert max(Counter(hue for hue, _ in HELD_OUT).values()) - min(Counter(hue for hue, _ in HELD_OUT).values()) <= 1
    assert len(PAIRS) + len(HELD_OUT) == len(HUES) * len(TEXTURES)
    assert not set(PAIRS) & set(HELD_OUT)
    assert not {f"{hue} {name}" for hue, name in HELD_OUT} & set(VOCABULARY.prompts)
    drawn = {name for domain, _ in DOMAINS for name in (VOCABULARY.names[m.label] for m in domain.materials)}
    assert drawn == set(VOCABULARY.names[1:])
    for domain, _ in DOMAINS:
        for material in domain.materials:
            *hue, texture = VOCABULARY.names[material.label].split()
            assert material.texture is TEXTURES[texture]
            assert (material.colors is draw_two_colors or "two_hues" in material.colors.__name__) == (not hue)


def test_words_of_the_demo_are_words_of_this_world_and_there_are_many_more():
    assert set(CLASSES[1:]) | set(FOREIGN) == (set(NAMED) | set(FOREIGN)) & set(VOCABULARY.prompts)
    assert set(OTHER) < set(VOCABULARY.prompts)
    assert len(VOCABULARY) <= 255


def test_a_coloured_object_has_its_colour():
    seen = Counter()
    for index in range(80):
        scene = render_held_out_scene(0, index)
        for label in np.unique(scene.mask[scene.mask > 0]):
            where = scene.mask == label
            if where.sum() > 150:
                hue, near = HELD_OUT[label - 1][0], _hue(scene.image.astype(float), where)
                off = {name: abs((turn - near + 0.5) % 1 - 0.5) for name, turn in HUES.items()}
                seen[min(off, key=off.get) == hue] += 1
    assert seen[True] > 100
    assert seen[True] / seen.total() > 0.95


def test_world_is_a_folder_data_set(tmp_path):
    root = write_named_world(tmp_path / "w", 1, train=3, val=2)
    sources = FolderDataset(DataConfig(root=str(root))).read()
    assert sources.vocabulary.hash == VOCABULARY.hash
    assert (len(sources.labeled), len(sources.val)) == (3, 2)
    mask = sources.masks(sources.labeled[1].mask)
    assert (np.asarray(mask) == render_named_scene(1, "train", 1).mask).all()
    with pytest.raises(UsageError, match="not empty"):
        write_named_world(root, 1, train=1, val=1)
