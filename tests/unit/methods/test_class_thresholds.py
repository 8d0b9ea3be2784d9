"""Thresholds a class: the quantile by hand, bounds, what is kept, and that without the option nothing is there."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, multiprocessing

from contract.toy import K, toy_batch, toy_method
from semiovs.errors import UsageError
from semiovs.methods import Progress, Target
from semiovs.methods.class_thresholds import BINS, MOMENTUM, ClassThresholds

PROGRESS = Progress(step=3, total_steps=10, epoch=1, total_epochs=4)


def target(*pixels: tuple[int, float]) -> Target:
    """One row of (label, confidence), all valid."""
    label = torch.tensor([[[k for k, _ in pixels]]])
    confidence = torch.tensor([[[c for _, c in pixels]]])
    return Target(label, confidence, torch.ones_like(label, dtype=torch.bool))


def thresholds(quantile: float = 0.5, floor: float = 0.1, ceiling: float = 0.95) -> ClassThresholds:
    return ClassThresholds(torch.full((3,), ceiling), quantile, floor)


def test_the_quantile_of_each_class_by_hand() -> None:
    moving = thresholds(quantile=0.5)
    moving.follow(target((0, 0.302), (0, 0.402), (0, 0.502), (0, 0.602), (1, 0.981), (1, 0.991)))
    # half of class 0 lies below the cell of 0.502; class 1 is surer than the ceiling; class 2 was not seen
    assert moving.values.tolist() == pytest.approx([0.5, 0.95, 0.95])
    moving.follow(target((0, 0.902)))  # 4 · 0.99 pixels below it, 1 in it: the median is that of four again
    assert moving.values[0].item() == pytest.approx(0.5)
    assert moving.histogram[0].sum().item() == pytest.approx(4 * MOMENTUM + 1)


def test_a_higher_quantile_takes_fewer_pixels_and_at_least_those_it_promises() -> None:
    confidence = torch.linspace(0.2, 0.9, 141) + 0.002
    found = []
    for quantile in (0.25, 0.5, 0.75):
        moving = thresholds(quantile)
        moving.follow(target(*((0, float(c)) for c in confidence)))
        found.append(float(moving.values[0]))
        assert (confidence >= found[-1]).float().mean() >= 1 - quantile
        assert (confidence >= found[-1] + 2 / BINS).float().mean() < 1 - quantile + 0.02
    assert found == sorted(found)
    assert found[0] < found[2]


def test_floor_and_ceiling_hold_and_the_ceiling_wins() -> None:
    moving = ClassThresholds(torch.tensor([0.9, 0.9, 0.3]), 0.5, 0.5)
    moving.follow(target((0, 0.2), (1, 1.0), (2, 0.1)))
    assert moving.values.tolist() == pytest.approx([0.5, 0.9, 0.3])


def test_pixels_that_are_not_valid_do_not_count() -> None:
    moving, given = thresholds(), target((0, 0.302), (1, 0.402))
    moving.follow(replace(given, valid=torch.tensor([[[True, False]]])))
    assert moving.values.tolist() == pytest.approx([0.3, 0.95, 0.95])
    assert moving.histogram[1].sum() == 0


def test_a_class_that_is_not_seen_keeps_its_threshold() -> None:
    moving = thresholds()
    moving.follow(target((0, 0.302)))
    before = moving.histogram[0].clone()
    for _ in range(5):
        moving.follow(target((1, 0.702)))
    assert moving.histogram[0].equal(before)
    assert moving.values.tolist() == pytest.approx([0.3, 0.7, 0.95])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"thresh_quantile": 1.0}, "thresh_quantile: 1.0 must be above 0 and below 1"),
        ({"thresh_quantile": 0.5, "thresh_floor": 1.0}, "thresh_floor: 1.0 must be at least 0"),
        ({"thresh_quantile": 0.5, "conf_thresh": 0.4}, r"nowhere above method\.thresh_floor=0\.5"),
    ],
)
def test_senseless_options_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        toy_method("fixmatch", **options)


def test_without_a_floor_it_is_a_half() -> None:
    moving = ClassThresholds(torch.full((3,), 0.95), 0.5)
    moving.follow(target((0, 0.2), (1, 0.602)))
    assert moving.values.tolist() == pytest.approx([0.5, 0.6, 0.95])


def test_corrmatch_moves_its_own() -> None:
    with pytest.raises(UsageError, match="corrmatch moves its threshold itself"):
        toy_method("corrmatch", thresh_quantile=0.5)


@pytest.mark.parametrize("name", ["fixmatch", "unimatch", "unimatch-v2", "prevmatch", "semivl"])
def test_a_step_uses_what_the_steps_before_left(name: str) -> None:
    """The first step is that without the option; the second has the thresholds of the first one's labels."""
    options = {"conf_thresh": 0.9, "thresh_floor": 0.0}
    plain, moving = toy_method(name, **options), toy_method(name, thresh_quantile=0.5, **options)
    batch = toy_batch(plain)
    first = []
    for method in (plain, moving):
        torch.manual_seed(5)
        first.append(method(batch, PROGRESS))
    assert {k: v.value.item() for k, v in first[0].terms.items()} == {
        k: v.value.item() for k, v in first[1].terms.items()
    }
    assert first[1].log["threshold"].item() == pytest.approx(0.9)

    again = ClassThresholds(torch.full((K,), 0.9), 0.5, 0.0)
    again.follow(first[1].pseudo["w"])
    assert moving.threshold.value.equal(again.values)  # type: ignore[union-attr]
    assert bool((again.values < 0.9).any())
    second = moving(batch, PROGRESS)
    assert second.log["threshold_lowest"].item() == pytest.approx(again.values.min().item())
    assert second.log["mask_ratio"] > first[1].log["mask_ratio"]


def test_the_state_goes_through_a_file_and_is_not_there_without_the_option() -> None:
    method = toy_method("fixmatch", conf_thresh=0.9, thresh_quantile=0.5, thresh_floor=0.0)
    method(toy_batch(method), PROGRESS)
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    file.seek(0)
    fresh = toy_method("fixmatch", seed=9, conf_thresh=0.9, thresh_quantile=0.5, thresh_floor=0.0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    assert fresh.threshold.value.equal(method.threshold.value)  # type: ignore[union-attr]
    for m in (method, fresh):
        torch.manual_seed(1)
        m(toy_batch(method, seed=4), PROGRESS)
    assert fresh.threshold.value.equal(method.threshold.value)  # type: ignore[union-attr]
    added = {*method.state_dict()} - {*toy_method("fixmatch").state_dict()}
    assert added == {"class_thresholds.histogram", "class_thresholds.values"}


def test_supervised_has_no_labels_to_follow() -> None:
    method = toy_method("supervised", conf_thresh=0.9, thresh_quantile=0.5)
    method(toy_batch(method), PROGRESS)
    assert method.threshold.value.tolist() == pytest.approx([0.9] * K)  # type: ignore[union-attr]


HALVES = target((0, 0.302), (0, 0.402), (2, 0.61)), target((0, 0.802), (1, 0.91), (1, 0.42))


def _follow_half(rank: int, directory: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{directory}/store", rank=rank, world_size=2)
    moving = thresholds()
    moving.follow(HALVES[rank])
    torch.save(moving.state_dict(), Path(directory) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def test_two_ranks_agree_and_see_the_pixels_of_both() -> None:
    whole = thresholds()
    whole.follow(Target(*(torch.cat([getattr(h, f) for h in HALVES]) for f in ("label", "confidence", "valid"))))
    with tempfile.TemporaryDirectory() as directory:
        multiprocessing.spawn(_follow_half, args=(directory,), nprocs=2)
        states = [torch.load(Path(directory) / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert states[0].keys() == whole.state_dict().keys()
    for key, value in whole.state_dict().items():
        assert states[0][key].equal(value)
        assert states[1][key].equal(value)
