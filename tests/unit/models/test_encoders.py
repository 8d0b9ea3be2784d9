import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from semiovs.errors import UsageError, WeightsError
from semiovs.models import Normalization, build_segmenter
from semiovs.models.encoders import build_encoder, encoder_names
from semiovs.models.weight_catalog import find_file

SMALL = ["tiny", "tf_efficientnet_lite0", "mobilenetv3_small_100", "resnet18"]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("output_stride", [8, 16])
def test_maps_have_the_promised_strides_and_channels(name, output_stride):
    encoder = build_encoder(name, output_stride=output_stride)
    maps = encoder.module.eval()(torch.zeros(1, 3, 64, 96))
    for level, channels, stride in zip(encoder.levels, encoder.channels, (4, output_stride), strict=True):
        assert maps[level].shape == (1, channels, 64 // stride, 96 // stride)
    assert encoder.strides == (4, output_stride)


def test_normalisation_is_that_of_the_weights():
    assert build_encoder("resnet50s").normalization == Normalization()
    assert build_encoder("tiny").normalization == Normalization()
    assert build_encoder("tf_efficientnet_lite0").normalization == Normalization((0.5,) * 3, (0.5,) * 3)


def test_published_backbones_start_without_zeroed_norms():
    module = build_encoder("resnet50s").module
    assert [bool((block.bn3.weight == 1).all()) for block in module.layer1] == [True] * 3


def test_tiny_is_tiny_and_group_norm_replaces_every_batch_norm():
    model = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny", channels=32, norm="group")
    assert 10_000 < sum(p.numel() for p in model.backbone.parameters()) < 50_000
    assert not any("BatchNorm" in type(module).__name__ for module in model.modules())
    assert not list(model.buffers())


def test_names_can_be_listed():
    names = encoder_names()
    assert names[0] == "tiny"
    assert {"resnet101s", "xception65"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet50ss"}, "did you mean 'resnet50s'"),
        ({"name": "qqqqqq"}, "semiovs list encoders"),
        ({"name": "resnet18", "output_stride": 4}, "must be one of 8, 16, 32"),
        ({"name": "tiny", "output_stride": 32}, "output stride 8 or 16"),
        ({"name": "xception65", "output_stride": 8}, "output stride 16 only"),
        ({"name": "pvt_v2_b0"}, "set model.output_stride=32"),
        ({"name": "vit_tiny_patch16_224", "output_stride": 32}, "none at 4"),
        ({"name": "swin_tiny_patch4_window7_224", "output_stride": 32}, "channels last"),
        ({"name": "resnet18", "norm": "group"}, "needs model.encoder=tiny"),
        ({"name": "tiny", "norm": "grop"}, "did you mean 'group'"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(options, message):
    with pytest.raises(UsageError, match=message) as caught:
        build_encoder(**options)
    assert "\n" not in str(caught.value)


def test_an_encoder_without_dilation_works_at_stride_32():
    model = build_segmenter("deeplabv3plus", num_classes=2, encoder="pvt_v2_b0", output_stride=32, channels=32).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def classifier_file(name, path, prefix="", **extra):
    """A whole timm classifier, as people download it, with recognisable weights."""
    model = timm.create_model(name)
    state = {f"{prefix}{key}": torch.full_like(value, 0.5) for key, value in model.state_dict().items()} | extra
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    ("name", "file", "prefix"),
    [
        ("resnet18", "a.safetensors", ""),
        ("resnet18", "a.pth", "module."),
        ("tf_efficientnet_lite0", "a.safetensors", "model."),
        ("mobilenetv3_small_100", "a.pth", "backbone."),
        ("convnext_atto", "a.pth", ""),
        ("regnety_002", "a.pth", ""),
    ],
)
def test_classifier_files_load_completely(tmp_path, name, file, prefix):
    path = classifier_file(name, tmp_path / file, prefix)
    module = build_encoder(name, pretrained=str(path)).module
    values = [value for value in module.state_dict().values() if value.is_floating_point()]
    assert len(values) > 10
    assert all((value == 0.5).all() for value in values)


def test_a_whole_segmenter_gives_its_backbone(tmp_path):
    source = build_segmenter("deeplabv3plus", num_classes=4, encoder="tiny", channels=16)
    torch.save({"model": {f"module.{k}": v for k, v in source.state_dict().items()}, "epoch": 7}, tmp_path / "a.pth")
    module = build_encoder("tiny", pretrained=str(tmp_path / "a.pth")).module
    assert module.state_dict().keys() == source.backbone.state_dict().keys()
    for name, value in source.backbone.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value, rtol=0, atol=0)


def test_counters_of_batch_norm_may_be_absent(tmp_path):
    state = {k: v for k, v in build_encoder("tiny").module.state_dict().items() if "num_batches" not in k}
    torch.save(state, tmp_path / "a.pth")
    build_encoder("tiny", pretrained=str(tmp_path / "a.pth"))


def test_a_file_of_another_encoder_is_refused(tmp_path):
    path = classifier_file("resnet18", tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"does not fit encoder 'resnet50s': \d+ missing \(conv1.0.weight.*shape"):
        build_encoder("resnet50s", pretrained=str(path))


def test_an_unknown_leftover_is_refused(tmp_path):
    path = classifier_file("resnet18", tmp_path / "a.pth", **{"layer9.weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"1 unexpected \(layer9.weight\)"):
        build_encoder("resnet18", pretrained=str(path))


def test_names_are_looked_up_in_the_weights_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    path = classifier_file("resnet18", tmp_path / "mine.safetensors")
    assert find_file("mine") == find_file("mine.safetensors") == path
    build_encoder("resnet18", pretrained="mine")
    with pytest.raises(WeightsError, match=r"model.pretrained=yours: no such file.*SEMIOVS_WEIGHTS_DIR"):
        build_encoder("resnet18", pretrained="yours")


@pytest.mark.parametrize("file", ["resnet18.a1_in1k.safetensors", "resnet18.pth"])
def test_published_weights_are_taken_from_the_weights_directory_first(tmp_path, monkeypatch, file):
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    classifier_file("resnet18", tmp_path / file)
    module = build_encoder("resnet18", pretrained=True).module
    assert (module.conv1.weight == 0.5).all()


def test_published_weights_out_of_reach(tmp_path, monkeypatch):
    """The message names the file that is wanted and both ways to give it."""
    create = timm.create_model

    def offline(name, *, pretrained=False, **options):
        if pretrained:
            raise ConnectionError("no network\nsecond line")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        build_encoder("resnet101s", pretrained=True)
    message = str(caught.value)
    for part in (
        "resnet101s.gluon_in1k",
        "model.safetensors",
        "model.pretrained=",
        "SEMIOVS_WEIGHTS_DIR",
        "no network",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["tiny", "xception65", "resnet50_gn_none"])
def test_encoders_without_published_weights(monkeypatch, name):
    if name == "resnet50_gn_none":
        monkeypatch.setattr(timm, "get_pretrained_cfg", lambda _: None)
        name = "resnet18"
    with pytest.raises(WeightsError, match=r"set model.pretrained to a file, or to false"):
        build_encoder(name, pretrained=True)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.pth", b"nonsense", "damaged or not a torch file"),
        ("a.safetensors", b"nonsense", "damaged or not a safetensors file"),
        ("a.pth", b"", "damaged or not a torch file"),
    ],
)
def test_damaged_files(tmp_path, file, content, message):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        build_encoder("tiny", pretrained=str(tmp_path / file))


class Payload:
    def __reduce__(self):
        return (json.loads, ('"executed"',))


@pytest.mark.parametrize("data", [{"model": Payload()}, Payload()])
def test_pickled_objects_are_refused(tmp_path, data):
    torch.save(data, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="could run code"):
        build_encoder("tiny", pretrained=str(tmp_path / "a.pth"))


@pytest.mark.parametrize("data", [{"epoch": 3}, [1, 2], {"model": {"a": 1}}])
def test_files_without_a_state_dict_are_refused(tmp_path, data):
    torch.save(data, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        build_encoder("tiny", pretrained=str(tmp_path / "a.pth"))
