"""Names and shapes are those of the published checkpoints, so that official weights load strictly."""

import json
from pathlib import Path

import pytest
import torch

from parity.keyfill import state_dict_for
from semiovs.models import build_segmenter
from semiovs.models.convert import detect_family, load_reference

LAYOUTS = Path(__file__).parent / "layouts"
#: layout -> encoder, classes, entries, parameters, parameters of the encoder
PUBLISHED = {
    "r50": ("resnet50s", 21, 386, 40_475_957, 23_631_808),
    "r101": ("resnet101s", 21, 692, 59_468_085, 42_623_936),
    "xception": ("xception65", 81, 848, 54_726_881, 37_867_312),
}


def layout_of(name):
    return json.loads((LAYOUTS / f"deeplabv3plus_{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layout(name):
    encoder, classes, entries, parameters, encoder_parameters = PUBLISHED[name]
    model = build_segmenter("deeplabv3plus", num_classes=classes, encoder=encoder)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == layout_of(name)
    assert len(model.state_dict()) == entries
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(p.numel() for p in model.backbone.parameters()) == encoder_parameters


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("family", ["deeplabv3plus", "prevmatch"])
def test_published_layout_loads_strictly(name, family):
    encoder, classes, entries, _, _ = PUBLISHED[name]
    model = build_segmenter("deeplabv3plus", num_classes=classes, encoder=encoder)
    state = state_dict_for(layout_of(name))
    checkpoint = {"model": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}
    report = load_reference(model, checkpoint, family=family)
    assert report.ok
    assert len(report.loaded) == entries
    assert report.renamed == ()
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    assert detect_family(state) == f"{encoder} DeepLabV3+ checkpoint with {classes} classes"
