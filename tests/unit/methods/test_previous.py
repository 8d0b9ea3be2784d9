"""The ring of previous models: what it keeps, where it keeps it, and what it refuses."""

from __future__ import annotations

import copy
import io

import pytest
import torch

from contract.toy import K, toy_segmenter
from semiovs.errors import UsageError, WeightsError
from semiovs.methods import Method, build_method
from semiovs.methods.previous import STORAGES, PreviousModels
from semiovs.models import build_segmenter

IMAGES = torch.randn(3, 3, 33, 33, generator=torch.Generator().manual_seed(0))


def ring(*seeds: int, slots: int = 4, storage: str = "device") -> PreviousModels:
    previous = PreviousModels(toy_segmenter(0), slots=slots, storage=storage)
    for seed in seeds:
        previous.remember(toy_segmenter(seed))
    return previous


def answer(seed: int, images: torch.Tensor = IMAGES) -> torch.Tensor:
    with torch.no_grad():
        return toy_segmenter(seed).eval()(images)


def prevmatch(*seeds: int, student: int = 0, **options: object) -> Method:
    method = build_method("prevmatch", toy_segmenter(student), num_classes=K, **options)
    for seed in seeds:
        method.previous.remember(toy_segmenter(seed))  # type: ignore[operator, union-attr]
    return method


def test_the_ensemble_is_the_weighted_sum_of_logits() -> None:
    w, m = ring(1, 2, 3).logits([(2, 0.25), (0, 0.75)], IMAGES[:1], IMAGES[1:])
    wanted = 0.25 * answer(3) + 0.75 * answer(1)
    torch.testing.assert_close(torch.cat([w, m]), wanted)
    assert (len(w), len(m)) == (1, 2)
    assert not w.requires_grad


def test_the_oldest_goes_first() -> None:
    previous = ring(1, 2, 3, slots=2)
    assert len(previous) == 2
    for slot, seed in enumerate((2, 3)):
        torch.testing.assert_close(previous.logits([(slot, 1.0)], IMAGES)[0], answer(seed))


def test_a_snapshot_is_a_copy_that_nothing_changes() -> None:
    model = toy_segmenter(1)
    previous = ring()
    previous.remember(model)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor += 1
    previous.train()
    for _ in range(2):
        torch.testing.assert_close(previous.logits([(0, 1.0)], IMAGES)[0], answer(1))
    assert not any(module.training for module in previous.modules())


def test_it_goes_into_a_fresh_method_and_comes_out_frozen() -> None:
    source = prevmatch(1, 2)
    source.previous.best = 41.5  # type: ignore[union-attr]
    file = io.BytesIO()
    torch.save(source.state_dict(), file)
    file.seek(0)
    fresh = prevmatch(3, 3, 3, student=9)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    fresh.train()
    assert set(fresh.state_dict()) == set(source.state_dict())
    assert all(value.equal(source.state_dict()[key]) for key, value in fresh.state_dict().items())
    previous = fresh.previous
    assert isinstance(previous, PreviousModels)
    assert previous.best == 41.5
    assert not previous.training
    assert not previous.improves(41.5)
    assert not [name for name, p in fresh.named_parameters() if name.startswith("previous") and p.requires_grad]
    assert not [v for k, v in fresh.state_dict().items() if k.startswith("previous") and v.requires_grad]
    torch.testing.assert_close(previous.logits([(1, 1.0)], IMAGES)[0], answer(2))


def test_loading_is_strict_about_names() -> None:
    state = prevmatch(1).state_dict()
    without = {key: value for key, value in state.items() if not key.startswith("previous.")}
    with pytest.raises(RuntimeError, match=r"Missing key.*previous\.best"):
        prevmatch().load_state_dict(without)
    kept = prevmatch(2)
    kept.load_state_dict({}, strict=False)  # as where a rank's own statistics are put back
    assert len(kept.previous) == 1  # type: ignore[arg-type]
    kept.load_state_dict(prevmatch().state_dict())
    assert len(kept.previous) == 0  # type: ignore[arg-type]


def test_of_more_snapshots_than_slots_the_newest_are_taken() -> None:
    small = prevmatch(prev_list_max=2)
    small.load_state_dict(prevmatch(1, 2, 3).state_dict())
    torch.testing.assert_close(small.previous.logits([(1, 1.0)], IMAGES)[0], answer(3))  # type: ignore[operator, union-attr]
    assert len(small.previous) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("storage", STORAGES)
def test_storages_say_the_same(storage: str) -> None:
    previous = ring(1, 2, storage=storage)
    scale = answer(2).abs().max().item()
    tolerance = 2e-3 * scale if storage == "half" else 0.0
    torch.testing.assert_close(previous.logits([(1, 1.0)], IMAGES)[0], answer(2), rtol=0, atol=tolerance)
    other = ring(storage=storage)
    other.load_state_dict(previous.state_dict())
    for slot in range(2):
        choice = [(slot, 1.0)]
        assert other.logits(choice, IMAGES)[0].equal(previous.logits(choice, IMAGES)[0])


@pytest.mark.parametrize("storage", STORAGES)
def test_stated_memory_is_what_it_takes(storage: str) -> None:
    previous = ring(1, 2, 3, storage=storage, slots=3)
    taken = sum(value.nbytes for snapshot in previous.snapshots for value in snapshot.values())
    assert previous.nbytes == taken
    assert list(previous.parameters()) == list(previous.buffers()) == []
    assert all(value.numel() == 0 for value in previous._hidden[0].state_dict().values())


def test_half_keeps_biases_and_statistics_exact() -> None:
    (snapshot,) = ring(1, storage="half").snapshots
    kinds = {value.dtype for value in snapshot.values() if value.ndim > 1}
    assert kinds == {torch.float16}
    state = toy_segmenter(1).state_dict()
    assert all(value.equal(state[name]) for name, value in snapshot.items() if value.ndim <= 1)


@pytest.mark.parametrize("storage", STORAGES)
def test_it_moves_and_is_copied_with_the_method(storage: str) -> None:
    method = copy.deepcopy(prevmatch(1, prev_storage=storage)).double()
    previous = method.previous
    assert isinstance(previous, PreviousModels)
    with torch.no_grad():
        wanted = toy_segmenter(1).eval().double()(IMAGES.double())
    tolerance = 2e-3 * wanted.abs().max().item() if storage == "half" else 1e-6
    torch.testing.assert_close(previous.logits([(0, 1.0)], IMAGES.double())[0], wanted, rtol=0, atol=tolerance)
    stored = {value.dtype for value in previous.snapshots[0].values() if value.ndim > 1}
    assert stored == {{"device": torch.float64, "half": torch.float16, "cpu": torch.float32}[storage]}


def test_another_model_is_refused_in_one_line() -> None:
    other = build_segmenter("deeplabv3plus", num_classes=K + 1, encoder="tiny", channels=16)
    with pytest.raises(WeightsError, match=r"classifier.weight: 5x16x1x1 instead of 4x16x1x1") as caught:
        ring().remember(other)
    assert "\n" not in str(caught.value)
    foreign = build_method("prevmatch", other, num_classes=K + 1)
    foreign.previous.remember(other)  # type: ignore[operator, union-attr]
    state = {**prevmatch(1).state_dict(), **{k: v for k, v in foreign.state_dict().items() if "previous.0" in k}}
    target = prevmatch(2)
    with pytest.raises(
        WeightsError, match=r"snapshot 0 of the checkpoint is not of the student's kind: 2 of another"
    ) as caught:
        target.load_state_dict(state)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert len(target.previous) == 1  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="not of the student's kind"):
        target.load_state_dict({**prevmatch(1).state_dict(), "previous.nonsense": torch.zeros(1)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 0}, r"method\.prev_list_max: 0 must be at least 1"),
        ({"slots": 1, "storage": "cpuu"}, r"method\.prev_storage: 'cpuu' is not known \(did you mean 'cpu'"),
    ],
)
def test_nonsense_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PreviousModels(toy_segmenter(), **options)  # type: ignore[arg-type]
