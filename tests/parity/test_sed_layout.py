"""Published SED checkpoints: names and shapes as recorded, loaded strictly; what is not one is refused in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from parity.keyfill import state_dict_for, tensor_for
from semiovs.errors import UsageError, WeightsError
from semiovs.models import build_segmenter
from semiovs.models.convert import detect_family, load_reference
from semiovs.models.sed.checkpoint import Skeleton, from_state
from semiovs.models.sed_layout import AGGREGATOR, CLIP, VARIANTS
from semiovs.ovs import build_ovs
from semiovs.vocab import Vocabulary

LAYOUTS = Path(__file__).parent / "layouts"
#: variant -> entries, entries of the CLIP model, parameters in millions: all, trunk, aggregator
PUBLISHED = {"large": (658, 543, 353.2, 196.2, 1.473), "base": (608, 493, 180.8, 87.6, 1.376)}


def layout_of(variant):
    return json.loads((LAYOUTS / f"sed_{variant}.json").read_text("utf-8"))


def weightless(variant):
    """Names and shapes of the file, without a byte of weights."""
    return {name: torch.empty(shape, device="meta") for name, shape in layout_of(variant).items()}


def millions(state, prefix):
    return sum(value.numel() for name, value in state.items() if name.startswith(prefix)) / 1e6


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_layout(variant):
    entries, clip_entries, total, trunk, aggregator = PUBLISHED[variant]
    skeleton = Skeleton(VARIANTS[variant][0])
    expected = skeleton.expected()
    assert {name: list(value.shape) for name, value in expected.items()} == layout_of(variant)
    assert (len(expected), sum(name.startswith(CLIP) for name in expected)) == (entries, clip_entries)
    assert millions(expected, "") == pytest.approx(total, abs=0.05)
    assert millions(expected, f"{CLIP}visual.trunk.") == pytest.approx(trunk, abs=0.05)
    assert millions(expected, AGGREGATOR) == pytest.approx(aggregator, abs=5e-4)
    report = skeleton.load(weightless(variant))
    assert report.ok
    assert len(report.loaded) == entries
    assert detect_family(weightless(variant)) == f"SED checkpoint, {variant}"


@pytest.mark.parametrize("variant", PUBLISHED)
def test_published_layout_fits_the_segmenter(variant):
    """`load_reference` puts image tower and aggregator into the segmenter `sed`, for further training."""
    with torch.device("meta"):
        segmenter = build_segmenter("sed", num_classes=3, encoder=f"open_clip/{VARIANTS[variant][0]}")
    state = {f"module.{name}": value for name, value in weightless(variant).items()}
    report = load_reference(segmenter, {"model": state, "iteration": 80_000}, family="sed")
    assert report.ok
    assert len(report.loaded) == len(segmenter.state_dict())
    assert f"{CLIP}visual.head.{'mlp.fc1' if variant == 'large' else 'proj'}.weight -> " in " ".join(report.renamed)


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


def prefixed(state):
    return {name.replace(AGGREGATOR, f"{AGGREGATOR}body."): value for name, value in state.items()}


def narrower(state):
    return {**state, f"{AGGREGATOR}conv1.weight": torch.empty(128, 8, 7, 7, device="meta")}


@pytest.mark.parametrize(
    ("change", "variant", "message"),
    [
        (without(f"{AGGREGATOR}head.bias"), None, r"x\.pth: does not fit SED base: .*1 missing \(.*head\.bias\)"),
        (lambda state: {**state, f"{AGGREGATOR}head9.bias": torch.empty(1)}, None, r"1 unexpected \(.*head9\.bias\)"),
        (narrower, None, r"1 of another shape \(.*conv1\.weight: 128x8x7x7 instead of 128x80x7x7\)"),
        (prefixed, None, "115 missing"),
        (lambda state: state, "large", "this is SED base, not large; set variant=base"),
        (
            lambda state: {"backbone.conv1.weight": torch.empty(1)},
            None,
            r"no SED checkpoint: its first names are backb",
        ),
    ],
)
def test_anything_else_is_refused(change, variant, message):
    with pytest.raises(WeightsError, match=message) as caught:
        from_state(change(weightless("base")), variant=variant, where="x.pth")
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_named(tmp_path):
    layout = json.loads((LAYOUTS / "deeplabv3plus_r50.json").read_text("utf-8"))
    state = {name: torch.empty(shape, device="meta") for name, shape in layout.items()}
    with pytest.raises(WeightsError, match=r"no SED checkpoint: this looks like a resnet50s DeepLabV3\+ checkpoint"):
        from_state(state, variant=None, where="x.pth")
    with pytest.raises(UsageError, match=r"variant 'lage' is not known \(did you mean 'large'"):
        from_state(state, variant="lage", where="x.pth")


@pytest.mark.slow
def test_base_through_the_file(tmp_path, monkeypatch):
    """181 million numbers by the rule, in the form of a training checkpoint, through `build_ovs` to labels."""
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    layout = layout_of("base")
    state = {name: value.reshape(layout[name]) for name, value in state_dict_for(layout).items()}
    wrapped = {
        "model": {f"module.{name}": value for name, value in state.items()},
        "iteration": 80_000,
        "trainer": {"a": 1},
    }
    torch.save(wrapped, tmp_path / "sed_model_base.pth")
    del state, wrapped
    teacher = build_ovs("sed", resolution=64, device="cpu")
    own = {
        f"{AGGREGATOR}decoder3.cnext.gamma": teacher.network.aggregator.decoder3.cnext.gamma,
        f"{CLIP}visual.trunk.stages.3.blocks.2.mlp.fc2.weight": teacher.network.get_parameter(
            "backbone.visual.trunk.stages.3.blocks.2.mlp.fc2.weight"
        ),
    }
    for name, parameter in own.items():
        torch.testing.assert_close(parameter, tensor_for(name, tuple(layout[name])), rtol=0, atol=0)
    facts = teacher.describe()
    assert facts["variant"] == "base"
    assert len(facts["weights"]) == 64
    (label,), (confidence,) = teacher.label([torch.zeros(3, 40, 50, dtype=torch.uint8)], Vocabulary(("cat",)))
    assert label.shape == (40, 50)
    assert ((confidence > 0) & (confidence < 1)).all()
