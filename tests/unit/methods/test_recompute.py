import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from semiovs.errors import UsageError
from semiovs.methods import Progress, build_method
from semiovs.methods.recompute import recompute_blocks
from semiovs.models import build_segmenter
from semiovs.testing.toy import toy_batch

PROGRESS = Progress(step=3, total_steps=10, epoch=1, total_epochs=4)


def learn(*, recompute, name="unimatch", encoder="small", model="deeplabv3plus"):
    """Gradients, buffers and loss of a step, and the bytes that its graph keeps."""
    torch.manual_seed(0)
    student = build_segmenter(model, num_classes=4, encoder=encoder)
    method = build_method(name, student, num_classes=4, conf_thresh=0.2).train()
    batch = toy_batch(method)
    if recompute:
        assert recompute_blocks(method.student.backbone) >= 2
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    torch.manual_seed(1)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = method(batch, PROGRESS).terms.objective()
    loss.backward()
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    return gradients, [*method.buffers()], loss.detach(), sum(kept.values())


@pytest.mark.parametrize(
    ("name", "model", "encoder"),
    [("unimatch", "deeplabv3plus", "small"), ("unimatch-v2", "dpt", "test_vit")],
)
def test_a_step_is_the_same_bit_for_bit_and_its_graph_keeps_less(name, model, encoder):
    plain, again = (learn(recompute=r, name=name, model=model, encoder=encoder) for r in (False, True))
    for one, other in zip(plain[:2], again[:2], strict=True):
        assert len(one) == len(other)
        assert all(map(torch.equal, one, other))
    assert torch.equal(plain[2], again[2])
    assert again[3] < 0.8 * plain[3]


def test_dropout_is_drawn_again_and_statistics_are_kept_once():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.drop, self.runs = nn.BatchNorm2d(3), nn.Dropout(0.5), 0

        def forward(self, x):
            self.runs += 1
            return self.drop(self.norm(x)) * 2

    encoder = nn.Module()
    encoder.body = nn.Sequential(Block())
    recompute_blocks(encoder)
    block = encoder.body[0]
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    y = encoder.body(x)
    y.sum().backward()
    assert (block.runs, int(block.norm.num_batches_tracked)) == (2, 1)
    expected = torch.autograd.grad((2 * (y.detach() != 0) * nn.BatchNorm2d(3)(x) * 2).sum(), x)[0]
    torch.testing.assert_close(x.grad, expected)  # the same channels were dropped
    with torch.no_grad():
        encoder.body(x)
    assert block.runs == 3


def test_what_cannot_be_computed_again_is_refused():
    with pytest.raises(UsageError, match="no sequence of blocks"):
        recompute_blocks(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))

    class WritesIntoItsInput(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.SiLU(inplace=True)

        def forward(self, x):
            return self.act(x)

    encoder = nn.Module()
    encoder.body = nn.Sequential(WritesIntoItsInput())
    recompute_blocks(encoder)
    with pytest.raises(UsageError, match="writes into its input"):
        encoder.body(torch.randn(2, requires_grad=True) * 1)
