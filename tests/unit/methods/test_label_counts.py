"""Counts of pseudo-labels: what they say, and that they change nothing."""

import pytest
import torch
from torch import Tensor

from semiovs.engine.distributed import LossModule
from semiovs.methods import Progress
from semiovs.methods.label_counts import AGREEMENT, EVERY, OOD, UNLABELED, count_labels, summarize_counts
from semiovs.testing.toy import K, ToyMethod, toy_batch


def make(name: str, **options):
    """A method and a batch for it."""
    method = ToyMethod(name)(**options)
    return method, toy_batch(method)


def thin(maps):
    return maps[..., ::EVERY, ::EVERY]


@pytest.mark.parametrize("threshold", [0.0, 0.3, [0.2] * (K - 1) + [1.0]])
def test_counts_are_those_of_the_pixels_that_are_kept(threshold):
    method, batch = make("unimatch", conf_thresh=threshold, ood={"weight": 1.0})
    step = method(batch, Progress(0, 4))
    counts = count_labels(method, batch, step)
    for name, key in ((UNLABELED, "w"), (OOD, "ood")):
        target = step.pseudo[key]
        kept = thin(target.label)[thin(target.mask(method.threshold))]
        assert counts[name].tolist() == torch.bincount(kept, minlength=K).tolist()
    valid = thin(batch.ood.valid)
    same = thin(step.shared.clean.argmax(1)) == thin(batch.ood.label)
    assert counts[AGREEMENT].tolist() == [(same & valid).sum(), valid.sum()]
    assert not any(value.requires_grad for value in counts.values())


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("supervised", {}, set()),
        ("supervised", {"ood": {"weight": 1.0}}, {OOD, AGREEMENT}),
        ("fixmatch", {}, {UNLABELED}),
        ("fixmatch", {"ood": {"weight": 1.0, "mode": "naive"}}, {UNLABELED, OOD}),
        ("unimatch-v2", {"ood": {"weight": 1.0}, "ema_decay": 0.9}, {UNLABELED, OOD}),  # its images share no pass
    ],
)
def test_what_is_counted(name, options, expected):
    method, batch = make(name, **options)
    assert set(count_labels(method, batch, method(batch, Progress(0, 4)))) == expected


def test_counting_changes_neither_losses_nor_gradients_nor_draws():
    def run(count: bool):
        method, batch = make("unimatch", ood={"weight": 1.0})
        torch.manual_seed(1)
        loss = (
            LossModule(method)(batch, Progress(0, 4), Tensor.backward)[0]
            if count
            else method(batch, Progress(0, 4), Tensor.backward).terms.objective()
        )
        loss.backward()
        return [loss, torch.rand(3), *(p.grad for p in method.parameters() if p.grad is not None)]

    assert all(torch.equal(one, two) for one, two in zip(run(True), run(False), strict=True))


def test_counts_become_shares():
    readings = {
        "loss": 1.0,
        "pseudo/0": 3.0,
        "pseudo/1": 0.0,
        "pseudo/2": 1.0,
        "ood_agreement/0": 1.0,
        "ood_agreement/1": 4.0,
    }
    row = summarize_counts(readings, ["a", "b", "c"])
    assert row == {"loss": 1.0, "pseudo": {"a": 0.75, "c": 0.25}, "ood_agreement": 0.25}
    nothing = {"pseudo/0": 0.0, "pseudo/1": 0.0, "ood_agreement/0": 0.0, "ood_agreement/1": 0.0}
    assert summarize_counts(nothing, ["a", "b"]) == {}
