"""CLIPSeg and SAM 3 by transformers: tiny random networks, saved and read as a user's are."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from semiovs.errors import DataError, MissingExtraError, UsageError, WeightsError
from semiovs.ovs import build_ovs
from semiovs.vocab import Vocabulary
from unit.tiny_huggingface import save_clipseg, save_sam3

transformers = pytest.importorskip("transformers")
CLASSES = Vocabulary(("back", "car", "cat"), (("sky, air", "wall"), ("car",), ("cat",)))


def picture(*size):
    return torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory):
    return save_clipseg(tmp_path_factory.mktemp("clipseg"))


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    return save_sam3(tmp_path_factory.mktemp("sam3"))


@torch.no_grad()
def test_clipseg_is_asked_as_transformers_asks_it(clipseg):
    """The image is encoded once and the prompts in one go; transformers' own call does both for each prompt."""
    teacher = build_ovs("huggingface", weights=clipseg, device="cpu")
    image = picture(20, 50)
    (maps,) = teacher.maps([image], CLASSES)
    assert maps.shape == (4, 32, 32)
    model = transformers.CLIPSegForImageSegmentation.from_pretrained(clipseg).eval()
    processor = transformers.CLIPSegProcessor.from_pretrained(clipseg)
    own = processor(
        text=["a photo of a wall.", "a photo of a car."], images=[image, image], padding=True, return_tensors="pt"
    )
    torch.testing.assert_close(maps[1:3], model(**own).logits.sigmoid(), rtol=1e-4, atol=1e-5)
    assert (maps[1] - maps[2]).abs().max() > 1e-4
    tokens = processor(text=["a photo of a sky.", "a photo of a air."], padding=True, return_tensors="pt")
    mean = model.get_conditional_embeddings(batch_size=2, **tokens).mean(dim=0, keepdim=True)
    first = model(pixel_values=own["pixel_values"][:1], conditional_embeddings=mean)
    torch.testing.assert_close(maps[0], first.logits.sigmoid().reshape(32, 32), rtol=1e-4, atol=1e-5)


def test_templates_of_the_vocabulary_are_used(clipseg):
    teacher = build_ovs("huggingface", weights=clipseg, device="cpu")
    (own,) = teacher.maps([picture(9, 9)], CLASSES)
    (other,) = teacher.maps([picture(9, 9)], Vocabulary(CLASSES.names, CLASSES.concepts, templates=("{}",)))
    assert (own - other).abs().max() > 1e-4


@torch.no_grad()
def test_sam3_is_its_semantic_map_times_presence(sam3):
    teacher = build_ovs("huggingface", weights=sam3, device="cpu")
    image = picture(40, 30)
    (maps,) = teacher.maps([image], CLASSES)
    model = transformers.Sam3Model.from_pretrained(sam3).eval()
    processor = transformers.Sam3Processor.from_pretrained(sam3)

    def answer(text):
        found = model(
            **{
                k: v
                for k, v in processor(images=image, text=text, return_tensors="pt").items()
                if k != "original_sizes"
            }
        )
        return found.semantic_seg[0, 0].sigmoid() * found.presence_logits.sigmoid()

    torch.testing.assert_close(maps[2], answer("car"), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[0], (answer("sky") + answer("air")) / 2, rtol=1e-4, atol=1e-5)
    assert (maps[2] - maps[3]).abs().max() > 1e-6


@pytest.mark.parametrize("kind", ["clipseg", "sam3"])
@pytest.mark.parametrize("size", [(1, 1), (3, 3), (3, 40), (2000, 8)])
def test_images_of_any_size(kind, size, request):
    teacher = build_ovs("huggingface", weights=request.getfixturevalue(kind), device="cpu")
    ((label,), (confidence,)) = teacher.label([picture(*size)], CLASSES)
    assert label.shape == confidence.shape == size
    assert label.dtype == torch.uint8
    assert 0 <= confidence.min() <= confidence.max() <= 1


@pytest.mark.parametrize("kind", ["clipseg", "sam3"])
def test_strange_prompts(kind, request):
    names = ("näive café ☕", "<|endoftext|>", "a{}b%s\\", "x" * 300, "猫")
    teacher = build_ovs("huggingface", weights=request.getfixturevalue(kind), device="cpu")
    (scores,) = teacher.scores([picture(12, 12)], Vocabulary.of(names))
    assert scores.shape == (5, 12, 12)
    assert scores.isfinite().all()


def test_wrong_images(clipseg):
    teacher = build_ovs("huggingface", weights=clipseg, device="cpu")
    for image in (
        torch.zeros(3, 4, 4),
        torch.zeros(4, 4, 3, dtype=torch.uint8),
        torch.zeros(3, 0, 4, dtype=torch.uint8),
    ):
        with pytest.raises(DataError, match="must be uint8 RGB"):
            teacher.label([image], CLASSES)


def test_it_is_told_from_others_by_its_weights(clipseg, sam3):
    one, other = (build_ovs("huggingface", weights=path, device="cpu").describe() for path in (clipseg, sam3))
    assert (one["kind"], other["kind"]) == ("clipseg", "sam3")
    assert one["weights"] != other["weights"]


def test_weights_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="needs weights: --weights DIR"):
        build_ovs("huggingface")
    for missing in (tmp_path, "someone/nothing", tmp_path / "nowhere"):
        with pytest.raises(
            WeightsError, match=r"cannot be loaded: .*--weights takes a directory with config\.json"
        ) as caught:
            build_ovs("huggingface", weights=missing)
        assert "\n" not in str(caught.value)


def test_weights_by_their_name_in_the_weights_directory(clipseg, monkeypatch):
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(clipseg.parent))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert build_ovs("huggingface", weights=clipseg.name, device="cpu").describe()["kind"] == "clipseg"


def test_a_model_of_another_kind(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match="type 'bert'; teacher 'huggingface' knows clipseg, sam3"):
        build_ovs("huggingface", weights=tmp_path)


def test_damaged_weights(clipseg, tmp_path):
    for file in clipseg.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(clipseg / "model.safetensors")
    del state["decoder.film_mul.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"lack 1 tensors \(decoder.film_mul.weight\)"):
        build_ovs("huggingface", weights=tmp_path, device="cpu")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        build_ovs("huggingface", weights=tmp_path, device="cpu")


def test_without_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'semiovs\[hf\]'"):
        build_ovs("huggingface", weights=tmp_path)
