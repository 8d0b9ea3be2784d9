"""Training SED with names that hold other names: what is a red brick is also a brick."""

from __future__ import annotations

import pytest
import torch

from semiovs.data import Batch, Labeled
from semiovs.errors import ConfigError, UsageError
from semiovs.images.conventions import IGNORE
from semiovs.methods import Progress, build_method
from semiovs.methods.sed import nesting
from semiovs.models import build_segmenter
from semiovs.vocab import Vocabulary

NAMES = ("ground", "brick", "stripes", "red brick", "blue brick", "red stripes")
SMALL = {
    "encoder": "small", "stride": 8, "resolution": None, "text": "words", "text_dim": 16, "templates": ["{}", "a {} pattern"],
    "hidden": 16, "decoder_dims": [16, 8], "guides": [8, 4], "kernel": 3,
}  # fmt: skip


def _method(names=NAMES, **options):
    torch.manual_seed(0)
    segmenter = build_segmenter("sed", num_classes=len(names), **SMALL)
    method = build_method("sed", segmenter, num_classes=len(names), **options)
    segmenter.prompt(Vocabulary.of(names))
    return method


def _batch():
    mask = torch.randint(0, 6, (2, 32, 40))
    mask[0, :4] = IGNORE
    return Batch(Labeled(torch.randn(2, 3, 32, 40), mask))


def test_a_name_is_true_of_every_class_that_has_all_its_words():
    true = nesting(NAMES)
    assert true.shape == (6, 256)
    assert true[1].nonzero().flatten().tolist() == [1, 3, 4]
    assert true[2].nonzero().flatten().tolist() == [2, 5]
    assert true[3].nonzero().flatten().tolist() == [3]
    assert not true[:, 6:].any()


def test_the_loss_is_binary_and_counts_every_true_name():
    method, batch = _method(nested=True), _batch()
    mask = batch.labeled.mask
    _, loss = method.names(mask)
    logits = torch.randn(2, 6, *mask.shape[1:])
    yes = torch.stack([torch.isin(mask, nesting(NAMES)[k].nonzero().flatten()) for k in range(6)], dim=1).float()
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, yes, reduction="none")
    assert loss(logits).item() == pytest.approx(each[(mask != IGNORE)[:, None].expand_as(each)].mean().item(), rel=1e-5)


@pytest.mark.parametrize("ignore", ["mask", "negative"])
def test_names_that_hold_no_other_are_learnt_as_without_nesting(ignore):
    names, batch = ("ground", "brick", "stripes", "dots", "rings", "grid"), _batch()
    plain, nested = (_method(names, nested=nested, ignore=ignore) for nested in (False, True))
    values = [m(batch, Progress(0, 10, 0, 1)).terms.total().item() for m in (plain, nested)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_names_in_the_batch_are_asked_first():
    method = _method(nested=True, sample=4)
    mask = torch.full((1, 8, 8), 3)
    mask[0, 0] = 0
    chosen, _ = method.names(mask)
    assert {0, 1, 3} < set(chosen.tolist())
    assert len(chosen) == 4


def test_every_part_of_the_small_network_learns():
    method = _method(nested=True, sample=5)
    step = method(_batch(), Progress(0, 10, 0, 1))
    assert list(step.terms) == ["x", "x0", "x1"]
    step.terms.total().backward()
    lacking = [name for name, p in method.student.named_parameters() if p.grad is None]
    assert not lacking


def test_several_concepts_a_class_are_refused():
    method = _method(nested=True)
    method.student.prompt(Vocabulary(("ground", "brick"), (("ground", "sky"), ("brick",))))
    with pytest.raises(UsageError, match="one concept a class"):
        method.names(torch.zeros(1, 8, 8, dtype=torch.long))


def test_placeholders_teach_no_words():
    with pytest.raises(ConfigError, match="cannot look for 'class_1', 'label 2'"):
        _method().prompt(Vocabulary.of(["ground", "class_1", "label 2"]))


@pytest.mark.parametrize("locked", [False, True])
def test_locked_towers_stay_as_they_are(locked):
    method, batch = _method(nested=True, locked=locked), _batch()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], lr=0.01)
    method.train()
    method(batch, Progress(0, 10, 0, 1)).terms.total().backward()
    optimizer.step()
    changed = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    towers = {name for name in before if name.startswith(("student.network.backbone.", "student.words."))}
    assert changed - towers
    assert bool(changed & towers) is not locked
