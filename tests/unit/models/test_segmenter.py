import pytest
import torch

from semiovs.config.schema import OptimConfig
from semiovs.errors import UsageError
from semiovs.methods import build_method
from semiovs.models import Segmenter, build_segmenter


def tiny(**options):
    return build_segmenter("deeplabv3plus", num_classes=5, **{"encoder": "tiny", "channels": 16, **options})


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (33, 40), (5, 7)])
def test_logits_have_the_size_of_the_image(size):
    model = tiny().eval()
    image = torch.randn(2, 3, *size)
    logits = model(image)
    assert logits.shape == (2, 5, *size)
    torch.testing.assert_close(model.decode(model.encode(image), size), logits)


def test_decoding_to_another_size():
    model = tiny().eval()
    assert model.decode(model.encode(torch.zeros(1, 3, 64, 64)), (10, 20)).shape == (1, 5, 10, 20)


def test_samples_of_a_batch_are_independent_in_evaluation():
    model, image = tiny().eval(), torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(model(image)[1:2], model(image[1:2]), rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_parameter():
    model = tiny()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert len(gradients) > 10
    assert [name for name, grad in gradients.items() if grad is None or not grad.isfinite().all()] == []


def test_a_locked_encoder_is_not_trained_and_keeps_its_statistics():
    model = tiny(locked=True)
    method = build_method("supervised", model, num_classes=5).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    assert model.head.training
    assert [feature.grad_fn for feature in model.encode(torch.randn(2, 3, 64, 64))] == [None, None]
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == {
        f"backbone.{name}" for name, _ in model.backbone.named_parameters()
    }
    (optimizer,) = method.optimizers(OptimConfig(lr=0.1))
    optimizer.step()
    assert len(before) > 10
    assert [name for name, value in model.backbone.state_dict().items() if not value.equal(before[name])] == []
    assert [group["name"] for group in optimizer.param_groups] == ["head"]


def test_encoding_does_not_change_features_in_place():
    model = tiny()
    features = model.encode(torch.randn(2, 3, 64, 64))
    before = [feature.clone() for feature in features]
    model.decode(features, (64, 64))
    for feature, copy in zip(features, before, strict=True):
        torch.testing.assert_close(feature, copy, rtol=0, atol=0)


def test_output_stride_and_dilations_are_taken_as_given():
    model = tiny(output_stride=8, dilations=[2, 4, 6, 8])
    assert model.encode(torch.zeros(2, 3, 64, 64))[1].shape[-1] == 8
    assert [model.head.get_submodule(f"b{i}")[0].dilation[0] for i in (1, 2, 3, 4)] == [2, 4, 6, 8]
    assert model.head.b5.gap[1].in_channels == 64


def test_one_image_in_training():
    with pytest.raises(UsageError, match="batch_size >= 2"):
        tiny()(torch.zeros(1, 3, 64, 64))
    assert tiny(norm="group")(torch.zeros(1, 3, 64, 64)).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encodr": "tiny"}, "no option 'encodr'.*did you mean 'encoder'"),
        ({"channels": 8}, "at least 16"),
        ({"dilations": ()}, "dilations"),
        ({"dilations": (6, 0)}, "dilations"),
    ],
)
def test_options_that_cannot_be_taken(options, message):
    with pytest.raises(UsageError, match=message):
        tiny(**options)


def test_names_that_cannot_be_taken():
    with pytest.raises(UsageError, match="did you mean 'deeplabv3plus'"):
        build_segmenter("deeplabv3", num_classes=2)
    with pytest.raises(UsageError, match="at least one class"):
        build_segmenter("deeplabv3plus", num_classes=0, encoder="tiny")
    model = tiny().eval()
    with pytest.raises(UsageError, match="does not read prompt"):
        model.decode(model.encode(torch.zeros(1, 3, 32, 32)), (32, 32), prompt=torch.zeros(1))


def test_the_head_is_all_but_the_backbone():
    model = tiny()
    assert isinstance(model, Segmenter)
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {
        "backbone", "head", "reduce", "fuse", "classifier"
    }  # fmt: skip
