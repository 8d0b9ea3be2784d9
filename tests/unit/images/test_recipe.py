"""What `init` proposes in situations that people are really in; what an expert would begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from semiovs.config import load_config
from semiovs.images.discover import sizes as module
from semiovs.images.discover.bands import FoundBands
from semiovs.images.discover.recipe import choose_recipe
from semiovs.images.discover.sizes import choose_sizes
from semiovs.images.discover.starter import format_starter
from semiovs.images.discover.survey import Survey

GB = 10**9
GRAY = FoundBands(1, "uint16", "scan.png", needed=True)
FIVE = FoundBands(5, "uint16", "tile.tif", needed=True)


@dataclass(frozen=True)
class Situation:
    labeled: int
    bare: int
    side: int
    memory: int | None = None
    bands: FoundBands | None = None


SITUATIONS = {
    "23 street images on a CPU": (
        Situation(23, 300, 360),
        {
            "preset": "modern/small", "model.encoder": "tf_efficientnet_lite0", "method.name": "unimatch",
            "method.ema_decay": 0.975, "data.crop_size": 160, "train.batch_size": 4, "train.steps": 400,
        },
    ),
    "92 photographs and a GPU of 24 GB": (
        Situation(92, 1500, 375, 24 * GB),
        {
            "preset": "modern/frozen", "model.encoder": "vit_base_patch14_dinov2", "model.locked": True, "method.name": "unimatch-v2",
            "method.ema_decay": 0.996, "data.crop_size": 364, "train.batch_size": 8, "train.steps": 7500,
        },
    ),
    "1,000 photographs and a GPU of 24 GB": (
        Situation(1000, 0, 768, 24 * GB),
        {
            "preset": "modern/tuned", "model.encoder": "vit_base_patch14_dinov2", "model.locked": False, "method.name": "supervised",
            "data.crop_size": 518, "train.batch_size": 8, "train.steps": 5000,
        },
    ),
    "8 gray images of 16 bits": (
        Situation(8, 40, 512, bands=GRAY),
        {
            "preset": "modern/gray", "model.encoder": "tf_efficientnet_lite0", "data.bands": (1,), "data.look": "tone",
            "data.crop_size": 160, "train.batch_size": 4, "train.steps": 400,
        },
    ),
    "tiles of five bands and a GPU of 12 GB": (
        Situation(60, 2000, 256, 12 * GB, FIVE),
        {
            "preset": "modern/multispectral", "model.encoder": "tf_efficientnet_lite0", "data.bands": (1, 2, 3, 4, 5), "data.look": "tone",
            "data.crop_size": 256, "train.batch_size": 8, "train.steps": 10000,
        },
    ),
    "40 photographs and a GPU of 6 GB": (
        Situation(40, 400, 480, 6 * GB),
        {"preset": "modern/small", "method.name": "unimatch", "method.ema_decay": 0.996, "data.crop_size": 320},
    ),
    "300 photographs and a GPU of 10 GB": (
        Situation(300, 3000, 480, 10 * GB),
        {"preset": "modern/frozen", "model.encoder": "vit_small_patch14_dinov2", "model.locked": True},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_situation_gets_the_recipe_of_an_expert(tmp_path, monkeypatch, name):
    situation, wanted = SITUATIONS[name]
    count = situation.labeled
    found = Survey(tmp_path, images=count, masks=count, unlabeled=situation.bare, bands=situation.bands)
    monkeypatch.setattr(module, "_measure_sides", lambda _: [situation.side])
    recipe = choose_recipe(found, situation.memory)
    sizes = choose_sizes(found, situation.memory, recipe)
    file = tmp_path / "semiovs.yaml"
    text = format_starter(found, "names.txt", recipe, sizes, root=".")
    (tmp_path / "names.txt").write_text("sky\nroad\n")
    file.write_text(text)
    values = _flatten(load_config(str(file)).values())
    told = {"preset": recipe.preset, **{key: values.get(key) for key in wanted if key != "preset"}}
    assert told == wanted
    assert f"extends: {recipe.preset}   # {recipe.reason}; all recipes: semiovs list presets\n" in text


def _flatten(values: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys, whether they came nested or not."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = _flatten(value) if isinstance(value, dict) else None
        flat |= {key: value} if inner is None else {f"{key}.{name}": each for name, each in inner.items()}
    return flat
