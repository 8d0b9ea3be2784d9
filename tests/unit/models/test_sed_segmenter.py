"""SED as segmenter and method: classes from concepts, any vocabulary, any size, sampled classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from semiovs.config.schema import OptimConfig
from semiovs.data import Batch, Labeled
from semiovs.errors import UsageError, WeightsError
from semiovs.methods import Method, Progress, build_method
from semiovs.models import Segmenter, build_segmenter
from semiovs.models.weights import ModelCard, load_model, save_model
from semiovs.vocab import Vocabulary

OPTIONS: dict[str, Any] = {
    "encoder": "test_convnext", "resolution": 64, "text": "words", "text_dim": 8, "templates": ["{}", "a {}."],
    "hidden": 16, "decoder_dims": [16, 16, 16], "guides": [4, 4, 4], "kernel": 3,
}  # fmt: skip
PLAIN = Vocabulary.of(["sky", "red car", "road", "tree"])
RICH = Vocabulary(("ground", "car"), (("road", "grass, lawn", "tree"), ("car", "truck")))
PROGRESS = Progress(0, 10)


def build(vocabulary: Vocabulary | None = PLAIN, *, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    segmenter = build_segmenter("sed", num_classes=len(vocabulary or PLAIN), **{**OPTIONS, **options})
    if vocabulary is not None:
        segmenter.prompt(vocabulary)
    return segmenter


def learner(vocabulary: Vocabulary = PLAIN, **options: Any) -> Method:
    return build_method("sed", build(vocabulary), num_classes=len(vocabulary), **options).train()


def batch(classes: int = 4, *, side: int = 64, count: int = 2) -> Batch:
    g = torch.Generator().manual_seed(1)
    mask = torch.randint(0, classes, (count, side, side), generator=g)
    mask[:, : side // 4] = 255
    return Batch(Labeled(torch.randn(count, 3, side, side, generator=g), mask))


@pytest.mark.parametrize("size", [(64, 64), (50, 71), (1, 1)])
def test_any_size_and_any_vocabulary(size: tuple[int, int]) -> None:
    segmenter = build().eval()
    image = torch.randn(2, 3, *size)
    assert segmenter(image).shape == (2, 4, *size)
    segmenter.prompt(RICH)
    assert segmenter(image).shape == (2, 2, *size)


def test_a_class_is_the_best_of_its_concepts_at_full_size() -> None:
    segmenter = build(RICH).eval()
    image = torch.randn(1, 3, 40, 56)
    logits = segmenter(image)
    segmenter.prompt(Vocabulary.of(RICH.prompts))
    single = segmenter(image)
    torch.testing.assert_close(logits, torch.stack([single[:, :3].amax(1), single[:, 3:].amax(1)], dim=1))


def test_a_constant_background_needs_no_concept() -> None:
    vocabulary = Vocabulary(("background", "car"), ((), ("car",)), background=0.4)
    segmenter = build(vocabulary).eval()
    logits = segmenter(torch.randn(1, 3, 20, 30))
    torch.testing.assert_close(logits[:, 0].sigmoid(), torch.full((1, 20, 30), 0.4))
    method = build_method("sed", segmenter, num_classes=2).train()
    assert torch.isfinite(method(batch(2), PROGRESS).terms.total())


def test_the_quick_way_is_the_plain_one() -> None:
    segmenter = build(RICH).eval()
    image = torch.randn(2, 3, 40, 56)
    plain = segmenter(image)
    with torch.inference_mode():
        torch.testing.assert_close(segmenter(image), plain, atol=1e-5, rtol=1e-5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert (segmenter(image) - plain).abs().mean() < 0.1


def test_own_resolution_follows_the_image() -> None:
    segmenter = build(resolution=None)
    assert segmenter.fit_to_network(torch.zeros(1, 3, 50, 130)).shape[2:] == (64, 128)
    assert build().fit_to_network(torch.zeros(1, 3, 50, 130)).shape[2:] == (64, 64)


def test_the_loss_is_binary_cross_entropy_of_four_heads() -> None:
    method = learner()
    x = batch().labeled
    step = method(Batch(x), PROGRESS)
    assert list(step.terms) == ["x", "x0", "x1", "x2"]
    assert step.terms.normaliser == 1
    valid = x.mask != 255
    target = F.one_hot(x.mask.where(valid, 0), 4).permute(0, 3, 1, 2).float()
    heads = method.student.heads(x.image)  # type: ignore[operator]
    for (_, value), logits in zip(step.terms.values(), heads, strict=True):
        z = F.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)
        by_hand = F.binary_cross_entropy_with_logits(z, target, reduction="none").permute(0, 2, 3, 1)[valid].mean()
        torch.testing.assert_close(value, by_hand)


def test_every_parameter_learns_and_has_one_group() -> None:
    method = learner(ema_decay=0.9)
    method(batch(), PROGRESS).terms.total().backward()
    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert method.student.words.table.weight.grad.any()  # type: ignore[union-attr]
    (optimizer,) = method.optimizers(OptimConfig(name="adamw"))
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in trained.values()}


def test_sampled_classes_are_those_of_the_batch_first() -> None:
    method = learner(sample=2)
    mask = torch.full((1, 8, 8), 255)
    mask[:, :4], mask[:, 4] = 3, 1
    chosen, target = method.sample_classes(mask, 2)  # type: ignore[operator]
    assert chosen.tolist() == [1, 3]
    assert target[0, 0, 0] == 1
    assert target[0, 4, 0] == 0
    assert target[0, 7, 0] == 255
    chosen, target = method.sample_classes(mask, 1)  # type: ignore[operator]
    left_out = 1 if chosen.tolist() == [3] else 3
    assert (target[mask == left_out] == -1).all()
    torch.manual_seed(3)
    sampled = method(batch(), PROGRESS).terms
    torch.manual_seed(3)
    assert method(batch(), PROGRESS).terms.total().equal(sampled.total())
    with pytest.raises(UsageError, match="one concept each"):
        learner(RICH, sample=1)(batch(2), PROGRESS)


def test_asking_for_all_or_for_some_is_the_same_loss_where_all_are_in() -> None:
    method = learner()
    logits = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 3, (1, 8, 8), generator=torch.Generator().manual_seed(1))
    none = target.where(target != 2, -1)  # the third class is not asked for
    own = logits.gather(1, target[:, None])[:, 0][target == 2]
    without = method.loss(logits, none)  # type: ignore[operator]
    with_it = method.loss(logits, target)  # type: ignore[operator]
    torch.testing.assert_close(without - with_it, own.sum() / logits.numel())


def test_nothing_labelled_is_zero() -> None:
    method = learner()
    void = replace(batch().labeled, mask=torch.full((2, 64, 64), 255))
    total = method(Batch(void), PROGRESS).terms.total()
    total.backward()
    assert total.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


def test_bfloat16_gives_gradients_close_to_float32() -> None:
    found: list[Tensor] = []
    for enabled in (False, True):
        method = learner()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = method(batch(), PROGRESS).terms.total()
        loss.backward()
        found.append(method.student.network.aggregator.conv1.weight.grad.flatten())  # type: ignore[union-attr]
    assert F.cosine_similarity(*found, dim=0) > 0.98


def test_a_saved_model_answers_for_any_vocabulary(tmp_path: Path) -> None:
    segmenter: Segmenter = build().eval()
    image = torch.randn(1, 3, 64, 64)
    card = ModelCard("sed", 4, PLAIN, OPTIONS, segmenter.normalization)
    save_model(tmp_path / "m.safetensors", segmenter, card)
    loaded, _ = load_model(tmp_path / "m.safetensors")
    assert loaded(image).equal(segmenter(image))
    for model in (loaded, segmenter):
        model.prompt(RICH)
    assert loaded(image).equal(segmenter(image))


def test_frozen_text_is_found_again_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text embeddings are no part of the weights: the card says whose they were."""
    from semiovs.models.text.words import WordText

    def opened(seed: int) -> Any:
        torch.manual_seed(seed)
        tower = WordText(8).requires_grad_(False)
        return lambda kind, **_: tower

    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path))
    monkeypatch.setattr("semiovs.models.sed.segmenter.build_text", opened(0))
    monkeypatch.setattr("semiovs.models.sed.segmenter.width_of", lambda kind, **_: 8)
    options = {**OPTIONS, "text": "sentence"}
    segmenter = build(**options).eval()
    assert not any(name.startswith(("words", "_embedded")) for name in segmenter.state_dict())
    card = ModelCard("sed", 4, PLAIN, options, segmenter.normalization, training=segmenter.facts())
    save_model(tmp_path / "m.safetensors", segmenter, card)
    image = torch.randn(1, 3, 64, 64)
    assert load_model(tmp_path / "m.safetensors")[0](image).equal(segmenter(image))
    monkeypatch.setattr("semiovs.models.sed.segmenter.build_text", opened(1))
    with pytest.raises(WeightsError, match="was trained with text encoder words:"):
        load_model(tmp_path / "m.safetensors")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="call prompt"):
        build(None)(torch.zeros(1, 3, 64, 64))
    with pytest.raises(UsageError, match="1 templates, the model reads 2"):
        build(replace(PLAIN, templates=("the {}",)))
    with pytest.raises(UsageError, match=r"model\.resolution 70"):
        build(resolution=70)
    with pytest.raises(UsageError, match="'sky'"):
        build(templates=["sky"])
    with pytest.raises(UsageError, match=r"model\.text_weights"):
        build(text="clip", text_model="ViT-B-32")
    with pytest.raises(UsageError, match=r"set model\.name=sed"):
        build_method("sed", build_segmenter("deeplabv3plus", num_classes=2, encoder="tiny"), num_classes=2)
    with pytest.raises(UsageError, match="take the ood section out"):
        learner(ood={"weight": 1.0})
    with pytest.raises(UsageError, match="did you mean 'mask'"):
        learner(ignore="masks")
    with pytest.raises(UsageError, match=r"method\.sample: 0"):
        learner(sample=0)
