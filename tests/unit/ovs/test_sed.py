"""Teacher `sed`: images of every size and in batches, early rejection, precision, weights of our own and none."""

import json

import pytest
import torch
from torch import Tensor

from semiovs.errors import DataError, UsageError, WeightsError
from semiovs.images.record import Record
from semiovs.models import build_segmenter
from semiovs.models.sed import build_sed
from semiovs.models.sed.aggregator import AggregatorSizes
from semiovs.models.sed.trained import TrainedSed
from semiovs.models.weights import ModelCard, save_model
from semiovs.ovs import build_ovs
from semiovs.ovs.label import label_images
from semiovs.ovs.sed import SedTeacher
from semiovs.store import PseudoLabelStore
from semiovs.vocab import Vocabulary

VOCABULARY = Vocabulary(("sky", "car", "tree"), (("sky", "cloud"), ("car",), ("tree", "bush", "hedge")))
SMALL = {"hidden": 32, "decoder_dims": (32, 16, 16), "guides": (16, 8, 8), "kernel": 5}


def embed(vocabulary: Vocabulary) -> Tensor:
    """A vector for each word, whatever it is."""
    rows = [torch.randn(2, 12, generator=torch.Generator().manual_seed(sum(map(ord, p)))) for p in vocabulary.prompts]
    return torch.stack(rows)


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    network = build_sed("resnet18", dim=12, prompts=2, stride=32, sizes=AggregatorSizes(**SMALL))
    return TrainedSed(network.eval(), embed, size=(96, 96), edges=(80, 320), facts={"weights": "0" * 64})


def image(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


SIZES = [(50, 70), (70, 50), (1, 1), (33, 200)]


@pytest.mark.parametrize("topk", [None, 1])
def test_a_batch_answers_as_its_images_do(source, topk):
    """Early rejection too: what one image rejects, another may keep."""
    teacher = SedTeacher.of(source, topk=topk)
    images = [image(*size, seed=index) for index, size in enumerate(SIZES)]
    together = teacher.scores(images, VOCABULARY)
    kept = set()
    for picture, ours in zip(images, together, strict=True):
        (alone,) = teacher.scores([picture], VOCABULARY)
        assert ours.shape == (3, *picture.shape[1:])
        torch.testing.assert_close(ours, alone, atol=5e-6, rtol=0)
        (maps,) = teacher.maps([picture], VOCABULARY)
        kept.add(tuple(maps.flatten(1).any(dim=1).tolist()))
    assert (len(kept) > 1) == (topk is not None)


def test_labels_are_those_of_the_scores(source):
    teacher = SedTeacher.of(source)
    (score,), ((label,), (confidence,)) = (
        teacher.scores([image(40, 30)], VOCABULARY),
        teacher.label([image(40, 30)], VOCABULARY),
    )
    assert torch.equal(label, score.argmax(dim=0).to(torch.uint8))
    assert torch.equal(confidence, score.amax(dim=0))


def test_memory_changes_nothing(source):
    answers = [SedTeacher.of(source, memory_gb=gb).scores([image(50, 70)], VOCABULARY)[0] for gb in (0.01, 2.0)]
    torch.testing.assert_close(*answers, atol=3e-6, rtol=0)


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 3)])
def test_very_long_images(source, size):
    (label,), _ = SedTeacher.of(source).label([image(*size)], VOCABULARY)
    assert label.shape == size


def test_one_concept_alone_and_beside_a_background_without_any(source):
    teacher = SedTeacher.of(source)
    (alone,) = teacher.scores([image(20, 20)], Vocabulary(("cat",)))
    assert alone.shape == (1, 20, 20)
    (beside,) = teacher.scores([image(20, 20)], Vocabulary(("background", "cat"), ((), ("cat",)), background=0.5))
    assert (beside[0] == 0.5).all()
    torch.testing.assert_close(beside[1], alone[0])


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8), torch.zeros(8, 8, dtype=torch.uint8)]
)
def test_what_is_no_image(source, wrong):
    with pytest.raises(DataError, match=r"image 1: .* must be uint8 RGB \(3, H, W\)"):
        SedTeacher.of(source).maps([image(8, 8), wrong], VOCABULARY)


def test_templates_of_another_number(source):
    with pytest.raises(UsageError, match="the vocabulary has 1 templates, but these weights read 2"):
        SedTeacher.of(source).maps([image(8, 8)], Vocabulary(("cat",), templates=("a {}.",)))


def test_bf16_says_nearly_the_same():
    torch.manual_seed(0)
    network = build_sed("resnet18", dim=12, prompts=2, stride=32, sizes=AggregatorSizes(**SMALL)).eval()
    source = TrainedSed(network, embed, size=(96, 96), edges=None)
    exact = SedTeacher.of(source).maps([image(64, 64)], VOCABULARY)[0]
    teacher = SedTeacher.of(source, precision="bf16")
    (rough,) = teacher.maps([image(64, 64)], VOCABULARY)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.03
    assert teacher.describe()["precision"] == "bf16"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp61"}, "precision 'fp61' is not known"),
        ({"precision": "tf32", "device": "cpu"}, "tf32 is of NVIDIA GPUs"),
        ({"topk": 0}, "topk 0"),
        ({"memory_gb": 0.0}, "memory_gb 0.0"),
        ({"device": "cdua"}, "device 'cdua' is not there"),
        ({"variant": "huge"}, "variant 'huge' is not known"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        build_ovs("sed", **options)


class Cramped:
    """A network that has room for one image at a time."""

    def __init__(self, network):
        self.network, self.seen = network, []

    def __call__(self, batch, text, **options):
        self.seen.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("no room")
        return self.network(batch, text, **options)


def test_a_batch_that_does_not_fit_is_halved(source, tmp_path, monkeypatch):
    from PIL import Image

    teacher = SedTeacher.of(source)
    records = []
    for index in range(3):
        Image.fromarray(image(20, 24, index).permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
        records.append(Record(id=str(index), image=tmp_path / f"{index}.png"))
    stores = []
    for name in ("whole", "halves"):
        if name == "halves":
            cramped = Cramped(teacher.network.probabilities)
            monkeypatch.setattr(teacher.network, "probabilities", cramped)
        store = PseudoLabelStore.create(tmp_path / name, VOCABULARY, teacher=teacher.describe())
        assert label_images(teacher, records, VOCABULARY, store, batch_size=3).labeled == 3
        stores.append(store)
    assert cramped.seen[0] == 3
    assert cramped.seen.count(1) == 3
    for record in records:
        first, second = (store.label(record.id) for store in stores)
        assert (first == second).all()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model file as `semiovs ovs train` writes it, with its own words."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("own") / "model.safetensors"
    options = {"encoder": "resnet18", "stride": 16, "resolution": 64, "text": "words", "text_dim": 12, **SMALL}
    options["templates"] = ("a {}.", "the {}.")
    segmenter = build_segmenter("sed", num_classes=3, **options).eval()
    save_model(path, segmenter, ModelCard("sed", 3, VOCABULARY, options, segmenter.normalization))
    segmenter.prompt(VOCABULARY)
    return path, segmenter


@torch.no_grad()
def test_a_model_of_our_own(trained):
    path, segmenter = trained
    teacher = build_ovs("sed", weights=path, device="cpu")
    picture = image(64, 64)
    (ours,) = teacher.scores([picture], VOCABULARY)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (segmenter.normalization.mean, segmenter.normalization.std))
    theirs = segmenter(((picture / 255 - mean) / std)[None])[0].sigmoid()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    (other,) = teacher.scores([picture], Vocabulary(("moon", "sea")))
    assert other.shape == (2, 64, 64)
    facts = teacher.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert len(facts["weights"]) == 64
    assert facts["resolution"] == [64, 64]
    assert build_ovs("sed", weights=path, device="cpu", resolution=96).describe()["resolution"] == [96, 96]
    with pytest.raises(UsageError, match="resolution 50 is not a multiple of 16"):
        build_ovs("sed", weights=path, resolution=50)


def test_no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMIOVS_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(WeightsError, match=r"download sed_model_large\.pth.* into .*SEMIOVS_WEIGHTS_DIR") as caught:
        build_ovs("sed")
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(WeightsError, match=r"download sed_model_base\.pth"):
        build_ovs("sed", variant="base")
    with pytest.raises(WeightsError, match=r"sed\.pth: no such file"):
        build_ovs("sed", weights="sed.pth")


def test_weights_of_something_else(tmp_path):
    (tmp_path / "noise.pth").write_bytes(b"noise")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    (tmp_path / "run").mkdir()
    other = build_segmenter("deeplabv3plus", num_classes=3, encoder="tiny")
    card = ModelCard("deeplabv3plus", 3, VOCABULARY, {"encoder": "tiny"})
    save_model(tmp_path / "deeplab.safetensors", other, card)
    messages = {
        "noise.pth": "damaged or not a torch file",
        "other.pth": "no SED checkpoint: its first names are a",
        "list.pth": "holds no state dict",
        "noise.safetensors": "damaged or not a safetensors file",
        "run": "is it a run directory",
        "deeplab.safetensors": "cannot be asked with words",
    }
    for name, message in messages.items():
        with pytest.raises(WeightsError, match=message) as caught:
            build_ovs("sed", weights=tmp_path / name)
        assert "\n" not in str(caught.value)
