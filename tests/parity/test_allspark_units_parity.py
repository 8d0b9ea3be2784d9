"""AllSpark's parts against recorded numbers: the bottleneck, the memory, SegFormer's head, MiT-B5, and the published
names.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from parity.allspark_inputs import LAYOUT, POINTER, golden
from parity.keyfill import state_dict_for, tensor_for
from semiovs.methods.memory import Memory
from semiovs.models import build_segmenter
from semiovs.models.bottleneck import Bottleneck
from semiovs.models.convert import detect_family
from semiovs.models.decoders.segformer import Head
from semiovs.models.pyramid import build_pyramid, mit_names
from semiovs.models.segformer_layout import to_method

C, K, TOKENS = 16, 5, 9
_IN_FULL = "decoder.allspark."


@pytest.fixture(scope="module")
def units() -> dict[str, Tensor]:
    return golden("unit_bottleneck")


def build(*, couple: bool) -> tuple[Bottleneck, Memory]:
    """The recorded module: C = 16, two heads, five classes; float64."""
    sizes = {512: C, 1024: 2 * C, 21: K, 289: TOKENS}
    names = {n.removeprefix(_IN_FULL): s for n, s in LAYOUT.items() if n.startswith(_IN_FULL)}
    given = {n: tensor_for(n, tuple(sizes.get(side, side) for side in shape), 11) for n, shape in names.items()}
    given["attn.kv_queue"] *= 12
    given["attn.queue_ptr"] = torch.tensor([0, 3, 14, 15, 7])
    ours = to_method({_IN_FULL + name: value for name, value in given.items()})
    neck, memory = Bottleneck(C, dropout=0.0, couple=couple), Memory(K, C)
    neck.load_state_dict({n.removeprefix("neck."): v for n, v in ours.items() if n.startswith("neck.")})
    memory.load_state_dict({n.removeprefix("memory."): v for n, v in ours.items() if n.startswith("memory.")})
    return neck.double(), memory.double()


@pytest.mark.parametrize("case", ["nomem", "mem"])
def test_bottleneck(case: str, units: dict[str, Tensor]) -> None:
    neck, memory = build(couple=True)
    x = units["x"].double().requires_grad_()
    e, n = neck.enter(x)
    n_x, n_u = n.split(2)
    classes = memory.remember(n_u, 3 * units["prob_map_over3"].double(), (3, 3))
    sources = memory.sources() if case == "mem" else (n_u,)
    out = neck.leave(torch.cat([neck.attn.cross(n_x, *sources), neck.attn.itself(n_u)]) + e, x)
    (out * units["weight_for_grad"]).sum().backward()

    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(out, units[f"{case}_out"].double(), **close)
    torch.testing.assert_close(x.grad, units[f"{case}_grad_x"].double(), **close)
    for name in ("q_u", "k_l2u", "v_l2u", "out_l2u"):
        weight = neck.attn.get_submodule(name).weight
        torch.testing.assert_close(weight.grad, units[f"{case}_grad_{name}"].double(), **close)
    assert classes.equal(units[f"{case}_channel_cls"].long())
    torch.testing.assert_close(memory.channels, units[f"{case}_kv_after"].double(), **close)
    assert memory.pointer.equal(units[f"{case}_ptr_after"].long())


def test_prediction_alone_and_as_published(units: dict[str, Tensor]) -> None:
    x, both, alone = units["x"][:2].double(), units["eval_out_b2"].double(), units["eval_out_b1"].double()
    with torch.no_grad():
        torch.testing.assert_close(build(couple=True)[0].eval()(x), both)
        neck = build(couple=False)[0].eval()
        torch.testing.assert_close(neck(x[:1]), alone)
        torch.testing.assert_close(neck(x)[:1], alone)


def test_memory_alone(units: dict[str, Tensor]) -> None:
    memory = Memory(K, C)
    memory.load_state_dict({"channels": torch.zeros(K, C, TOKENS), "pointer": torch.zeros(K, dtype=torch.int64)})
    for tokens, classes, pointer, channels in zip(
        units["queue_emb"], units["queue_cls"], units["queue_ptrs"], units["queue_kv"], strict=True
    ):
        memory.push(tokens.T[None].float(), classes[None].long())
        assert memory.pointer.equal(pointer.long())
        assert memory.channels.equal(channels)


def test_head() -> None:
    given, head = golden("unit_head"), Head((8, 12, 16, 20), 24, 5).double().train()
    head.dropout.p = 0.0
    prefix, sizes = "decoder.decoder.", {768: 24, 3072: 96, 21: 5, 512: 20, 320: 16, 128: 12, 64: 8}
    shapes = {n: tuple(sizes.get(side, side) for side in s) for n, s in LAYOUT.items() if n.startswith(prefix)}
    state = state_dict_for({n.removeprefix(prefix): shape for n, shape in shapes.items()}, 4)
    ours = to_method({prefix + name: value for name, value in state.items()})
    head.load_state_dict({name.removeprefix("head."): value for name, value in ours.items()})
    out = head(tuple(given[f"c{level}"].double() for level in range(1, 5)))
    torch.testing.assert_close(out, given["out_train"].double())


def test_mit_b5() -> None:
    given = golden("unit_mit_b5")
    with torch.device("meta"):
        built = build_pyramid("mit_b5")
    names = {n.removeprefix("backbone."): tuple(s) for n, s in LAYOUT.items() if n.startswith("backbone.")}
    built.module.load_state_dict(mit_names(state_dict_for(names, 2)), assign=True)
    with torch.no_grad():
        maps = built.module.eval()(given["image"].float())
    assert [m.shape[1] for m in maps] == list(built.channels)
    for name, found in zip(("c1_first4", "c2_first8", "c3_first32", "c4"), maps, strict=True):
        torch.testing.assert_close(found[:, : given[name].shape[1]], given[name], rtol=1e-4, atol=2e-5)


def test_published_names() -> None:
    """89.33 M parameters, 7.89 M beside the encoder; every name of the file has its place and the reverse."""
    from semiovs.methods import build_method

    with torch.device("meta"):
        method = build_method("allspark", build_segmenter("segformer", num_classes=21), num_classes=21)
    published = {name: torch.empty(shape, device="meta") for name, shape in LAYOUT.items()}
    own = {name: tuple(v.shape) for name, v in method.student.state_dict().items()}
    theirs = {name: tuple(v.shape) for name, v in to_method(published).items()}
    assert theirs.pop("memory.channels") == (21, 512, 289)
    assert theirs.pop("memory.pointer") == (21,)
    assert theirs == own
    assert len(LAYOUT) == 1086
    parameters = sum(p.numel() for p in method.parameters())
    assert round(parameters / 1e6, 2) == 89.33
    assert round((parameters - sum(p.numel() for p in method.student.backbone.parameters())) / 1e6, 2) == 7.89
    assert detect_family(published) == "mit_b5 AllSpark checkpoint with 21 classes"
    assert POINTER in published
