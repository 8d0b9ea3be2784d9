"""CLIP asked at every patch: texts, probabilities, sizes, and what is said of weights that are not there."""

import pytest
import torch
from open_clip.transformer import CustomResidualAttentionBlock, VisionTransformer
from torch.nn import functional as F

from semiovs.errors import DataError, UsageError, WeightsError
from semiovs.models.clip_vit import DenseClipViT
from semiovs.ovs import build_ovs
from semiovs.ovs.patch_text import compute_concept_probabilities, fit_size
from semiovs.vocab import Vocabulary
from unit.tiny_clip import NAME, known_to_open_clip, save_clip

CLASSES = Vocabulary(("back", "car"), (("sky, air", "wall"), ("car",)), templates=("a {}.", "{}"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))


def build(weights, **options):
    return build_ovs("clip-dense", weights=weights, model=NAME, size=32, device="cpu", **options)


def picture(*size):
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_maps_are_the_formula(weights):
    teacher = build(weights, logit_scale=20.0)
    image = picture(32, 48)
    (maps,) = teacher.maps([image], CLASSES)
    assert maps.shape == (3, 4, 6)
    encoder, text = teacher.text, []
    for synonyms in (["sky", "air"], ["wall"], ["car"]):
        own = torch.stack([F.normalize(encoder.encode([f"a {s}.", s]), dim=-1) for s in synonyms]).mean(0)
        text.append(F.normalize(F.normalize(own, dim=-1).mean(0), dim=0))
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    normal = (image / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    (dense,) = teacher.tower(normal[None])
    s = 20 * torch.einsum("chw,tc->thw", dense[0], torch.stack(text))
    classes = torch.stack([s[:2].amax(0), s[2]])
    torch.testing.assert_close(maps, s.exp() / classes.exp().sum(0), rtol=1e-4, atol=1e-6)


def test_two_words_for_one_thing_do_not_halve_its_confidence():
    s = torch.randn(1, 3, 2, 2)
    once = compute_concept_probabilities(s, torch.tensor([0, 1, 2]), 5.0)
    torch.testing.assert_close(once, (5 * s).softmax(1))
    twice = compute_concept_probabilities(s[:, [0, 1, 1, 2]], torch.tensor([0, 1, 1, 2]), 5.0)
    torch.testing.assert_close(twice, once[:, [0, 1, 1, 2]])
    kept = compute_concept_probabilities(
        s[:, 1:], torch.tensor([1, 2]), 5.0
    )  # class 0 has a constant score instead of concepts
    torch.testing.assert_close(kept, (5 * s[:, 1:]).softmax(1))


def test_temperature_changes_confidence_and_no_label(weights):
    hard, soft = build(weights), build(weights, logit_scale=5.0)
    images = [picture(32, 32)]
    (_, (sure,)), (_, (unsure,)) = hard.label(images, CLASSES), soft.label(images, CLASSES)
    assert sure.mean() > unsure.mean()
    first, second = hard.maps(images, CLASSES)[0], soft.maps(images, CLASSES)[0]
    assert torch.equal(first.argmax(0), second.argmax(0))


@pytest.mark.parametrize(
    ("size", "seen"),
    [((32, 48), (32, 48)), ((640, 480), (40, 32)), ((1, 1), (32, 32)), ((20000, 8), (128, 8)),
     ((8, 20000), (8, 128)), ((33, 32), (32, 32))],
)  # fmt: skip
def test_images_of_any_size_are_seen_at_a_bounded_one(weights, size, seen):
    assert fit_size(*size, 32, 8) == seen
    ((label,), (confidence,)) = build(weights).label([picture(*size)], CLASSES)
    assert label.shape == confidence.shape == size
    assert 0 < confidence.min() <= confidence.max() <= 1


def test_a_batch_of_sizes_is_what_its_images_are_alone(weights):
    teacher = build(weights)
    images = [picture(32, 40), picture(64, 32), picture(32, 40).flip(0), picture(5, 5)]
    together = teacher.maps(images, CLASSES)
    for image, maps in zip(images, together, strict=True):
        torch.testing.assert_close(teacher.maps([image], CLASSES)[0], maps, rtol=1e-4, atol=1e-5)


def test_another_vocabulary_is_another_question(weights):
    teacher = build(weights)
    image = picture(32, 32)
    (first,) = teacher.maps([image], CLASSES)
    (other,) = teacher.maps([image], Vocabulary.of(["näive café ☕", "a{}b%s\\", "x" * 300, "猫"]))
    assert other.shape == (4, 4, 4)
    assert other.isfinite().all()
    torch.testing.assert_close(teacher.maps([image], CLASSES)[0], first)


def test_it_says_what_changes_its_answers(weights, tmp_path):
    told = build(weights, logit_scale=50.0, flip=True).describe()
    assert told == {"model": NAME, "weights": told["weights"], "size": 32, "logit_scale": 50.0, "flip": True}
    assert len(told["weights"]) == 16


def test_wrong_images(weights):
    with pytest.raises(DataError, match=r"image 1: float32 tensor of shape \(3, 4, 4\); must be uint8 RGB"):
        build(weights).scores([picture(4, 4), torch.zeros(3, 4, 4)], CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "ViT-B-17"}, "'ViT-B-17' is not known to open_clip"),
        ({"model": "ViT-B-16", "weights": "openai"}, "belong to model=ViT-B-16-quickgelu"),
        ({"size": 5}, "size 5 is not between"),
        ({"logit_scale": 0}, "logit_scale 0 is not between"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"sizes": 3}, "did you mean 'size'"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        build_ovs("clip-dense", **options)


def test_weights_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("open_clip.create_model", _offline)
    with pytest.raises(
        WeightsError,
        match=r"open_clip_model.safetensors of https://huggingface.co/timm/vit_base_patch16_clip_224.openai",
    ) as caught:
        build_ovs("clip-dense")
    assert "--weights FILE" in str(caught.value)
    assert "--teacher masks --from DIR" in str(caught.value)
    assert "\n" not in str(caught.value)


def _offline(*args, **kwargs):
    raise OSError("offline\nand more")


def test_weights_of_another_model(weights, tmp_path):
    known_to_open_clip(tmp_path, "tiny-wider", width=48)
    with pytest.raises(WeightsError, match="not weights of CLIP tiny-wider"):
        build_ovs("clip-dense", weights=weights, model="tiny-wider")


def test_towers_that_are_no_plain_vit():
    other_blocks = VisionTransformer(32, 8, 32, 1, 2, 4)
    other_blocks.transformer.resblocks[0] = CustomResidualAttentionBlock(32, 2)
    for tower in (
        torch.nn.Identity(),
        VisionTransformer(32, 8, 32, 1, 2, 4, attentional_pool=True),
        other_blocks,
    ):
        with pytest.raises(UsageError, match="plain ViTs only"):
            DenseClipViT(tower)
    with pytest.raises(UsageError, match="blocks are 0 to 0"):
        DenseClipViT(VisionTransformer(32, 8, 32, 1, 2, 4), taps=(1,))


def test_positions_are_resized_by_shape_and_learn():
    """As many tokens in another shape is another table; gradients reach it."""
    torch.manual_seed(0)
    tower = DenseClipViT(VisionTransformer(32, 8, 32, 2, 2, 4))
    wide, square = tower(torch.ones(1, 3, 16, 64))[0], tower(torch.ones(1, 3, 32, 32))[0]
    assert (wide.flatten(2) - square.flatten(2)).abs().max() > 1e-4
    wide.sum().backward()
    assert tower.tower.positional_embedding.grad.abs().max() > 0
    last = tower.tower.transformer.resblocks[-1].attn.in_proj_weight.grad
    assert last[:64].abs().max() == 0  # the value path asks no queries and keys
    assert last[64:].abs().max() > 0
