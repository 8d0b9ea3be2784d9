"""SED's network: sizes, gradients, and the fast form of the aggregator against the plain one."""

import pytest
import torch
from torch.nn import functional as F

from semiovs.errors import UsageError
from semiovs.models.sed import Aggregator, AggregatorSizes, blocks, build_dense, build_sed
from semiovs.models.sed.fast_aggregation import CPU_CHUNK, aggregate, chunk_for
from semiovs.models.sed.rejection import survivors

SMALL = AggregatorSizes(hidden=32, decoder_dims=(32, 16, 16), guides=(16, 8, 8), kernel=5, heads=4)


def inputs(concepts=7, side=3, batch=2, dim=12, prompts=3):
    generator = torch.Generator().manual_seed(1)
    guides = [
        torch.randn(batch, c, side * 2**i, side * 2**i, generator=generator) for i, c in enumerate((6, 5, 4), start=1)
    ]
    features = torch.randn(batch, dim, side, side, generator=generator)
    return features, torch.randn(concepts, prompts, dim, generator=generator), guides


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Aggregator(3, (6, 5, 4), SMALL)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
@torch.no_grad()
def test_fast_is_the_same(model, chunk):
    features, text, guides = inputs()
    plain = model.eval()(features, text, guides)[0].sigmoid()
    unit = F.normalize(text, dim=-1)
    for index in range(2):
        ours = aggregate(model, features[index], unit, [guide[index] for guide in guides], chunk=chunk)
        torch.testing.assert_close(ours, plain[index], atol=3e-6, rtol=0)


@torch.no_grad()
def test_fast_leaves_its_inputs_alone(model):
    features, text, guides = inputs(batch=1)
    unit = F.normalize(text, dim=-1)
    levels = [guide[0] for guide in guides]
    before = [x.clone() for x in (features, unit, *levels)]
    first = aggregate(model, features[0], unit, levels)
    assert all(torch.equal(a, b) for a, b in zip(before, (features, unit, *levels), strict=True))
    assert torch.equal(first, aggregate(model, features[0], unit, levels))


@torch.no_grad()
def test_rejection_keeps_what_is_best_somewhere(model):
    features, text, guides = inputs(concepts=9, batch=1)
    model.eval()
    early = model(features, text, guides)[1][0]
    for topk in (1, 2):
        alive = survivors(early, topk)
        best = early.argsort(dim=0, descending=True)[:topk].unique()
        assert alive.tolist() == best.tolist()
    unit, levels = F.normalize(text, dim=-1), [guide[0] for guide in guides]
    whole = aggregate(model, features[0], unit, levels)
    assert torch.equal(aggregate(model, features[0], unit, levels, topk=9), whole)
    fewer = aggregate(model, features[0], unit, levels, topk=1)
    rejected = [t for t in range(9) if t not in survivors(early, 1)]
    assert rejected
    assert not fewer[rejected].any()
    assert fewer.amax(dim=0).min() > 0


def test_nothing_flows_back_from_guides_and_early_heads(model):
    features, text, guides = inputs()
    features.requires_grad_()
    guides = [guide.requires_grad_() for guide in guides]
    logits = model(features, text, guides)
    assert [tuple(one.shape) for one in logits] == [(2, 7, 24, 24), (2, 7, 3, 3), (2, 7, 6, 6), (2, 7, 12, 12)]
    sum(one.sum() for one in logits[1:]).backward(retain_graph=True)
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == {f"{head}.{part}" for head in ("head0", "head1", "head2") for part in ("weight", "bias")}
    assert features.grad is None
    logits[0].sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert features.grad is not None
    assert all(guide.grad is None for guide in guides)


@torch.no_grad()
def test_pooling_is_for_training(model):
    features, text, guides = inputs(side=4)
    pooled, whole = (model(features, text, guides, pool=pool)[0] for pool in (2, 1))
    assert not torch.allclose(pooled, whole)
    assert torch.equal(model.train()(features, text, guides)[0], pooled)
    assert torch.equal(model.eval()(features, text, guides)[0], whole)


@torch.no_grad()
def test_one_cell_and_one_concept(model):
    features, text, guides = inputs(concepts=1, side=1, batch=1)
    assert model.train()(features, text, guides)[0].shape == (1, 1, 8, 8)
    assert aggregate(model, features[0], F.normalize(text, dim=-1), [guide[0] for guide in guides]).shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, t, g: (f, t[:, :2], g), r"text of shape \(7, 2, 12\); \(concepts, 3, 12\) is expected"),
        (lambda f, t, g: (f, t[:0], g), "text of shape"),
        (lambda f, t, g: (f, t, [g[1], *g[1:]]), "guide 0 of shape .* its sides must be 2 times theirs"),
    ],
)
def test_shapes_that_do_not_belong_together(model, change, message):
    with pytest.raises(ValueError, match=message):
        model(*change(*inputs()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_dims": (30, 16, 16)}, "4 heads do not divide 30 channels"),
        ({"decoder_dims": (64, 32)}, "3 maps of the encoder, 2 decoder_dims, 3 guides"),
        ({"decoder_dims": (64, 36, 16)}, "36 must be a multiple of 16"),
        ({"guides": (128, 16, 8)}, "128 channels of guidance in a stage of 128"),
        ({"kernel": 8}, "kernel 8 must be odd"),
    ],
)
def test_sizes_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        Aggregator(3, (6, 5, 4), AggregatorSizes(**options))


def test_concepts_at_a_time():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert chunk_for(cpu, 192 * 192) == CPU_CHUNK
    assert chunk_for(cpu, 400 * 400) == CPU_CHUNK
    assert chunk_for(cpu, 96 * 96) == 4 * CPU_CHUNK
    assert chunk_for(cpu, 192 * 192, budget=2**20) == 1
    assert chunk_for(gpu, 192 * 192) > CPU_CHUNK
    assert chunk_for(gpu, 192 * 192, itemsize=2) == pytest.approx(2 * chunk_for(gpu, 192 * 192), abs=1)


@pytest.mark.parametrize(("encoder", "stride"), [("resnet18", 16), ("resnet18", 32), ("convnext_atto", 32)])
@torch.no_grad()
def test_timm_encoders(encoder, stride):
    network = build_sed(encoder, dim=10, prompts=2, stride=stride, sizes=SMALL).eval()
    image, text = torch.randn(2, 3, 64, 96), torch.randn(4, 2, 10)
    logits = network(image, text)
    assert logits[0].shape == (2, 4, 8 * 64 // stride, 8 * 96 // stride)
    for ours, plain in zip(network.probabilities(image, text), logits[0].sigmoid(), strict=True):
        torch.testing.assert_close(ours, plain, atol=3e-6, rtol=0)
    with pytest.raises(ValueError, match=f"100x64: sides must be multiples of {stride}"):
        network(torch.zeros(1, 3, 64, 100), text)


@torch.no_grad()
def test_attention_and_convolution_in_place_are_those_of_training(monkeypatch):
    """A few rows at a time, not a divisor of them all."""
    monkeypatch.setattr(blocks, "_BLOCK", 32 * 7 * 3)
    attention, convolution = blocks.ConceptAttention(32, 4), blocks.ConvNext(32, 5)
    for parameter in (*attention.parameters(), *convolution.parameters()):
        parameter.normal_(std=0.3)
    x = torch.randn(7, 32, 4, 5).contiguous(memory_format=torch.channels_last)
    p = x.permute(0, 2, 3, 1).flatten(1, 2)
    expected, convolved = p + attention(p), convolution(x)
    own = p.clone()
    attention.update_(own)
    torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)
    convolution.update_(x)
    torch.testing.assert_close(x, convolved, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
@torch.no_grad()
def test_a_stage_enlarges_as_its_convolutions_do(size):
    """The smallest maps are all edge."""
    stage = blocks.Decoder(32, 16, 8, 6, kernel=3, heads=4)
    height, width = size
    x, guide = torch.randn(3, 32, height, width), torch.randn(1, 8, 2 * height, 2 * width)
    correlation = torch.randn(3, 6, 2 * height, 2 * width)
    plain = stage.conv(stage.up(x), correlation, stage.conv.image_part(guide))
    torch.testing.assert_close(stage.enlarge(x, correlation, stage.enlargement(guide)), plain, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_two_stages():
    sizes = AggregatorSizes(hidden=32, decoder_dims=(32, 16), guides=(16, 8), kernel=5)
    network = build_sed("small", dim=10, prompts=2, stride=8, sizes=sizes).eval()
    image, text = torch.randn(2, 3, 32, 48), torch.randn(4, 2, 10)
    logits = network(image, text)
    assert [one.shape[2:] for one in logits] == [(16, 24), (4, 6), (8, 12)]
    for ours, plain in zip(network.probabilities(image, text), logits[0].sigmoid(), strict=True):
        torch.testing.assert_close(ours, plain, atol=3e-6, rtol=0)


@pytest.mark.parametrize(
    ("encoder", "stride", "message"),
    [
        ("convnext_atto", 16, "SED at stride 16 needs 2 too|cannot be dilated"),
        ("resnet17", 32, "'resnet17' is not known"),
        ("small", 16, "encoder 'small' of a teacher has stride 8"),
        ("open_clip/convnext_bse_w", 32, "CLIP model 'convnext_bse_w' is not known to open_clip"),
        ("open_clip/convnext_base_w", 16, "a CLIP tower has stride 32"),
        ("open_clip/convnext_base_w", 32, "embeddings of 640 channels, the texts have 10"),
    ],
)
def test_encoders_that_cannot_be(encoder, stride, message):
    with torch.device("meta"), pytest.raises(UsageError, match=message):
        build_dense(encoder, dim=10, stride=stride)


def test_a_transformer_is_no_tower():
    with torch.device("meta"), pytest.raises(UsageError, match="needs a CLIP model with a ConvNeXt image tower"):
        build_dense("open_clip/ViT-B-32", dim=512)
