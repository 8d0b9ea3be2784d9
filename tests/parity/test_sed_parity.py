"""SED computes what the published one computes: recorded logits, early rejection, dense features, images in, labels out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from parity.keyfill import state_dict_for
from parity.sed_inputs import NEAR, aggregator, aggregator_inputs, facts, gauss, golden, tiny
from semiovs.models.sed import ClipDense, build_clip, build_sed, fast_aggregation
from semiovs.models.sed.trained import TrainedSed, from_published
from semiovs.ovs.pooling import ConceptPooling
from semiovs.ovs.sed import SedTeacher, fit_shortest_edge
from semiovs.vocab import Vocabulary

LARGE, BASE, REDUCED = (768, 384, 192), (512, 256, 128), (24, 16, 8)
#: case -> layout, B, T, P, C, h, w, channels of the guides, side of the cells that share their attention
CASES = {
    "a1": ("a1", 1, 3, 80, 768, 24, 24, LARGE, 1),
    "a2": ("a1", 2, 5, 80, 768, 6, 8, LARGE, 2),
    "a3": ("a3", 1, 4, 80, 640, 7, 5, BASE, 1),
    "a4": ("a4", 1, 5, 4, 32, 6, 6, REDUCED, 1),
    "a5": ("a4", 1, 5, 4, 32, 7, 5, REDUCED, 2),
}
RECORDED = golden("aggregator")


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_aggregator(case):
    layout, b, t, p, c, h, w, guide_dims, pool = CASES[case]
    features, text, guides = aggregator_inputs(case, b, t, p, c, h, w, guide_dims)
    logits = aggregator(layout, p, guide_dims)(features, text, guides, pool=pool)
    for name, ours in zip(("head", "head0", "head1", "head2"), logits, strict=True):
        np.testing.assert_allclose(ours.numpy(), RECORDED[f"{case}/{name}"], **NEAR, err_msg=name)
    assert (logits[0].argmax(dim=1).numpy() == RECORDED[f"{case}/head"].argmax(axis=1)).mean() >= 0.999


@torch.no_grad()
def test_correlation():
    features, text, _ = aggregator_inputs("a1", 1, 3, 80, 768, 24, 24, LARGE)
    ours = fast_aggregation.correlate(features, F.normalize(text, dim=-1))
    np.testing.assert_allclose(ours[None, :, 0].numpy(), RECORDED["a1/corr_p0"], **NEAR)


@pytest.mark.parametrize("case", [case for case, row in CASES.items() if row[-1] == 1])
@pytest.mark.parametrize("chunk", [2, 8])
@torch.no_grad()
def test_aggregator_as_it_runs_at_inference(case, chunk):
    layout, b, t, p, c, h, w, guide_dims, _ = CASES[case]
    features, text, guides = aggregator_inputs(case, b, t, p, c, h, w, guide_dims)
    model = aggregator(layout, p, guide_dims).to(memory_format=torch.channels_last)
    levels = [guide[0] for guide in guides]
    ours = fast_aggregation.aggregate(model, features[0], F.normalize(text, dim=-1), levels, chunk=chunk).numpy()
    recorded = 1 / (1 + np.exp(-RECORDED[f"{case}/head"][0]))
    np.testing.assert_allclose(ours, recorded, **NEAR)
    assert (ours.argmax(axis=0) == recorded.argmax(axis=0)).mean() >= 0.999


@pytest.mark.parametrize("case", ["b1", "b2", "b3", "b4", "b5"])
@torch.no_grad()
def test_early_rejection(case, monkeypatch):
    recorded = {key.split("/")[1]: value for key, value in golden("fast_inference").items() if key.startswith(case)}
    height, width, seed = (int(recorded[key]) for key in ("H", "W", "input_seed"))
    model = aggregator("a1", 80, LARGE, int(recorded["weight_seed"]))
    if recorded["negate_head2"]:
        model.head2.weight.neg_()
    _, text, guides = aggregator_inputs("b", 1, 24, 80, 768, height, width, LARGE, seed)
    base, act = gauss("b/base", (24, 768), seed), np.maximum(gauss("b/act", (1, 24, height, width), seed), 0)
    act[:, 10:] = 0
    noise = np.float32(0.5) * gauss("b/img_noise", (1, 768, height, width), seed)
    features = torch.from_numpy(noise + np.einsum("bthw,tc->bchw", act, base).astype(np.float32))

    kept, choose = [np.arange(24)], fast_aggregation.survivors

    def recording(logits, topk):
        alive = choose(logits, topk)
        kept.append(kept[-1][alive.numpy()])
        return alive

    monkeypatch.setattr(fast_aggregation, "survivors", recording)
    ours = fast_aggregation.aggregate(
        model, features[0], F.normalize(text, dim=-1), [guide[0] for guide in guides], topk=int(recorded["topk"])
    ).numpy()
    stages = kept[1:] or kept * 3  # nothing is asked where all survive
    for stage, name in zip(stages, ("keep0", "keep1", "keep2"), strict=True):
        np.testing.assert_array_equal(stage, recorded[name], err_msg=name)
    np.testing.assert_allclose(ours[recorded["keep2"]], recorded["prob_kept"][0], **NEAR)
    assert not np.delete(ours, recorded["keep2"], axis=0).any()


@pytest.mark.parametrize("tag", ["mlp", "linear"])
@torch.no_grad()
def test_dense_features(tag):
    recorded, layout = golden("dense_clip"), facts("dense_clip")["layout"][tag]
    clip = build_clip(**facts("dense_clip")["config"][tag])
    state = state_dict_for({name: shape for name, shape in layout.items() if name != "logit_scale"})
    assert clip.module.load_state_dict(state, strict=False).missing_keys == ["logit_scale"]
    dense = ClipDense(clip.module.visual, dim=clip.width).eval()
    features, (res4, res3, res2) = dense(torch.from_numpy(gauss("d/image", (2, 3, 64, 96))))
    assert (res4.shape[1], res3.shape[1], res2.shape[1]) == dense.guide_dims
    for name, ours in {"clip_vis_dense": features, "res4": res4, "res3": res3, "res2": res2}.items():
        values = recorded[f"{tag}/{name}"]
        np.testing.assert_allclose(ours[: len(values)].numpy(), values, **NEAR, err_msg=name)


def test_shortest_edge():
    recorded = golden("preprocess")
    for given, wanted in zip(recorded["size_in"], recorded["size_out"], strict=True):
        assert fit_shortest_edge(int(given[0]), int(given[1]), 640, 2560) == tuple(wanted)


@pytest.mark.parametrize("case", ["p1", "p2", "p3"])
def test_images_in(case):
    recorded = golden("preprocess")
    rgb = torch.from_numpy(recorded[f"{case}/rgb"]).permute(2, 0, 1)
    assert fit_shortest_edge(*rgb.shape[1:], 640, 2560) == tuple(recorded[f"{case}/resized_hw"])
    network = build_sed("resnet18", dim=8, prompts=1, stride=32)
    network.backbone.normalization = ClipDense.normalization
    teacher = SedTeacher.of(TrainedSed(network, lambda vocabulary: torch.zeros(1, 1, 8)))
    ours = teacher.prepare(rgb)[0]
    assert ours.shape == (3, 768, 768)
    np.testing.assert_allclose(ours[:, ::24, ::24].numpy(), recorded[f"{case}/x768_stride24"], **NEAR)
    assert ours.double().abs().sum().item() == pytest.approx(float(recorded[f"{case}/sum_abs"]), rel=1e-5)


def test_labels_out():
    recorded, pooling = golden("postprocess"), ConceptPooling((0, 0, 0, 1, 2, 2, 3), 4)
    maps = torch.from_numpy(recorded["logits"]).sigmoid()
    np.testing.assert_allclose(pooling.scores(maps, (37, 53)).numpy(), recorded["agg"], **NEAR)
    label, confidence = pooling.label(maps, (37, 53))
    np.testing.assert_array_equal(label.numpy(), recorded["label"])
    np.testing.assert_allclose(confidence.numpy(), recorded["conf"], **NEAR)


@pytest.mark.parametrize(("topk", "name"), [(None, "sem_seg"), (1, "sem_seg_fast_topk1")])
def test_image_to_labels(topk, name, monkeypatch, tmp_path):
    monkeypatch.setenv("SEMIOVS_CACHE", str(tmp_path))
    recorded, concepts = golden("tiny_sed"), facts("tiny_sed")["classes"]
    vocabulary = Vocabulary(tuple(f"class {i}" for i in range(5)), tuple((concept,) for concept in concepts))
    published = from_published(tiny(), {})
    source = TrainedSed(published.network, published.embed, size=(128, 160), edges=(96, 384))
    np.testing.assert_allclose(source.features(vocabulary)[:, :3].numpy(), recorded["text_features_first3"], **NEAR)
    rgb = torch.from_numpy(recorded["rgb"]).permute(2, 0, 1)
    teacher = SedTeacher.of(source, topk=topk)
    (ours,) = teacher.scores([rgb], vocabulary)
    np.testing.assert_allclose(ours.numpy(), recorded[name], **NEAR)
    np.testing.assert_array_equal(ours.numpy() == 0, recorded[name] == 0)
    (label,), _ = teacher.label([rgb], vocabulary)
    assert (label.numpy() == recorded[name].argmax(axis=0)).mean() >= 0.999
