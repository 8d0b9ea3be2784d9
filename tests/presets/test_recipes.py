"""Every preset and every published setting, made so small that three steps take a moment: each distinct recipe is
trained.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiovs.config import Config, list_presets, load_config
from semiovs.config.published_results import fill_page, load_published
from semiovs.engine.dry_run import dry_run

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "presets.md"

#: Segmenter -> options of a small one; those of the preset's model are left behind, but for `KEPT`.
SMALL = {
    "deeplabv3plus": {"encoder": "tiny", "channels": 16, "dilations": (1, 2)},
    "deeplabv3plus-dual": {"encoder": "tiny", "channels": 16, "dilations": (1, 2)},
    "dpt": {"encoder": "test_vit", "channels": 16},
    "sed": {"encoder": "small", "stride": 8, "text": "words", "text_dim": 16, "templates": ("{}",), "hidden": 16,
            "decoder_dims": (16, 8), "guides": (8, 4), "kernel": 3},
    "segformer": {"encoder": "mit_b0", "channels": 16},
    "semivl": {"encoder": "tiny", "image_size": 32, "text": "words", "taps": (0, 1), "channels": 16, "up_channels": (16, 16),
               "skip_channels": (8, 8), "layers": 1, "pool": 2, "dilations": (1,)},
}  # fmt: skip

#: Options that change what is trained.
KEPT = ("locked", "trained", "renorm", "asked")

COMMANDS = sorted(
    {*((name, ()) for name in list_presets()), *(c for group in load_published() for c in group.list_commands())}
)


def shrunk(preset: str, changes: tuple[str, ...]) -> Config:
    """Method, loss, optimiser, schedule and masks of the preset; a small model, small images, small batches."""
    values = load_config(preset, changes).config.model_dump()
    values["data"] |= {"labeled": None, "unlabeled": None, "val": None, "crop_size": 32, "workers": 0}
    values["data"]["root"] = "."
    model = values["model"]
    kept = {key: model[key] for key in KEPT if key in model}
    values["model"] = {"name": model["name"], **kept, **SMALL[model["name"]]}
    values["train"] |= {"batch_size": 2, "device": "cpu", "precision": "fp32"}
    values["eval"] |= {"window": 32, "stride": 16, "short_side": None}
    labels = {"images": "ood", "labels": "ood-labels", "confidence": "ones"}  # others need a store
    values["ood"] = values["ood"] and values["ood"] | labels
    return Config.model_validate(values)


@cache
def recipes() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Distinct small configurations -> the first command that comes to it; what only a larger run would notice is left
    out.
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for preset, changes in COMMANDS:
        if load_config(preset, changes).config.model.name not in SMALL:
            continue  # found by `test_every_segmenter_has_a_small_one`
        values = shrunk(preset, changes).model_dump(exclude={"run": True, "train": {"epochs", "steps"}})
        found.setdefault(json.dumps(values, sort_keys=True), (preset, changes))
    return found


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Images, masks (ids 0 to 2, some ignored), bare images, OOD and evaluation images with masks."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, masks in (("images", "masks"), ("unlabeled", None), ("ood", "ood-labels"), ("val/images", "val/masks")):
        for index in range(4):
            _save(
                root / part / f"{index}.png", rng.integers(0, 256, (32, 38, 4))
            )  # RGBA: four bands for those who want them
            if masks:
                mask = rng.integers(0, 3, (32, 38))
                mask[:2] = 255
                _save(root / masks / f"{index}.png", mask)
    (root / "classes.txt").write_text("ground\nred\nblue\n")
    return root


def _save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("preset", "changes"), recipes().values(), ids=lambda v: v if isinstance(v, str) else " ".join(v)
)
def test_the_recipe_trains(preset, changes, images, monkeypatch):
    monkeypatch.chdir(images)
    monkeypatch.setattr("semiovs.engine.dry_run.MOST", 2)
    config = shrunk(preset, changes)
    found = dry_run(config)
    assert found["finished_steps"] == 3
    assert math.isfinite(found["seconds_per_step"])
    assert found["trained_parameters"] > 1000
    assert any(name.startswith("ood") for name in found["batch"]) == (config.ood is not None)
    assert any(name.startswith("unlabeled") for name in found["batch"]) == (
        config.method.name not in ("supervised", "sed")
    )
    rates = found["learning_rates"]
    assert ("encoder" in rates) != config.model.options.get("locked", False)
    assert rates["head"] == pytest.approx(config.optim.lr * config.optim.head_lr_multiplier * scale(config))


def scale(config):
    """Of the learning rates, by two images a step."""
    return 2 / config.optim.lr_batch_size if config.optim.lr_batch_size else 1


def test_every_segmenter_has_a_small_one():
    assert {load_config(*command).config.model.name for command in COMMANDS} <= set(SMALL), "add a row to SMALL"


def test_numbers_are_complete():
    assert sum(len(group.settings) for group in load_published()) > len(load_published()) > 5
    for group in load_published():
        assert len(set(group.columns.values())) == len(group.columns)
        for setting in group.settings:
            assert len(setting.miou) == len(group.columns), f"{group.title}: {setting.name}"
            assert all(value is None or 10 < value < 100 for value in setting.miou)
            assert setting.source


def test_every_split_has_its_published_settings():
    split = {
        name for name in list_presets() if name.split("/")[0] in ("pascal", "context", "cityscapes", "coco", "ade20k")
    }
    assert split - {preset for group in load_published() for preset in group.columns.values()} == {"cityscapes/1_30"}


def test_the_page_shows_them():
    text = PAGE.read_text("utf-8")
    assert text == fill_page(text), "run: python -m semiovs.config.published_results docs/reference/presets.md"
    for name in list_presets():
        folder, _, rest = name.rpartition("/")
        assert f"`{rest}`" in text or f"`{folder}/…`" in text, name
