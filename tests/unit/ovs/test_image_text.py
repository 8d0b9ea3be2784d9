"""TIPSv2, SigLIP 2 and MetaCLIP 2 asked at every patch: tiny random networks, saved and read as a user's are."""

import json
import sys
import warnings
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file, save_file

from semiovs.errors import DataError, MissingExtraError, SemiovsWarning, UsageError, WeightsError
from semiovs.models.image_text.towers import TipsTower
from semiovs.models.weight_catalog import catalogue, find_restricted
from semiovs.ovs import build_ovs
from semiovs.ovs.image_text import SENTENCES, Tipsv2
from semiovs.vocab import Vocabulary
from unit.tiny_huggingface import MODELS, require_model, save_image_text

transformers = pytest.importorskip("transformers")
CLASSES = Vocabulary(("back", "car", "cat"), (("sky, air", "wall"), ("car",), ("cat",)), templates=("A {}.", "{}"))
BARE = Vocabulary(("car", "cat", "wall"), templates=("{}",))
pytestmark = pytest.mark.filterwarnings("ignore:teacher 'metaclip2'")


@pytest.fixture(scope="module", params=MODELS)
def saved(request, tmp_path_factory):
    """Name of a model, and the directory that holds it."""
    require_model(request.param)
    return request.param, save_image_text(tmp_path_factory.mktemp(request.param) / "model", request.param)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def teacher_of(name):
    return "siglip2" if name == "naflex" else name


def build(saved, **options):
    return build_ovs(teacher_of(saved[0]), weights=saved[1], size=options.pop("size", 32), device="cpu", **options)


def picture(*size):
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def looked_at(saved, image):
    """The model by itself, and its inputs for an image that is not resized."""
    model = getattr(transformers, MODELS[saved[0]]).from_pretrained(saved[1]).eval()
    look = json.loads((saved[1] / "preprocessor_config.json").read_text())
    pixels = image[None] / 255
    if look["do_normalize"]:
        mean, std = (torch.tensor(look[key]).view(3, 1, 1) for key in ("image_mean", "image_std"))
        pixels = (pixels - mean) / std
    if saved[0] != "naflex":
        return model, {"pixel_values": pixels}
    from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches

    patches = convert_image_to_patches(pixels[0], 8)[None]
    shape = torch.tensor([[image.shape[1] // 8, image.shape[2] // 8]])
    return model, {
        "pixel_values": patches, "pixel_attention_mask": torch.ones(patches.shape[:2]), "spatial_shapes": shape,
    }  # fmt: skip


def patches_alone(name, model, given):
    """(N, C): of the last attention its values; of a block, where each token sees itself alone."""
    if name in ("siglip2", "naflex"):
        more = {"interpolate_pos_encoding": True} if name == "siglip2" else {}
        tokens, head = model.vision_model(**given, **more).last_hidden_state[0], model.vision_model.head
        weight, bias = head.attention.in_proj_weight.chunk(3)[2], head.attention.in_proj_bias.chunk(3)[2]
        u = head.attention.out_proj(tokens @ weight.T + bias)
        return u + head.mlp(head.layernorm(u))
    vision, inputs = model.vision_model, []
    last = vision.encoder.layers[-1] if name == "metaclip2" else vision.encoder.layer[-1]
    last.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    if name == "metaclip2":
        vision(**given, interpolate_pos_encoding=True)
        alone = torch.full((inputs[0].shape[1],) * 2, -torch.inf).fill_diagonal_(0)
        return model.visual_projection(vision.post_layernorm(last(inputs[0], alone[None, None])[0, 1:]))
    vision(**given)
    (tokens,) = inputs[0]
    return vision.layernorm(torch.stack([last(token[None, None])[0, 0] for token in tokens[2:]]))


def texts_of(saved, model, texts):
    """(N, C) of length 1, by the tokenizer as the model's own page uses it."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved[1])
    if saved[0] in ("siglip2", "naflex"):
        tokens = tokenizer([t.lower() for t in texts], padding="max_length", max_length=24, return_tensors="pt")
        tokens.pop("attention_mask", None)
    else:
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
    return torch.nn.functional.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)


@torch.no_grad()
def test_maps_are_the_formula(saved):
    """Patch by patch and sentence by sentence, by transformers' own calls."""
    image = picture(32, 48)
    (maps,) = build(saved, logit_scale=20.0).maps([image], CLASSES)
    assert maps.shape == (4, 4, 6)
    model, given = looked_at(saved, image)
    patches = torch.nn.functional.normalize(patches_alone(saved[0], model, given), dim=-1)
    text = []
    for synonyms in (["sky", "air"], ["wall"], ["car"], ["cat"]):
        own = torch.stack([texts_of(saved, model, [f"A {s}.", s]) for s in synonyms]).mean(0)
        text.append(torch.nn.functional.normalize(torch.nn.functional.normalize(own, dim=-1).mean(0), dim=0))
    s = 20 * (torch.stack(text) @ patches.T).reshape(4, 4, 6)
    classes = torch.stack([s[:2].amax(0), s[2], s[3]])
    torch.testing.assert_close(maps, s.exp() / classes.exp().sum(0), rtol=1e-4, atol=1e-5)
    assert (maps[2] - maps[3]).abs().max() > 0.05
    assert (maps[:, 0, 0] - maps[:, 3, 5]).abs().max() > 0.01


@torch.no_grad()
def test_where_all_tokens_are_alike_each_patch_is_the_image(saved):
    """Then every attention is the mean of equal values, and what the model itself says of the image holds everywhere."""
    teacher, image = build(saved), torch.full((3, 32, 32), 90, dtype=torch.uint8)
    model, given = looked_at(saved, image)
    for vision in (teacher.tower.vision, model.vision_model):
        places = vision.embeddings
        table = getattr(places, "position_embedding", None)
        (table.weight if table is not None else places.position_embeddings).zero_()
        if saved[0] in ("tipsv2", "metaclip2"):
            embed = places.patch_embeddings.projection if saved[0] == "tipsv2" else places.patch_embedding
            patch = embed(given["pixel_values"])[0, :, 0, 0]
            token = places.cls_token if saved[0] == "tipsv2" else places.class_embedding
            token.copy_(patch.expand_as(token))
        if saved[0] == "tipsv2":
            places.register_tokens.copy_(patch.expand_as(places.register_tokens))
    (maps,) = teacher.maps([image], BARE)
    cosines = pooled(saved, model, given) @ texts_of(saved, model, list(BARE.names)).T
    expected = (cosines * teacher.logit_scale).softmax(dim=-1)[0]
    torch.testing.assert_close(maps, expected[:, None, None].expand(3, 4, 4), rtol=1e-4, atol=1e-5)
    assert expected.max() - expected.min() > 0.05


def test_patches_are_read_in_parts(saved, monkeypatch):
    """A large image has more of them than attention takes at once."""
    teacher, image = build(saved), picture(32, 48)
    (whole,) = teacher.maps([image], BARE)
    monkeypatch.setattr("semiovs.models.image_text.towers._ALONE", 7)  # of 24
    (parts,) = teacher.maps([image], BARE)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def pooled(saved, model, given):
    return torch.nn.functional.normalize(model.get_image_features(**given).pooler_output, dim=-1)


@torch.no_grad()
def test_the_scale_is_the_one_that_was_learnt(saved):
    """Ratios of the model's own probabilities of images, as it gives them, are those of its scale."""
    model, given = looked_at(saved, picture(32, 32))
    tokens = transformers.AutoTokenizer.from_pretrained(saved[1])(["car", "cat"], padding="max_length",
                                                                 max_length=24, return_tensors="pt")  # fmt: skip
    logits = model(**given, input_ids=tokens["input_ids"]).logits_per_image[0]
    text = model.get_text_features(tokens["input_ids"]).pooler_output
    cosines = (pooled(saved, model, given) @ torch.nn.functional.normalize(text, dim=-1).T)[0]
    assert (cosines[0] - cosines[1]).abs() > 1e-3
    teacher = build(saved)
    torch.testing.assert_close((logits[0] - logits[1]) / (cosines[0] - cosines[1]), torch.tensor(teacher.logit_scale),
                               rtol=1e-3, atol=1e-3)  # fmt: skip
    assert teacher.describe()["logit_scale"] == pytest.approx(10.0 if saved[0] == "tipsv2" else 7.389056)
    assert build(saved, logit_scale=3.0).describe()["logit_scale"] == 3.0


def test_siglip_reads_small_letters_and_what_fills_them(saved):
    text = build(saved).text
    upper, lower = text.encode(["A Car"]), text.encode(["a car"])
    alone, beside = text.encode(["cat"]), text.encode(["cat", "a much longer sentence"])[:1]
    torch.testing.assert_close(alone, beside, rtol=1e-4, atol=1e-5)
    same = torch.allclose(upper, lower, rtol=1e-4, atol=1e-5)
    assert same == (saved[0] != "metaclip2")  # whose tokenizer tells capitals from small letters
    assert (lower - alone).abs().max() > 1e-2


@pytest.mark.parametrize("saved", ["siglip2", "metaclip2"], indirect=True)
def test_who_makes_letters_small(saved, monkeypatch):
    """SigLIP 2's published tokenizer leaves that to the caller."""
    text, seen = build(saved).text, []
    kept = text.tokenizer
    monkeypatch.setattr(text, "tokenizer", lambda texts, **more: seen.extend(texts) or kept(texts, **more))
    text.encode(["A Car", "cat"])
    assert seen == (["a car", "cat"] if saved[0] == "siglip2" else ["A Car", "cat"])


def test_sentences_where_the_vocabulary_has_none(saved, monkeypatch):
    """Nine of its own: those of ImageNet would need open_clip."""
    monkeypatch.setitem(sys.modules, "open_clip", None)
    teacher = build(saved)
    (own,) = teacher.maps([picture(32, 32)], Vocabulary(BARE.names))
    (same,) = teacher.maps([picture(32, 32)], Vocabulary(BARE.names, templates=SENTENCES))
    (other,) = teacher.maps([picture(32, 32)], BARE)
    assert torch.equal(own, same)
    assert (own - other).abs().max() > 1e-4


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (2000, 8), (33, 32)])
def test_images_of_any_size(saved, size):
    ((label,), (confidence,)) = build(saved).label([picture(*size)], CLASSES)
    assert label.shape == confidence.shape == size
    assert label.dtype == torch.uint8
    assert 0 < confidence.min() <= confidence.max() <= 1


def test_windows_and_scales(saved):
    teacher, looks = build(saved), build(saved, tile=32, scales=[1.0, 0.5], flip=True)
    image = picture(64, 96)
    (whole,), (closer,) = teacher.scores([image], CLASSES), looks.scores([image], CLASSES)
    assert closer.shape == whole.shape == (3, 64, 96)
    assert (closer - whole).abs().max() > 1e-3
    assert looks.describe() == teacher.describe() | {"tile": 32, "scales": (1.0, 0.5), "flip": True}


def test_strange_prompts(saved):
    names = ("näive café ☕", "</s><eos>", "a{}b%s\\", "x" * 300, "猫")
    (scores,) = build(saved).scores([picture(12, 12)], Vocabulary.of(names))
    assert scores.shape == (5, 12, 12)
    assert scores.isfinite().all()


def test_wrong_images(saved):
    with pytest.raises(DataError, match="must be uint8 RGB"):
        build(saved).label([torch.zeros(3, 4, 4)], CLASSES)


def test_a_model_is_found_by_its_name_in_the_weights_directory(saved, tmp_path, monkeypatch):
    """Also by its name on the hub, of which the directory is a copy."""
    (tmp_path / "tiny").symlink_to(saved[1], target_is_directory=True)
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    for name in ("tiny", "someone/tiny"):
        found = build_ovs(teacher_of(saved[0]), weights=name, size=32, device="cpu")
        assert found.describe() == build(saved).describe()
    with pytest.raises(WeightsError, match=r"nowhere/deep/tiny: cannot be loaded"):
        build_ovs(teacher_of(saved[0]), weights="nowhere/deep/tiny", device="cpu")


def test_code_of_a_model_is_never_run(saved, tmp_path):
    for file in saved[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        facts = json.loads((tmp_path / name).read_text())
        classes = ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoImageProcessor")
        facts["auto_map"] = dict.fromkeys(classes, "theirs.Code")
        (tmp_path / name).write_text(json.dumps(facts))
    (tmp_path / "theirs.py").write_text("raise SystemExit('code of the model was run')\n")
    assert build((saved[0], tmp_path)).describe() == build(saved).describe()


def test_weights_that_lack_a_tensor(saved, tmp_path):
    for file in saved[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(saved[1] / "model.safetensors")
    norm = next(name for name in sorted(state) if "norm" in name and name.endswith("weight"))
    del state[norm]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack 1 tensors \(.*norm.*weight\)"):
        build((saved[0], tmp_path))


@pytest.mark.parametrize("saved", ["tipsv2"], indirect=True)
def test_published_tipsv2_has_no_temperature(saved, tmp_path):
    """Its files lack that tensor alone, and name the others as its authors do."""
    for file in saved[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(saved[1] / "model.safetensors")
    assert {"vision_encoder.blocks.0.attn.qkv.weight", "text_encoder.transformer.resblocks.1.ln_1.bias"} <= set(state)
    del state["temperature"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    assert build((saved[0], tmp_path)).describe() == build(saved).describe()


def test_a_tower_without_its_head(tmp_path):
    root = save_image_text(tmp_path / "model", "siglip2")
    facts = json.loads((root / "config.json").read_text())
    facts["vision_config"]["vision_use_head"] = False
    (root / "config.json").write_text(json.dumps(facts))
    with pytest.raises(WeightsError, match="has no pooling head"):
        build(("siglip2", root))


@pytest.mark.parametrize("teacher", ["tipsv2", "siglip2", "metaclip2"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 5}, "size 5 is not between"),
        ({"logit_scale": 0}, "logit_scale 0 is not between"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not there"),
        ({"sizes": 3}, "did you mean 'size'"),
        ({"logit_scale": "high"}, "logit_scale: expected a number"),
    ],
)
def test_options_that_cannot_be(teacher, options, message):
    with pytest.raises(UsageError, match=message):
        build_ovs(teacher, **options)


@pytest.mark.parametrize(
    ("teacher", "known"), [("tipsv2", "tipsv2"), ("siglip2", "siglip, siglip2"), ("metaclip2", "metaclip_2")]
)
def test_a_model_of_another_kind(teacher, known, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match=f"type 'bert'; teacher '{teacher}' knows {known}$"):
        build_ovs(teacher, weights=tmp_path, device="cpu")


@pytest.mark.parametrize("teacher", ["tipsv2", "siglip2", "metaclip2"])
def test_weights_that_are_not_there(teacher, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    row = next(row for row in catalogue().values() if row.use == f"--teacher {teacher}")
    with pytest.raises(WeightsError, match=rf"teacher '{teacher}': {row.hub}: cannot be loaded: .*--weights") as caught:
        build_ovs(teacher, device="cpu")
    assert "\n" not in str(caught.value)


def test_a_transformers_that_is_too_old(tmp_path, monkeypatch):
    """It need not know the type of the model to say so."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "tipsv9"}))
    monkeypatch.setattr(Tipsv2, "kinds", {"tipsv9": ("Tipsv9Model", TipsTower)})
    with pytest.raises(MissingExtraError, match="has no Tipsv9Model; pip install -U transformers"):
        build_ovs("tipsv2", weights=tmp_path, device="cpu")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"teacher 'siglip2' needs transformers; pip install 'semiovs\[hf\]'"):
        build_ovs("siglip2", device="cpu")


def test_a_licence_that_forbids_some_uses_is_said(saved):
    """In one line, of MetaCLIP 2 alone."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SemiovsWarning)
        build(saved)
    said = [str(one.message) for one in caught if issubclass(one.category, SemiovsWarning)]
    assert len(said) == (saved[0] == "metaclip2")
    assert all("published weights are not for commercial use (CC-BY-NC-4.0)" in line for line in said)


def test_it_is_said_before_weights_are_fetched(monkeypatch):
    monkeypatch.setattr("semiovs.ovs.image_text.load_parts", Mock(side_effect=WeightsError("fetched")))
    with pytest.warns(SemiovsWarning, match="not for commercial use"), pytest.raises(WeightsError, match="fetched"):
        build_ovs("metaclip2", device="cpu")


def test_which_teachers_have_such_a_licence():
    assert find_restricted("metaclip2").licence == "CC-BY-NC-4.0"
    assert [find_restricted(name) for name in ("tipsv2", "siglip2", "clip-dense", "no such")] == [None] * 4
