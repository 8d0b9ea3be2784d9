"""AllSpark beside its recorded numbers: memory without noise, any crop, images on their own, one clear line."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from contract.toy import K, toy_batch, toy_method
from parity.allspark_inputs import without_dropout
from semiovs.data import ViewRequest
from semiovs.errors import UsageError, WeightsError
from semiovs.methods import Progress, build_method
from semiovs.methods.allspark import AllSpark
from semiovs.methods.memory import Memory, classes_of
from semiovs.models import build_segmenter
from semiovs.models.bottleneck import Bottleneck, ChannelAttention, deviation
from semiovs.models.convert import load_reference

EARLY, LATE = Progress(0, 10, 0, 10), Progress(9, 10, 9, 10)


def allspark(ood: dict[str, float] | None = None, **options: object) -> AllSpark:
    method = toy_method("allspark", ood, conf_thresh=0.0, **options)
    assert isinstance(method, AllSpark)
    return method


def test_what_the_loader_must_bring() -> None:
    assert allspark().views == ViewRequest(labeled=1, unlabeled=0)
    assert allspark({"weight": 0.5}).views == ViewRequest(labeled=1, unlabeled=0, ood=1)


def test_labelled_images_are_learnt_in_their_strong_view() -> None:
    """Without one (a batch made by hand) the weak view takes its place."""
    batch = toy_batch(allspark())

    def loss(image: torch.Tensor, strong: tuple[torch.Tensor, ...]) -> torch.Tensor:
        torch.manual_seed(0)
        return (
            allspark()(replace(batch, labeled=replace(batch.labeled, image=image, strong=strong)), EARLY)
            .terms["x"]
            .value
        )

    (s,), weak = batch.labeled.strong, batch.labeled.image
    assert loss(weak, (s,)).equal(loss(torch.zeros_like(weak), (s,)))
    assert loss(s, ()).equal(loss(weak, (s,)))
    assert not loss(weak, ()).equal(loss(weak, (s,)))


def test_the_memory_is_read_from_the_warm_up_on() -> None:
    early, late = allspark(warmup_epoch=9, norm="group"), allspark(warmup_epoch=9, norm="group")
    for method in (early, late):
        without_dropout(method)
    batch = toy_batch(early)
    torch.manual_seed(1)
    first = early(batch, replace(LATE, epoch=8)).terms
    torch.manual_seed(1)
    second = late(batch, LATE).terms
    assert first["u"].value.equal(second["u"].value)  # unlabelled images read themselves alone, always
    assert not first["x"].value.equal(second["x"].value)
    assert early.memory.channels.equal(late.memory.channels)  # and both remember
    assert early.memory.channels.any()


def test_an_empty_class_gets_no_attention() -> None:
    """Its place could as well not be there; as published it starts as noise, which is attended to."""
    torch.manual_seed(0)
    attention = ChannelAttention(8, 2, 0.0)
    n, filled = torch.randn(2, 9, 8), torch.tensor([True, False, True])
    sources = torch.randn(3, 9, 8) * filled[:, None, None]
    torch.testing.assert_close(attention.cross(n, sources, filled), attention.cross(n, sources[filled]))
    assert not torch.allclose(attention.cross(n, sources), attention.cross(n, sources[filled]))
    quiet, noisy = Memory(3, 8), Memory(3, 8, noise=True)
    for memory in (quiet, noisy):
        memory.remember(n, torch.zeros(2, 3, 5, 5), (3, 3))
    assert quiet.sources()[1].tolist() == [True, False, False]
    assert noisy.sources()[1].all()


def test_channel_attention_is_the_softmax_of_the_instance_norm() -> None:
    """The map is never made, its deviation comes from Gram matrices; here the map is made."""
    torch.manual_seed(0)
    attention = ChannelAttention(6, 2, 0.0).double()
    n, sources = torch.randn(3, 5, 6).double() + 1, torch.randn(4, 5, 6).double() - 2
    q, k, v = attention.q_l2u(n), attention.k_l2u(sources), attention.v_l2u(sources)
    k, v = (t.permute(1, 0, 2).flatten(1) for t in (k, v))  # (N, S·H·C)
    norm = F.instance_norm((q.transpose(1, 2) @ k)[:, None])[:, 0]
    expected = attention.out_l2u((norm.softmax(-1) @ v.T).transpose(1, 2))
    torch.testing.assert_close(attention.cross(n, sources), expected)
    flat = torch.ones(1, 1, 4, 5) + torch.tensor([0.0, 0.0, 0.0, 1e-3])[:, None]
    found = deviation(
        flat.float() * 1000, flat.float(), eps=0
    )  # a mean a thousand times the deviation does not cancel it
    torch.testing.assert_close(
        found.double(),
        (flat.double() * 1000 @ flat.double().mT).std(unbiased=False).view_as(found).double(),
        rtol=1e-3,
        atol=0,
    )


def test_a_prediction_does_not_depend_on_its_neighbours() -> None:
    model = allspark().models()["student"].eval()
    images = torch.randn(3, 3, 33, 47)
    with torch.no_grad():
        torch.testing.assert_close(model(images)[1:2], model(images[1:2]))
        assert isinstance(model.neck, Bottleneck)
        model.neck.couple = True
        assert not torch.allclose(model(images)[1:2], model(images[1:2]), atol=1e-5)


def test_padding_is_not_learnt_unless_as_published() -> None:
    ours, published = allspark(), allspark(parity=True)
    batch = toy_batch(ours)
    assert batch.unlabeled is not None
    assert ours(batch, EARLY).pseudo["w"].valid.equal(batch.unlabeled.valid)
    assert published(batch, EARLY).pseudo["w"].valid.all()


@pytest.mark.parametrize("size", [32, 33, 40, 64])
def test_any_crop_size_and_one_clear_line_for_a_second(size: int) -> None:
    method = allspark(warmup_epoch=0)
    method(toy_batch(method, size=size), EARLY)
    side = -(-size // 16)
    assert method.memory.channels.shape == (K, 64, side * side)
    with pytest.raises(
        UsageError,
        match=rf"holds feature maps of {side * side} places, but this crop gives 7 x 7; keep the data.crop_size",
    ):
        method(toy_batch(method, size=97), EARLY)


def test_the_last_channels_stay_when_a_class_gets_more_than_it_holds() -> None:
    memory = Memory(2, 3)
    memory._fit((1, 1))
    for number in range(0, 10, 5):
        memory.push(torch.arange(number, number + 5.0).view(1, 5, 1), torch.zeros(1, 5, dtype=torch.int64))
    ring = [0.0] * 3
    for number in range(10):
        ring[number % 3] = float(number)
    assert memory.channels[0, :, 0].tolist() == ring
    assert memory.pointer.tolist() == [10 % 3, 0]
    assert not memory.channels[1].any()


def test_channels_find_the_class_whose_map_they_resemble() -> None:
    scores = torch.randn(1, 3, 4, 4)
    tokens = 7 * scores[:, [2, 0, 0, 1]].flatten(2).transpose(1, 2)
    assert classes_of(tokens, scores, (4, 4)).tolist() == [[2, 0, 0, 1]]


def test_ood_images_leave_the_memory_alone() -> None:
    alone, with_ood = allspark(), allspark({"weight": 1.0})
    batch = toy_batch(with_ood)
    torch.manual_seed(2)
    alone(batch, EARLY)
    torch.manual_seed(2)
    step = with_ood(batch, EARLY)
    assert alone.memory.channels.equal(with_ood.memory.channels)
    assert list(step.terms) == ["x", "u", "ood_s"]
    assert step.terms.normaliser == 3


def test_options_that_cannot_be_taken() -> None:
    with pytest.raises(UsageError, match="grouping: 'logit' is not known"):
        allspark(grouping="logit")
    segmenter = build_segmenter("deeplabv3plus", num_classes=K, encoder="tiny", channels=16)
    segmenter.channels = ()
    with pytest.raises(UsageError, match=r"set model\.name=segformer"):
        build_method("allspark", segmenter, num_classes=K)


def test_softmax_grouping_differs_in_the_memory_alone() -> None:
    logits, softmax = allspark(), allspark(grouping="softmax")
    batch = toy_batch(logits)
    found = []
    for method in (logits, softmax):
        torch.manual_seed(0)
        found.append(method(batch, EARLY).terms.total())
    assert found[0].equal(found[1])
    assert not logits.memory.pointer.equal(softmax.memory.pointer)


def test_the_importer_loads_method_and_segmenter_strictly() -> None:
    method = build_method(
        "allspark", build_segmenter("segformer", num_classes=3, encoder="mit_b0", channels=16), num_classes=3
    )
    ours = {**method.student.state_dict(), "memory.channels": torch.randn(3, 256, 4), "memory.pointer": torch.arange(3)}
    published = {_published(name): value.clone() for name, value in ours.items()}
    report = load_reference(
        method, {"model": {f"module.{name}": value for name, value in published.items()}}, family="allspark"
    )
    assert report.ok
    assert len(report.loaded) == len(published)
    assert method.state_dict()["memory.channels"].equal(ours["memory.channels"])
    assert load_reference(method.student, published, family="allspark").ok  # the memory is of no use to it
    published.pop("decoder.allspark.attn.q_u.weight")
    with pytest.raises(WeightsError, match="1 missing"):
        load_reference(method, published, family="allspark")
    bare = build_segmenter("segformer", num_classes=3, encoder="mit_b0", channels=16)
    with pytest.raises(
        WeightsError, match=r"this looks like a mit_b0/b1 AllSpark .*; the model is a mit_b0/b1 SegFormer"
    ):
        load_reference(bare, published, family="allspark")


def _published(name: str) -> str:
    """Our name -> the published program's."""
    if name.startswith("memory."):
        return {
            "memory.channels": "decoder.allspark.attn.kv_queue",
            "memory.pointer": "decoder.allspark.attn.queue_ptr",
        }[name]
    part, _, rest = name.partition(".")
    if part == "neck":
        return f"decoder.allspark.{rest}"
    if part == "head":
        for level in range(4):
            rest = rest.replace(f"projects.{level}.", f"linear_c{level + 1}.proj.")
        rest = rest.replace("fuse.0.", "linear_fuse.conv.").replace("fuse.1.", "linear_fuse.bn.")
        return "decoder.decoder." + rest.replace("classifier.", "linear_pred.")
    rest = rest.replace("patch_embed.", "patch_embed1.").replace("mlp.dwconv.", "mlp.dwconv.dwconv.")
    for stage in range(4):
        for inner, outer in (("downsample", "patch_embed"), ("blocks", "block"), ("norm", "norm")):
            rest = rest.replace(f"stages.{stage}.{inner}.", f"{outer}{stage + 1}.")
    return f"backbone.{rest}"
