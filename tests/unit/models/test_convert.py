import pytest
import torch
from torch import nn

from semiovs.errors import UsageError, WeightsError
from semiovs.models import build_segmenter
from semiovs.models.convert import FAMILIES, detect_family, load_reference


def deeplab(encoder="tiny", classes=4):
    return build_segmenter("deeplabv3plus", num_classes=classes, encoder=encoder, channels=16)


def assert_same(module, state):
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


class Learner(nn.Module):
    def __init__(self, student):
        super().__init__()
        self.student = student
        self.other = nn.Linear(2, 2)


@pytest.mark.parametrize("family", ["deeplabv3plus", *FAMILIES["deeplabv3plus"].methods])
def test_every_name_of_a_family(family):
    source, target = deeplab(), deeplab()
    report = load_reference(target, source.state_dict(), family=family)
    assert report.ok
    assert report.family == "deeplabv3plus"
    assert set(report.loaded) == set(source.state_dict())
    assert_same(target, source.state_dict())


def test_into_the_student_of_a_method():
    source, learner = deeplab(), Learner(deeplab())
    load_reference(learner, {"model": source.state_dict()}, family="unimatch")
    assert_same(learner.student, source.state_dict())
    with pytest.raises(UsageError, match="not into Linear"):
        load_reference(nn.Linear(1, 1), source.state_dict(), family="unimatch")


def test_counters_may_be_absent():
    state = {k: v for k, v in deeplab().state_dict().items() if not k.endswith("num_batches_tracked")}
    assert load_reference(deeplab(), state, family="fixmatch").ok


def test_strict_loads_nothing_and_lenient_loads_what_fits():
    target = deeplab()
    state = {k: torch.ones_like(v) for k, v in target.state_dict().items()}
    before = {k: v.clone() for k, v in target.state_dict().items()}
    del state["classifier.bias"]
    state["extra.weight"] = torch.ones(1)
    state["reduce.0.weight"] = torch.ones(2, 2)
    with pytest.raises(WeightsError) as caught:
        load_reference(target, state, family="deeplabv3plus")
    for part in ("1 missing (classifier.bias)", "1 unexpected (extra.weight)", "reduce.0.weight: 2x2 instead of"):
        assert part in str(caught.value)
    assert_same(target, before)

    report = load_reference(target, state, family="deeplabv3plus", strict=False)
    assert not report.ok
    assert (report.missing, report.unexpected) == (("classifier.bias",), ("extra.weight",))
    assert len(report.mismatched) == 1
    assert (target.classifier.weight == 1).all()
    torch.testing.assert_close(target.reduce[0].weight, before["reduce.0.weight"])


def test_another_depth_and_class_count_are_recognised():
    state = deeplab("resnet101s", 21).state_dict()
    with pytest.raises(
        WeightsError,
        match=r"looks like a resnet101s DeepLabV3\+ checkpoint with 21 classes; the model is a "
        r"resnet50s DeepLabV3\+ checkpoint with 60 classes",
    ):
        load_reference(deeplab("resnet50s", 60), state, family="semiovs")


def test_bare_encoders_and_strangers_are_recognised():
    bare = deeplab("resnet50s").backbone.state_dict()
    assert detect_family(bare) == "bare resnet50s encoder (for model.pretrained)"
    assert detect_family({"a.weight": torch.zeros(1)}) is None
    assert detect_family(deeplab(classes=7).state_dict()) == "DeepLabV3+ checkpoint with 7 classes"
    with pytest.raises(WeightsError, match="no deeplabv3plus checkpoint; its first names are a"):
        load_reference(deeplab(), {"a.weight": torch.zeros(1)}, family="deeplabv3plus")


def test_unknown_family_and_no_state_dict():
    with pytest.raises(UsageError, match="did you mean 'unimatch'"):
        load_reference(deeplab(), {}, family="unimach")
    with pytest.raises(WeightsError, match="holds no state dict"):
        load_reference(deeplab(), {"epoch": 3}, family="unimatch")
