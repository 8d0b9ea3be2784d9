"""SemiVL around its recorded numbers: where weights and words come from, what is frozen and saved, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from open_clip.transformer import VisionTransformer
from safetensors.torch import load_file, save_file

from contract.toy import SMALL, toy_batch, toy_method
from parity.semivl_inputs import published_name
from semiovs.config.schema import OptimConfig
from semiovs.errors import DataError, UsageError, WeightsError
from semiovs.methods import Progress, build_method
from semiovs.models import Segmenter, build_segmenter
from semiovs.models.convert import detect_family, load_reference
from semiovs.models.semivl.text import embed_phrases, phrases_of
from semiovs.models.semivl.tower import open_tower
from semiovs.models.semivl_layout import to_segmenter, to_tower
from semiovs.models.weights import ModelCard, load_model, save_model
from semiovs.vocab import Vocabulary
from unit.tiny_clip import NAME, known_to_open_clip, save_clip

WORDS = Vocabulary(("ground", "dog", "tv"), (("grass", "sky"), ("dog, puppy",), ("tv", "screen", "monitor")))
OPTIONS: dict[str, Any] = {
    "encoder": NAME, "image_size": 32, "taps": [0, 1], "channels": 16, "up_channels": [16, 16], "skip_channels": [8, 8],
    "layers": 1, "pool": 2, "dilations": [1],
}  # fmt: skip
PROGRESS = Progress(1, 10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def build(clip: Path | None, vocabulary: Vocabulary | None = WORDS, **options: Any) -> Segmenter:
    torch.manual_seed(0)
    given = str(clip) if clip else False
    segmenter = build_segmenter("semivl", num_classes=3, pretrained=given, **{**OPTIONS, **options})
    if vocabulary is not None:
        segmenter.prompt(vocabulary)
    return segmenter


def test_a_saved_model_needs_no_clip_any_more(clip: Path, tmp_path: Path) -> None:
    segmenter = build(clip).eval()
    image = torch.randn(1, 3, 40, 33)
    with torch.no_grad():
        before = segmenter(image)
    save_model(tmp_path / "m.safetensors", segmenter, ModelCard("semivl", 3, WORDS, OPTIONS))
    loaded, _ = load_model(tmp_path / "m.safetensors")
    with torch.no_grad():
        assert loaded(image).equal(before)
    with pytest.raises(WeightsError, match=r"knows no words; set model.pretrained=true"):
        loaded.prompt(Vocabulary.of(("cat", "mouse")))


def test_other_classes_may_be_asked_for(clip: Path) -> None:
    segmenter = build(clip).eval()
    segmenter.prompt(Vocabulary.of(("cat", "mouse")))
    assert segmenter(torch.randn(1, 3, 32, 32)).shape == (1, 2, 32, 32)
    with pytest.raises(UsageError, match="has not been told its classes"):
        build(clip, None)(torch.randn(1, 3, 32, 32))


def test_a_class_by_its_name_by_its_concepts_or_by_their_mean(clip: Path) -> None:
    segmenter = build(clip, asked="mean")
    encoder = segmenter.texts.encoder()  # type: ignore[union-attr]
    raw = encoder.encode(["a photo of a tv", "a photo of a screen", "a photo of a monitor"])  # type: ignore[operator]
    assert phrases_of(WORDS, "concepts")[1] == ("dog", "puppy")  # a synonym is a concept of its own here
    mean = torch.nn.functional.normalize(raw.mean(dim=0), dim=-1)
    torch.testing.assert_close(segmenter.texts.rows[2], mean)  # type: ignore[union-attr,index]
    rows = embed_phrases(encoder, phrases_of(WORDS, "concepts"), "concepts")  # type: ignore[arg-type]
    torch.testing.assert_close(rows[4:], torch.nn.functional.normalize(raw, dim=-1))
    with pytest.raises(UsageError, match="'ground' has no concepts but a constant score"):
        phrases_of(Vocabulary(("ground", "dog"), background=0.3), "concepts")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((5, 24), np.float16), "has 5 rows of 24 numbers, but there are 3 classes .* another vocabulary"),
        (np.ones((3, 512), np.float16), "another CLIP model"),
        (np.ones(3), "must be one array"),
        (np.array([{}]), "not a .npy file"),
        (np.zeros((3, 24)), "zero or not finite"),
        (None, "no such file"),
    ],
)
def test_embeddings_that_do_not_fit(clip: Path, tmp_path: Path, rows: np.ndarray | None, message: str) -> None:
    file = tmp_path / "text.npy"
    if rows is not None:
        np.save(file, rows, allow_pickle=True)
    with pytest.raises(WeightsError, match=rf"^model.text_embeddings: .*text.npy: .*{message}") as caught:
        build(clip, text_embeddings=str(file))
    assert "\n" not in str(caught.value)


def test_embeddings_of_the_guide_are_checked_too(clip: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.ones((3, 24), np.float32))
    segmenter = build(clip, text_embeddings=str(tmp_path / "t.npy"))
    method = build_method("semivl", segmenter, num_classes=3, guide_embeddings=str(tmp_path / "t.npy"))
    with pytest.raises(WeightsError, match=r"method.guide_embeddings: .* there are 7 concepts"):
        method.prompt(WORDS)


def test_without_weights_it_is_said_which_file_goes_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    def offline(*_args: Any, **_more: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("open_clip.create_model", offline)
    with pytest.raises(WeightsError) as caught:
        build_segmenter("semivl", num_classes=3, pretrained=True)
    for part in ("open_clip_model.safetensors of timm/vit_base_patch16_clip_224.openai", str(tmp_path),
                 "as ViT-B-16-quickgelu.safetensors"):  # fmt: skip
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_in_the_weights_directory_is_found(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    (tmp_path / f"{NAME}.safetensors").write_bytes(clip.read_bytes())
    ours = build_segmenter("semivl", num_classes=3, pretrained=True, **OPTIONS)
    ours.prompt(WORDS)
    assert all(a.equal(b) for a, b in zip(ours.backbone.parameters(), build(clip).backbone.parameters(), strict=True))


def test_the_converted_clip_file(clip: Path, tmp_path: Path) -> None:
    """Image tower alone, under mmseg's names: the same tower; the whole file's layout is the recorded one."""
    whole = to_tower(load_file(clip))
    converted = {}
    for name, value in whole.items():
        published = published_name(name)
        value = (
            {"cls_token": value[None, None], "pos_embed": value[None]}.get(published, value) if value.ndim else value
        )
        key = published if published == "proj.weight" else f"backbone.{published}"
        converted[key] = value.T.contiguous() if published == "proj.weight" else value.contiguous()
    save_file(converted, tmp_path / "clip2mmseg.safetensors")
    assert detect_family(converted) == "CLIP image tower as SemiVL reads it (for model.pretrained)"
    known_to_open_clip(tmp_path)
    tower = open_tower(NAME, image_size=32, pretrained=str(tmp_path / "clip2mmseg.safetensors"))
    for name, value in tower.tower.state_dict().items():
        assert value.equal(whole[name]), name

    layout = json.loads((Path(__file__).parents[2] / "parity/layouts/clip2mmseg_vit_b16.json").read_text())
    with torch.device("meta"):
        full = VisionTransformer(224, 16, width=768, layers=12, heads=12, mlp_ratio=4, output_dim=512).state_dict()
        renamed = to_tower({name: torch.empty(shape) for name, shape in layout.items()})
    assert {k: v.shape for k, v in renamed.items()} == {k: v.shape for k, v in full.items()}


def test_every_tensor_of_a_published_file_tells_its_old_name() -> None:
    layout = json.loads((Path(__file__).parents[2] / "parity/layouts/semivl_voc.json").read_text())
    published = {name: torch.empty(shape, device="meta") for name, shape in layout.items()}
    renamed = to_segmenter(published)
    assert sorted(renamed.sources.values()) == sorted(name for name in layout if not name.startswith("clip_encoder."))
    reshaped = {old: new for new, old in renamed.sources.items() if renamed[new].shape != published[old].shape}
    tower = "backbone.clip.tower."
    assert reshaped == {
        "backbone.cls_token": f"{tower}class_embedding",
        "backbone.pos_embed": f"{tower}positional_embedding",
        "backbone.proj.weight": f"{tower}proj",
    }


def test_weights_of_something_else(clip: Path, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=f"not weights of the image tower of CLIP {NAME}: .*missing"):
        build(tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="'tiny' has no published weights"):
        build_segmenter("semivl", num_classes=3, pretrained=True, encoder="tiny")
    other = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny", channels=16).state_dict()
    with pytest.raises(
        WeightsError, match=r"looks like a DeepLabV3\+ checkpoint with 3 classes; the model is a SemiVL"
    ):
        load_reference(build(clip), other, family="semivl")
    deeplab = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny", channels=16)
    with pytest.raises(WeightsError, match=r"looks like a SemiVL checkpoint \(tower 32 wide"):
        load_reference(deeplab, build(clip).state_dict(), family="unimatch")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "ViT-B-61"}, "encoder 'ViT-B-61' is not known to open_clip .did you mean"),
        ({"encoder": "RN50"}, "plain ViTs only"),
        ({"encoder": "tiny", "taps": [0, 7]}, "tap 7: the tower's blocks are 0 to 2"),
        ({"encoder": "tiny", "taps": [1, 0]}, "different blocks in ascending order"),
        ({"encoder": "tiny", "taps": [0]}, "1 skip maps .* for 2 skip_channels"),
        ({"encoder": "tiny", "act": "relu"}, "model.act: 'relu'"),
        ({"encoder": "tiny", "taps": [0, 1], "image_size": 4}, "at least a patch of tiny, 8 pixels"),
        ({"encoder": "tiny", "taps": [0, 1], "asked": "concepts"}, "model.asked: 'concepts'"),
        ({"encoder": "tiny", "taps": [0, 1], "text": "sentence"}, "model.text: 'sentence'"),
        ({"encoder": "tiny", "trained": "al"}, "did you mean 'all'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_segmenter("semivl", num_classes=3, **options)


def test_an_image_smaller_than_a_patch(clip: Path) -> None:
    with pytest.raises(DataError, match=r"image of 7 x 30 pixels: smaller than a patch of the encoder, 8 pixels"):
        build(clip)(torch.randn(1, 3, 30, 7))
    assert build(clip)(torch.randn(1, 3, 8, 9)).shape == (1, 3, 8, 9)  # one cell: less than a pool of the transformer


def test_the_square_on_the_way_matters_for_other_sizes_only(clip: Path) -> None:
    direct, published = build(clip).eval(), build(clip, parity=True).eval()
    with torch.no_grad():
        for size, same in (((32, 32), True), ((24, 48), False)):
            image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
            assert torch.allclose(direct(image), published(image)) == same


def test_only_attention_and_positions_are_trained(clip: Path) -> None:
    segmenter = build(clip)
    trained = {name for name, p in segmenter.backbone.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 4 + 1
    assert all(".attn." in name or name.endswith("positional_embedding") for name in trained)
    assert all(p.requires_grad for p in segmenter.decoder.parameters())  # type: ignore[union-attr]


def test_a_stem_and_other_normalisation() -> None:
    """Cityscapes' model, small: one tap, a ResNet's first stage at a quarter of the sides, CLIP's mean for the tower
    alone.
    """
    options = {**SMALL["semivl"], "taps": [1], "stem": "resnet18", "renorm": True}
    segmenter = build_segmenter("semivl", num_classes=3, **options)
    segmenter.prompt(WORDS)
    features = segmenter.encode(torch.randn(2, 3, 33, 40))
    assert [tuple(f.shape[1:]) for f in features] == [(64, 5, 5), (64, 5, 5), (64, 9, 10)]
    segmenter(torch.randn(2, 3, 33, 40)).sum().backward()
    assert all(p.grad is not None for p in segmenter.parameters())
    assert {id(p) for p in segmenter.backbone.stem.parameters()} <= {id(p) for p in segmenter.backbone.parameters()}  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="'efficientnet_lite0' is no ResNet"):
        build_segmenter("semivl", num_classes=3, **{**options, "stem": "efficientnet_lite0"})


# the method


def guided(clip: Path | None, **options: Any) -> Any:
    segmenter = build(clip)
    method = build_method("semivl", segmenter, num_classes=3, conf_thresh=0.3, guide_thresh=0.4, **options)
    method.prompt(WORDS)
    return method.train()


def small_batch(method: Any, seed: int = 1) -> Any:
    return toy_batch(method, size=32, seed=seed).map(
        lambda t: t.where(t < 3, 255) if t.dtype == torch.int64 and t.shape[-1] > 4 else t
    )


def test_the_guide_is_saved_as_a_hash_and_never_trained(clip: Path) -> None:
    method = guided(clip)
    assert [key for key in method.state_dict() if key.startswith("guide.")] == ["guide.hash"]
    assert not any("guide" in name for name, _ in method.named_parameters())
    assert not any(p.requires_grad or p.grad is not None for p in method.guide.tower.parameters())
    before = [p.clone() for p in method.guide.tower.parameters()]
    optimizer = method.optimizers(OptimConfig(lr=0.1))[0]
    step = method(small_batch(method), PROGRESS)
    step.terms.total().backward()
    optimizer.step()
    assert step.terms.extras["mc_fp"].value > 0
    assert all(a.equal(b) for a, b in zip(before, method.guide.tower.parameters(), strict=True))
    assert method.double().guide.tower.tower.proj.dtype == torch.float64


def test_another_guide_is_refused(clip: Path, tmp_path: Path) -> None:
    state = {k: v + 0.01 for k, v in load_file(clip).items()}
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(RuntimeError, match="frozen guide was another CLIP"):
        guided(tmp_path / "other.safetensors").load_state_dict(guided(clip).state_dict())
    guided(clip).load_state_dict(guided(clip).state_dict())


def test_the_guide_is_clip_as_it_was_whatever_the_student_learnt(clip: Path) -> None:
    segmenter = build(clip)
    with torch.no_grad():
        segmenter.backbone.clip.tower.positional_embedding += 1  # type: ignore[union-attr,operator]
    method = build_method("semivl", segmenter, num_classes=3)
    assert method.state_dict()["guide.hash"].equal(guided(clip).state_dict()["guide.hash"])


def test_published_weights_reach_the_guide(clip: Path) -> None:
    """A file that holds a guide brings it along; it is saved whole from then on."""
    method = guided(clip)
    state = {}
    for name, value in method.guide.tower.tower.state_dict().items():
        published = published_name(name)
        value = value.T if published == "proj.weight" else value[None] if published == "pos_embed" else value
        state |= {f"backbone.{published}": value, f"clip_encoder.{published}": value + 1}
    decoder = {k: v for k, v in method.student.state_dict().items() if k.startswith("decoder.")}
    report = load_reference(method, state | decoder, family="semivl")
    assert report.ok
    for reshaped in ("cls_token -> class_embedding", "pos_embed -> positional_embedding", "proj.weight -> proj"):
        old, new = reshaped.split(" -> ")
        assert f"backbone.{old} -> backbone.clip.tower.{new}" in report.renamed
    assert method.guide.tower.tower.proj.equal(method.student.backbone.clip.tower.proj + 1)
    assert "guide.tower.proj" in method.state_dict()


def test_without_guidance_there_is_no_guide(clip: Path) -> None:
    method = guided(clip, guidance=[0, 0])
    step = method(small_batch(method), PROGRESS)
    assert method.guide is None
    assert not step.terms.extras
    assert set(step.terms) == {"x", "s1", "s2", "fp"}
    for wrong in ([0.1], [0.1, -1]):
        with pytest.raises(UsageError, match=r"method.guidance"):
            guided(clip, guidance=wrong)
    with pytest.raises(UsageError, match=r"set model.name=semivl"):
        build_method("semivl", build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny"), num_classes=3)


def test_prompted_after_it_was_built(clip: Path) -> None:
    segmenter = build(clip, None)
    method = build_method("semivl", segmenter, num_classes=3, guide_thresh=0.4, conf_thresh=0.3).train()
    segmenter.prompt(WORDS)
    told = guided(clip)
    batch = small_batch(method)
    totals = []
    for one in (method, told):
        torch.manual_seed(3)
        totals.append(one(batch, PROGRESS).terms.total())
    assert totals[0].equal(totals[1])


def test_the_ood_stream_has_half_the_weight() -> None:
    half, own = toy_method("semivl", {}), toy_method("semivl", {"weight": 1.0})
    batch = toy_batch(half)
    for method, weight in ((half, 0.5), (own, 1.0), (toy_method("unimatch", {}), 1.0)):
        torch.manual_seed(0)
        terms = method(batch, PROGRESS).terms
        assert terms.normaliser == 2 + weight
        assert sum(w for name, (w, _) in terms.items() if name.startswith("ood_")) == pytest.approx(weight)
        assert not any(name.startswith("ood_") for name in terms.extras)


def test_the_guidance_is_divided_by_all_pixels(clip: Path) -> None:
    method = guided(clip)
    batch = small_batch(method)
    torch.manual_seed(0)
    step = method(batch, PROGRESS)
    target = step.pseudo["guide_w"]
    assert 0 < target.valid.float().mean() < 1
    assert not (target.valid & ~batch.unlabeled.valid).any()
    weights = {name: w for name, (w, _) in step.terms.extras.items()}
    assert weights == pytest.approx({"mc_s1": 0.0225, "mc_s2": 0.0225, "mc_fp": 0.045})
