"""SED on two gloo ranks: the gradients of one process with both batches (normalise=global), or the mean of the ranks' own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from contract.two_ranks import average_gradients, gradients
from semiovs.data import Batch, Labeled
from semiovs.methods import Method, Progress, build_method
from semiovs.models import build_segmenter
from semiovs.vocab import Vocabulary

PROGRESS = Progress(1, 10)
CASES = [(ask, normalise) for ask in ("classes", "nested") for normalise in ("rank", "global")]
VOCABULARIES = {
    "classes": Vocabulary(("ground", "car"), (("road", "grass"), ("car",))),
    "nested": Vocabulary.of(("car", "red car")),
}


def build(ask: str, normalise: str) -> tuple[Method, list[Batch]]:
    """The same method everywhere, and two batches with different numbers of labelled pixels."""
    torch.manual_seed(0)
    segmenter = build_segmenter(
        "sed", num_classes=2, encoder="test_convnext", text="words", text_dim=8, templates=["{}", "a {}."], hidden=16,
        decoder_dims=[16, 16, 16], guides=[4, 4, 4], kernel=3,
    )  # fmt: skip
    segmenter.prompt(VOCABULARIES[ask])
    method = build_method("sed", segmenter, num_classes=2, nested=ask == "nested", normalise=normalise).train()
    batches = []
    for rows in (0, 40):
        g = torch.Generator().manual_seed(rows)
        mask = torch.randint(0, 2, (1, 64, 64), generator=g)
        mask[:, :rows] = 255
        batches.append(Batch(Labeled(torch.randn(1, 3, 64, 64, generator=g), mask)))
    return method, batches


@pytest.fixture(scope="module")
def two_ranks() -> dict[str, Tensor]:
    return average_gradients(build, CASES, PROGRESS)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_two_ranks(case: tuple[str, str], two_ranks: dict[str, Tensor]) -> None:
    method, batches = build(*case)
    if case[1] == "rank":
        for batch in batches:
            (method(batch, PROGRESS).terms.total() / 2).backward()
    else:
        labeled = [batch.labeled for batch in batches]
        both = Labeled(torch.cat([x.image for x in labeled]), torch.cat([x.mask for x in labeled]))
        method(Batch(both), PROGRESS).terms.total().backward()
    expected = gradients(method)
    torch.testing.assert_close(two_ranks["/".join(case)], expected, atol=2e-5 * expected.abs().max().item(), rtol=1e-4)
    other = two_ranks["/".join((case[0], "global" if case[1] == "rank" else "rank"))]
    assert not other.allclose(expected, atol=1e-3 * expected.abs().max().item())
