import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from semiovs.errors import UsageError, WeightsError
from semiovs.models import Normalization, build_segmenter
from semiovs.models.weights import ModelCard, load_model, read_checkpoint, save_model
from semiovs.vocab.vocabulary import Vocabulary

OPTIONS = {"encoder": "tiny", "channels": 16, "dilations": (2, 4)}
CARD = ModelCard(
    segmenter="deeplabv3plus",
    num_classes=3,
    vocabulary=Vocabulary(("road", "car", "sky"), (("road, street",), ("car",), ("sky",))),
    options=OPTIONS,
    normalization=Normalization((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
    evaluation={"mode": "sliding", "window": 64},
    training={"step": 7, "method": "unimatch", "score": 0.5},
)


def tiny():
    return build_segmenter("deeplabv3plus", num_classes=3, **OPTIONS)


def checkpoint(path, *, ema=True, sidecar=True, card=None, **change):
    """A training checkpoint as the engine writes it; returns the models in it."""
    models = {"student": tiny(), **({"ema": tiny()} if ema else {})}
    method = {f"{name}.{key}": value for name, model in models.items() for key, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"card": card or {**CARD.as_json(), "step": 9}, "method": method, "step": 9, **change}, path)
    if sidecar:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")
    return models


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_a_card_survives_json():
    card = ModelCard.from_json(json.loads(json.dumps(CARD.as_json())))
    assert card.as_json() == CARD.as_json()
    assert card.vocabulary.hash == CARD.vocabulary.hash
    assert ModelCard.from_json({**CARD.as_json(), "step": 9, "novel": 1}).training == {
        "step": 9, "method": "unimatch", "score": 0.5, "novel": 1
    }  # fmt: skip


def test_a_portable_file_round_trips(tmp_path):
    model = tiny()
    save_model(tmp_path / "m.safetensors", model, CARD)
    loaded, card = load_model(tmp_path / "m.safetensors")
    assert same(loaded, model)
    assert not loaded.training
    assert loaded.normalization == CARD.normalization
    assert card.as_json() == CARD.as_json()
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]
    image = torch.randn(1, 3, 40, 40)
    torch.testing.assert_close(loaded(image), model.eval()(image))


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = tiny()
    for name in ("a", "b"):
        save_model(tmp_path / f"{name}.safetensors", model, CARD)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(("which", "expected"), [(None, "ema"), ("ema", "ema"), ("student", "student")])
def test_which_model_of_a_checkpoint(tmp_path, which, expected):
    models = checkpoint(tmp_path / "step-00000009.pt")
    loaded, card = load_model(tmp_path / "step-00000009.pt", which=which)
    assert same(loaded, models[expected])
    assert not same(models["student"], models["ema"])
    assert card.training["model"] == expected
    assert card.training["step"] == 9


def test_without_ema_the_student_is_taken(tmp_path):
    models = checkpoint(tmp_path / "a.pt", ema=False)
    assert same(load_model(tmp_path / "a.pt")[0], models["student"])
    with pytest.raises(WeightsError, match="holds no model 'ema'; it holds student"):
        load_model(tmp_path / "a.pt", which="ema")
    with pytest.raises(UsageError, match="student and ema"):
        load_model(tmp_path / "a.pt", which="teacher")


def test_a_portable_file_knows_which_model_it_holds(tmp_path):
    save_model(
        tmp_path / "m.safetensors",
        tiny(),
        ModelCard("deeplabv3plus", 3, CARD.vocabulary, OPTIONS, training={"model": "ema"}),
    )
    load_model(tmp_path / "m.safetensors", which="ema")
    with pytest.raises(WeightsError, match="holds no model 'student'"):
        load_model(tmp_path / "m.safetensors", which="student")


def test_a_run_directory_prefers_best_then_final_then_newest(tmp_path):
    old = checkpoint(tmp_path / "checkpoints" / "step-00000009.pt")
    new = checkpoint(tmp_path / "checkpoints" / "step-00000100.pt")
    assert same(load_model(tmp_path)[0], new["ema"])
    final = tiny()
    save_model(tmp_path / "model.safetensors", final, CARD)
    assert same(load_model(tmp_path)[0], final)
    best = checkpoint(tmp_path / "checkpoints" / "best.pt")
    assert same(load_model(str(tmp_path))[0], best["ema"])
    assert same(load_model(tmp_path / "checkpoints" / "step-00000009.pt")[0], old["ema"])


def test_nothing_there(tmp_path):
    with pytest.raises(WeightsError, match="has the run saved a checkpoint"):
        load_model(tmp_path)
    with pytest.raises(WeightsError, match="neither a run directory nor a weight file"):
        load_model(tmp_path / "nowhere")


def test_one_flipped_bit_is_found(tmp_path):
    path = tmp_path / "a.pt"
    checkpoint(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"damaged: its SHA-256 is not the one in a.pt.sha256"):
        read_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_cut_files_are_found_without_checksum(tmp_path, keep):
    for path in (tmp_path / "a.pt", tmp_path / "m.safetensors"):
        checkpoint(path, sidecar=False) if path.suffix == ".pt" else save_model(path, tiny(), CARD)
        data = path.read_bytes()
        path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
        with pytest.raises(WeightsError, match="damaged or not a"):
            load_model(path)


class Payload:
    def __reduce__(self):
        return (json.loads, ('"executed"',))


def test_code_is_refused(tmp_path):
    checkpoint(tmp_path / "a.pt", extra=Payload())
    with pytest.raises(WeightsError, match="could run code"):
        load_model(tmp_path / "a.pt")


def test_foreign_files_say_where_they_belong(tmp_path):
    torch.save({"model": tiny().state_dict()}, tmp_path / "reference.pth")
    save_file(tiny().state_dict(), tmp_path / "encoder.safetensors")
    for name in ("reference.pth", "encoder.safetensors"):
        with pytest.raises(WeightsError, match=r"no card.*load_reference"):
            load_model(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 4}, r"not those of its card \(deeplabv3plus, 4 classes\): 2 of another shape \(classifier"),
        ({"options": {"encoder": "tiny"}}, "not those of its card"),
        ({"options": {"encoder": "tiny", "novel": 1}}, "cannot be built by this version of semiovs"),
        ({"segmenter": "unheard"}, "cannot be built by this version of semiovs"),
        ({"vocabulary": None}, "model card cannot be read"),
        ({"normalization": {}}, "model card cannot be read"),
    ],
)
def test_a_card_that_does_not_hold(tmp_path, change, message):
    checkpoint(tmp_path / "a.pt", card={**CARD.as_json(), **change})
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


def test_no_memory_is_taken_for_another_model(tmp_path, monkeypatch):
    """A small file whose card asks for a large model is refused by shapes alone."""
    checkpoint(tmp_path / "a.pt", card={**CARD.as_json(), "options": {"encoder": "resnet101s"}})
    devices, build = [], build_segmenter

    def watch(*given, **options):
        made = build(*given, **options)
        devices.append({value.device.type for value in made.state_dict().values()})
        return made

    monkeypatch.setattr("semiovs.models.weights.build_segmenter", watch)
    with pytest.raises(WeightsError, match="not those of its card"):
        load_model(tmp_path / "a.pt")
    assert devices == [{"meta"}]


def test_missing_weights_are_refused(tmp_path):
    state = tiny().state_dict()
    state.pop("classifier.bias")
    checkpoint(tmp_path / "a.pt", method={f"student.{key}": value for key, value in state.items()})
    with pytest.raises(WeightsError, match=r"1 missing \(classifier.bias\)"):
        load_model(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": "3"},
        {"num_classes": float("inf")},
        {"num_classes": 10**12},
        {"num_classes": 0},
        {"segmenter": ["deeplabv3plus"]},
        {"neck": 7},
        {"normalization": {"mean": "abc", "std": [1, 1, 1]}},
        {"normalization": {"mean": [0, 0, float("nan")], "std": [1, 1, 1]}},
        {"normalization": {"mean": [0, 0, 0], "std": [1, 0, 1]}},
        {"normalization": 3},
        {"options": {"encoder": 7}},
        {"options": [1]},
        {"options": {"encoder": "tiny", "dilations": "wide"}},
        {"vocabulary": "sky"},
        {"vocabulary": {"names": [1, 2, 3]}},
        {"evaluation": "whole"},
        {"training": [1]},
        {"bands": 9},
    ],
)
def test_a_card_with_wrong_types_is_one_line(tmp_path, change):
    checkpoint(tmp_path / "a.pt", card={**CARD.as_json(), **change})
    with pytest.raises(WeightsError, match=r"a\.pt: ") as caught:
        load_model(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    segmenter = tiny()
    next(segmenter.parameters()).data.view(-1)[0] = float("nan")
    save_model(tmp_path / "m.safetensors", segmenter, CARD)
    with pytest.raises(WeightsError, match=r"1 of \d+ weights are not numbers \(NaN\), such as .*earlier checkpoint"):
        load_model(tmp_path / "m.safetensors")
