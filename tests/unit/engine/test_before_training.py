"""Dilations that no crop is large enough for."""

import sys

import numpy as np
import pytest
from PIL import Image

from semiovs.config import load_config
from semiovs.config.schema import Config
from semiovs.data.collection import Collection
from semiovs.engine.before_training import find_random_encoder, find_restricted_weights, find_unseen_dilations
from semiovs.images.manifest import Manifest, Record
from semiovs.images.masks import MaskReader
from semiovs.vocab.vocabulary import Vocabulary


@pytest.mark.parametrize(
    ("crop", "side", "keys", "unseen"),
    [
        (160, 480, {}, "12, 18 (model.dilations)"),
        (160, 480, {"model": {"name": "deeplabv3plus", "dilations": [3, 6, 9]}}, None),
        (160, 160, {}, None),  # whole images show no more than crops
        (160, 224, {}, "12 (model.dilations)"),
        (321, 500, {}, None),
        (32, 500, {}, None),  # nothing to propose
        (160, 480, {"eval": {"mode": "sliding"}}, None),
        (160, 480, {"model": {"name": "dpt"}}, None),
    ],
)
def test_dilations_that_see_padding_alone(tmp_path, crop, side, keys, unseen):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((side, side // 2, 3), np.uint8)).save(path)
    config = Config.model_validate({"data": {"crop_size": crop}, "model": {"name": "deeplabv3plus"}, **keys})
    vocabulary = Vocabulary.of(["a", "b"])
    sources = Collection.of(vocabulary, MaskReader(vocabulary.names), labeled=Manifest([Record("a", path, path)]))
    notes = [note.text for note in find_unseen_dilations(config, sources)]
    assert len(notes) == (unseen is not None)
    for text in notes:
        assert unseen in text
        assert "try model.dilations=[3,6,9]" in text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["model=segformer", "model.encoder=mit_b5", "model.pretrained=true"], 1),
        (["model=segformer", "model.encoder=mit_b5"], 0),  # random weights are nobody's
        (["model.encoder=tf_efficientnet_lite0", "model.pretrained=true"], 0),
        (["model.encoder=convnextv2_atto", "model.pretrained=true"], 1),  # not in the catalogue; timm knows it
        (["model.encoder=convnext_tiny", "model.pretrained=true"], 0),
        (["model.encoder=small", "model.pretrained=true"], 0),
    ],
)
def test_weights_that_may_not_be_used_by_everybody_are_told(settings, told):
    notes = [note.text for note in find_restricted_weights(load_config(None, settings).config)]
    assert len(notes) == told
    assert all("not for commercial use (" in text for text in notes)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["model.encoder=tf_efficientnet_lite0"], 1),
        (["model.encoder=convnext_tiny"], 1),
        (["model.encoder=tf_efficientnet_lite0", "model.pretrained=true"], 0),
        (["model.encoder=tf_efficientnet_lite0", "model.init_from=runs/first"], 0),
        (["model.encoder=tiny"], 0),  # has none
    ],
)
def test_an_encoder_that_was_never_trained_is_told(settings, told):
    notes = [note.text for note in find_random_encoder(load_config(None, settings).config)]
    assert len(notes) == told
    assert all("model.pretrained=true takes published ones (https://" in text for text in notes)


def test_our_own_encoders_do_not_import_timm(monkeypatch):
    """It takes seconds, and torchvision with it."""
    monkeypatch.setitem(sys.modules, "timm", None)
    for settings in (["model.encoder=small", "model.pretrained=true"], ["model.encoder=tiny"]):
        config = load_config(None, settings).config
        assert [*find_restricted_weights(config), *find_random_encoder(config)] == []
